"""COCO's average precision and recall for arrays, for a model on data, and during training."""

import contextlib
import io
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from keras_paca.detection.box_formats import check_box_format, check_image_size, to_xyxy
from keras_paca.detection.metric_data import (
    batches,
    check_count,
    check_data,
    check_lengths,
    read_detections,
    read_truth,
)
from keras_paca.detection.paste import paste_mask
from keras_paca.extras import install_command

METRICS = (  # the order of pycocotools
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
TARGETS_OF_DATA = "the targets in `data`"
NO_IMAGES = "Expected at least one image. Received: none"


# --- Metrics --------------------------------------------------------------------------------


def evaluate_detections(
    truth: Mapping[str, Any],
    detections: Mapping[str, Any],
    image_size: Sequence[int],
    bounding_box_format: str = "xyxy",
    num_classes: int | None = None,
) -> dict[str, float]:
    """Compute COCO's metrics for detections in images of one size.

    As in `MaskRCNN.fit`, a true object counts if its label is at least 0 and less than
    `num_classes`, and its box has some area inside the image. Objects of up to 32 x 32 pixels are
    small and objects of 96 x 96 pixels or more are large, measured by the area of their masks, or
    of their boxes if there are no masks.

    Args:
        truth: dict. The true objects, as `MaskRCNN.fit` takes them: "boxes" (batch, m, 4), "labels"
            or "classes" (batch, m), which are -1 for padding, and optionally "masks", (batch, m,
            height, width) or an instance map (batch, height, width).
        detections: dict. The detections, as `MaskRCNN.predict` returns them: "boxes" (batch, n, 4),
            "scores" (batch, n), "labels" (batch, n), which are -1 for padding, and optionally
            "masks" (batch, n, rows, columns), probabilities inside the box.
        image_size: tuple of int. (height, width) of the images in pixels.
        bounding_box_format: str. Format of the true and the detected boxes, as in
            `keras.utils.bounding_boxes`.
        num_classes: int. Number of classes. Objects with labels of `num_classes` or more don't
            count. `None` allows all labels.

    Returns:
        dict. {name: float}, in [0, 1], or NaN if there is no object to find. The names are
        "box_mAP", "box_mAP50", "box_mAP75", "box_mAP_small", "box_mAP_medium", "box_mAP_large",
        "box_AR1", "box_AR10", "box_AR100", "box_AR_small", "box_AR_medium", "box_AR_large" and, if
        both `truth` and `detections` have masks, the same names with "mask_".

    Raises:
        ImportError: If pycocotools (the extra `coco`) isn't installed.
        ValueError: If an argument has a wrong type or shape, or if boxes or scores aren't finite.

    Example:
    >>> import numpy as np
    >>> from keras_paca.detection import evaluate_detections
    >>> truth = {"boxes": np.array([[[2, 3, 8, 9]]]), "labels": np.array([[0]])}
    >>> detections = {**truth, "scores": np.array([[0.9]])}
    >>> metrics = evaluate_detections(truth, detections, image_size=(10, 12))
    >>> round(metrics["box_mAP"], 6)
    1.0

    Source: Lin et al., "Microsoft COCO: Common Objects in Context", ECCV 2014; pycocotools.
    """
    if num_classes is not None:
        check_count("num_classes", num_classes)
    size = check_image_size(image_size)
    collected = _Collected(bounding_box_format, num_classes)
    collected.add(
        read_truth("`truth`", truth, size), read_detections("`detections`", detections), size
    )
    return collected.metrics()


def coco_metrics(model: keras.Model, data: Any, batch_size: int = 8) -> dict[str, float]:
    """Compute COCO's metrics for a detector on images.

    Args:
        model: MaskRCNN. The detector, or another object that has `predict_on_batch`,
            `bounding_box_format` and `num_classes` and returns detections as `MaskRCNN` does.
        data: tuple, keras.utils.PyDataset or Iterable. A pair (images, targets) of arrays; or a
            `keras.utils.PyDataset`, a `tf.data.Dataset`, a PyTorch `DataLoader`, a generator or
            another iterable of such pairs, one for each batch. The images may be the only entry of
            a dict or a list. The targets are those of `MaskRCNN.fit`, with labels less than
            `num_classes`. The number of objects may differ from batch to batch. "masks" may be
            missing in all batches.
        batch_size: int. Number of images that are predicted at once if `data` is a pair of arrays.

    Returns:
        dict. {"box_mAP": float, ...} and, if the targets have masks, "mask_mAP" and so on; see
        `evaluate_detections`.

    Raises:
        ImportError: If pycocotools (the extra `coco`) isn't installed.
        ValueError: If the model isn't a detector, or if the data are empty or endless or have a
            wrong type or shape.

    Example:
    >>> import keras_paca
    >>> import numpy as np
    >>> from keras_paca.detection import MaskRCNN, coco_metrics
    >>> backbone = keras_paca.PaCaViT((8, 8, 8, 8), 1, 1, include_top=False)
    >>> detector = MaskRCNN(backbone, num_classes=2, channels=8, proposals=50)
    >>> targets = {"boxes": np.array([[[8, 8, 40, 56]]]), "labels": np.array([[1]])}
    >>> metrics = coco_metrics(detector, (np.zeros((1, 64, 64, 3)), targets))
    >>> 0 <= metrics["box_mAP"] <= 1
    True
    """
    import_pycocotools()
    check_detector(model)
    check_data(data, batch_size)
    collected = _Collected(model.bounding_box_format, model.num_classes)
    for images, targets in batches(data, batch_size):
        size = images.shape[1:3]
        truth = read_truth(TARGETS_OF_DATA, targets, size, model.num_classes)
        check_lengths(images, truth)
        found = read_detections("the model's predictions", model.predict_on_batch(images))
        collected.add(truth, found, size)
    return collected.metrics()


class COCOMetrics(keras.callbacks.Callback):
    """Callback that computes COCO's metrics for a detector during training.

    It adds the metrics of `coco_metrics` to the logs as "val_box_mAP", "val_mask_mAP50" and so on.
    They are in the history that `fit` returns, and callbacks that come after this one, such as
    `keras.callbacks.ModelCheckpoint`, can use them. As with `validation_freq`, the logs of epochs
    without an evaluation don't have them.

    The model and the first batch of the data are checked when the training begins.

    Args:
        data: tuple, keras.utils.PyDataset or Iterable. Images and targets, as for `coco_metrics`.
            Generators aren't allowed, because the
            data are read more than once.
        batch_size: int. Number of images that are predicted at once if `data` is a pair of arrays.
        every: int. Number of epochs from one evaluation to the next.

    Raises:
        ImportError: If pycocotools (the extra `coco`) isn't installed.
        ValueError: If the data can be read only once, or if `batch_size` or `every` isn't a
            positive integer.

    Example:
    >>> import keras_paca
    >>> import numpy as np
    >>> from keras_paca.detection import COCOMetrics, MaskRCNN
    >>> backbone = keras_paca.PaCaViT((8, 8, 8, 8), 1, 1, include_top=False)
    >>> detector = MaskRCNN(backbone, num_classes=2, channels=8, proposals=50)
    >>> detector.mask_head.trainable = False
    >>> detector.compile()
    >>> targets = {"boxes": np.array([[[8, 8, 40, 56]]]), "labels": np.array([[1]])}
    >>> images = np.zeros((1, 64, 64, 3))
    >>> callback = COCOMetrics((images, targets))
    >>> history = detector.fit(images, targets, callbacks=[callback], verbose=0)
    >>> "val_box_mAP" in history.history
    True
    """

    def __init__(self, data: Any, batch_size: int = 8, every: int = 1) -> None:
        super().__init__()
        import_pycocotools()
        check_data(data, batch_size)
        if isinstance(data, Iterator):
            raise ValueError(
                "`data` must be something that can be read after each epoch: arrays, a PyDataset "
                f"or a tf.data.Dataset. Received an iterator: {type(data).__name__}"
            )
        check_count("every", every)
        self.data, self.batch_size, self.every = data, batch_size, every

    def on_train_begin(self, logs: dict | None = None) -> None:
        """Check the model and the first batch of the data.

        Args:
            logs: dict. Not used.

        Raises:
            ValueError: If the model isn't a detector, or if the data are empty or wrong.
        """
        check_detector(self.model)
        for images, targets in batches(self.data, self.batch_size):
            size, num_classes = images.shape[1:3], self.model.num_classes
            check_lengths(images, read_truth(TARGETS_OF_DATA, targets, size, num_classes))
            return
        raise ValueError(NO_IMAGES)

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Add the metrics to the logs.

        Args:
            epoch: int. Index of the epoch.
            logs: dict. Logs of the epoch, which the method changes.
        """
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
    """Convert the detections in one image to COCO's format for results.

    Args:
        found: dict. "boxes" (n, 4), left, top, right and bottom in pixels; "scores" (n,); "labels"
            (n,), which are -1 for padding; and optionally "masks" (n, rows, columns), probabilities
            inside the box.
        image_id: int. Id of the image.
        image_size: tuple of int. (height, width) of the image in pixels. Boxes are clipped to it.
        category_ids: Sequence of int. Category id of each label. The default is label + 1.

    Returns:
        list of dict. One dict for each detection with some area inside the image: "image_id",
        "category_id", "score", "bbox" (left, top, width, height) and, if there are masks,
        "segmentation" (run lengths).

    Example:
    >>> found = {"boxes": np.array([[1, 2, 5, 9]]), "scores": [0.5], "labels": [0]}
    >>> detections_to_records(found, image_id=7, image_size=(8, 8))
    [{'image_id': 7, 'category_id': 1, 'score': 0.5, 'bbox': [1.0, 2.0, 4.0, 6.0]}]
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
            mask = paste_mask(boxes[index], found["masks"][index], 0.5, image_size)
            record["segmentation"] = _run_lengths(mask)
        records.append(record)
    return records


def score_records(
    truth: Mapping[str, Any], records: Iterable[Mapping[str, Any]], kind: str
) -> dict[str, float]:
    """Compute COCO's twelve metrics from annotations and detections in COCO's formats.

    Args:
        truth: dict. Content of an annotation file: "images", "annotations" and "categories".
        records: Iterable of dict. Detections, as `detections_to_records` returns them.
        kind: str. "box" or "mask".

    Returns:
        dict. {"box_mAP": float, ...} or {"mask_mAP": float, ...}, in [0, 1], or NaN if there is no
        object to find.

    Raises:
        ImportError: If pycocotools (the extra `coco`) isn't installed.

    Example:
    >>> entry = {"image_id": 7, "category_id": 1, "bbox": [1.0, 2.0, 4.0, 6.0]}
    >>> truth = {
    ...     "images": [{"id": 7, "height": 8, "width": 8}],
    ...     "annotations": [{**entry, "area": 24.0, "iscrowd": 0}],
    ...     "categories": [{"id": 1}],
    ... }
    >>> round(score_records(truth, [{**entry, "score": 0.5}], "box")["box_mAP"], 6)
    1.0
    """
    coco, cocoeval, mask = import_pycocotools()
    # The ids start at 1, because pycocotools interprets the id 0 as "not found".
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
    """Check that a model has the methods and attributes of a detector.

    Args:
        model: Any. The object, such as a `MaskRCNN`.

    Raises:
        ValueError: If `predict_on_batch`, `bounding_box_format` or `num_classes` is missing or
            wrong.

    Example:
    >>> classifier = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    >>> check_detector(classifier)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ValueError: Expected a detector, ... Received: a classifier, a Sequential
    """
    expected = (
        "Expected a detector, with `predict_on_batch`, `bounding_box_format` and `num_classes` as "
        "`MaskRCNN` has. Received: "
    )
    if isinstance(model, str | os.PathLike):
        raise ValueError(
            f"{expected}the path {str(model)!r}; `keras.saving.load_model` opens a saved model"
        )
    if all(
        hasattr(model, name) for name in ("predict_on_batch", "bounding_box_format", "num_classes")
    ):
        check_box_format(model.bounding_box_format)
        check_count("num_classes", model.num_classes)
        return
    if isinstance(model, type):
        raise ValueError(f"{expected}the class {model.__name__}")
    outputs = getattr(model, "outputs", None) or ()
    kind = "a"
    if hasattr(model, "decode_head"):
        kind = "a segmenter, a"
    elif len(outputs) == 1 and len(outputs[0].shape) == 2:
        kind = "a classifier, a"
    elif hasattr(model, "pyramid_outputs"):
        kind = "a backbone, a"
    raise ValueError(f"{expected}{kind} {type(model).__name__}")


class _Collected:
    """Collects the true objects and the detections of batches as records in COCO's formats."""

    def __init__(self, bounding_box_format: str, num_classes: int | None) -> None:
        import_pycocotools()
        self.format, self.num_classes = check_box_format(bounding_box_format), num_classes
        self.images: list[dict] = []
        self.objects: list[dict] = []
        self.records: list[dict] = []
        self.has_masks: bool | None = None

    def add(
        self,
        truth: Mapping[str, np.ndarray],
        found: Mapping[str, np.ndarray],
        size: tuple[int, int],
    ) -> None:
        """Add a batch of images with the size (height, width)."""
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
        truth = {**truth, "boxes": to_xyxy(truth["boxes"], self.format, size)}
        found = {**found, "boxes": to_xyxy(found["boxes"], self.format, size)}
        for i in range(len(truth["boxes"])):
            number = len(self.images) + 1
            self.images.append({"id": number, "height": size[0], "width": size[1]})
            self._add_objects({name: array[i] for name, array in truth.items()}, number, size)
            one = {name: found[name][i] for name in kept}
            self.records += detections_to_records(one, number, size)

    def _add_objects(
        self, truth: Mapping[str, np.ndarray], image_id: int, image_size: Sequence[int]
    ) -> None:
        """Add the true objects of one image."""
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
        """Compute the metrics of all batches that were added."""
        if not self.images:
            raise ValueError(NO_IMAGES)
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
    """Return a mask (height, width) as COCO's compressed run lengths, which JSON can hold."""
    _, _, coder = import_pycocotools()
    coded = coder.encode(np.asfortranarray(mask, dtype="uint8"))
    return {"size": [int(side) for side in coded["size"]], "counts": coded["counts"].decode()}


def import_pycocotools() -> tuple[Any, Any, Any]:
    """Import pycocotools.

    Returns:
        tuple. The modules `coco`, `cocoeval` and `mask`.

    Raises:
        ImportError: If pycocotools (the extra `coco`) isn't installed.

    Example:
    >>> coco, cocoeval, mask = import_pycocotools()
    >>> mask.area(mask.encode(np.ones((2, 3), "uint8", order="F"))).item()
    6
    """
    try:
        from pycocotools import coco, cocoeval, mask
    except ImportError as error:
        raise ImportError(f"COCO's metrics need pycocotools: {install_command('coco')}") from error
    return coco, cocoeval, mask
