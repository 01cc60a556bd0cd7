"""COCO's average precision and recall, of arrays, of a model on data, and while it trains."""

import contextlib
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_paca.detection.paste import paste_masks
from keras_paca.extras import install_command

METRICS = (  # in the order in which pycocotools summarises
    "mAP",
    "mAP50",
    "mAP75",
    "mAP_small",
    "mAP_medium",
    "mAP_large",
    "AR1",
    "AR10",
    "AR100",
    "AR_small",
    "AR_medium",
    "AR_large",
)


# --- Metrics --------------------------------------------------------------------------------


def evaluate_detections(
    truth: Mapping[str, Any],
    detections: Mapping[str, Any],
    image_size: Sequence[int],
    bounding_box_format: str = "xyxy",
    num_classes: int | None = None,
) -> dict[str, float]:
    """Return COCO's metrics of detections in images of one size.

    What counts as an object is what `MaskRCNN.fit` takes for one: labels from 0 to `num_classes`,
    boxes of which something lies in the image. Its size, small to 32 x 32 pixels and large from
    96 x 96, is its mask's, or without masks its box's.

    Args:
        truth: "boxes" (batch, m, 4), "labels" or "classes" (batch, m), -1 where padded, and
            perhaps "masks", (batch, m, height, width) or an instance map (batch, height, width);
            as `MaskRCNN.fit` takes them.
        detections: "boxes" (batch, n, 4), "scores" (batch, n), "labels" (batch, n), -1 where there
            is none, and perhaps "masks" (batch, n, rows, columns), probabilities in the box; as
            `MaskRCNN.predict` returns them.
        image_size: (height, width) of the images.
        bounding_box_format: of the boxes of both.
        num_classes: labels from here on are no objects; `None`: all are.

    Returns:
        {"box_mAP", "box_mAP50", "box_mAP75", "box_mAP_small", "box_mAP_medium", "box_mAP_large",
        "box_AR1", "box_AR10", "box_AR100", "box_AR_small", "box_AR_medium", "box_AR_large"}, and
        "mask_..." likewise where truth and detections have masks; 0 to 1, NaN without an object
        to find.

    Raises:
        ImportError: without pycocotools (the extra `coco`).
        ValueError: if shapes don't fit.

    Source: Lin et al., "Microsoft COCO: Common Objects in Context", ECCV 2014; pycocotools.
    """
    collected = _Collected(bounding_box_format, num_classes)
    collected.add(truth, detections, image_size)
    return collected.metrics()


def coco_metrics(model: keras.Model, data: Any, batch_size: int = 8) -> dict[str, float]:
    """Return COCO's metrics of a detector on images; see `evaluate_detections`.

    Args:
        model: a `MaskRCNN`, or a model with its outputs, `bounding_box_format` and `num_classes`.
        data: a pair (images, targets) of arrays, or a `keras.utils.PyDataset`, a `tf.data.Dataset`
            or another iterable of such batches. Targets as `MaskRCNN.fit` takes them; "masks" may
            be left out.
        batch_size: images at a time of a pair of arrays.

    Returns:
        {"box_mAP": 0 to 1, ...}, and "mask_mAP" and so on where the targets have masks.

    Raises:
        ImportError: without pycocotools (the extra `coco`).
        ValueError: if the model is no detector, or the data are none or of another form.
    """
    import_pycocotools()
    check_detector(model)
    _check_data(data, batch_size)
    collected = _Collected(model.bounding_box_format, model.num_classes)
    for images, targets in _batches(data, batch_size):
        collected.add(targets, model.predict_on_batch(images), images.shape[1:3])
    return collected.metrics()


class COCOMetrics(keras.callbacks.Callback):
    """COCO's metrics of the model in training on images, after epochs; see `coco_metrics`.

    They are in the logs as "val_box_mAP", "val_mask_mAP50" and so on, for callbacks that come
    after this one, such as `keras.callbacks.ModelCheckpoint`, and for `fit`'s history. As with
    `validation_freq`, epochs without an evaluation log none.

    Args:
        data: as for `coco_metrics`; something to go through more than once.
        batch_size: images at a time of a pair of arrays.
        every: epochs from one evaluation to the next.

    Raises:
        ImportError: without pycocotools (the extra `coco`).
        ValueError: if the data can be gone through only once, or an argument isn't positive.
    """

    def __init__(self, data: Any, batch_size: int = 8, every: int = 1) -> None:
        super().__init__()
        import_pycocotools()
        _check_data(data, batch_size)
        if isinstance(data, Iterator):
            raise ValueError(
                "`data` must be something to go through after each epoch: arrays, a PyDataset or "
                f"a tf.data.Dataset. Received an iterator: {type(data).__name__}"
            )
        if every < 1:
            raise ValueError(f"`every` must be 1 or more. Received: every={every}")
        self.data, self.batch_size, self.every = data, batch_size, every

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Put the metrics into the logs."""
        if logs is None or (epoch + 1) % self.every:
            return
        found = coco_metrics(self.model, self.data, self.batch_size)
        logs.update({f"val_{name}": value for name, value in found.items()})


# --- Records in COCO's format ---------------------------------------------------------------


def detections_to_records(
    found: Mapping[str, np.ndarray],
    image_id: int,
    image_size: Sequence[int],
    category_ids: Sequence[int] | None = None,
) -> list[dict]:
    """Return the detections in one image in COCO's format of results.

    Args:
        found: "boxes" (n, 4), "xyxy" in pixels, "scores" (n,), "labels" (n,), -1 where there is
            none, and perhaps "masks" (n, rows, columns), probabilities in the box.
        image_id: of the image.
        image_size: its (height, width); what of a box lies outside is cut off.
        category_ids: of the labels; by default label + 1.

    Returns:
        Dicts of "image_id", "category_id", "score", "bbox" (left, top, width, height) and, where
        there are masks, "segmentation" (run lengths). None for boxes outside the image.
    """
    height, width = image_size
    boxes = np.asarray(found["boxes"], "float64")
    inside = np.clip(boxes, 0, [width, height, width, height])
    real = (np.asarray(found["labels"]) >= 0) & (inside[:, 2:] > inside[:, :2]).all(axis=1)
    records = []
    for index in np.flatnonzero(real):
        label = int(found["labels"][index])
        record = {
            "image_id": image_id,
            "category_id": label + 1 if category_ids is None else category_ids[label],
            "score": float(found["scores"][index]),
            "bbox": _left_top_width_height(inside[index]),
        }
        if "masks" in found:
            one = {  # one at a time: each is as large as the image
                "boxes": boxes[None, index : index + 1],
                "masks": found["masks"][None, index : index + 1],
                "count": np.ones(1, "int32"),
            }
            record["segmentation"] = _run_lengths(paste_masks(one, image_size)[0][0])
        records.append(record)
    return records


def score_records(
    truth: Mapping[str, Any], records: Iterable[Mapping[str, Any]], kind: str
) -> dict[str, float]:
    """Return COCO's twelve numbers for records in its formats.

    Args:
        truth: what is in an annotation file: "images", "annotations" and "categories".
        records: detections, as `detections_to_records` returns them.
        kind: "box" or "mask".

    Returns:
        {"box_mAP": 0 to 1, ...} or {"mask_mAP": ...}, NaN where there is no object to find.

    Raises:
        ImportError: without pycocotools (the extra `coco`).
    """
    coco, cocoeval, mask = import_pycocotools()
    # Numbered from 1: pycocotools takes the number 0 for "not found".
    objects = [{**entry, "id": i} for i, entry in enumerate(truth["annotations"], 1)]
    found = []
    for i, record in enumerate(records, 1):
        size = record["bbox"][2] * record["bbox"][3]
        if kind == "mask":
            size = float(mask.area(record["segmentation"]))
        found.append({**record, "id": i, "area": size, "iscrowd": 0})
    with contextlib.redirect_stdout(io.StringIO()):
        tables = []
        for entries in (objects, found):
            table = coco.COCO()
            table.dataset = {**truth, "annotations": entries}
            table.createIndex()
            tables.append(table)
        evaluation = cocoeval.COCOeval(*tables, "bbox" if kind == "box" else "segm")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    values = [float(value) if value > -1 else float("nan") for value in evaluation.stats]
    return {f"{kind}_{name}": value for name, value in zip(METRICS, values, strict=True)}


def check_detector(model: Any) -> None:
    """Refuse a model that doesn't say of its boxes and classes what a `MaskRCNN` does."""
    if not hasattr(model, "bounding_box_format") or not hasattr(model, "num_classes"):
        raise ValueError(
            "Expected a detector, with `bounding_box_format` and `num_classes` as `MaskRCNN` has. "
            f"Received: {type(model).__name__}"
        )


def to_xyxy(boxes: Any, source: str, image_size: Sequence[int]) -> np.ndarray:
    """Return boxes of a format as "xyxy" in pixels of images (height, width)."""
    if source != "xyxy":
        boxes = keras.utils.bounding_boxes.convert_format(boxes, source, "xyxy", *image_size)
    return np.asarray(ops.convert_to_numpy(boxes), "float64")


class _Collected:
    """Truth and detections of batches, as records."""

    def __init__(self, bounding_box_format: str, num_classes: int | None) -> None:
        import_pycocotools()
        self.format, self.num_classes = bounding_box_format, num_classes
        self.images: list[dict] = []
        self.objects: list[dict] = []
        self.records: list[dict] = []
        self.has_masks: bool | None = None

    def add(self, truth: Any, detections: Any, image_size: Sequence[int]) -> None:
        """Add a batch."""
        size = tuple(int(side) for side in image_size)
        truth = {name: ops.convert_to_numpy(array) for name, array in truth.items()}
        if "labels" not in truth and "classes" in truth:
            truth["labels"] = truth["classes"]
        found = {name: ops.convert_to_numpy(array) for name, array in detections.items()}
        _check_shapes("truth", truth, ("boxes", "labels"), size)
        _check_shapes("detections", found, ("boxes", "scores", "labels"))
        if len(truth["boxes"]) != len(found["boxes"]):
            raise ValueError(
                "Truth and detections must be of the same images. Received: "
                f"{len(truth['boxes'])} images with truth, {len(found['boxes'])} with detections"
            )
        has_masks = "masks" in truth and "masks" in found
        if self.has_masks not in (None, has_masks):
            raise ValueError("Either all batches have masks or none. Received: both kinds")
        self.has_masks = has_masks
        kept = ("boxes", "scores", "labels", *(("masks",) if has_masks else ()))
        truth["boxes"] = to_xyxy(truth["boxes"], self.format, size)
        found["boxes"] = to_xyxy(found["boxes"], self.format, size)
        for i in range(len(truth["boxes"])):
            number = len(self.images) + 1
            self.images.append({"id": number, "height": size[0], "width": size[1]})
            self._add_objects({name: array[i] for name, array in truth.items()}, number, size)
            one = {name: found[name][i] for name in kept}
            self.records += detections_to_records(one, number, size)

    def _add_objects(
        self, truth: Mapping[str, np.ndarray], image_id: int, image_size: Sequence[int]
    ) -> None:
        """Add the true objects of an image."""
        height, width = image_size
        boxes = np.clip(truth["boxes"], 0, [width, height, width, height])
        real = (truth["labels"] >= 0) & (boxes[:, 2:] > boxes[:, :2]).all(axis=1)
        if self.num_classes is not None:
            real &= truth["labels"] < self.num_classes
        for index in np.flatnonzero(real):
            bbox = _left_top_width_height(boxes[index])
            entry = {
                "image_id": image_id,
                "category_id": int(truth["labels"][index]) + 1,
                "bbox": bbox,
                "area": bbox[2] * bbox[3],
                "iscrowd": 0,
            }
            if self.has_masks:
                masks = truth["masks"]
                mask = masks == index + 1 if masks.ndim == 2 else masks[index] > 0
                entry["segmentation"] = _run_lengths(mask)
                entry["area"] = float(np.count_nonzero(mask))
            self.objects.append(entry)

    def metrics(self) -> dict[str, float]:
        """Return the metrics of all that was added."""
        if not self.images:
            raise ValueError("Expected at least one image. Received: none")
        entries = (*self.objects, *self.records)
        categories = sorted({entry["category_id"] for entry in entries})
        truth = {
            "images": self.images,
            "annotations": self.objects,
            "categories": [{"id": number} for number in categories],
        }
        kinds = ("box", "mask") if self.has_masks else ("box",)
        return {
            name: value
            for kind in kinds
            for name, value in score_records(truth, self.records, kind).items()
        }


# --- Arrays and data ------------------------------------------------------------------------


def _left_top_width_height(box: np.ndarray) -> list[float]:
    left, top, right, bottom = (float(value) for value in box)
    return [left, top, right - left, bottom - top]


def _run_lengths(mask: np.ndarray) -> dict:
    """Return a mask (height, width) in COCO's compressed form, as JSON takes it."""
    _, _, coder = import_pycocotools()
    coded = coder.encode(np.asfortranarray(mask, dtype="uint8"))
    return {"size": [int(side) for side in coded["size"]], "counts": coded["counts"].decode()}


def _check_shapes(
    what: str,
    arrays: Mapping[str, np.ndarray],
    names: Sequence[str],
    image_size: Sequence[int] | None = None,
) -> None:
    """Refuse arrays that are missing or don't fit one another; masks of truth fit the image."""
    received = {name: array.shape for name, array in arrays.items()}
    fits = all(name in arrays for name in names)
    if fits:
        batch = arrays["boxes"].shape[:2]
        fits = arrays["boxes"].shape == (*batch, 4) and len(batch) == 2
        fits = fits and all(arrays[name].shape == batch for name in names[1:])
    if fits and "masks" in arrays:
        shape = arrays["masks"].shape
        if image_size is None:
            fits = len(shape) == 4 and shape[:2] == batch
        else:
            fits = shape in ((*batch, *image_size), (batch[0], *image_size))
    if not fits:
        masks = "rows, columns" if image_size is None else "{}, {}".format(*image_size)
        raise ValueError(
            f"`{what}` must hold boxes (batch, n, 4), {' and '.join(names[1:])} (batch, n) and, if "
            f"any, masks (batch, n, {masks})"
            f"{'' if image_size is None else f' or (batch, {masks})'}. Received shapes: {received}"
        )


def _is_pair(data: Any) -> bool:
    """Return whether data are arrays (images, targets) and no iterable of batches."""
    return isinstance(data, tuple | list) and len(data) == 2 and isinstance(data[1], Mapping)


def _check_data(data: Any, batch_size: int) -> None:
    if batch_size < 1:
        raise ValueError(f"`batch_size` must be 1 or more. Received: batch_size={batch_size}")
    if _is_pair(data):
        images, targets = data
        counts = {"images": len(images)} | {name: len(array) for name, array in targets.items()}
        if len(set(counts.values())) > 1:
            raise ValueError(f"Expected as many targets as images. Received: {counts}")
    elif isinstance(data, keras.utils.PyDataset):
        if data.num_batches is None:
            raise ValueError("Expected data that end. Received: a PyDataset of any length")
    elif not isinstance(data, Iterable) or isinstance(data, np.ndarray | Mapping | str):
        raise ValueError(
            "`data` must be a pair (images, {'boxes': ..., 'labels': ...}) of arrays or an "
            f"iterable of such batches. Received: {type(data).__name__}"
        )


def _batches(data: Any, batch_size: int) -> Iterator[tuple[Any, Mapping[str, Any]]]:
    """Yield (images, targets)."""
    if _is_pair(data):
        images = ops.convert_to_numpy(data[0])
        for start in range(0, len(images), batch_size):
            part = slice(start, start + batch_size)
            yield images[part], {name: array[part] for name, array in data[1].items()}
        return
    if isinstance(data, keras.utils.PyDataset):  # it has an index but no end
        batches = map(data.__getitem__, range(data.num_batches))
    else:
        batches = iter(data)
    for batch in batches:
        if not _is_pair(batch):
            raise ValueError(
                "Each batch must be a pair (images, {'boxes': ..., 'labels': ...}). Received: "
                f"{type(batch).__name__}"
            )
        yield ops.convert_to_numpy(batch[0]), batch[1]


def import_pycocotools() -> tuple[Any, Any, Any]:
    """Return the modules `coco`, `cocoeval` and `mask` of pycocotools."""
    try:
        from pycocotools import coco, cocoeval, mask
    except ImportError as error:
        raise ImportError(f"COCO's metrics need pycocotools: {install_command('coco')}") from error
    return coco, cocoeval, mask
