"""The model that a command opens, and what it says about itself."""

import argparse
import warnings
import zipfile
from pathlib import Path
from typing import Any

import keras
import numpy as np

import keras_paca
from keras_paca.backbones.paca_vit import normalise_rgb
from keras_paca.labels import imagenet_classes

FRESH = r"(?s).*keeps? its initial values"  # a warning of the strict loader
FACTORIES = {  # task -> end of the names of its functions, weights to start from
    "classification": ("", "imagenet"),
    "segmentation": ("Segmenter", "ade20k"),
    "detection": ("MaskRCNN", "coco"),
}
SIZES = ("tiny", "small", "base")
OPTIONS_FOR_NEW_MODELS = ("clustering", "clusters", "blockwise", "weights")  # options


def open_model(
    options: argparse.Namespace, task: str = "classification", trained: bool = False
) -> keras.Model:
    """Return the model that `--model` names.

    Args:
        options: The command's options.
        task: str. What a model by name is for.
        trained: bool. Whether to refuse `--weights none`, as the model's answers count.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file can't be loaded, or weights would be random.
    """
    if is_file(options):
        return load_model(options)
    if trained and options.weights == "none":
        raise ValueError("With --weights none the answers would come from random weights.")
    with warnings.catch_warnings():
        warnings.filterwarnings("error", FRESH)
        try:
            return build_model(options, task)
        except UserWarning as warning:
            raise ValueError(f"The answers would come from random weights. {warning}") from None


def is_file(options: argparse.Namespace) -> bool:
    """Return whether `--model` is a file, and refuse options that say how to make a new model."""
    if Path(options.model).suffix != ".keras":
        return False
    given = [f"--{name}" for name in OPTIONS_FOR_NEW_MODELS if getattr(options, name)]
    if given:
        raise ValueError(
            f"{', '.join(given)} can't change a saved model, only --model tiny, small or base. "
            f"Received: --model {options.model}"
        )
    return True


def load_model(options: argparse.Namespace) -> keras.Model:
    """Return the saved model at the path that `--model` is."""
    path = Path(options.model)
    if not path.exists():
        raise FileNotFoundError(f"No such model: {path}")
    if not zipfile.is_zipfile(path):
        what = "a folder" if path.is_dir() else "another kind of file, or not whole"
        raise ValueError(f"{path} can't be loaded: it's no .keras file but {what}.")
    try:
        return keras.saving.load_model(path)
    except Exception as error:  # of every kind, by what is wrong with the file
        reason = " ".join(str(error).split())
        raise ValueError(f"{path} can't be loaded: {reason[:300]}") from error


def build_model(options: argparse.Namespace, task: str, **more: Any) -> keras.Model:
    """Return a new model of the size that `--model` names, with its weights."""
    end, standard = FACTORIES[task]
    if options.model not in SIZES:
        hint = ""
        if Path(options.model).suffix in (".pth", ".safetensors", ".h5"):
            hint = "; a file of weights goes to --weights, beside the model's size"
        name = "MODEL" if options.command in ("export", "benchmark") else "--model"
        raise ValueError(
            f"{name} must be {', '.join(SIZES)} or the path of a file that ends in .keras{hint}. "
            f"Received: {options.model}"
        )
    weights = options.weights or standard
    if task != "classification" and weights == "imagenet":
        kind = {"segmentation": "segmenter", "detection": "detector"}[task]
        raise ValueError(f"--weights imagenet leaves a {kind}'s heads random. Expected {standard}.")
    package = keras_paca if task == "classification" else getattr(keras_paca, task)
    factory = getattr(package, f"PaCa{options.model.title()}{end}")
    return factory(
        weights=None if weights == "none" else weights,
        clustering=options.clustering or "conv",
        clusters=options.clusters,
        cluster_every=1 if options.blockwise else None,
        **more,
    )


def kind_of(model: Any) -> str:
    """Return what a model is: "classifier", "segmenter", "detector", "features" or "other"."""
    if isinstance(model, keras_paca.segmentation.Segmenter):
        return "segmenter"
    if isinstance(model, keras_paca.detection.MaskRCNN):
        return "detector"
    if hasattr(model, "pyramid_outputs") and not model.get_config().get("include_top"):
        return "features"
    shapes = [tuple(output.shape) for output in getattr(model, "outputs", None) or []]
    return "classifier" if len(shapes) == 1 and len(shapes[0]) == 2 else "other"


def check_images(model: Any, options: argparse.Namespace) -> None:
    """Refuse a model that doesn't take RGB images."""
    shapes = [tuple(entry.shape) for entry in getattr(model, "inputs", None) or []]
    if len(shapes) != 1 or len(shapes[0]) != 4 or shapes[0][3] != 3:
        raise ValueError(
            f"Expected a model of RGB images (batch, height, width, 3). Received: {options.model}, "
            f"with the inputs {shapes}"
        )


def transform_of(model: Any) -> dict[str, Any]:
    """Return how a model's images are prepared, as far as its file says it."""
    return getattr(model, "evaluation_transform", None) or {}


def names_of(model: Any, count: int, options: argparse.Namespace) -> list[str]:
    """Return the names of a model's classes, from the file where it has them."""
    names = getattr(model, "class_names", None)
    beside = Path(options.model).with_name("classes.txt")  # of models that don't hold their names
    if names is None and is_path(options) and beside.exists():
        names = _read_names(beside)
    if (names is None or len(names) != count) and count == len(imagenet_classes()):
        names = [name for _, name in imagenet_classes()]
    if names is None or len(names) != count:
        names = [f"class {index}" for index in range(count)]
    return names


def _read_names(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} must be a text file in UTF-8: {error}") from error


def is_path(options: argparse.Namespace) -> bool:
    """Return whether `--model` is a path, not a size."""
    return options.model not in SIZES


def normalise(model: Any, image: np.ndarray) -> np.ndarray:
    """Return an image, RGB in 0..255, as the model takes it, in float32."""
    image = image.astype("float32")
    return image if getattr(model, "include_preprocessing", True) else normalise_rgb(image)
