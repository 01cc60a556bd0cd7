"""Opening the model of a command, and reading its class names and other information."""

import argparse
import ast
import inspect
import types
import typing
import warnings
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

import keras_paca
from keras_paca.backbones.normalisation import normalise_rgb
from keras_paca.backbones.registry import models
from keras_paca.backbones.variants import NamedModel
from keras_paca.labels import imagenet_classes
from keras_paca.models import similar_names
from keras_paca.warn import FreshWeightsWarning

ALIASES = {"tiny": "paca_tiny", "small": "paca_small", "base": "paca_base"}
KINDS = {"classification": "classifier", "segmentation": "segmenter", "detection": "detector"}
FLAGS = {  # arguments of the functions that build models -> the options that set them
    "clustering": "--clustering",
    "clusters": "--clusters",
    "cluster_every": "--blockwise",
    "drop_path_rate": "--drop-path-rate",
    "ema": "--ema",
}
OPTIONS_FOR_NEW_MODELS = ("clustering", "clusters", "blockwise", "ema", "option", "weights")


def open_model(
    options: argparse.Namespace, task: str = "classification", trained: bool = False
) -> keras.Model:
    """Return the model that `--model` names: a saved one, or a new one with its weights.

    Args:
        options: argparse.Namespace. The options of the command.
        task: str. What a new model is for, where the name leaves it open: "classification",
            "segmentation" or "detection".
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
    with warnings.catch_warnings():
        warnings.simplefilter("error", FreshWeightsWarning)
        try:
            model = build_model(options, task)
        except FreshWeightsWarning as warning:
            raise ValueError(f"The predictions would come from random weights. {warning}") from None
    if trained and options.weights == "none":  # after what else is wrong with the options
        raise ValueError("With --weights none, the predictions would come from random weights.")
    return model


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
            f"{', '.join(given)} can't change a saved model, only a new one, which --model names. "
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
    """Return a new model of the name that `--model` gives, with its weights.

    Args:
        options: argparse.Namespace. The options of the command.
        task: str. "classification", "segmentation" or "detection".
        **more: Further arguments of the function that makes the model, such as `classes`.

    Returns:
        keras.Model. The model.

    Raises:
        ValueError: If there is no model of this name, or the options don't fit it.

    Example:
    >>> from keras_paca_cli import parse
    >>> options = parse(["train", "flowers", "--model", "tiny", "--weights", "none"])
    >>> build_model(options, "classification", classes=5).output_shape
    (None, 5)
    """
    model = named_model(options, task)
    arguments = own_options(options, model)
    weights = options.weights or model.task.weights
    if model.task.name != "classification" and weights == "imagenet":
        raise ValueError(
            f"--weights imagenet leaves a {KINDS[model.task.name]}'s heads random. "
            f"Expected {model.task.weights}."
        )
    return model.function(weights=None if weights == "none" else weights, **arguments, **more)


def named_model(options: argparse.Namespace, task: str = "classification") -> NamedModel:
    """Return what builds the model of the name that `--model` gives.

    Args:
        options: argparse.Namespace. The options of the command.
        task: str. "classification", "segmentation" or "detection". For another task than
            "classification", the name of a classifier stands for the model on it.

    Returns:
        NamedModel. The model.

    Raises:
        ValueError: If there is none.

    Example:
    >>> options = argparse.Namespace(command="evaluate", model="small")
    >>> named_model(options).name, named_model(options, "detection").name
    ('paca_small', 'paca_small_mask_rcnn')
    """
    name = ALIASES.get(options.model, options.model)
    if name not in models():
        near = similar_names(name)
        hint = f" Similar names: {', '.join(near)}." if near else ""
        if Path(name).suffix in (".pth", ".safetensors", ".h5"):
            hint = " A file of weights is given by --weights, together with a name as --model."
        option = "MODEL" if options.command in ("export", "benchmark") else "--model"
        raise ValueError(
            f"{option} must be a name that `keras-paca models` lists; {', '.join(ALIASES)} for "
            f"PaCa-ViT; or the path of a file that ends in .keras.{hint} Received: {name}"
        )
    model = models()[name]
    if task in ("classification", model.task.name) or model.task.name != "classification":
        return model
    for each in model.variant.models.values():
        if each.task.name == task:
            return each
    raise ValueError(f"There is no {KINDS[task]} on {model.name}. `keras-paca models` lists all.")


def own_options(options: argparse.Namespace, model: NamedModel) -> dict[str, Any]:
    """Return the arguments of a model that its own options set: `--option` and what stands for it.

    Args:
        options: argparse.Namespace. The options of the command.
        model: NamedModel. The model.

    Returns:
        dict. {argument of the model's function: value}, those that were given.

    Raises:
        ValueError: If the model has no such option, or the value isn't one for it.

    Example:
    >>> from keras_paca_cli import parse
    >>> line = ["predict", "cat.jpg", "--blockwise", "--option", "drop_path_rate=0.2"]
    >>> options = parse(line)
    >>> own_options(options, named_model(options))
    {'cluster_every': 1, 'drop_path_rate': 0.2}
    """
    known = dict(model.options)
    if "ema" in inspect.signature(model.function).parameters:
        known["ema"] = inspect.signature(model.function).parameters["ema"]
    found = {
        "clustering": options.clustering,
        "clusters": options.clusters,
        "cluster_every": 1 if options.blockwise else None,
        "ema": True if options.ema else None,
        "drop_path_rate": getattr(options, "drop_path_rate", None),
    }
    found = {name: value for name, value in found.items() if value is not None}
    for name, text in options.option or ():
        if name in found:
            twice = FLAGS.get(name, f"--option {name}=")
            raise ValueError(f"{name} can be given once. Received: {twice} and --option {name}=...")
        if name in known:
            found[name] = _read_value(name, text, known[name].annotation)
        else:
            found[name] = text
    unknown = [name for name in found if name not in known]
    if unknown:
        given = ", ".join(FLAGS.get(name, f"--option {name}=...") for name in unknown)
        raise ValueError(
            f"{model.name} doesn't take {given}. Its own options, for --option NAME=VALUE, are "
            f"{', '.join(model.options)}."
        )
    return found


def _read_value(name: str, text: str, annotation: Any) -> Any:
    """Return the value that a text stands for, of a type that a parameter's annotation admits."""
    for kind in _kinds(annotation):
        try:
            return _read_as(kind, text)
        except ValueError:
            continue
    words = " or ".join(
        WORDS.get(kind, getattr(kind, "__name__", "")) for kind in _kinds(annotation)
    )
    raise ValueError(f"--option {name} must be {words}. Received: {name}={text}")


WORDS = {
    bool: "true or false",
    int: "an integer",
    float: "a number",
    str: "a word",
    types.NoneType: "none",
    Sequence: "numbers with commas between them",
}


def _kinds(annotation: Any) -> list[Any]:
    """Return the types of which an annotation is a union, the narrowest first."""
    union = typing.get_origin(annotation) in (types.UnionType, typing.Union)
    members = typing.get_args(annotation) if union else (annotation,)
    members = [
        Any if isinstance(each, str) or each is inspect.Parameter.empty else each
        for each in members
    ]
    kinds = [typing.get_origin(each) or each for each in members]
    order = [types.NoneType, bool, int, float, Sequence, tuple, list, Mapping, Any, str]
    return sorted(kinds, key=lambda kind: order.index(kind) if kind in order else len(order))


def _read_as(kind: Any, text: str) -> Any:
    if kind is types.NoneType:
        if text.lower() != "none":
            raise ValueError
        return None
    if kind is bool:
        if text.lower() not in ("true", "false"):
            raise ValueError
        return text.lower() == "true"
    if kind in (int, float, str):
        return kind(text)
    try:
        value = ast.literal_eval(text)
    except (SyntaxError, ValueError):
        if kind is Any:
            return text
        raise ValueError from None
    if kind in (Sequence, tuple, list) and not isinstance(value, tuple | list):
        raise ValueError
    return value


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
    if hasattr(model, "pyramid_outputs"):
        return "classifier" if model.get_config().get("include_top") else "features"
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
    """Return whether `--model` is the path of a saved model and not a name.

    Args:
        options: argparse.Namespace. The options of the command.

    Returns:
        bool.

    Example:
    >>> is_path(argparse.Namespace(model="tiny"))
    False
    """
    return Path(options.model).suffix == ".keras"


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
