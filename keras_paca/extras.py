"""The command that installs one of the extras of this library."""

import json
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path


def install_command(extra: str) -> str:
    """Return the `pip` command that installs an extra, for error messages.

    If the library runs from a clone of its repository or was installed from one, the command
    contains the path of the clone.

    Args:
        extra: str. Name of the extra, such as "coco", or several names joined by commas.

    Returns:
        str. The command, such as `pip install "keras-paca[coco]"`.

    Example:
    >>> print(install_command("coco"))  # doctest: +ELLIPSIS
    pip install "...[coco]"
    """
    clone = Path(__file__).parents[1]
    if (clone / "pyproject.toml").is_file():
        return f'pip install "{clone}[{extra}]"'
    try:
        origin = json.loads(distribution("keras-paca").read_text("direct_url.json") or "{}")
    except (PackageNotFoundError, ValueError):
        origin = {}
    address = f" @ {origin['url']}" if origin.get("url", "").startswith("file:") else ""
    return f'pip install "keras-paca[{extra}]{address}"'
