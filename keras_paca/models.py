"""Finding and building models by their names."""

import csv
import functools
import html
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from fnmatch import fnmatchcase
from importlib import resources
from typing import Any

import keras

from keras_paca.backbones.loading import choose_file
from keras_paca.backbones.registry import models, variants
from keras_paca.backbones.variants import NamedModel
from keras_paca.weights import ReleasedFile, released_files

MEASURES = {"top1": "top-1", "miou": "mIoU", "box_ap": "box AP", "mask_ap": "mask AP"}
COLUMNS = ("name", "parameters", "MACs", "image", "accuracy as stated", "weights", "licence")


@dataclass(frozen=True)
class ListedModel:
    """A model that `create_model` builds, and what is known about it.

    Attributes:
        name: str. Its name, such as "paca_small_segmenter".
        family: str. Name of the class of its backbone, such as "PaCaViT".
        task: str. "classification", "segmentation" or "detection".
        parameters: int or None. Number of trainable parameters, `None` where it wasn't counted.
        macs: int or None. Number of multiply-accumulates for an image of `image_size`.
        image_size: (int, int) or None. Height and width of the image of the count.
        accuracy: dict. What the authors state, in percent, of the weights that the model has by
            default: {"top1": ...}, {"miou": ...} or {"box_ap": ..., "mask_ap": ...}; empty where
            they state nothing.
        weights: str. The value of the argument `weights` for released weights, such as "imagenet",
            or "" where nobody released any for the default options.
        files: tuple of ReleasedFile. All released files of this model, of any options.
        licence: str. What is known about the licence of the weights.
        function: Callable. The function that builds the model.

    Example:
    >>> from keras_paca import list_models
    >>> (model,) = list_models("paca_small")
    >>> model.accuracy, model.weights, model.function.__name__
    ({'top1': 83.08}, 'imagenet', 'PaCaSmall')
    >>> f"{model.parameters / 1e6:.1f} M"
    '22.0 M'
    """

    name: str
    family: str
    task: str
    parameters: int | None
    macs: int | None
    image_size: tuple[int, int] | None
    accuracy: Mapping[str, float] = field(hash=False)
    weights: str
    files: tuple[ReleasedFile, ...] = field(repr=False)
    licence: str
    function: Callable[..., keras.Model] = field(repr=False)

    @property
    def cells(self) -> tuple[str, ...]:
        """The texts of its row in a table, in the order of `COLUMNS`."""
        size, count = self.image_size, len(self.files)
        return (
            self.name,
            "" if self.parameters is None else f"{self.parameters / 1e6:.1f} M",
            "" if self.macs is None else f"{self.macs / 1e9:.2f} G",
            "" if size is None else f"{size[0]} x {size[1]}",
            ", ".join(f"{MEASURES.get(k, k)} {v:g}" for k, v in self.accuracy.items()),
            self.weights + (f" ({count} files)" if count > 1 else ""),
            self.licence,
        )


class ModelList(list):
    """A list of `ListedModel` that is shown as a table.

    Args:
        models: Iterable of ListedModel. The models.

    Example:
    >>> from keras_paca import list_models
    >>> print(list_models("paca_tiny"))  # doctest: +ELLIPSIS
    name       parameters  MACs    image      accuracy as stated  weights   licence
    paca_tiny  12.2 M      3.22 G  224 x 224  top-1 80.9          imagenet  code MIT; ...
    >>> [model.name for model in list_models("paca_t*")][:2]
    ['paca_tiny', 'paca_tiny_segmenter']
    """

    def __init__(self, models: Iterable[ListedModel] = ()) -> None:
        super().__init__(models)

    def __repr__(self) -> str:
        rows = [COLUMNS, *(model.cells for model in self)]
        if len(rows) == 1:
            return "no models"
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        """Return the table for notebooks."""

        def row(cells: Iterable[str], kind: str) -> str:
            inside = "".join(f"<{kind}>{html.escape(cell)}</{kind}>" for cell in cells)
            return f"<tr>{inside}</tr>"

        rows = "".join(row(model.cells, "td") for model in self)
        return f"<table><thead>{row(COLUMNS, 'th')}</thead><tbody>{rows}</tbody></table>"


def list_models(pattern: str | None = None) -> ModelList:
    """Return the models of all families, with their costs, accuracies and weights.

    Parameters and multiply-accumulates are those of the default options, counted once for this
    table; nothing is built. Accuracies are what the authors state.

    Args:
        pattern: str. A name or a pattern such as "rapidnet*" or "*_segmenter", in which "*" stands
            for any characters and "?" for any one. `None` stands for all models.

    Returns:
        ModelList. A list of `ListedModel`, which is printed as a table. It is empty if the pattern
        fits no name.

    Raises:
        ValueError: If `pattern` is neither a string nor `None`.

    Example:
    >>> import keras_paca
    >>> [model.name for model in keras_paca.list_models("paca_*") if model.task == "classification"]
    ['paca_tiny', 'paca_small', 'paca_base']
    >>> keras_paca.list_models("vgg*")
    no models
    """
    if not isinstance(pattern, str | None):
        raise ValueError(
            '`pattern` must be a string such as "rapidnet*", or None. '
            f"Received: pattern={pattern!r}"
        )
    found = models()
    return ModelList(
        _describe(model)
        for name, model in found.items()
        if pattern is None or fnmatchcase(name, pattern.lower())
    )


def create_model(name: str, **options: Any) -> keras.Model:
    """Build a model by its name.

    `create_model("paca_tiny", weights=None)` is `PaCaTiny(weights=None)`. As with that function,
    the released weights are loaded by default.

    Args:
        name: str. A name that `list_models` returns.
        **options: Arguments of the function that builds the model, such as `weights`, `classes` or
            options of the family.

    Returns:
        keras.Model. The model.

    Raises:
        ValueError: If there is no such model, or an argument doesn't fit.

    Example:
    >>> from keras_paca import create_model
    >>> create_model("paca_tiny", weights=None, classes=10).output_shape
    (None, 10)
    """
    if name not in models():
        near = similar_names(name)
        hint = f" Similar names: {', '.join(near)}." if near else ""
        raise ValueError(
            f"`name` must be one that `list_models` has.{hint} Received: name={name!r}"
        )
    return models()[name].function(**options)


def similar_names(name: str) -> list[str]:
    """Return the names of models that are like a word, the most similar first.

    Args:
        name: str. The word.

    Returns:
        list of str. The variants whose names begin with the word, or else three names at most.

    Example:
    >>> similar_names("paca_tony")
    ['paca_tiny']
    >>> similar_names("rapidnet")
    ['rapidnet_ti', 'rapidnet_s', 'rapidnet_m', 'rapidnet_b']
    """
    word = str(name).lower()
    begun = [each for each in variants() if word and each.startswith(word)]
    return begun or get_close_matches(word, models(), cutoff=0.7)


def _describe(model: NamedModel) -> ListedModel:
    """Return what is known about a model."""
    variant, counted = model.variant, _counts().get(model.name)
    family, task = variant.family, model.task
    wanted = (family.family, task.name, variant.size)
    files = [x for x in released_files() if (x.family, x.task, x.size) == wanted]
    default = _default_file(model) if files else None
    shown = [default] if default is not None else files
    parameters, macs, height, width = counted or (None,) * 4
    licences = [file.licence for file in shown] or [family.files_licence]
    return ListedModel(
        name=model.name,
        family=family.__name__,
        task=task.name,
        parameters=parameters,
        macs=macs,
        image_size=None if counted is None else (height, width),
        accuracy=dict(default.accuracy) if default is not None else {},
        weights=task.weights if default is not None else "",
        files=tuple(files),
        licence="; ".join(dict.fromkeys(licences)),
        function=model.function,
    )


def _default_file(model: NamedModel) -> ReleasedFile | None:
    """Return the released file that a model loads by default, or `None`."""
    options = {name: each.default for name, each in model.options.items()}
    head = options.pop("head", None)
    variant = model.variant
    try:
        return choose_file(variant.family, variant.size, model.task, options, head)
    except ValueError:  # nobody released one for the default options
        return None


@functools.cache
def _counts() -> dict[str, tuple[int, ...]]:
    """Return {name: (parameters, multiply-accumulates, height, width)}."""
    table = resources.files("keras_paca").joinpath("models.csv")
    with table.open(encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines))
    fields = ("parameters", "macs", "height", "width")
    return {row["name"]: tuple(int(row[each]) for each in fields) for row in rows}
