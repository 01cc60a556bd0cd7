"""People's own photographs, one at a time, at the size that a model takes."""

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from keras_paca.commands.models import kind_of, transform_of
from keras_paca.preprocessing import evaluation_transform, list_images, load_image
from keras_paca.preprocessing.whole import resize_bilinear, resized_size

DEFAULT_SIDE, DEFAULT_CROP = 224, 0.9
WHOLE = {"segmenter": (512, 2048), "detector": (800, 1333)}  # short side, long side
MULTIPLE = 32  # of a detector's sides


def find_pictures(given: Sequence[str]) -> Iterator[tuple[str, Exception | None]]:
    """Yield the files that are given, and those in folders that are; or why a folder has none."""
    for name in given:
        if not Path(name).is_dir():
            yield name, None
            continue
        try:
            yield from ((str(path), None) for path in list_images(name))
        except (OSError, ValueError) as error:
            yield name, error


def read_pictures(given: Sequence[str]) -> Iterator[tuple[str, Any]]:
    """Yield (path, RGB array or the error) of each picture, upright, one in memory at a time."""
    for path, error in find_pictures(given):
        if error is None:
            try:
                image = np.asarray(load_image(path, exif_transpose=True))
            except (OSError, ValueError) as reason:
                error = reason
        yield path, image if error is None else error


def size_of(model: Any, options: argparse.Namespace) -> tuple[int, int]:
    """Return the (height, width) of a classifier's images."""
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
    """Return the share of a classifier's images that remains of the middle."""
    return transform_of(model).get("crop", DEFAULT_CROP)


def _check_asked(asked: int, fixed: tuple) -> None:
    """Refuse an `--image-size` that isn't that of a model of one size."""
    if any(side not in (None, asked) for side in fixed):
        raise ValueError(
            f"--image-size must be that of the model, {fixed[0]} x {fixed[1]}. "
            f"Received: --image-size {asked}"
        )


def _settings_beside(model: str) -> dict:
    """Return what `train` wrote beside a model that doesn't hold its size."""
    try:
        settings = json.loads(Path(model).with_name("settings.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return settings if isinstance(settings, dict) else {}


def sides_of(model: Any, options: argparse.Namespace) -> dict[str, int]:
    """Return "short_side", "long_side" and perhaps "pad_to" of a segmenter's or detector's images.

    `--image-size` is the short side.
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
        sides[name] = sides[least]  # the file's is for other sides
    return sides


def given_paths(given: Sequence[str]) -> list[Path]:
    """Return the whole paths of the pictures, over which nothing may be written."""
    return [Path(path).resolve() for path, error in find_pictures(given) if error is None]


def new_path(folder: Path, source: str, taken: set[Path]) -> Path:
    """Return the path of a PNG file in a folder, named like a picture, and remember it."""
    stem, number = Path(source).stem, 1
    path = folder / f"{stem}.png"
    while path.resolve() in taken:
        number += 1
        path = folder / f"{stem}_{number}.png"
    taken.add(path.resolve())
    return path


def check_writable(folder: Path, option: str, given: Any) -> None:
    """Refuse a folder in which no file can be made, before the work."""
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise OSError(f"{option} can't be written: {given} ({error.strerror})") from error


def report(path: str, error: Exception) -> None:
    """Say what is wrong with a picture."""
    words = " ".join(str(error).split())
    print(f"keras-paca: {words if path in words else f'{path}: {words}'}", file=sys.stderr)


def at_model_size(image: np.ndarray, model: Any, options: argparse.Namespace) -> np.ndarray:
    """Return a picture at the size that a model of any kind takes, RGB in 0..255, float32."""
    if kind_of(model) in WHOLE:
        fixed = tuple(model.inputs[0].shape[1:3])
        sides = sides_of(model, options)
        size = resized_size(*image.shape[:2], sides["short_side"], sides["long_side"])
        size = [max(MULTIPLE, -(-side // MULTIPLE) * MULTIPLE) for side in size]
        size = [known or side for known, side in zip(fixed, size, strict=True)]
        return resize_bilinear(image, size)
    return evaluation_transform(image, size_of(model, options), crop_of(model)).astype("float32")
