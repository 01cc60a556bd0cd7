"""Evaluation of a segmenter on folders of pictures and masks."""

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

SHOWN = 3  # number of files that a message names


def find_masks(images: str | os.PathLike, masks: str | os.PathLike) -> list[tuple[Path, Path]]:
    """Find the mask of each picture in two folders.

    A picture and its mask have the same path in their folders, except for the suffix, such as
    `images/street/1.jpg` and `masks/street/1.png`.

    Args:
        images: str or os.PathLike. Folder of pictures.
        masks: str or os.PathLike. Folder of masks.

    Returns:
        list of tuple. The paths (picture, mask).

    Raises:
        FileNotFoundError: If a folder or the mask of a picture is missing.
        ValueError: If there are no pictures, or two masks have the same name.

    Example:
    >>> import pathlib
    >>> import tempfile
    >>> from PIL import Image
    >>> from keras_paca.segmentation import find_masks
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for name in ("images/1.jpg", "masks/1.png"):
    ...         path = pathlib.Path(folder, name)
    ...         path.parent.mkdir()
    ...         Image.new("L", (8, 6)).save(path)
    ...     pairs = find_masks(f"{folder}/images", f"{folder}/masks")
    >>> [(picture.name, mask.name) for picture, mask in pairs]
    [('1.jpg', '1.png')]
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

    The EXIF orientation of the file is ignored.

    Args:
        path: str or os.PathLike. The file, such as a PNG with a palette.

    Returns:
        numpy.ndarray. The ids (height, width), int32.

    Raises:
        ImportError: If Pillow (the extra `images`) isn't installed.
        ValueError: If the file can't be read as a picture, or is a picture in colours.

    Example:
    >>> import io
    >>> import numpy as np
    >>> from PIL import Image
    >>> from keras_paca.segmentation import read_mask
    >>> file = io.BytesIO()
    >>> Image.fromarray(np.array([[0, 1], [2, 255]], "uint8")).save(file, "PNG")
    >>> read_mask(file).tolist()
    [[0, 1], [2, 255]]
    """
    try:
        with import_pillow().open(path) as picture:
            picture.load()
            mode, array = picture.mode, np.asarray(picture)
    except MemoryError:
        raise
    except Exception as error:  # Each format of files has its own kinds of errors.
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
    short_side: int | None = None,
    long_side: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Confusion:
    """Evaluate a segmenter: count the pixels of the masks by true and predicted class.

    All files are checked before the first picture is predicted. A picture is used as its file
    stores it if it then has the size of its mask. If it has that size only after its EXIF
    orientation is applied, the orientation is applied, with one warning for all such pictures.

    Args:
        model: Segmenter. The model.
        pairs: Sequence of tuple. The paths (picture, mask), as `find_masks` returns them. Pixels
            whose id is the model's `ignore_class` don't count.
        short_side: int. Limit of the shorter side of the resized pictures in pixels. By default
            that in the model's `evaluation_transform`, or 512.
        long_side: int. Limit of their longer side in pixels. By default that in the model's
            `evaluation_transform`, or 2048, but at least `short_side`.
        progress: Callable. It is called after each picture with two integers: the number of
            pictures that are done and the number of all pictures.

    Returns:
        Confusion. The counts, with the measures `mean_iou`, `intersections_over_unions` and
        `accuracy` among its attributes.

    Raises:
        ImportError: If Pillow (the extra `images`) isn't installed.
        ValueError: If a file can't be read, if a picture and its mask have different sizes, or if
            the masks hold no class of the model.

    Example:
    >>> import tempfile
    >>> import numpy as np
    >>> import keras_paca
    >>> from PIL import Image
    >>> from keras_paca.segmentation import Segmenter, evaluate_segmenter
    >>> backbone = keras_paca.PaCaViT((8, 8, 8, 8), 1, 1, include_top=False)
    >>> segmenter = Segmenter(backbone, "fpn", num_classes=2)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     picture, mask = f"{folder}/picture.png", f"{folder}/mask.png"
    ...     Image.new("RGB", (64, 48)).save(picture)
    ...     Image.fromarray(np.eye(48, 64, dtype="uint8")).save(mask)
    ...     confusion = evaluate_segmenter(segmenter, [(picture, mask)], short_side=48)
    >>> confusion.total  # pixels
    3072
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
    """Check all pictures and masks, and return the pictures to turn upright.

    Raises:
        ValueError: If a file can't be read, or its size or its ids don't fit.
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
