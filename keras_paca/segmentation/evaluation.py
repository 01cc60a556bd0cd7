"""A segmenter on pictures and masks in folders.

Read from top to bottom: the files, a mask, the evaluation.
"""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from keras_paca.arguments import join_first
from keras_paca.confusion import Confusion, count_pairs
from keras_paca.preprocessing import list_images, load_image
from keras_paca.preprocessing.formats import import_pillow
from keras_paca.preprocessing.pictures import picture_sizes
from keras_paca.segmentation.predict import segment
from keras_paca.segmentation.segmenter import Segmenter
from keras_paca.segmentation.targets import check_ids
from keras_paca.warn import warn_user

SHOWN = 3  # files in a message


def find_masks(images: str | os.PathLike, masks: str | os.PathLike) -> list[tuple[Path, Path]]:
    """Pair the pictures of a folder with the masks of another by their names without suffix.

    Args:
        images: str or os.PathLike. Folder of pictures, such as `images/street/1.jpg`.
        masks: str or os.PathLike. Folder of masks, such as `masks/street/1.png`.

    Returns:
        List of (picture, mask).

    Raises:
        FileNotFoundError: If a folder or a picture's mask is missing.
        ValueError: If there are no pictures, or two masks have the same name.
    """
    images, masks = Path(images), Path(masks)
    pictures = list_images(images)
    by_name: dict[Path, Path] = {}
    for path in list_images(masks):
        name = path.relative_to(masks).with_suffix("")
        if name in by_name:
            raise ValueError(
                f"Expected one mask for each picture. Received: {by_name[name]} and {path}"
            )
        by_name[name] = path
    names = [path.relative_to(images).with_suffix("") for path in pictures]
    missing = [path for path, name in zip(pictures, names, strict=True) if name not in by_name]
    if missing:
        shown = ", ".join(str(path) for path in missing[:SHOWN])
        raise FileNotFoundError(
            f"Expected a mask of the same name in {masks} for each picture. "
            f"{len(missing)} of {len(pictures)} have none: {shown}"
        )
    return [(path, by_name[name]) for path, name in zip(pictures, names, strict=True)]


def read_mask(path: str | os.PathLike) -> np.ndarray:
    """Read a mask, a picture whose grey values or palette indices are class ids.

    Args:
        path: str or os.PathLike. The file, such as a PNG with a palette.

    Returns:
        Array (height, width) of integers, as stored: EXIF orientation is ignored.

    Raises:
        ValueError: If it is no picture, or one in colours.
    """
    try:
        with import_pillow().open(path) as picture:
            picture.load()
            mode, array = picture.mode, np.asarray(picture)
    except MemoryError:
        raise
    except Exception as error:  # of as many kinds as there are formats
        raise ValueError(f"Expected a mask that can be read. Received: {path} ({error})") from error
    if mode not in ("P", "L", "1", "I") and not mode.startswith("I;16"):
        raise ValueError(
            "Expected a mask of class ids, in grey values or with a palette. "
            f"Received: {path}, a picture of the mode {mode}; replace its colours by ids first"
        )
    return array.astype("int32")


def evaluate_segmenter(
    model: Segmenter,
    pairs: Sequence[tuple[Path, Path]],
    short_side: int = 512,
    long_side: int = 2048,
    progress: Callable[[int, int], None] | None = None,
) -> Confusion:
    """Count how often a segmenter takes one class for another, pixel by pixel of the masks.

    A picture is used as its file stores it if it has the size of its mask. If it has that size only
    when its EXIF orientation is applied, it is turned upright, with one warning for all.

    Args:
        model: Segmenter.
        pairs: Sequence of (picture, mask), as `find_masks` returns it. Pixels of `ignore_class`
            don't count.
        short_side: int. Least side of the resized pictures.
        long_side: int. Limit of their other side.
        progress: Callable. Called after each picture with how many are done and how many there
            are.

    Returns:
        Confusion. Its `mean_iou`, `intersections_over_unions` and `accuracy` are the measures.

    Raises:
        ValueError: If masks or pictures can't be read or don't fit one another, or the masks hold
            no class; all are looked at before the first is predicted.
    """
    classes, ignored = model.num_classes, model.ignore_class
    sideways = _check_pairs(pairs, classes, ignored)
    counts = np.zeros((classes, classes), "int64")
    for done, (path, mask_path) in enumerate(pairs, 1):
        mask = read_mask(mask_path)
        image = np.asarray(load_image(path, exif_transpose=path in sideways))
        known = (mask >= 0) & (mask < classes) & (mask != ignored)
        if known.any():
            found = segment(model, image, short_side, long_side)
            counts += count_pairs(mask[known], found[known], classes)
        if progress is not None:
            progress(done, len(pairs))
    names = model.class_names or [f"class {number}" for number in range(classes)]
    return Confusion(counts, names)


def _check_pairs(pairs: Sequence[tuple[Path, Path]], classes: int, ignored: int) -> set[Path]:
    """Return the pictures to turn upright, once all masks are found to fit the model and them.

    Raises:
        ValueError: If any can't be read or doesn't fit.
    """
    problems, sideways, ids = [], [], set()
    for path, mask_path in pairs:
        try:
            mask = read_mask(mask_path)
            size, upright = picture_sizes(path, mask.shape)
        except (OSError, ValueError) as error:
            problems.append(str(error))
            continue
        ids |= set(np.unique(mask).tolist())
        if size != mask.shape and upright == mask.shape:
            sideways.append(path)
        elif size != mask.shape:
            problems.append(
                f"{path} has {size[0]} x {size[1]} pixels (height x width), and {mask_path} "
                f"{mask.shape[0]} x {mask.shape[1]}"
            )
    if problems:
        raise ValueError(
            "Expected pictures and masks that can be read, each picture of the size of its mask. "
            f"Received: {len(problems)} of {len(pairs)} that don't fit: "
            f"{join_first(problems, SHOWN, '; ')}"
        )
    if not any(0 <= i < classes and i != ignored for i in ids):
        raise ValueError(
            f"Expected masks with ids from 0 to {classes - 1}. Received: {len(pairs)} masks with "
            f"the ids {sorted(ids)[:5]} alone"
        )
    check_ids(sorted(ids), classes, ignored, is_first=True)
    if sideways:
        warn_user(
            f"The masks of {len(sideways)} of {len(pairs)} pictures fit only when the picture is "
            "turned upright by its EXIF orientation, and these pictures were turned; first "
            f"{sideways[0]}"
        )
    return set(sideways)
