"""Downloading the released files, each of them once.

The folder `keras_paca` in Keras's cache holds each file as `NAME.safetensors`, converted from the
authors' `NAME.pth`, and `NAME.json` with the SHA-256 of both. An incomplete file is never kept.
"""

import contextlib
import hashlib
import http.client
import json
import os
import shutil
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np

from keras_paca.weights.checkpoint import read_checkpoint, write_safetensors
from keras_paca.weights.released import ReleasedFile, released_files
from keras_paca.weights.source import Checkpoint
from keras_paca.weights.torch_file import CheckpointError

STALL_SECONDS = 60  # a download fails after this long without any data
CHUNK = 1 << 20


def cache_folder() -> Path:
    """Return the folder of the downloaded files, which lies in Keras's own cache.

    Returns:
        Path. The folder `keras_paca` in `KERAS_HOME`, by default in `~/.keras`. It may not exist.

    Example:
    >>> cache_folder().name
    'keras_paca'
    """
    home = os.environ.get("KERAS_HOME")
    if home is None:
        user = os.path.expanduser("~")
        home = os.path.join(user if os.access(user, os.W_OK) else "/tmp", ".keras")
    return Path(home) / "keras_paca"


def fetch(
    file: ReleasedFile,
    url: str | None = None,
    check: Callable[[Mapping[str, np.ndarray]], None] = lambda tensors: None,
) -> Checkpoint:
    """Return a released checkpoint, which is downloaded and converted at its first use.

    Without a network, download the authors' file elsewhere and copy it into `cache_folder()`; it
    is converted from there.

    Args:
        file: ReleasedFile. The checkpoint, one of `released_files()`.
        url: str or None. Address of the folder of a mirror. By default it is that of the
            environment variable `KERAS_PACA_WEIGHTS_URL` or, without one, the authors' own.
        check: Callable. Called with the downloaded tensors before anything is kept. It must raise
            a `ValueError` if these are not the tensors of the file.

    Returns:
        Checkpoint. The tensors of the file, with official keys.

    Raises:
        FileNotFoundError: If the file isn't in the cache and can't be downloaded.
        CheckpointError: If the file in the cache or the downloaded file isn't the expected one, or
            if its checksum differs from the recorded one. This is a subclass of `ValueError`.

    Example:
    >>> import os, tempfile
    >>> from pathlib import Path
    >>> from unittest import mock
    >>> import numpy as np
    >>> from keras_paca.weights import fetch, released_files, write_safetensors
    >>> file = released_files()[0]
    >>> home = Path(tempfile.mkdtemp())  # in place of ~/.keras
    >>> (home / "keras_paca").mkdir()
    >>> tensors = {"head.bias": np.zeros(1000)}  # in place of a download
    >>> write_safetensors(home / "keras_paca" / file.file, tensors)
    >>> with mock.patch.dict(os.environ, KERAS_HOME=str(home)):
    ...     checkpoint = fetch(file)
    >>> checkpoint.tensors["head.bias"].shape
    (1000,)
    """
    converted = _converted(file)
    if not converted.exists():
        source = _url(file, url)
        with _lock(file, source):
            if not converted.exists():
                _obtain(file, source, check)
    record = read_record(file)
    if record and record["converted_sha256"] != sha256(converted):
        raise CheckpointError(
            f"{converted} has changed since it was made from {file.file}. Delete it, and it is "
            "made again at the next use."
        )
    return Checkpoint(str(converted), official=True, tensors=read_checkpoint(converted))


def read_record(file: ReleasedFile) -> dict | None:
    """Return what was recorded about a file when it was first downloaded.

    Args:
        file: ReleasedFile. One of `released_files()`.

    Returns:
        dict or None. "file", "source", "bytes", "sha256" (of the authors' file) and
        "converted_sha256"; `None` if there is no record, or none that can be read.

    Example:
    >>> from unittest import mock
    >>> file = released_files()[0]
    >>> home = Path(tempfile.mkdtemp())  # in place of ~/.keras
    >>> (home / "keras_paca").mkdir()
    >>> write_safetensors(home / "keras_paca" / file.file, {"head.bias": np.zeros(1000)})
    >>> with mock.patch.dict(os.environ, KERAS_HOME=str(home)):
    ...     checkpoint = fetch(file)
    ...     record = read_record(file)
    >>> record["sha256"] == sha256(home / "keras_paca" / file.file)
    True
    """
    try:
        record = json.loads(_record(file).read_text(encoding="utf-8"))
        return record if {"sha256", "bytes", "converted_sha256"} <= set(record) else None
    except (OSError, ValueError, TypeError):
        return None


def verify_cache() -> list[tuple[ReleasedFile, str, str]]:
    """Check whether the downloaded files have changed since they were downloaded.

    Returns:
        list of (ReleasedFile, str, str). For every file in the cache the file itself, the recorded
        SHA-256 of the authors' file, and a state: "unchanged", "changed" or, for a file without a
        record, "not recorded".

    Example:
    >>> import os, tempfile
    >>> from unittest import mock
    >>> from keras_paca.weights import verify_cache
    >>> with mock.patch.dict(os.environ, KERAS_HOME=tempfile.mkdtemp()):  # an empty cache
    ...     verify_cache()
    []
    """
    found = []
    for file in (each for row in released_files() for each in (row, replace(row, ema=True))):
        if _converted(file).exists():
            record = read_record(file)
            if record is None:
                found.append((file, "", "not recorded"))
            else:
                same = record["converted_sha256"] == sha256(_converted(file))
                found.append((file, record["sha256"], "unchanged" if same else "changed"))
    return found


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file.

    Args:
        path: Path. The file.

    Returns:
        str. 64 hexadecimal digits.

    Example:
    >>> path = Path(tempfile.mkdtemp()) / "empty"
    >>> path.touch()
    >>> sha256(path)[:8]
    'e3b0c442'
    """
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _stem(file: ReleasedFile) -> str:
    return Path(file.file).stem + (".ema" if file.ema else "")


def _converted(file: ReleasedFile) -> Path:
    return cache_folder() / f"{_stem(file)}.safetensors"


def _record(file: ReleasedFile) -> Path:
    return cache_folder() / f"{_stem(file)}.json"


def _url(file: ReleasedFile, url: str | None) -> str:
    mirror = url or os.environ.get("KERAS_PACA_WEIGHTS_URL")
    return f"{mirror.rstrip('/')}/{file.file}" if mirror else file.url


@contextlib.contextmanager
def _lock(file: ReleasedFile, source: str) -> Iterator[None]:
    """Hold the lock of a file, or raise an error if the cache can't be written."""
    from filelock import FileLock  # imported here to keep `import keras_paca` fast

    folder = cache_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / f".{file.file}.lock")
        lock.acquire()
    except OSError as error:
        raise _unavailable(file, source, f"the cache can't be written ({error})") from error
    try:
        yield
    finally:
        lock.release()


def _obtain(
    file: ReleasedFile, source: str, check: Callable[[Mapping[str, np.ndarray]], None]
) -> None:
    """Convert a file, downloaded or copied into the cache by the user."""
    folder = cache_folder()
    for leftover in folder.glob(f".{file.file}.*.part"):  # of processes that were killed
        shutil.rmtree(leftover, ignore_errors=True)
    by_hand = folder / file.file
    try:
        work = Path(tempfile.mkdtemp(prefix=f".{file.file}.", suffix=".part", dir=folder))
    except OSError as error:
        raise _unavailable(file, source, f"the cache can't be written ({error})") from error
    try:
        if by_hand.exists():
            original = by_hand
        else:
            original = work / file.file
            _download(file, source, original)
        checksum, known = sha256(original), read_record(file)
        if known and known["sha256"] != checksum:
            raise CheckpointError(
                f"{original if by_hand.exists() else source} has the SHA-256 {checksum}, and "
                f"{known['sha256']} was recorded of it before. If the new file is right, delete "
                f"{_record(file)}"
            )
        shown = str(by_hand) if by_hand.exists() else source
        tensors = _read(original, shown, file.ema, check)
        converted = work / "converted.safetensors"
        write_safetensors(converted, tensors, {"source": file.file, "sha256": checksum})
        record = work / "record.json"
        record.write_text(
            json.dumps(
                {
                    "file": file.file,
                    "source": str(by_hand) if by_hand.exists() else source,
                    "bytes": original.stat().st_size,
                    "sha256": checksum,
                    "converted_sha256": sha256(converted),
                },
                indent=2,
            ),
            encoding="utf-8",
        )
        record.replace(_record(file))
        converted.replace(_converted(file))
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _read(
    original: Path, source: str, ema: bool, check: Callable[[Mapping[str, np.ndarray]], None]
) -> dict[str, np.ndarray]:
    """Read all tensors of a downloaded file and check them."""
    try:
        tensors = read_checkpoint(original, match_extension=False, ema=ema)
        check(tensors)
    except ValueError as error:
        why = str(error).removeprefix(f"{original}: ")
        raise CheckpointError(f"{source} is not the file that it should be: {why}") from error
    return tensors


def _download(file: ReleasedFile, source: str, target: Path) -> None:
    """Download `source` to `target` with a progress bar and check its length."""
    print(f"Downloading {source}")
    try:
        with (
            urllib.request.urlopen(source, timeout=STALL_SECONDS) as response,
            target.open("wb") as stream,
        ):
            length = response.headers.get("Content-Length")
            expected = int(length) if length else None
            progress, received = keras.utils.Progbar(expected), 0
            while chunk := response.read(CHUNK):
                stream.write(chunk)
                received += len(chunk)
                progress.update(received)
    except TimeoutError as error:
        raise _unavailable(file, source, f"nothing came for {STALL_SECONDS} seconds") from error
    except urllib.error.HTTPError as error:
        with error:  # closes the connection
            raise _unavailable(file, source, str(error)) from error
    except (urllib.error.URLError, http.client.HTTPException, OSError, ValueError) as error:
        raise _unavailable(file, source, str(error)) from error
    if expected is not None and received != expected:
        raise _unavailable(file, source, f"only {received} of {expected} bytes came")


def _unavailable(file: ReleasedFile, source: str, why: str) -> FileNotFoundError:
    return FileNotFoundError(
        f"Could not get {source}: {why}. Download it by hand and put it at "
        f"{cache_folder() / file.file}, or pass its path: weights=PATH. "
        "KERAS_PACA_WEIGHTS_URL may name the folder of a mirror."
    )
