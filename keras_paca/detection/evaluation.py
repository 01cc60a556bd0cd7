"""A detector on COCO: annotation file and images in, the official numbers and results out.

Read from top to bottom: the data set, the official transform, the evaluation.
"""

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_paca.backbones.paca_vit import MEAN, STD
from keras_paca.detection.coco_metrics import (
    check_detector,
    detections_to_records,
    import_pycocotools,
    score_records,
    to_xyxy,
)
from keras_paca.preprocessing import load_image

# --- The data set ---------------------------------------------------------------------------

FIELDS = {  # what the entries of each list must have
    "images": {"id": int, "file_name": str, "height": int, "width": int},
    "annotations": {"image_id": int, "category_id": int, "bbox": list, "area": (int, float)},
    "categories": {"id": int},
}


@dataclasses.dataclass(frozen=True)
class COCODataset:
    """Images with their annotations, as `read_coco` returns them.

    Args:
        content: {"images": [...], "annotations": [...], "categories": [...]}, as in the file.
        paths: of the images' files, in the order of `content["images"]`.
    """

    content: Mapping[str, list[dict]]
    paths: Sequence[Path]

    @property
    def category_ids(self) -> list[int]:
        """The ids of the categories by label: sorted, for COCO's own 80 leave out some of 1..90."""
        return sorted(category["id"] for category in self.content["categories"])


def read_coco(annotations: str | Path, images: str | Path, limit: int | None = None) -> COCODataset:
    """Read an annotation file in COCO's format and look for its images.

    Args:
        annotations: path of the file, such as instances_val2017.json. "iscrowd" may be missing and
            is 0 then.
        images: folder of the images.
        limit: how many images to take, the first of the file; `None` for all.

    Returns:
        A `COCODataset`.

    Raises:
        FileNotFoundError: if the file, the folder or an image is missing.
        ValueError: if the file isn't in COCO's format.
    """
    annotations, images = Path(annotations), Path(images)
    if not annotations.exists():
        raise FileNotFoundError(f"Expected a file of annotations. No such file: {annotations}")
    if not images.is_dir():
        raise FileNotFoundError(f"Expected a folder of images. No such folder: {images}")
    if limit is not None and limit < 1:
        raise ValueError(f"`limit` must be 1 or more. Received: limit={limit}")
    content = _read_content(annotations)
    chosen = content["images"][:limit]
    numbers = {image["id"] for image in chosen}
    content["images"] = chosen
    content["annotations"] = [a for a in content["annotations"] if a["image_id"] in numbers]
    paths = [images / image["file_name"] for image in chosen]
    missing = [path for path in paths if not path.is_file()]
    if missing:
        raise FileNotFoundError(
            f"Expected {len(paths)} images in {images}. {len(missing)} are missing, first "
            f"{missing[0]}"
        )
    return COCODataset(content, paths)


def _read_content(path: Path) -> dict[str, list[dict]]:
    """Return the lists of an annotation file, checked."""
    expected = (
        "Expected a JSON file in COCO's format of instances, with the lists images, annotations "
        f"and categories. Received: {path}, "
    )
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"{expected}which isn't JSON ({error})") from error
    if not isinstance(content, dict):
        raise ValueError(f"{expected}a {type(content).__name__}")
    for name, fields in FIELDS.items():
        entries = content.get(name)
        if not isinstance(entries, list):
            raise ValueError(f"{expected}without the list {name}")
        for entry in entries:
            for field, kind in fields.items():
                if not isinstance(entry, dict) or not isinstance(entry.get(field), kind):
                    raise ValueError(f"{expected}an entry of {name} without a proper {field}")
    if not content["images"]:
        raise ValueError(f"{expected}without images")
    known = {}
    for name in ("images", "categories"):
        known[name] = {entry["id"] for entry in content[name]}
        if len(known[name]) < len(content[name]):
            raise ValueError(f"{expected}an id of {name} twice")
    objects = []
    for entry in content["annotations"]:
        if entry["image_id"] not in known["images"]:
            raise ValueError(f"{expected}an object in the unknown image {entry['image_id']}")
        if entry["category_id"] not in known["categories"]:
            raise ValueError(f"{expected}an object of unknown category {entry['category_id']}")
        numbers = [value for value in entry["bbox"] if isinstance(value, int | float)]
        if len(numbers) != 4 or len(entry["bbox"]) != 4:
            raise ValueError(f"{expected}a bbox that isn't four numbers: {entry['bbox']}")
        objects.append({"iscrowd": 0, **entry})
    if len({bool(entry.get("segmentation")) for entry in objects}) > 1:
        raise ValueError(f"{expected}with a segmentation of some objects and not of others")
    return {**{name: content[name] for name in FIELDS}, "annotations": objects}


# --- The official transform -----------------------------------------------------------------


def resized_size(height: int, width: int, short_side: int, long_side: int) -> tuple[int, int]:
    """Return (height, width) of the largest image whose sides are at most the two, rounded.

    Source: MMDetection's `Resize` with `keep_ratio=True`.
    """
    scale = min(short_side / min(height, width), long_side / max(height, width))
    return max(int(height * scale + 0.5), 1), max(int(width * scale + 0.5), 1)


def resize_bilinear(image: np.ndarray, size: Sequence[int]) -> np.ndarray:
    """Resize an image bilinearly, without antialiasing, as OpenCV does.

    Args:
        image: (height, width, channels), 0..255.
        size: (height, width) of the result.

    Returns:
        float32 (height, width, channels), whole numbers in 0..255.
    """
    image = image.astype("float32")
    for axis, side in enumerate(size):
        last = image.shape[axis] - 1
        at = np.clip((np.arange(side) + 0.5) * image.shape[axis] / side - 0.5, 0, last)
        low = np.floor(at).astype("int64")
        shape = [1, 1, 1]
        shape[axis] = side
        rest = (at - low).astype("float32").reshape(shape)
        before, after = image.take(low, axis), image.take(np.minimum(low + 1, last), axis)
        image = before + rest * (after - before)
    return np.rint(image)


def pad_image(image: np.ndarray, multiple: int, canvas: Sequence[int] | None = None) -> np.ndarray:
    """Pad an image at the right and the bottom with ImageNet's mean colour.

    Once the model has normalised it that is 0, the official padding.

    Args:
        image: (height, width, 3), RGB in 0..255.
        multiple: of the result's sides.
        canvas: (height, width) of the result instead.

    Returns:
        float32 (height, width, 3).
    """
    height, width = image.shape[:2]
    sides = canvas or (-(-height // multiple) * multiple, -(-width // multiple) * multiple)
    padded = np.empty((*sides, 3), "float32")
    padded[...] = np.multiply(MEAN, 255)
    padded[:height, :width] = image
    return padded


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
    """Evaluate a detector on COCO as its authors do, image by image.

    Each image is resized bilinearly to `short_side`, its long side at most `long_side`, and padded
    to a multiple of 32. What the model finds is laid into the original image: boxes in its pixels,
    masks of its size. Labels stand for the categories in the order of their ids.

    TensorFlow and JAX compile the model for each new size of image, a few dozen on COCO. `pad_to`
    makes them one; but the model sees the padding, and its numbers are no longer the official ones.

    Args:
        model: a `MaskRCNN`, or a model with its outputs, `bounding_box_format` and `num_classes`.
            One that doesn't normalise its images gets them normalised.
        dataset: what `read_coco` returned.
        output: where to write the detections in COCO's format of results, with box and mask in one
            entry; `None` not to. Mask metrics by size are pycocotools' own for entries without
            "bbox", which it takes for the size otherwise.
        short_side: least side of the resized images.
        long_side: limit of their other side.
        pad_to: side of the square to which images are padded, at least `long_side`; by default the
            next multiple of 32 for each side. A model of fixed size needs it.
        progress: called after each image with how many are done and how many there are.

    Returns:
        {"box_mAP", "box_mAP50", "box_mAP75", "box_mAP_small", "box_mAP_medium", "box_mAP_large",
        "box_AR1", "box_AR10", "box_AR100", "box_AR_small", "box_AR_medium", "box_AR_large"}, and
        "mask_..." likewise where the annotations have segmentations and the model masks; 0 to 1,
        NaN without an object to find.

    Raises:
        FileNotFoundError: if the folder of `output` is missing.
        ImportError: without pycocotools (the extra `coco`) or Pillow (the extra `images`).
        ValueError: if the model isn't a detector of as many classes as there are categories, takes
            no images of these sizes, or an image isn't of the size that the annotations say.

    Source: MMDetection's test pipeline for Mask R-CNN, which PaCa-ViT's detectors use; it cuts
    boxes off at the padding's edge before it suppresses rivals, this after.
    """
    import_pycocotools()
    _check_fit(model, dataset, short_side, long_side, pad_to)
    output = None if output is None else Path(output)
    if output is not None and not output.parent.is_dir():
        raise FileNotFoundError(f"Expected a folder for {output.name}. No such: {output.parent}")
    if output is not None and output.is_dir():
        raise ValueError(f"`output` must be a file. Received a folder: {output}")
    canvas = None if pad_to is None else (pad_to, pad_to)
    backbone = getattr(model, "backbone", None)
    normalises = backbone is None or backbone.get_config().get("include_preprocessing", True)
    records = []
    masks = all(entry.get("segmentation") for entry in dataset.content["annotations"])
    for done, (entry, path) in enumerate(
        zip(dataset.content["images"], dataset.paths, strict=True), 1
    ):
        image = np.asarray(load_image(path))
        size = image.shape[:2]
        if size != (entry["height"], entry["width"]):
            raise ValueError(
                f"Expected an image of {entry['height']} x {entry['width']} pixels, as its "
                f"annotations say. Received: {path}, {size[0]} x {size[1]}"
            )
        resized = resized_size(*size, short_side, long_side)
        padded = pad_image(resize_bilinear(image, resized), 32, canvas)
        if not normalises:
            padded = (padded / np.float32(255) - np.float32(MEAN)) / np.float32(STD)
        found = model.predict_on_batch(padded[None])
        found = {name: ops.convert_to_numpy(array)[0] for name, array in found.items()}
        scale = np.array([resized[1] / size[1], resized[0] / size[0]] * 2)
        boxes = to_xyxy(found["boxes"], model.bounding_box_format, padded.shape[:2]) / scale
        found["boxes"] = boxes
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


def _check_fit(
    model: Any, dataset: COCODataset, short_side: int, long_side: int, pad_to: int | None
) -> None:
    """Refuse what can't be evaluated, before the first image."""
    check_detector(model)
    if len(dataset.category_ids) != model.num_classes:
        raise ValueError(
            f"Expected annotations of {model.num_classes} categories, the model's classes. "
            f"Received: {len(dataset.category_ids)} categories"
        )
    if not 1 <= short_side <= long_side:
        raise ValueError(
            "`short_side` must be from 1 to `long_side`. Received: "
            f"short_side={short_side}, long_side={long_side}"
        )
    if pad_to is not None and pad_to < long_side:
        raise ValueError(
            f"`pad_to` must be at least `long_side`, {long_side}. Received: pad_to={pad_to}"
        )
    fixed = tuple(model.input_shape[1:3])
    if fixed != (None, None) and fixed != (pad_to, pad_to):
        raise ValueError(
            "Expected a model that takes images of any size, or `pad_to` the side that it takes. "
            f"Received: a model for {fixed[0]} x {fixed[1]} pixels, pad_to={pad_to}"
        )
