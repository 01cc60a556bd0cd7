"""Opening the model of a command, and reading its class names and other information."""

import argparse
import warnings
import zipfile
from pathlib import Path
from typing import Any

import keras
import numpy as np

import keras_paca
from keras_paca.backbones.base import normalise_rgb
from keras_paca.labels import imagenet_classes
from keras_paca.warn import FreshWeightsWarning

FACTORIES = {  # task -> suffix of the functions that make its models, default weights
    "classification": ("", "imagenet"),
    "segmentation": ("Segmenter", "ade20k"),
    "detection": ("MaskRCNN", "coco"),
}
SIZES = ("tiny", "small", "base")
OPTIONS_FOR_NEW_MODELS = ("clustering", "clusters", "blockwise", "weights")  # options


def open_model(
    options: argparse.Namespace, task: str = "classification", trained: bool = False
) -> keras.Model:
    """Return the model that `--model` names, a file or the size of a new model.

    Args:
        options: argparse.Namespace. The options of the command.
        task: str. The task of a new model: "classification", "segmentation" or "detection".
        trained: bool. Whether to refuse `--weights none`, because the predictions would be
            meaningless.

    Returns:
        keras.Model. The model.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file can't be loaded, or if weights of a new model would be random
            although the user didn't ask for it.

    Example:
    >>> import tempfile
    >>> from keras_paca_cli import parse
    >>> path = f"{tempfile.mkdtemp()}/model.keras"
    >>> keras_paca.PaCaViT((8, 8, 8, 8), 1, 1, classes=2).save(path)
    >>> open_model(parse(["predict", "cat.jpg", "--model", path])).output_shape
    (None, 2)
    """
    if is_file(options):
        return load_model(options)
    if trained and options.weights == "none":
        raise ValueError("With --weights none, the predictions would come from random weights.")
    with warnings.catch_warnings():
        warnings.simplefilter("error", FreshWeightsWarning)
        try:
            return build_model(options, task)
        except FreshWeightsWarning as warning:
            raise ValueError(f"The predictions would come from random weights. {warning}") from None


def is_file(options: argparse.Namespace) -> bool:
    """Return whether `--model` is a saved model, and check the options that exclude one.

    Args:
        options: argparse.Namespace. The options of the command.

    Returns:
        bool. Whether `--model` ends in .keras.

    Raises:
        ValueError: If it does, and there is an option for new models, such as `--clusters`.

    Example:
    >>> is_file(argparse.Namespace(model="tiny"))
    False
    """
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
    """Load the saved model whose path is `--model`.

    Args:
        options: argparse.Namespace. The options of the command.

    Returns:
        keras.Model. The model.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file can't be loaded.

    Example:
    >>> import tempfile
    >>> path = f"{tempfile.mkdtemp()}/example.keras"
    >>> keras.Sequential([keras.Input((2,)), keras.layers.Dense(3)]).save(path)
    >>> load_model(argparse.Namespace(model=path)).output_shape
    (None, 3)
    """
    path = Path(options.model)
    if not path.exists():
        raise FileNotFoundError(f"No such model: {path}")
    if not zipfile.is_zipfile(path):
        what = "a folder" if path.is_dir() else "another kind of file, or not whole"
        raise ValueError(f"{path} can't be loaded: it isn't a .keras file but {what}.")
    try:
        return keras.saving.load_model(path)
    except Exception as error:  # of any kind, depending on what is wrong with the file
        reason = " ".join(str(error).split())
        raise ValueError(f"{path} can't be loaded: {reason[:300]}") from error


def build_model(options: argparse.Namespace, task: str, **more: Any) -> keras.Model:
    """Return a new model of the size that `--model` names, with its weights.

    Args:
        options: argparse.Namespace. The options of the command.
        task: str. "classification", "segmentation" or "detection".
        **more: Further arguments of the function that makes the model, such as `classes`.

    Returns:
        keras.Model. The model.

    Raises:
        ValueError: If `--model` isn't a size, or if the weights don't fit the task.

    Example:
    >>> from keras_paca_cli import parse
    >>> options = parse(["train", "flowers", "--model", "tiny", "--weights", "none"])
    >>> build_model(options, "classification", classes=5).output_shape
    (None, 5)
    """
    end, standard = FACTORIES[task]
    if options.model not in SIZES:
        hint = ""
        if Path(options.model).suffix in (".pth", ".safetensors", ".h5"):
            hint = "; a file of weights is given by --weights, together with a size as --model"
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
    """Return the kind of a model.

    Args:
        model: keras.Model. The model.

    Returns:
        str. "classifier", "segmenter", "detector", "features" for a backbone without a head, or
        "other".

    Example:
    >>> kind_of(keras_paca.PaCaViT((8, 8, 8, 8), 1, 1, include_top=False))
    'features'
    """
    if isinstance(model, keras_paca.segmentation.Segmenter):
        return "segmenter"
    if isinstance(model, keras_paca.detection.MaskRCNN):
        return "detector"
    if hasattr(model, "pyramid_outputs") and not model.get_config().get("include_top"):
        return "features"
    shapes = [tuple(output.shape) for output in getattr(model, "outputs", None) or []]
    return "classifier" if len(shapes) == 1 and len(shapes[0]) == 2 else "other"


def check_images(model: Any, options: argparse.Namespace) -> None:
    """Check that the input of a model is a batch of RGB images.

    Args:
        model: keras.Model. The model.
        options: argparse.Namespace. The options of the command.

    Raises:
        ValueError: If it isn't.

    Example:
    >>> options = argparse.Namespace(model="own.keras")
    >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    >>> check_images(model, options)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
        ...
    ValueError: Expected a model of RGB images ... Received: own.keras, with the inputs [(None, 4)]
    """
    shapes = [tuple(entry.shape) for entry in getattr(model, "inputs", None) or []]
    if len(shapes) != 1 or len(shapes[0]) != 4 or shapes[0][3] != 3:
        raise ValueError(
            f"Expected a model of RGB images (batch, height, width, 3). Received: {options.model}, "
            f"with the inputs {shapes}"
        )


def transform_of(model: Any) -> dict[str, Any]:
    """Return how the images of a model are prepared.

    Args:
        model: keras.Model. The model.

    Returns:
        dict. The arguments of its evaluation transform; empty if they aren't known.

    Example:
    >>> transform_of(keras.Sequential())
    {}
    """
    return getattr(model, "evaluation_transform", None) or {}


def names_of(model: Any, count: int, options: argparse.Namespace) -> list[str]:
    """Return the class names of a model.

    They come from the model itself, from a file `classes.txt` in the folder of the model or, for
    1,000 classes, from ImageNet-1k. Otherwise the names are "class 0", "class 1" and so on.

    Args:
        model: keras.Model. The model.
        count: int. The number of its classes.
        options: argparse.Namespace. The options of the command.

    Returns:
        list of str. The names.

    Raises:
        ValueError: If `classes.txt` isn't a text file in UTF-8.

    Example:
    >>> names_of(keras.Sequential(), 2, argparse.Namespace(model="tiny"))
    ['class 0', 'class 1']
    """
    names = getattr(model, "class_names", None)
    beside = Path(options.model).with_name("classes.txt")  # for models without names of their own
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
    """Return whether `--model` is a path and not a size.

    Args:
        options: argparse.Namespace. The options of the command.

    Returns:
        bool.

    Example:
    >>> is_path(argparse.Namespace(model="tiny"))
    False
    """
    return options.model not in SIZES


def normalise(model: Any, image: np.ndarray) -> np.ndarray:
    """Normalise an image, unless the model does it itself.

    Args:
        model: keras.Model. The model.
        image: np.ndarray. RGB in 0..255, (..., 3).

    Returns:
        np.ndarray. The image, float32, of the same shape.

    Example:
    >>> normalise(keras.Sequential(), np.full((1, 1, 3), 255, "uint8")).ravel().tolist()
    [255.0, 255.0, 255.0]
    """
    image = image.astype("float32")
    return image if getattr(model, "include_preprocessing", True) else normalise_rgb(image, model)
