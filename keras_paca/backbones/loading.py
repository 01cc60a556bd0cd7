"""Loading files of weights into models: the choice of a released file, and strict loading.

Classifiers, backbones, segmenters and detectors load through `load_weights`. What differs between
them is a `Task`.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np

from keras_paca import weights


class ClassOutputs(NamedTuple):
    """A layer whose weights depend on the number of classes.

    Attributes:
        layer: str. Path of the layer.
        count: int. Number of its outputs, 0 if the model doesn't have the layer.
        official: dict. {suffix of official key: axis of the outputs}.
        saved: dict. {index of the variable in the layer: axis of the outputs}.

    Example:
    >>> ClassOutputs("predictions", 3).keys("head", official=True)
    {'head.weight': 0, 'head.bias': 0}
    """

    layer: str
    count: int
    official: Mapping[str, int] = {".weight": 0, ".bias": 0}
    saved: Mapping[int, int] = {0: 1, 1: 0}

    def keys(self, prefix: str, official: bool) -> dict[str, int]:
        """Return the keys of the weights in a file, and the axis of the outputs of each.

        Args:
            prefix: str. Beginning of the official keys.
            official: bool. Whether the file is an official one or a saved Keras model.
        """
        if official:
            return {f"{prefix}{suffix}": axis for suffix, axis in self.official.items()}
        return {f"{self.layer}/{index}": axis for index, axis in self.saved.items()}


@dataclass(frozen=True)
class Task:
    """What a model is for, and how its files differ from those of other tasks.

    Attributes:
        name: str. "classification", "segmentation" or "detection", as in the released files.
        weights: str. The value of the argument `weights` for a released file, such as "imagenet".
        data_set: str. The data set's name in messages.
        class_outputs: Callable. It takes a model and returns {prefix of official keys:
            `ClassOutputs`}, for the layers whose outputs depend on the number of classes.
        fresh: str. A description of those layers, for a warning.
        checkpoint_map: Callable. It takes a model and returns {official key: entry}.
        information: Callable. It takes a released file and its family and returns its class names
            and its transform.
        marker: str. Beginning of a key that all official files for this task have, "" for none.
        use_elsewhere: str. A sentence that says what to do with a file without that key.

    Example:
    >>> import keras_paca
    >>> model = keras_paca.PaCaViT((8, 8, 8, 8), 1, 1, classes=3)
    >>> CLASSIFICATION.class_outputs(model)["head"].count
    3
    """

    name: str
    weights: str
    data_set: str
    class_outputs: Callable[[Any], dict[str, ClassOutputs]]
    fresh: str
    checkpoint_map: Callable[[Any], weights.KeyMap]
    information: Callable[[weights.ReleasedFile, type], dict[str, Any]]
    marker: str = ""
    use_elsewhere: str = ""


@dataclass(frozen=True)
class Related:
    """What a model takes of a file of another family, such as a plain vision transformer.

    Attributes:
        tensors: Mapping of str to np.ndarray. The tensors of the file under the keys of the model's
            own official files, those in `unused` included.
        unused: set of str. Keys of the file that the model has no use for.
        fresh: set of str. Official keys of the model whose weights keep their initial values.
        part: str. A description of those weights in the singular, for the warning.
        kind: str. A description of the file, for the warning.

    Example:
    >>> Related({}, set(), {"head.weight"}, "the head", "a plain vision transformer").part
    'the head'
    """

    tensors: Mapping[str, np.ndarray]
    unused: set[str]
    fresh: set[str]
    part: str
    kind: str


def _classifiers(model: Any) -> dict[str, ClassOutputs]:
    config = model.get_config()
    held = model.classifiers(config) if config["include_top"] else {}
    return {
        key: ClassOutputs(layer, config["classes"] if key in held else 0)
        for key, layer in model.classifier_keys.items()
    }


CLASSIFICATION = Task(
    name="classification",
    weights="imagenet",
    data_set="ImageNet",
    class_outputs=_classifiers,
    fresh="the head",
    checkpoint_map=lambda model: model.checkpoint_map(model.get_config()),
    information=lambda file, family: family.released_information(file),
)


# --- The choice of a file -----------------------------------------------------------------------


def choose_file(
    family: type, size: str, task: Task, options: Mapping[str, Any], head: str | None = None
) -> weights.ReleasedFile:
    """Return the released file to start from.

    Args:
        family: type. The class of the backbone.
        size: str. The variant's size, such as "small".
        task: Task. What the model is for.
        options: dict. The family's options, `None` where the caller chose nothing.
        head: str. The head, if the files of the task differ in it, or `None`.

    Raises:
        ValueError: If there is no such file.

    Example:
    >>> from keras_paca import PaCaViT
    >>> options = {"clustering": "conv", "clusters": None, "cluster_every": None}
    >>> choose_file(PaCaViT, "tiny", CLASSIFICATION, options).accuracy
    {'top1': 80.9}
    """
    names = {
        variant.size: name
        for variant in family.variants.values()
        for name, model in variant.models.items()
        if model.task.name == task.name
    }
    files = [
        file
        for file in weights.released_files()
        if (file.family, file.task) == (family.family, task.name)
    ]
    ranks = [
        family.rank(file, options) if file.size == size and head in (None, file.head) else None
        for file in files
    ]
    fitting = [(rank, i) for i, rank in enumerate(ranks) if rank is not None]
    if fitting:
        return files[min(fitting)[1]]
    if family.unreleased:
        raise ValueError(
            f"No {task.data_set} weights are downloaded for {names.get(size, size)}. "
            f"{family.unreleased} With `weights=None`, the values are random."
        )
    keys = {name for file in files for name in file.options}
    kinds = {k: x.default for k, x in family.own_parameters().items() if isinstance(x.default, str)}
    keys |= {name for name in kinds if options.get(name) != kinds[name]}
    wanted = {name: options[name] for name in options if name in keys}
    wanted = {name: value for name, value in wanted.items() if value is not None}
    wanted = {"head": head, **wanted} if head is not None else wanted
    wanted = "".join(f", {name}={value!r}" for name, value in wanted.items())
    listed = "".join(
        f"\n  {names.get(file.size, file.size)}{file.variant.removeprefix(file.size)}"
        + (f", head={file.head!r}" if head is not None else "")
        for file in files
    )
    rest = f" or use one of:{listed}" if listed else "."
    raise ValueError(
        f"Nobody released {task.data_set} weights for {names.get(size, size)}{wanted}. Pass "
        f"`weights=None`{rest}"
    )


def _obtain(
    model: keras.Model,
    file: weights.ReleasedFile,
    task: Task,
    url: str | None,
) -> weights.Checkpoint:
    """Return a released checkpoint, which is downloaded once and checked before it is stored.

    Args:
        model: keras.Model. A model of the file's task, whose head may have other classes.
        file: ReleasedFile. The file.
        task: Task. What the model is for.
        url: str. URL of a mirror of the released files, or `None`.

    Raises:
        ValueError: If the file doesn't hold what the table of released files says.
    """
    backbone = getattr(model, "backbone", model)
    if backbone.image_shape[2] != 3:
        raise ValueError(
            "The released weights take 3 channels; pass `weights=None` for others. "
            f"Received: input_shape={backbone.image_shape}"
        )
    given = type(backbone).file_options
    implied = {name: file.options[name] for name in given if name in file.options}
    config = {**backbone.get_config(), **implied, "include_top": True}
    key_map = backbone.checkpoint_map(config) if model is backbone else task.checkpoint_map(model)
    variables = weights.model_variables(model)
    outputs = task.class_outputs(model).items()
    ignored = {key for prefix, x in outputs if not x.count for key in x.keys(prefix, official=True)}

    def check(tensors: Mapping[str, np.ndarray]) -> None:
        held = type(backbone).options_of_file(tensors)
        for name, value in held.items():
            if file.options.get(name, value) != value:
                raise ValueError(
                    f"{file.file} should have {name}={file.options[name]} and has {value}."
                )
        missing = key_map.keys() - tensors.keys()
        unexpected = tensors.keys() - key_map.keys() - _unused_keys(model, tensors, official=True)
        unexpected -= ignored
        if missing or unexpected:
            raise ValueError(
                f"{file.file} should be {file.variant}, head={file.head!r}. Missing: "
                f"{sorted(missing)[:3]}; unexpected: {sorted(unexpected)[:3]}."
            )
        for key, entry in key_map.items():
            part = entry.parts[0]
            if part.variable in ("gamma", "moving_mean") and part.path in variables:
                size, found = variables[part.path].shape[0], tensors[key].size
                if size != found:
                    raise ValueError(
                        f"{file.file} should be {file.variant} and has {found} channels instead of "
                        f"{size} in {key}."
                    )

    return weights.fetch(file, url, check)


# --- Loading ------------------------------------------------------------------------------------


def load_weights(
    model: keras.Model,
    checkpoint: weights.Checkpoint,
    other_options: bool = False,
    task: Task = CLASSIFICATION,
) -> None:
    """Load a checkpoint strictly.

    Every tensor of the file must match a weight of the model, and vice versa. There are seven
    exceptions: (a) constants, such as counters of batches; (b) the head, if the model has no top,
    and that of a detector's or segmenter's backbone, or heads that it doesn't have; (c) all parts
    of a detection or segmentation file but the backbone; (d) layers for another number of classes;
    (e) layers that depend on options that the caller chose, such as `clusters`; (f) what a file of
    another family, from which the model may start, has no weights for; (g) tensors that a family
    adapts to options that the caller chose, such as position embeddings, which `ViTTM` resizes to
    another `image_size`.

    Args:
        model: keras.Model. A `Backbone`, or a `Segmenter` or `MaskRCNN` on one.
        checkpoint: Checkpoint. The result of `weights.open_checkpoint`.
        other_options: bool. Whether the caller chose such options, so that (e) and (g) hold.
        task: Task. What the model is for.

    Raises:
        ValueError: If anything else doesn't match. The model isn't changed then.

    Example:
    >>> import keras_paca
    >>> from keras_paca.backbones.convert import official_tensors
    >>> model = keras_paca.PaCaViT((8, 8, 8, 8), 1, 1, classes=3)
    >>> tensors = official_tensors(model) | {"head.bias": np.ones(3, "float32")}
    >>> load_weights(model, weights.Checkpoint("example.pth", True, tensors))
    >>> model.get_layer("predictions").get_weights()[1].tolist()
    [1.0, 1.0, 1.0]
    """
    name, backbone = checkpoint.name, getattr(model, "backbone", model)
    tensors, official, related = checkpoint.tensors, checkpoint.official, None
    if model is backbone:
        related = type(backbone).related_checkpoint(checkpoint, backbone.get_config())
        if related is not None:
            official = True
            tensors = {key: x for key, x in related.tensors.items() if key not in related.unused}
    elif not official:  # `find_source` has checked official files
        of_heads = weights.expected_shapes(model).keys() - weights.expected_shapes(backbone).keys()
        if not of_heads & tensors.keys():
            raise _without_head(checkpoint, task)
    key_map = task.checkpoint_map(model) if official else None
    is_part = False
    if key_map is not None and model is backbone:
        tensors, is_part = _part_of_backbone(tensors, key_map)  # (c)
    if other_options:  # (g)
        tensors = type(backbone).adapt_tensors(tensors, backbone.get_config())
    unused = _unused_keys(model, tensors, official)  # (a), and (b) of a backbone
    fresh: set[str] = set()
    other_classes: set[int] = set()
    shapes = weights.expected_shapes(model, key_map)
    for prefix, outputs in task.class_outputs(model).items():
        axes, count = outputs.keys(prefix, official), outputs.count
        if not count:
            unused.update(axes)  # (b)
        elif is_part:
            fresh.update(axes)
        elif (held := _count_classes(tensors, axes, shapes)) not in (None, count):
            fresh.update(axes)  # (d)
            other_classes.add(held)
    if task is CLASSIFICATION and not model.get_config()["include_top"]:
        unused |= _keys_of_top(model, tensors, official)  # (b)
    elif is_part:
        fresh |= _keys_of_top(model, shapes, official)
    if fresh:
        wanted = model.get_config()["classes" if model is backbone else "num_classes"]
        why = f"not made for {wanted} classes"
        if model is backbone:
            why = f"made for {max(other_classes, default=0)} classes, not {wanted}"
        why = "a backbone of a detector or segmenter" if is_part else why
        weights.warn_fresh(name, task.fresh, why)
    if other_options:  # (e)
        fresh |= type(backbone).fresh_keys(tensors, backbone.get_config(), name)
    if related is not None:  # (f)
        fresh |= related.fresh
    if official:
        weights.load_official(model, tensors, key_map, name, unused, fresh)
    else:
        weights.load_keras(model, tensors, name, unused, fresh)
    if related is not None:
        weights.warn_fresh(name, related.part, related.kind)


def _without_head(checkpoint: weights.Checkpoint, task: Task) -> ValueError:
    """Return the error for a file that has no head for a task."""
    return ValueError(
        f"{checkpoint.name} is no {task.name} checkpoint: it holds no "
        f"`{task.marker.rstrip('.')}`. {task.use_elsewhere}"
    )


def _unused_keys(model: Any, tensors: Mapping[str, np.ndarray], official: bool) -> set[str]:
    """Return the keys of constants, and of the top of a detector's or segmenter's backbone."""
    backbone = getattr(model, "backbone", model)
    found = set(type(backbone).constant_keys(tensors))
    if model is backbone or not official:
        return found
    start = "backbone."
    inside = {key.removeprefix(start): x for key, x in tensors.items() if key.startswith(start)}
    inside_keys = type(backbone).constant_keys(inside) | _keys_of_top(backbone, inside, official)
    return found | {f"{start}{key}" for key in inside_keys}


def _keys_of_top(model: Any, keys: Iterable[str], official: bool) -> set[str]:
    """Return the keys of all layers that only a model with a top has, among keys of a file."""
    config = model.get_config()
    whole, bare = (model.checkpoint_map({**config, "include_top": x}) for x in (True, False))
    top = whole.keys() - bare.keys()
    if official:
        return {key for key in keys if key in top}
    layers = {part.layer for key in top for part in whole[key].parts}
    return {key for key in keys if key.rpartition("/")[0] in layers}


def of_backbone(tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return tensors by the keys that they have in a file of a backbone alone.

    Args:
        tensors: dict. The arrays of a file by their keys, such as those of a segmenter.

    Example:
    >>> of_backbone({"backbone.memory_pos_embed": np.zeros((1, 4, 8))}).keys()
    dict_keys(['memory_pos_embed'])
    """
    return {key.removeprefix("backbone."): value for key, value in tensors.items()}


def _part_of_backbone(
    tensors: Mapping[str, np.ndarray], key_map: Mapping[str, Any]
) -> tuple[Mapping[str, np.ndarray], bool]:
    """Return the tensors of the backbone, and whether the file is of a detector or segmenter."""
    start = "backbone."  # in some families, keys of the backbone itself begin with it, too
    if not any(start + key in tensors for key in key_map):
        return tensors, False
    inside = {key: value for key, value in tensors.items() if key.startswith(start)}
    return {key.removeprefix(start): value for key, value in inside.items()}, True


def _count_classes(
    tensors: Mapping[str, np.ndarray],
    axes: Mapping[str, int],
    shapes: Mapping[str, tuple[int, ...]],
) -> int | None:
    """Return the number of a layer's outputs in a file, or `None` if other sizes differ."""
    counts = set()
    for key, axis in axes.items():
        if not (key in tensors and key in shapes and tensors[key].ndim == len(shapes[key])):
            return None
        found, wanted = list(tensors[key].shape), list(shapes[key])
        counts.add(found.pop(axis))
        wanted.pop(axis)
        if found != wanted:
            return None
    return int(counts.pop()) if len(counts) == 1 else None


# --- Where weights come from --------------------------------------------------------------------


@dataclass(frozen=True)
class Source:
    """Where the weights of a model come from: a released file, an opened one, or nowhere.

    A model is built in three steps: `find_source`; the model itself, with the options that
    `complete` returns and the `information`; `load`.

    Attributes:
        family: type. The class of the backbone.
        task: Task. What the model is for.
        file: ReleasedFile. The released file, or `None`.
        checkpoint: Checkpoint. The opened file, or `None`.

    Example:
    >>> from keras_paca import PaCaViT
    >>> source = Source(PaCaViT, CLASSIFICATION, file=weights.released_files()[0])
    >>> source.complete({"clusters": None})
    {'clusters': (100, 100, 100, 0)}
    >>> source.information["class_names"][:2]
    ['tench', 'goldfish']
    """

    family: type
    task: Task
    file: weights.ReleasedFile | None = None
    checkpoint: weights.Checkpoint | None = None

    def complete(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """Return the options of the family, completed by those of the file.

        Args:
            options: dict. The options, `None` where the caller chose nothing.
        """
        held: Mapping[str, Any] = {}
        if self.file is not None:
            held = self.file.options
        elif self.checkpoint is not None:
            held = self.family.options_of_file(self.checkpoint.tensors)
        missing = [name for name in self.family.file_options if options.get(name) is None]
        return {**options, **{name: held[name] for name in missing if name in held}}

    @property
    def information(self) -> dict[str, Any]:
        """The class names and the evaluation transform of the file.

        A copy of a released file is recognised by its name.
        """
        file, checkpoint = self.file, self.checkpoint
        if file is None and checkpoint is not None:
            rows = [x for x in weights.released_files() if x.family == self.family.family]
            names = {each.file: each for each in rows if each.task == self.task.name}
            file = names.get(Path(checkpoint.name).name)
        known = {} if file is None else self.task.information(file, self.family)
        return {**known, **(checkpoint.information if checkpoint is not None else {})}

    def load(self, model: keras.Model, options: Mapping[str, Any], url: str | None) -> None:
        """Load the weights into a model; a released file is downloaded once.

        Args:
            model: keras.Model. The model.
            options: dict. The options as the caller chose them. Where they differ from those of the
                file, parts of the model keep their initial values.
            url: str. URL of a mirror of the released files, or `None`.
        """
        checkpoint = self.checkpoint
        if self.file is not None:
            checkpoint = _obtain(model, self.file, self.task, url)
        if checkpoint is not None:
            chosen = any(options.get(name) is not None for name in self.family.file_options)
            load_weights(model, checkpoint, chosen, self.task)


def find_source(
    family: type,
    size: str,
    task: Task,
    given: str | Path | None,
    options: Mapping[str, Any],
    head: str | None = None,
    ema: bool = False,
) -> Source:
    """Return where the weights of a model come from.

    Args:
        family: type. The class of the backbone.
        size: str. The variant's size, such as "small".
        task: Task. What the model is for.
        given: str, Path or None. The argument `weights`.
        options: dict. The family's options, `None` where the caller chose nothing.
        head: str. The head, if the released files of the task differ in it, or `None`.
        ema: bool. Whether to load the exponential moving average of the weights.

    Raises:
        ValueError: If no such weights were released, if the file is one of another task, or if
            `ema` is True and the file isn't known to hold an average.
        FileNotFoundError: If there is no such file.

    Example:
    >>> from keras_paca import PaCaViT
    >>> options = {"clustering": "conv", "clusters": None, "cluster_every": None}
    >>> source = find_source(PaCaViT, "small", CLASSIFICATION, "imagenet", options)
    >>> source.file.accuracy
    {'top1': 83.08}
    >>> find_source(PaCaViT, "small", CLASSIFICATION, None, options).file is None
    True
    """
    if given is None:
        if ema:
            raise ValueError(
                "`ema=True` needs a file that holds the moving average of the weights. Received: "
                "weights=None, ema=True"
            )
        return Source(family, task)
    if isinstance(given, str) and given == task.weights:
        file = choose_file(family, size, task, options, head)
        if ema and not file.has_ema:
            raise ValueError(
                f"{file.file} isn't known to hold the moving average of the weights beside them. "
                f"Received: ema=True, weights={given!r}"
            )
        return Source(family, task, file=replace(file, ema=ema))
    named = tuple(dict.fromkeys((task.weights, CLASSIFICATION.weights)))
    checkpoint = weights.open_checkpoint(given, ema, named)
    has_marker = any(key.startswith(task.marker) for key in checkpoint.tensors)
    if checkpoint.official and not has_marker:
        raise _without_head(checkpoint, task)
    return Source(family, task, checkpoint=checkpoint)
