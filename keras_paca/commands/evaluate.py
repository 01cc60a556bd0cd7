"""`keras-paca evaluate`: measure the accuracy of a classifier, a segmenter or a detector."""

import argparse
import csv
import json
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from keras_paca.commands.opening import check_images, kind_of, names_of, normalise, open_model
from keras_paca.commands.pictures import check_writable, crop_of, sides_of, size_of
from keras_paca.confusion import Confusion
from keras_paca.labels import imagenet_classes

MOST = 20  # the most classes for which the confusion matrix is printed
BATCH_SIZE = 32
SIDES = ("short_side", "long_side")


def run(options: argparse.Namespace) -> int:
    """Evaluate a classifier, a segmenter or a detector, depending on the given data.

    Args:
        options: argparse.Namespace. The options of the command.

    Returns:
        int. The exit status, 0.

    Raises:
        OSError: If a file can't be read or written.
        ValueError: If the options don't go together, or if the model or the data aren't suitable.

    Example:
    >>> from keras_paca_cli import parse
    >>> run(parse(["evaluate", "photos", "--pad-to", "512"]))
    Traceback (most recent call last):
        ...
    ValueError: --pad-to can't be used when a classifier is measured.
    """
    if options.annotations or options.images:
        if not (options.annotations and options.images) or options.folder or options.masks:
            raise ValueError(
                "A detector is measured on --annotations and --images, without FOLDER and --masks."
            )
        _refuse(options, "a detector", "batch_size")
        return _evaluate_detector(options)
    if options.folder is None:
        raise ValueError(
            "What to measure on is missing: FOLDER for a classifier, FOLDER and --masks for a "
            "segmenter, --annotations and --images for a detector."
        )
    if options.masks:
        _refuse(options, "a segmenter", "batch_size", "pad_to")
        return _evaluate_segmenter(options)
    _refuse(options, "a classifier", "short_side", "long_side", "pad_to")
    return _evaluate_classifier(options)


def _refuse(options: argparse.Namespace, kind: str, *names: str) -> None:
    """Refuse options that have no effect on a kind of model."""
    given = [f"--{n.replace('_', '-')}" for n in names if getattr(options, n) is not None]
    if given:
        raise ValueError(f"{' and '.join(given)} can't be used when {kind} is measured.")


def _progress(every: int) -> Callable[[int, int], None]:
    def progress(done: int, count: int) -> None:
        if done % every == 0 or done == count:
            print(f"{done} of {count} images", file=sys.stderr)

    return progress


def _expect(model: Any, kind: str, options: argparse.Namespace, data: str) -> None:
    """Refuse a model whose kind doesn't match the data."""
    found = kind_of(model)
    if found != kind:
        article = "an" if found[0] in "aeiou" else "a"
        what = f"{found} model" if found in ("features", "other") else found
        raise ValueError(f"{data} are for a {kind}. Received: {options.model}, {article} {what}")
    check_images(model, options)


# --- Detectors ----------------------------------------------------------------------------------


def _evaluate_detector(options: argparse.Namespace) -> int:
    from keras_paca.detection import evaluate_coco, read_coco
    from keras_paca.detection.coco_metrics import import_pycocotools

    import_pycocotools()
    _check_output(options)
    dataset = read_coco(options.annotations, options.images, options.limit)
    model = open_model(options, "detection", trained=True)
    _expect(model, "detector", options, "Annotations")
    sides = _sides_of_detector(model, options)
    metrics = evaluate_coco(model, dataset, options.output, progress=_progress(100), **sides)
    if options.json:
        print(json.dumps({n: None if math.isnan(v) else v for n, v in metrics.items()}, indent=2))
    elif options.csv:
        rows = csv.writer(sys.stdout, lineterminator="\n")
        rows.writerows([("measure", "value"), *metrics.items()])
    else:
        for name, value in metrics.items():
            print(f"{name:16} {value:.4f}")
    if options.output and not (options.json or options.csv):
        print(f"detections in {options.output}")
    return 0


def _sides_of_detector(model: Any, options: argparse.Namespace) -> dict[str, int]:
    """Return the limits of the image sides; images for a model of fixed size are padded to it."""
    sides = sides_of(model, options)
    height, width = model.inputs[0].shape[1:3]
    if height is None and width is None:
        return sides
    if height != width or sides.get("pad_to") not in (None, height):
        raise ValueError(
            "A detector is measured on images of any size or of one square, and --pad-to must be "
            f"its side. Received: {options.model}, a model for {height} x {width} pixels"
        )
    return {"pad_to": height} | {name: min(sides[name], height) for name in SIDES}


# --- Classifiers and segmenters -----------------------------------------------------------------


def _evaluate_classifier(options: argparse.Namespace) -> int:
    from keras_paca.train import ImageFolder, evaluate_classifier, find_images

    _check_output(options)
    model = open_model(options, trained=True)
    _expect(model, "classifier", options, "Folders of classes")
    names = names_of(model, model.outputs[0].shape[-1], options)
    size = size_of(model, options)
    files, folders = find_images(options.folder, image_size=size, least=1)
    ids = [identifier for identifier, _ in imagenet_classes()]
    if names == [name for _, name in imagenet_classes()] and set(folders) <= set(ids):
        names = ids  # the names of ImageNet's own folders
    unknown = [name for name in folders if name not in names]
    if unknown:
        raise ValueError(
            f"The folders of {options.folder} must have the names of the model's classes, such as "
            f"{names[0]!r}. Received: {', '.join(map(repr, unknown[:3]))}"
        )
    twice = [name for name in folders if names.count(name) > 1]
    if twice:
        raise ValueError(
            f"The folders of {options.folder} must name one class each. Received: {twice[0]!r}, "
            f"the name of {names.count(twice[0])} of the model's classes"
        )
    if options.limit is not None:  # keep images of all classes
        files = files[:: -(-len(files) // options.limit)]
    files = [(path, names.index(folders[label])) for path, label in files]
    batch_size = options.batch_size or BATCH_SIZE
    data = ImageFolder(files, len(names), size, batch_size, crop=crop_of(model))
    confusion = evaluate_classifier(_Normalised(model), data, names)
    _report(confusion, options, {
        "accuracy": confusion.accuracy, "mean class accuracy": confusion.mean_class_accuracy,
    }, confusion.class_accuracies, "accuracy", "images")  # fmt: skip
    _save(confusion, options)
    return 0


class _Normalised:
    """A model for RGB images in 0..255, which are normalised here unless the model does it."""

    def __init__(self, model: Any) -> None:
        self.model = model

    def predict_on_batch(self, images: Any) -> Any:
        """Return the outputs of the model."""
        return self.model.predict_on_batch(normalise(self.model, images))


def _evaluate_segmenter(options: argparse.Namespace) -> int:
    from keras_paca.segmentation import evaluate_segmenter, find_masks

    _check_output(options)
    pairs = find_masks(options.folder, options.masks)[: options.limit]
    model = open_model(options, "segmentation", trained=True)
    _expect(model, "segmenter", options, "Masks")
    sides = sides_of(model, options)
    confusion = evaluate_segmenter(model, pairs, progress=_progress(100), **sides)
    _report(confusion, options, {
        "mean IoU": confusion.mean_iou, "pixel accuracy": confusion.accuracy,
    }, confusion.intersections_over_unions, "IoU", "pixels")  # fmt: skip
    _save(confusion, options)
    return 0


def _check_output(options: argparse.Namespace) -> None:
    """Refuse an output file that can't be written, before the evaluation starts."""
    if options.output is None:
        return
    output = Path(options.output)
    if output.is_dir() or not output.absolute().parent.is_dir():
        raise FileNotFoundError(f"--output must be a file in a folder that exists: {output}")
    if output.suffix.lower() not in ("", ".json"):
        raise ValueError(f"--output must end in .json. Received: {output}")
    check_writable(output.parent, "--output", output)


def _report(
    confusion: Confusion,
    options: argparse.Namespace,
    measures: dict[str, float],
    by_class: list[float],
    measure: str,
    counted: str,
) -> None:
    """Print the measures, also for each class, and the confusion matrix if there are few."""
    if options.json:
        print(json.dumps(confusion.to_dict(), indent=2))
        return
    counts = confusion.counts.sum(axis=1)
    names = confusion.class_names
    if options.csv:
        rows = csv.writer(sys.stdout, lineterminator="\n")
        rows.writerow(["class", counted, measure, *names])
        for name, count, value, row in zip(names, counts, by_class, confusion.counts, strict=True):
            rows.writerow([name, count, value, *row])
        return
    for name, value in measures.items():
        print(f"{name:20} {value:.2%}")
    width = max(5, *(len(name) for name in names))
    print(f"\n{'class':{width}}  {measure:>8}  {counted:>10}")
    for name, count, value in zip(names, counts, by_class, strict=True):
        if count or not math.isnan(value):
            print(f"{name:{width}}  {value:8.2%}  {count:10d}")
    if len(names) <= MOST:
        print(f"\n{'true class':{width}}  given class, in the same order")
        cell = max(len(str(confusion.counts.max())), 3)
        for name, row in zip(names, confusion.counts, strict=True):
            print(f"{name:{width}}  {' '.join(f'{count:{cell}d}' for count in row)}")


def _save(confusion: Confusion, options: argparse.Namespace) -> None:
    """Write the confusion matrix to the file that `--output` names, if any."""
    if options.output is None:
        return
    path = Path(options.output)
    partial = path.with_name(f"{path.name}.partial")
    partial.write_text(json.dumps(confusion.to_dict(), indent=2), encoding="utf-8")
    partial.replace(path)
    if not (options.json or options.csv):
        print(f"\nconfusion matrix in {options.output}")
