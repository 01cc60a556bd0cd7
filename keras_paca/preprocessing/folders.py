"""Finding the images in a folder, or in a folder that has one folder per class."""

import os
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np

from keras_paca.arguments import join_first
from keras_paca.preprocessing.formats import READERS, picture_suffixes
from keras_paca.preprocessing.pictures import read_picture
from keras_paca.preprocessing.transform import CROP, check_resized_size, check_size
from keras_paca.warn import warn_user

# Names of files and folders that operating systems and programs create, in lower case. Names that
# start with "." are hidden as well.
HIDDEN = {
    "__macosx",  # macOS, in archives
    "icon\r",  # macOS, a folder's icon
    "thumbs.db",  # Windows
    "ehthumbs.db",
    "desktop.ini",
    "$recycle.bin",
    "system volume information",
    "@eadir",  # Synology
    "#recycle",
    "lost+found",  # Linux
}
SPLITS = {"train", "training", "val", "valid", "validation", "eval", "test", "testing"}
ARCHIVES = {".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar"}
NAMED = 10  # how many files, classes or suffixes a message names


def list_images(folder: str | os.PathLike) -> list[Path]:
    """List the image files in a folder and its subfolders.

    A file counts as an image if its suffix, in upper or lower case, belongs to a format that the
    installed Pillow reads. Other files are left out, with one warning that gives their number and
    their suffixes. Hidden files and folders (names that start with ".", `__MACOSX`, `Thumbs.db`
    and the like) are left out without a warning. Links to files and folders are followed. No file
    is opened.

    Args:
        folder: str or os.PathLike. Path of the folder.

    Returns:
        list of Path. The paths of the images, sorted.

    Raises:
        FileNotFoundError: If there is no such folder.
        ImportError: If Pillow isn't installed.
        ValueError: If `folder` is a file, or if there are no images in it.

    Example:
    >>> import tempfile
    >>> from pathlib import Path
    >>> from PIL import Image
    >>> from keras_paca.preprocessing import list_images
    >>> folder = Path(tempfile.mkdtemp())
    >>> for name in ("b.png", "a.jpg", ".hidden.png"):
    ...     Image.new("RGB", (8, 8)).save(folder / name)
    >>> [path.name for path in list_images(folder)]
    ['a.jpg', 'b.png']
    """
    folder = _check_folder(folder, "a folder of images")
    images, others = _sort_out(_files_below(folder))
    if not images:
        left_out = f", only {_count_suffixes(others)}" if others else ""
        raise ValueError(f"Expected a folder of images. Received: {folder}, with none{left_out}")
    _warn_left_out(folder, others)
    return images


def find_images(
    folder: str | os.PathLike,
    *,
    image_size: int | tuple[int, int] | None = None,
    least: int = 2,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[list[tuple[Path, int]], list[str]]:
    """List and check the image files of a folder that has one folder per class.

    The rules of `list_images` decide which files are images. The folder of a class may have
    subfolders. Every image is read once, so that training doesn't stop at a damaged one.

    Args:
        folder: str or os.PathLike. Path of the folder.
        image_size: int, tuple of int or None. The side, or the (height, width), to which the
            images will be resized for evaluation. If it is given, an image that is too long and
            narrow to be resized counts as one that can't be read.
        least: int. The minimum number of images per class. The default of 2 leaves one image for
            training and one for validation.
        progress: Callable or None. Called after each image with the number of images read so far
            and the number of all images.

    Returns:
        (list of (Path, int), list of str). The path and the class index of each image, sorted, and
        the names of the classes.

    Raises:
        FileNotFoundError: If there is no such folder.
        ImportError: If Pillow isn't installed.
        ValueError: If `folder` is a file or has fewer than two classes; if a class has too few
            images; if the folders are the parts of a data set, such as training and validation,
            instead of classes; or if images can't be read. In the last case the error gives their
            number and names the first ten.

    Example:
    >>> import tempfile
    >>> from pathlib import Path
    >>> from PIL import Image
    >>> from keras_paca.preprocessing import find_images
    >>> folder = Path(tempfile.mkdtemp())
    >>> for name in ("cat/0.png", "cat/1.png", "dog/0.png", "dog/1.png"):
    ...     (folder / name).parent.mkdir(exist_ok=True)
    ...     Image.new("RGB", (8, 8)).save(folder / name)
    >>> files, classes = find_images(folder)
    >>> classes, [label for _, label in files]
    (['cat', 'dog'], [0, 0, 1, 1])
    """
    folder = _check_folder(folder, "a folder with one folder per class")
    classes = _find_classes(folder)
    files, others, few = [], [], []
    for label, name in enumerate(classes):
        images, rest = _sort_out(_files_below(folder / name))
        files += [(path, label) for path in images]
        others += rest
        if len(images) < least:
            left_out = f" beside {_count_suffixes(rest)}" if rest else ""
            few.append(f"{name!r} has {len(images)}{left_out}")
    if few:
        raise ValueError(
            f"Expected at least {least} images per class{_why(least)}. "
            f"Received: {folder}, where {join_first(few, NAMED)}"
        )
    _warn_left_out(folder, others, _sort_out(_files_in(folder))[0])
    _warn_alike(classes)
    _check_files([path for path, _ in files], image_size, progress)
    return files, classes


def split_files(
    files: Sequence[tuple[Path, int]], share: float = 0.2, seed: int = 0
) -> tuple[list[tuple[Path, int]], list[tuple[Path, int]]]:
    """Split files at random into training and validation, class by class.

    Args:
        files: Sequence of (Path, int). The path and the class index of each file, such as
            `find_images` returns; two or more files per class.
        share: float. The share of each class that is used for validation, in (0, 1). At least one
            file of each class is used for validation, and at least one for training.
        seed: int. Seed of the random draw.

    Returns:
        (list, list). The pairs for training and the pairs for validation.

    Raises:
        ValueError: If `share` isn't a number in (0, 1), if there are no files, or if a class has
            only one.

    Example:
    >>> from keras_paca.preprocessing import split_files
    >>> files = [(f"{i}.png", i % 2) for i in range(20)]
    >>> training, validation = split_files(files, share=0.1)
    >>> len(training), len(validation)
    (18, 2)
    """
    if not isinstance(share, Real) or not 0 < share < 1:
        raise ValueError(f"`share` must lie in (0, 1). Received: share={share!r}")
    if not files:
        raise ValueError("`files` must hold two files or more per class. Received: no files")
    training, validation = [], []
    for label in sorted({label for _, label in files}):
        members = [file for file in files if file[1] == label]
        if len(members) < 2:
            raise ValueError(
                "`files` must hold two files or more per class, one to train and one to validate. "
                f"Received: one of class {label}, {members[0][0]}"
            )
        order = np.random.default_rng((seed, label)).permutation(len(members))
        count = min(max(round(share * len(members)), 1), len(members) - 1)
        validation.extend(members[i] for i in sorted(order[:count]))
        training.extend(members[i] for i in sorted(order[count:]))
    return training, validation


# --- Folders --------------------------------------------------------------------------------


def _check_folder(folder: str | os.PathLike, expected: str) -> Path:
    """Return the path of a folder, or raise an error if it is missing or a file."""
    folder = Path(folder)
    if not folder.exists():
        raise FileNotFoundError(f"No such folder: {folder}")
    if not folder.is_dir():
        unpack = " Unpack the archive first." if folder.suffix.lower() in ARCHIVES else ""
        raise ValueError(f"Expected {expected}. Received a file: {folder}.{unpack}")
    return folder


def _why(least: int) -> str:
    return ", one to train and one to validate" if least == 2 else ""


def _find_classes(folder: Path) -> list[str]:
    """Return the names of the folders in a folder, or raise an error if they aren't classes."""
    folders, files = _folders_in(folder), _files_in(folder)
    for path in files:
        if path.is_symlink() and not path.exists():
            raise FileNotFoundError(
                f"Expected folders of classes. Received a link to nothing: {path}"
            )
    if len(folders) < 2:
        received = f"{folder}, with {_count(folders, 'folder')}"
        direct = _sort_out(files)[0]
        if direct:
            received += f" and {_count(direct, 'image')} in none"
        if len(folders) == 1 and len(_folders_in(folders[0])) > 1:
            received += f". Did you mean {folders[0]}?"
        raise ValueError(
            "Expected a folder with one folder per class, two classes or more. "
            f"Received: {received}"
        )
    names = [path.name for path in folders]
    if all(name.casefold() in SPLITS for name in names):
        _refuse_splits(folder, folders)
    return names


def _refuse_splits(folder: Path, folders: list[Path]) -> None:
    """Raise an error if the folders for training and validation contain classes, else warn."""
    names = join_first([path.name for path in folders], NAMED)
    if not any(map(_folders_in, folders)):
        warn_user(
            f"The folders of {folder} are treated as classes, although their names ({names}) are "
            "those of the parts of a data set."
        )
        return
    training = [path for path in folders if path.name.casefold().startswith("train")]
    raise ValueError(
        "Expected a folder with one folder per class. "
        f"Received: {folder}, whose folders ({names}) are the parts of a data set. Give the one to "
        f"train on, such as {(training or folders)[0]}"
    )


def _files_below(folder: Path, above: frozenset[Path] = frozenset()) -> Iterator[Path]:
    """Yield the files of a folder and of the folders below it, except hidden ones, sorted."""
    real = folder.resolve()
    if real in above:  # a link to one of the folders around it
        return
    for path in _entries(folder):
        if path.is_dir():
            yield from _files_below(path, above | {real})
        else:
            yield path


def _files_in(folder: Path) -> list[Path]:
    return [path for path in _entries(folder) if not path.is_dir()]


def _folders_in(folder: Path) -> list[Path]:
    return [path for path in _entries(folder) if path.is_dir()]


def _entries(folder: Path) -> list[Path]:
    """Return the files and folders in a folder, sorted and without hidden ones."""
    return sorted(path for path in folder.iterdir() if not _is_hidden(path.name))


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name.lower() in HIDDEN


# --- Files ----------------------------------------------------------------------------------


def _sort_out(paths: Iterable[Path]) -> tuple[list[Path], list[Path]]:
    """Separate the images among paths from the other files."""
    suffixes = picture_suffixes()
    images, others = [], []
    for path in paths:
        (images if path.suffix.lower() in suffixes else others).append(path)
    return images, others


def _check_files(
    paths: Sequence[Path],
    image_size: Any,
    progress: Callable[[int, int], None] | None,
) -> None:
    """Read every image; raise one error for all unreadable ones, and warn once of dark ones."""
    size, crop = check_size(224 if image_size is None else image_size, CROP)
    bad, notes = [], []
    for done, path in enumerate(paths, 1):
        try:
            if not path.is_file():
                raise FileNotFoundError("a link to nothing, or no file")
            image, note = read_picture(path, exif_transpose=True)
            if image_size is not None:
                check_resized_size(image, str(path), size, crop)
            notes += [] if note is None else [note]
        except (OSError, ValueError) as error:
            reason = str(getattr(error, "reason", error))
            bad.append(f"{path}: {' '.join(reason.split())}")
        if progress is not None:
            progress(done, len(paths))
    if bad:
        raise ValueError(
            f"Expected images that can be read. Received: {len(bad)} of {len(paths)} that can't: "
            f"{join_first(bad, NAMED, '; ')}"
        )
    if notes:
        more = f" The same holds for {len(notes) - 1} more images." if len(notes) > 1 else ""
        warn_user(f"{notes[0]}{more}")


def _warn_left_out(folder: Path, others: list[Path], direct: Sequence[Path] = ()) -> None:
    """Give one warning for files that aren't images and for images that are in no class."""
    parts = []
    if others:
        parts.append(
            f"{_count(others, 'file')} that Pillow doesn't read: {_count_suffixes(others)}"
        )
    if direct:
        parts.append(f"{_count(direct, 'image')} in no class, such as {direct[0].name}")
    if parts:
        warn_user(f"Left out of {folder}: {'; '.join(parts)}.")


def _count_suffixes(paths: Sequence[Path]) -> str:
    """Return the number of files with each suffix, such as "3 .heic (...), 1 .txt"."""
    counts = Counter(path.suffix.lower() or "without suffix" for path in paths)
    found = [
        f"{count} {suffix}" + (f" ({READERS[suffix]})" if suffix in READERS else "")
        for suffix, count in counts.most_common()
    ]
    return join_first(found, NAMED)


def _warn_alike(classes: Sequence[str]) -> None:
    """Warn of classes whose names differ only in case or in how an accent is stored."""
    alike = {}
    for name in classes:
        alike.setdefault(unicodedata.normalize("NFC", name).casefold(), []).append(name)
    for names in alike.values():
        if len(names) > 1:
            listed = join_first([repr(name) for name in names], NAMED)
            warn_user(f"The classes {listed} have almost the same name. They are kept apart.")


def _count(things: Sequence, name: str) -> str:
    return f"{len(things)} {name}" if len(things) == 1 else f"{len(things)} {name}s"
