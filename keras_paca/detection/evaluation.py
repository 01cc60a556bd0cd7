"""Evaluation of a detector on data sets in COCO's format, as in the official code."""

import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_paca.arguments import join_first
from keras_paca.detection.box_formats import brief
from keras_paca.detection.coco_files import COCODataset
from keras_paca.detection.coco_metrics import (
    check_detector,
    detections_to_records,
    import_pycocotools,
    score_records,
)
from keras_paca.detection.metric_data import check_count
from keras_paca.detection.predict import detect
from keras_paca.preprocessing import load_image
from keras_paca.preprocessing.pictures import picture_sizes
from keras_paca.warn import warn_user

SHOWN = 3  # number of images that a message names
FIRST = 5  # number of class names in a message

# --- The images -----------------------------------------------------------------------------


def find_sideways(dataset: COCODataset) -> set[int]:
    """Find the images whose EXIF orientation must be applied, and check the sizes of all images.

    Some tools annotate a photograph as the file stores it, others after applying its EXIF
    orientation. The sizes in the annotation file decide.

    Args:
        dataset: COCODataset. The images and annotations.

    Returns:
        set of int. The ids of the images that have the size in the annotation file only after their
        EXIF orientation is applied.

    Raises:
        ImportError: If Pillow (the extra `images`) isn't installed.
        ValueError: If an image can't be opened or has another size.

    Example:
    >>> from PIL import Image
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "1.png")
    ...     Image.new("RGB", (96, 64)).save(path)
    ...     content = {"images": [{"id": 1, "height": 64, "width": 96}]}
    ...     find_sideways(COCODataset(content, [path]))
    set()
    """
    sideways, faults = [], []
    for entry, path in zip(dataset.content["images"], dataset.paths, strict=True):
        expected = (entry["height"], entry["width"])
        try:
            size, upright = picture_sizes(path, expected)
        except (OSError, ValueError) as error:
            faults.append(f"the image with id {entry['id']} can't be opened ({error})")
            continue
        if size != expected and upright == expected:
            sideways.append((entry["id"], path.name))
        elif size != expected:
            turned = f" ({upright[0]} x {upright[1]} when turned upright)" * (upright != size)
            faults.append(
                f"the image with id {entry['id']} must have {expected[0]} x {expected[1]} pixels "
                f"(height x width), and {path} has {size[0]} x {size[1]}{turned}"
            )
    if faults:
        raise ValueError(
            f"Expected images of the sizes in the annotation file. Received: {len(faults)} of "
            f"{len(dataset.paths)} that don't fit: {join_first(faults, SHOWN, '; ')}"
        )
    if sideways:
        warn_user(
            f"The annotations of {len(sideways)} of {len(dataset.paths)} images fit only when the "
            "image is turned upright by its EXIF orientation, and these images are turned; first "
            f"{sideways[0][1]}"
        )
    return {number for number, _ in sideways}


def _open_image(entry: Mapping[str, Any], path: Path, upright: bool) -> np.ndarray:
    """Return an image (height, width, 3) in 0..255, with the size in the annotation file."""
    try:
        image = load_image(path, exif_transpose=True) if upright else load_image(path)
    except (OSError, ValueError) as error:
        raise ValueError(f"The image with id {entry['id']} can't be read: {error}") from error
    size = (entry["height"], entry["width"])
    if (image.height, image.width) != size:
        raise ValueError(
            f"Expected the image with id {entry['id']} to have {size[0]} x {size[1]} pixels, as "
            f"in the annotation file. Received: {path}, {image.height} x {image.width}"
        )
    return np.asarray(image)


# --- The evaluation -------------------------------------------------------------------------


def evaluate_coco(
    model: keras.Model,
    dataset: COCODataset,
    output: str | Path | None = None,
    short_side: int = 800,
    long_side: int = 1333,
    pad_to: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, float]:
    """Evaluate a detector on a data set in COCO's format, image by image.

    Each image is resized bilinearly to the largest size at which its shorter side is at most
    `short_side` and its longer side at most `long_side`, and padded to multiples of 32. Boxes and
    masks are compared with the annotations at the original size of the image. Labels stand for the
    categories in the order of their ids.

    An image is used as its file stores it if it then has the size in the annotation file. If it has
    that size only after its EXIF orientation is applied, the orientation is applied, with one
    warning for all such images. The sizes of all images are checked before the first is predicted.

    TensorFlow and JAX compile the model for each new image size, of which COCO has a few dozen.
    With `pad_to` all images have the same size. However, the padding influences the model, so that
    the metrics differ from the official ones.

    Args:
        model: MaskRCNN. The detector, or another object that has `predict_on_batch`,
            `bounding_box_format` and `num_classes` and returns detections as `MaskRCNN` does. If
            its backbone doesn't normalise the images, the function does.
        dataset: COCODataset. The images and annotations, as `read_coco` returns them.
        output: str or Path. File to which the detections are written in COCO's format for results,
            with the box and the mask of a detection in one entry. It ends in .json or has no
            suffix. `None` doesn't write them. If you evaluate the file with pycocotools, remove
            "bbox" from the entries to get the same mask metrics by size: pycocotools takes the
            size from "bbox" if there is one.
        short_side: int. Limit of the shorter side of the resized images in pixels.
        long_side: int. Limit of their longer side in pixels.
        pad_to: int. Side of the square to which the images are padded, at least `long_side`. The
            default is the next multiple of 32 for each side. A model with a fixed input size needs
            `pad_to`.
        progress: Callable. It is called after each image with two integers: the number of images
            that are done and the number of all images.

    Returns:
        dict. {name: float}, in [0, 1], or NaN if there is no object to find. The names are
        "box_mAP", "box_mAP50", "box_mAP75", "box_mAP_small", "box_mAP_medium", "box_mAP_large",
        "box_AR1", "box_AR10", "box_AR100", "box_AR_small", "box_AR_medium", "box_AR_large" and, if
        the model predicts masks and all annotations have segmentations, the same names with
        "mask_".

    Raises:
        FileNotFoundError: If the folder of `output` is missing.
        ImportError: If pycocotools (the extra `coco`) or Pillow (the extra `images`) isn't
            installed.
        OSError: If `output` can't be written.
        ValueError: If the model isn't a detector, if its classes differ from the categories in
            number, names or order, if it doesn't accept images of these sizes, or if an image
            doesn't have the size in the annotation file.

    Example:
    >>> import json, pathlib, tempfile
    >>> import keras_paca
    >>> from PIL import Image
    >>> from keras_paca.detection import MaskRCNN, evaluate_coco, read_coco
    >>> backbone = keras_paca.PaCaViT((8, 8, 8, 8), 1, 1, include_top=False)
    >>> detector = MaskRCNN(backbone, num_classes=1, channels=8, proposals=50, max_detections=50)
    >>> entry = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [8, 8, 32, 40], "area": 1280}
    >>> content = {
    ...     "images": [{"id": 1, "file_name": "1.png", "height": 64, "width": 96}],
    ...     "annotations": [entry],
    ...     "categories": [{"id": 1, "name": "cat"}],
    ... }
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = pathlib.Path(folder, "coco.json")
    ...     _ = file.write_text(json.dumps(content))
    ...     Image.new("RGB", (96, 64)).save(f"{folder}/1.png")
    ...     metrics = evaluate_coco(detector, read_coco(file, folder), short_side=64)
    >>> 0 <= metrics["box_mAP"] <= 1
    True

    Source: MMDetection's test pipeline for Mask R-CNN, which the official code of PaCa-ViT uses.
    MMDetection clips boxes to the image without its padding before non-maximum suppression; this
    function does so afterwards.
    """
    import_pycocotools()
    _check_fit(model, dataset)
    _check_sizes(model, short_side, long_side, pad_to)
    if progress is not None and not callable(progress):
        raise ValueError(f"`progress` must be a function. Received: progress={brief(progress)}")
    output = None if output is None else Path(output)
    if output is not None:
        _check_output(output, dataset)
    sideways = find_sideways(dataset)
    records = []
    masks = all(entry.get("segmentation") for entry in dataset.content["annotations"])
    for done, (entry, path) in enumerate(
        zip(dataset.content["images"], dataset.paths, strict=True), 1
    ):
        image = _open_image(entry, path, entry["id"] in sideways)
        size = image.shape[:2]
        found = detect(model, image, short_side, long_side, pad_to)
        records += detections_to_records(found, entry["id"], size, dataset.category_ids)
        masks = masks and "masks" in found
        if progress is not None:
            progress(done, len(dataset.paths))
    if output is not None:
        partial = output.with_name(f"{output.name}.partial")
        partial.write_text(json.dumps(records), encoding="utf-8")
        partial.replace(output)
    return {
        name: value
        for kind in (("box", "mask") if masks else ("box",))
        for name, value in score_records(dataset.content, records, kind).items()
    }


# --- Checks before the work -------------------------------------------------------------------


def _check_fit(model: Any, dataset: Any) -> None:
    """Check that the model is a detector whose classes are the categories of the data set."""
    check_detector(model)
    if not isinstance(dataset, COCODataset):
        raise ValueError(
            "`dataset` must be what `read_coco` returned. Received: "
            f"{brief(dataset)} of type {type(dataset).__name__}"
        )
    categories = dataset.content["categories"]
    if len(categories) != model.num_classes:
        used = {entry["category_id"] for entry in dataset.content["annotations"]}
        unused = [c for c in categories if c["id"] not in used]
        names = ", ".join(str(c.get("name", c["id"])) for c in unused[:SHOWN])
        more = ", ..." if len(unused) > SHOWN else ""
        hint = f", {len(unused)} without objects ({names}{more})" if unused else ""
        raise ValueError(
            f"Expected annotations of {model.num_classes} categories, the model's classes. "
            f"Received: {len(categories)} categories{hint}"
        )
    _check_names(getattr(model, "class_names", None) or [], dataset)


def _check_names(known: Sequence[str], dataset: COCODataset) -> None:
    """Check that the categories have the names of the model's classes, in the same order."""
    categories = sorted(dataset.content["categories"], key=lambda category: category["id"])
    names = [category.get("name") for category in categories]
    if len(known) != len(names) or not all(isinstance(name, str) for name in [*known, *names]):
        return
    ours, theirs = ([_plain(name) for name in listed] for listed in (known, names))
    different = [i for i, (a, b) in enumerate(zip(ours, theirs, strict=True)) if a != b]
    moved = any(ours[i] in theirs or theirs[i] in ours for i in different)
    if moved or (different and len(different) == len(names)):
        raise ValueError(
            "Expected the categories, in the order of their ids, to be the model's `class_names`, "
            f"{_listed(known)}. Received: {_listed(names)}; the first difference is label "
            f"{different[0]}, {known[different[0]]!r} and {names[different[0]]!r}. If these "
            "are the same classes under other names, set `model.class_names = None`"
        )
    if different:
        pairs = [f"{known[i]!r} and {names[i]!r}" for i in different[:SHOWN]]
        more = ", ..." if len(different) > SHOWN else ""
        warn_user(
            f"{len(different)} of {len(names)} categories have other names than the model's "
            f"classes: {', '.join(pairs)}{more}. They are treated as the same."
        )


def _plain(name: str) -> str:
    """Return a name without case, spaces, underscores and hyphens, as tools differ in them."""
    return name.casefold().translate(str.maketrans("", "", " _-"))


def _listed(names: Sequence[str]) -> str:
    return f"[{', '.join(map(repr, names[:FIRST]))}{', ...' * (len(names) > FIRST)}]"


def _check_sizes(model: Any, short_side: int, long_side: int, pad_to: int | None) -> None:
    """Check that the sizes fit one another and the model."""
    check_count("short_side", short_side)
    check_count("long_side", long_side)
    if short_side > long_side:
        raise ValueError(
            "`short_side` must be from 1 to `long_side`. Received: "
            f"short_side={short_side}, long_side={long_side}"
        )
    if pad_to is not None:
        check_count("pad_to", pad_to)
        if pad_to < long_side:
            raise ValueError(
                f"`pad_to` must be at least `long_side`, {long_side}. Received: pad_to={pad_to}"
            )
    shape = getattr(model, "input_shape", None)
    if not isinstance(shape, tuple) or len(shape) != 4:
        return  # The sizes that other objects accept aren't known.
    if shape[0] not in (None, 1) or shape[3] not in (None, 3):
        raise ValueError(
            "Expected a model that takes one RGB image at a time. Received: a model for images of "
            f"shape {shape}"
        )
    if shape[1:3] not in ((None, None), (pad_to, pad_to)):
        raise ValueError(
            "Expected a model that takes images of any size, or `pad_to` equal to its side. "
            f"Received: a model for {shape[1]} x {shape[2]} pixels, pad_to={pad_to}"
        )


def _check_output(output: Path, dataset: COCODataset) -> None:
    """Check before the first image that the output file can be written."""
    if not output.parent.is_dir():
        raise FileNotFoundError(f"Expected a folder for {output.name}. No such: {output.parent}")
    if output.is_dir():
        raise ValueError(f"`output` must be a file. Received a folder: {output}")
    if output.suffix.lower() not in ("", ".json"):
        raise ValueError(f"`output` is a JSON file and must end in .json. Received: {output}")
    if dataset.source is not None and output.exists() and output.samefile(dataset.source):
        raise ValueError(f"`output` must not be the file of the annotations. Received: {output}")
    try:
        with tempfile.TemporaryFile(dir=output.parent):
            pass
    except OSError as error:
        raise OSError(f"`output` can't be written: {output} ({error})") from error
