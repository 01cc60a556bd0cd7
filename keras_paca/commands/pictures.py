"""Reading the pictures that a user gives, and resizing them for a model."""

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from keras_paca.commands.opening import kind_of, transform_of
from keras_paca.preprocessing import evaluation_transform, list_images, load_image
from keras_paca.preprocessing.whole import resize_bilinear, resized_size
from keras_paca.segmentation.predict import SIDES

DEFAULT_SIDE, DEFAULT_CROP = 224, 0.9
WHOLE = {"segmenter": tuple(SIDES.values()), "detector": (800, 1333)}  # short side, long side
MULTIPLE = 32  # the sides for segmenters and detectors are multiples of it


def find_pictures(given: Sequence[str]) -> Iterator[tuple[str, Exception | None]]:
    """Find the pictures among files and in folders.

    Args:
        given: Sequence of str. Paths of files and of folders.

    Yields:
        (str, Exception or None). The path of a file and `None`; or the path of a folder without
        pictures and the error that says so.

    Example:
    >>> list(find_pictures(["cat.jpg"]))
    [('cat.jpg', None)]
    """
    for name in given:
        if not Path(name).is_dir():
            yield name, None
            continue
        try:
            yield from ((str(path), None) for path in list_images(name))
        except (OSError, ValueError) as error:
            yield name, error


def read_pictures(given: Sequence[str]) -> Iterator[tuple[str, Any]]:
    """Read pictures one after the other and rotate them according to their EXIF orientation.

    Args:
        given: Sequence of str. Paths of files and of folders.

    Yields:
        (str, np.ndarray or Exception). The path of a picture, and its uint8 RGB array (height,
        width, 3) or the error that occurred.

    Example:
    >>> from PIL import Image
    >>> path = f"{tempfile.mkdtemp()}/example.png"
    >>> Image.new("RGB", (4, 3)).save(path)
    >>> [image.shape for _, image in read_pictures([path])]
    [(3, 4, 3)]
    """
    for path, error in find_pictures(given):
        if error is None:
            try:
                image = np.asarray(load_image(path, exif_transpose=True))
            except (OSError, ValueError) as reason:
                error = reason
        yield path, image if error is None else error


def size_of(model: Any, options: argparse.Namespace) -> tuple[int, int]:
    """Return the size of the images for a classifier.

    Args:
        model: keras.Model. The classifier.
        options: argparse.Namespace. The options of the command.

    Returns:
        tuple of int. (height, width).

    Raises:
        ValueError: If `--image-size` differs from the fixed size of the model.

    Example:
    >>> from keras_paca import PaCaViT
    >>> model = PaCaViT((8, 8, 8, 8), 1, 1, classes=2)
    >>> size_of(model, argparse.Namespace(model="tiny", image_size=None))
    (224, 224)
    """
    fixed = tuple(model.inputs[0].shape[1:3])
    asked = options.image_size
    if asked is not None:
        _check_asked(asked, fixed)
        return asked, asked
    if None not in fixed:
        return fixed
    known = transform_of(model).get("image_size")
    beside = _settings_beside(options.model).get("image_size")
    known = known or (beside if isinstance(beside, int) else DEFAULT_SIDE)
    return (known, known) if isinstance(known, int) else tuple(known)


def crop_of(model: Any) -> float:
    """Return the share of the resized image that the crop for a classifier keeps.

    Args:
        model: keras.Model. The classifier.

    Returns:
        float. The share, in (0, 1].

    Example:
    >>> from keras_paca import PaCaViT
    >>> crop_of(PaCaViT((8, 8, 8, 8), 1, 1, classes=2, evaluation_transform={"crop": 0.875}))
    0.875
    """
    return transform_of(model).get("crop", DEFAULT_CROP)


def _check_asked(asked: int, fixed: tuple) -> None:
    """Refuse an `--image-size` that differs from the fixed size of a model."""
    if any(side not in (None, asked) for side in fixed):
        raise ValueError(
            f"--image-size must be that of the model, {fixed[0]} x {fixed[1]}. "
            f"Received: --image-size {asked}"
        )


def _settings_beside(model: str) -> dict:
    """Return the settings that `train` saved in the folder of a model, empty if there are none."""
    try:
        settings = json.loads(Path(model).with_name("settings.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return settings if isinstance(settings, dict) else {}


def sides_of(model: Any, options: argparse.Namespace) -> dict[str, int]:
    """Return the limits of the image sides for a segmenter or a detector.

    Options come before the values that the model holds, and these before the defaults.
    `--image-size` sets the short side.

    Args:
        model: keras.Model. The segmenter or the detector.
        options: argparse.Namespace. The options of the command.

    Returns:
        dict. "short_side", "long_side" and possibly "pad_to", in pixels.

    Raises:
        ValueError: If `--image-size` differs from the fixed size of the model, or if a limit is
            below one that it must not be below.

    Example:
    >>> from keras_paca import PaCaViT, segmentation
    >>> backbone = PaCaViT((8, 8, 8, 8), 1, 1, include_top=False)
    >>> head = segmentation.SemanticFPNHead(2, 8, pyramid_channels=8)
    >>> model = segmentation.Segmenter(backbone, head, 2)
    >>> sides_of(model, argparse.Namespace(image_size=256))
    {'short_side': 256, 'long_side': 2048}
    """
    short, long = WHOLE[kind_of(model)]
    sides = {"short_side": short, "long_side": long}
    sides |= transform_of(model)
    asked = {"short_side": options.image_size} if options.image_size is not None else {}
    if asked:
        _check_asked(options.image_size, tuple(model.inputs[0].shape[1:3]))
    for name in ("short_side", "long_side", "pad_to"):
        if getattr(options, name, None) is not None:
            asked[name] = getattr(options, name)
    sides |= asked
    for name, least in (("long_side", "short_side"), ("pad_to", "long_side")):
        if sides.get(name) is None or sides[name] >= sides[least]:
            continue
        if name in asked:
            raise ValueError(
                f"--{name.replace('_', '-')} must not be below --{least.replace('_', '-')}, which "
                f"is {sides[least]}. Received: {asked[name]}"
            )
        sides[name] = sides[least]  # the value of the model was for other sides
    return sides


def given_paths(given: Sequence[str]) -> list[Path]:
    """Return the absolute paths of the given pictures, which must not be overwritten.

    Args:
        given: Sequence of str. Paths of files and of folders.

    Returns:
        list of Path. The paths.

    Example:
    >>> [path.name for path in given_paths(["cats/cat.jpg", "dog.jpg"])]
    ['cat.jpg', 'dog.jpg']
    """
    return [Path(path).resolve() for path, error in find_pictures(given) if error is None]


def new_path(folder: Path, source: str, taken: set[Path]) -> Path:
    """Choose the path of a new PNG file that is named like a picture.

    Args:
        folder: Path. The folder of the new file.
        source: str. Path of the picture.
        taken: set of Path. Paths that must not be chosen. The new path is added to it.

    Returns:
        Path. The new path.

    Example:
    >>> taken = set()
    >>> [new_path(Path("out"), name, taken).name for name in ("a/cat.jpg", "b/cat.jpg")]
    ['cat.png', 'cat_2.png']
    """
    stem, number = Path(source).stem, 1
    path = folder / f"{stem}.png"
    while path.resolve() in taken:
        number += 1
        path = folder / f"{stem}_{number}.png"
    taken.add(path.resolve())
    return path


def check_writable(folder: Path, option: str, given: Any) -> None:
    """Check that files can be created in a folder, before a long computation.

    Args:
        folder: Path. The folder.
        option: str. Name of the option, for the error message.
        given: Any. Value of the option, for the error message.

    Raises:
        OSError: If no file can be created.

    Example:
    >>> check_writable(Path(tempfile.mkdtemp()), "--output", "results")
    """
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise OSError(f"{option} can't be written: {given} ({error.strerror})") from error


def report(path: str, error: Exception) -> None:
    """Print on stderr what is wrong with a picture.

    Args:
        path: str. Path of the picture.
        error: Exception. The error.

    Example:
    >>> import contextlib
    >>> with contextlib.redirect_stderr(sys.stdout):
    ...     report("cat.jpg", ValueError("it is truncated"))
    keras-paca: cat.jpg: it is truncated
    """
    words = " ".join(str(error).split())
    print(f"keras-paca: {words if path in words else f'{path}: {words}'}", file=sys.stderr)


def at_model_size(image: np.ndarray, model: Any, options: argparse.Namespace) -> np.ndarray:
    """Resize a picture to the size of the images for a model of any kind.

    Args:
        image: np.ndarray. uint8 (height, width, 3), RGB in 0..255.
        model: keras.Model. The model.
        options: argparse.Namespace. The options of the command.

    Returns:
        np.ndarray. float32 (height, width, 3), RGB in 0..255. For a classifier it is the centre of
        the picture, for a segmenter or a detector the whole picture.

    Raises:
        ValueError: If an option doesn't fit the model, or if the picture is too long and narrow.

    Example:
    >>> from keras_paca import PaCaViT
    >>> model, options = PaCaViT((8, 8, 8, 8), 1, 1, classes=2), argparse.Namespace(image_size=64)
    >>> at_model_size(np.zeros((30, 40, 3), "uint8"), model, options).shape
    (64, 64, 3)
    """
    if kind_of(model) in WHOLE:
        fixed = tuple(model.inputs[0].shape[1:3])
        sides = sides_of(model, options)
        size = resized_size(*image.shape[:2], sides["short_side"], sides["long_side"])
        size = [max(MULTIPLE, -(-side // MULTIPLE) * MULTIPLE) for side in size]
        size = [known or side for known, side in zip(fixed, size, strict=True)]
        return resize_bilinear(image, size)
    return evaluation_transform(image, size_of(model, options), crop_of(model)).astype("float32")
