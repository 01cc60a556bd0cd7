"""`keras-paca predict`: print what a model finds in pictures, as text, JSON or CSV."""

import argparse
import csv
import itertools
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from keras_paca.commands.opening import check_images, kind_of, names_of, normalise, open_model
from keras_paca.commands.pictures import (
    at_model_size,
    check_writable,
    given_paths,
    new_path,
    read_pictures,
    report,
    sides_of,
    size_of,
)
from keras_paca.detection import detect, plot_detections
from keras_paca.explain.pictures import new_figure
from keras_paca.segmentation import plot_segmentation, segment

FIELDS = {  # the columns of the CSV
    "classifier": ("file", "rank", "index", "name", "probability", "score"),
    "segmenter": ("file", "rank", "index", "name", "share"),
    "detector": ("file", "rank", "index", "name", "score", "left", "top", "right", "bottom"),
}


def run(options: argparse.Namespace) -> int:
    """Print what the model finds in each picture.

    Args:
        options: argparse.Namespace. The options of the command.

    Returns:
        int. The exit status: 1 if a picture can't be used, otherwise 0.

    Raises:
        OSError: If a file can't be read or written.
        ValueError: If an option or the model isn't suitable.

    Example:
    >>> import contextlib, tempfile
    >>> from PIL import Image
    >>> from keras_paca import PaCaViT
    >>> from keras_paca_cli import parse
    >>> names = ["ant", "bee"]
    >>> with contextlib.chdir(tempfile.mkdtemp()):
    ...     PaCaViT((8, 8, 8, 8), 1, 1, classes=2, class_names=names).save("model.keras")
    ...     Image.new("RGB", (40, 30)).save("ant.png")
    ...     run(parse(["predict", "ant.png", "--model", "model.keras"]))  # doctest: +ELLIPSIS
    ant.png
      ...%  ...
      ...%  ...
    0
    """
    _check_output(options)
    pictures = read_pictures(options.images)
    # Downloading a model may take minutes, so it needs at least one picture that can be read.
    unread = []
    for path, image in pictures:
        if not isinstance(image, Exception):
            pictures = itertools.chain([(path, image)], pictures)
            break
        unread.append((path, image))
    else:
        return _write(options, "classifier", unread, iter(()))
    del image  # one picture in memory at a time
    model = open_model(options, trained=True)
    check_images(model, options)
    kind = kind_of(model)
    if kind not in FIELDS:
        raise ValueError(
            "`predict` needs a classifier, a segmenter or a detector. "
            f"Received: {options.model}, {type(model).__name__} with outputs of shape "
            f"{model.output_shape}"
        )
    _check_sizes(model, kind, options)
    folder = _make_folder(options, kind)
    return _write(options, kind, unread, _find(model, kind, folder, pictures, options))


def _write(options: argparse.Namespace, kind: str, unread: list, found: Iterator) -> int:
    """Write what was found in the pictures or why they can't be used; return the exit status."""
    writer = _writer(options, kind)
    for path, answer in itertools.chain(unread, found):
        if isinstance(answer, Exception):
            writer.fail(path, answer)
        else:
            writer.write(path, answer)
    writer.end()
    return 1 if writer.failed else 0


def _check_sizes(model: Any, kind: str, options: argparse.Namespace) -> None:
    """Refuse an `--image-size` that doesn't fit the model, before any picture is used."""
    size_of(model, options) if kind == "classifier" else sides_of(model, options)


def _find(
    model: Any, kind: str, folder: Path | None, pictures: Iterator, options: argparse.Namespace
) -> Iterator[tuple[str, list | Exception]]:
    """Yield (path, what was found or the error) of each picture, and draw it."""
    taken = set(given_paths(options.images) if folder is not None else ())
    for path, image in pictures:
        if isinstance(image, Exception):
            yield path, image
            continue
        try:
            found, picture = FINDERS[kind](model, image, options)
            if folder is not None:
                _draw(kind, image, picture, model, new_path(folder, path, taken))
        except (OSError, ValueError) as error:  # such as a picture that is too long and narrow
            yield path, error
        else:
            yield path, found


# --- What is found ----------------------------------------------------------------------------


def _classify(model: Any, image: np.ndarray, options: argparse.Namespace) -> tuple[list, Any]:
    """Return the best classes."""
    prepared = normalise(model, at_model_size(image, model, options))
    scores = np.asarray(model.predict(prepared[None], verbose=0), "float64")[0]
    if not np.isfinite(scores).all():
        raise ValueError(f"{options.model} predicts values that are NaN or infinite.")
    values, measure = _probabilities(model, scores)
    names = names_of(model, len(values), options)
    best = np.argsort(-values, kind="stable")[: options.top]
    return [{"index": int(i), "name": names[i], measure: float(values[i])} for i in best], None


def _probabilities(model: Any, scores: np.ndarray) -> tuple[np.ndarray, str]:
    """Convert scores to probabilities if possible, and return them and what they are."""
    activation = getattr(getattr(model.layers[-1], "activation", None), "__name__", None)
    if activation in ("softmax", "sigmoid"):
        return scores, "probability"
    if activation == "linear" and hasattr(model, "class_names"):  # a classifier of ours
        if len(scores) == 1:
            return 1 / (1 + np.exp(-scores)), "probability"
        weights = np.exp(scores - scores.max())
        return weights / weights.sum(), "probability"
    sums_to_one = scores.min() >= 0 and abs(scores.sum() - 1) < 1e-3
    return scores, "probability" if sums_to_one else "score"


def _segment(model: Any, image: np.ndarray, options: argparse.Namespace) -> tuple[list, Any]:
    """Return the classes that cover the most pixels, and the class of each pixel."""
    ids = segment(model, image, **sides_of(model, options))
    shares = np.bincount(ids.ravel(), minlength=model.num_classes) / ids.size
    names = names_of(model, model.num_classes, options)
    best = [i for i in np.argsort(-shares, kind="stable")[: options.top] if shares[i] > 0]
    return [{"index": int(i), "name": names[i], "share": float(shares[i])} for i in best], ids


def _detect(model: Any, image: np.ndarray, options: argparse.Namespace) -> tuple[list, Any]:
    """Return the objects with the highest scores, and all that the detector found."""
    found = detect(model, image, **sides_of(model, options))
    names = names_of(model, model.num_classes, options)
    height, width = image.shape[:2]
    inside = np.clip(found["boxes"], 0, [width, height, width, height])
    seen = (found["labels"] >= 0) & (inside[:, 2:] > inside[:, :2]).all(axis=1)
    real = np.flatnonzero(seen)  # without objects in the padding
    best = real[np.argsort(-found["scores"][real], kind="stable")][: options.top]
    objects = []
    for i in best:
        left, top, right, bottom = (round(float(side), 1) for side in inside[i])
        label = int(found["labels"][i])
        objects.append({
            "index": label, "name": names[label], "score": float(found["scores"][i]),
            "left": left, "top": top, "right": right, "bottom": bottom,
        })  # fmt: skip
    return objects, found


FINDERS = {"classifier": _classify, "segmenter": _segment, "detector": _detect}


# --- How it is written ------------------------------------------------------------------------


def _writer(options: argparse.Namespace, kind: str) -> "_Text":
    if options.json:
        return _JSON(kind)
    return _CSV(kind) if options.csv else _Text(kind)


class _Text:
    """Write the name of each file, and one line for each result."""

    def __init__(self, kind: str) -> None:
        self.kind, self.failed = kind, False

    def write(self, path: str, found: list[dict]) -> None:
        """Write what was found in a file."""
        print(path)
        for each in found:
            print(f"  {_percent(each)}  {each['name']}{_place(each)}")
        if not found:
            print("  no objects")

    def fail(self, path: str, error: Exception) -> None:
        """Report what is wrong with a file."""
        report(path, error)
        self.failed = True

    def end(self) -> None:
        """Write what comes after all files."""


def _percent(found: dict) -> str:
    for measure in ("probability", "share"):
        if measure in found:
            return f"{found[measure]:7.2%}"
    return f"{found['score']:7.2%}" if "left" in found else f"{found['score']:7.3f}"


def _place(found: dict) -> str:
    if "left" not in found:
        return ""
    sides = [f"{side} {found[side]:.0f}" for side in ("left", "top", "right", "bottom")]
    return f"  {', '.join(sides)}"


class _JSON(_Text):
    """Write a JSON list with one object for each file, on a line of its own."""

    def __init__(self, kind: str) -> None:
        super().__init__(kind)
        self.started = False

    def write(self, path: str, found: list[dict]) -> None:
        name = "objects" if self.kind == "detector" else "classes"
        self._line({"file": path, name: found})

    def fail(self, path: str, error: Exception) -> None:
        super().fail(path, error)
        self._line({"file": path, "error": " ".join(str(error).split())})

    def _line(self, content: dict) -> None:
        print(",\n" if self.started else "[\n", end="")
        is_unicode = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
        print(json.dumps(content, ensure_ascii=not is_unicode), end="", flush=True)
        self.started = True

    def end(self) -> None:
        print("\n]" if self.started else "[]")


class _CSV(_Text):
    """Write one row for each result."""

    def __init__(self, kind: str) -> None:
        super().__init__(kind)
        self.rows = csv.DictWriter(sys.stdout, FIELDS[kind], restval="", lineterminator="\n")
        self.rows.writeheader()

    def write(self, path: str, found: list[dict]) -> None:
        self.rows.writerows({"file": path, "rank": i, **each} for i, each in enumerate(found, 1))


# --- Pictures -----------------------------------------------------------------------------------


def _check_output(options: argparse.Namespace) -> None:
    """Refuse an `--output` that isn't a folder, before the model is opened."""
    if options.output is None:
        return
    if Path(options.output).exists() and not Path(options.output).is_dir():
        raise ValueError(f"--output must be a folder. Received a file: {options.output}")
    new_figure(1, 1)  # raises an error that says what to install if matplotlib is missing


def _make_folder(options: argparse.Namespace, kind: str) -> Path | None:
    """Return the folder for pictures, which is created if it doesn't exist."""
    if options.output is None:
        return None
    if kind == "classifier":
        raise ValueError("--output is for pictures of what a segmenter or a detector finds.")
    folder = Path(options.output)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OSError(f"--output can't be created: {folder} ({error.strerror})") from error
    check_writable(folder, "--output", folder)
    return folder


def _draw(kind: str, image: np.ndarray, found: Any, model: Any, path: Path) -> None:
    """Save a picture of what was found."""
    if kind == "segmenter":
        plot_segmentation(image[None], found[None], path=path, num_classes=model.num_classes)
        return
    batch = {name: array[None] for name, array in found.items()}
    plot_detections(image[None], batch, class_names=model.class_names, path=path)
