"""The errors of converters and runtimes, shortened to a sentence."""

import contextlib
import os
import re
import sys
import tempfile
from collections.abc import Iterator

MAX_LENGTH = 250
TERMINAL_STYLES = re.compile(r"\x1b\[[0-9;]*m")
LOCATION = re.compile(r"^.*loc\(.*\)+: ")
# Lines that don't say what is wrong: locations in a converter's own files, notes, headings.
UNINFORMATIVE_LINE = re.compile(
    r"^(Check '|<unknown>:\d+: note:|Exception encountered when calling|Arguments received by|"
    r"Traceback |File \"|WARNING:|I0000|W0000|E0000)|:$"
)


def sentence(text: object) -> str:
    r"""Return the message of an error in one line of at most 250 characters.

    Args:
        text: object. An exception, or what a process wrote to its standard error.

    Returns:
        str. The first informative line, and the next one where there is room for it.

    Example:
    >>> sentence("Check 'false' failed at src/report.cpp:151:\nModel wasn't fully converted.")
    "Model wasn't fully converted."
    """
    found: list[str] = []
    for line in _last_message(TERMINAL_STYLES.sub("", str(text))):
        if UNINFORMATIVE_LINE.search(line.strip()):
            continue
        line = re.split(r"\berror:[\s:]*", LOCATION.sub("", line))[-1]
        line = " ".join(line.lstrip("- ").split())
        if not line or line in found:
            continue
        if found and sum(map(len, found)) + len(line) > MAX_LENGTH - 50:
            break
        found.append(line)
        if len(found) == 2:
            break
    said = " ".join(found) or type(text).__name__
    return said if len(said) <= MAX_LENGTH else f"{said[: MAX_LENGTH - 4]} ..."


def _last_message(text: str) -> list[str]:
    """Return the lines of a text, or those of the last exception's message in a traceback."""
    lines = text.strip().splitlines()
    traces = [i for i, line in enumerate(lines) if line.startswith("Traceback (most recent")]
    if not traces:
        return lines
    after = lines[traces[-1] + 1 :]
    start = next((i for i, line in enumerate(after) if line and not line[0].isspace()), 0)
    first = re.sub(r"^[\w.]+: ", "", after[start]) if after else ""  # less the exception's class
    return [first, *after[start + 1 :]]


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Hide what libraries write to the process's standard error, inside a `with` statement.

    TensorFlow's converter is written in C++ and writes a dump there before it raises an error.

    Example:
    >>> import os
    >>> with quiet():
    ...     _ = os.write(2, b"A dump of the whole model")
    """
    try:
        sys.stderr.flush()
        kept = os.dup(2)
    except (OSError, ValueError, AttributeError):  # a process without a standard error
        yield
        return
    with tempfile.TemporaryFile() as elsewhere:
        os.dup2(elsewhere.fileno(), 2)
        try:
            yield
        finally:
            with contextlib.suppress(OSError, ValueError):
                sys.stderr.flush()
            os.dup2(kept, 2)
            os.close(kept)
