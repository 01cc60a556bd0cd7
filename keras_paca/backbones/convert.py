"""Converting files of weights between the official format and Keras's, for every family."""

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_paca import weights
from keras_paca.arguments import check_boolean, complete, join_first
from keras_paca.backbones.base import Backbone
from keras_paca.backbones.loading import CLASSIFICATION, Source, load_weights
from keras_paca.backbones.plain_vit import plain_vit_tensors
from keras_paca.backbones.registry import families, variants
from keras_paca.backbones.variants import Variant


def convert(source: str | Path, target: str | Path, ema: bool = False) -> None:
    """Convert a file of weights.

    Args:
        source: str or Path. An official `.pth` file, or a `.safetensors`, `.weights.h5` or `.keras`
            file of a variant of any family. Of a detector or segmenter, only the backbone is
            converted, unless the target is a `.safetensors` file, which keeps all official tensors.
        target: str or Path. A `.safetensors` file (with official keys and layouts), or a
            `.weights.h5` or `.keras` file. An existing file is replaced.
        ema: bool. Whether to convert the exponential moving average of the weights, which some
            official `.pth` files hold beside the weights.

    Raises:
        FileNotFoundError: If there is no such source, or no directory for the target.
        ValueError: If the source isn't such a file, if it fits no variant, or if there is no moving
            average with `ema=True`.

    Example:
    >>> import keras_paca
    >>> PaCaPico = keras_paca.backbones.variant(
    ...     keras_paca.PaCaViT,
    ...     "paca_pico",
    ...     hidden_dims=(8, 8, 8, 8),
    ...     depths=(1, 1, 1, 1),
    ...     num_heads=1,
    ... )
    >>> directory = Path(tempfile.mkdtemp())
    >>> PaCaPico(weights=None, classes=3).save(directory / "pico.keras")
    >>> convert(directory / "pico.keras", directory / "pico.safetensors")
    >>> weights.open_checkpoint(directory / "pico.safetensors").tensors["head.weight"].shape
    (3, 8)
    """
    check_boolean("ema", ema)
    source, target = Path(source), Path(target)
    if not source.exists():
        raise FileNotFoundError(f"No such file: {source}")
    if not target.name.endswith((".safetensors", ".weights.h5", ".keras")):
        raise ValueError(
            f"The target must end in .safetensors, .weights.h5 or .keras. Received: {str(target)!r}"
        )
    if not target.absolute().parent.is_dir() or target.is_dir():
        raise FileNotFoundError(
            f"The target must be a file in a directory that exists. Received: {str(target)!r}"
        )
    checkpoint = weights.open_checkpoint(source, ema)
    if target.suffix == ".safetensors" and checkpoint.official:
        origin = f"moving average in {source.name}" if ema else source.name
        _write_safetensors(target, checkpoint.tensors, origin, checkpoint.information)
        return
    model = _load_variant(checkpoint)
    if target.suffix == ".safetensors":
        information = {
            "class_names": model.class_names,
            "evaluation_transform": model.evaluation_transform,
        }
        _write_safetensors(target, official_tensors(model), source.name, information)
        return
    with tempfile.TemporaryDirectory(dir=target.absolute().parent) as temporary:
        partial = Path(temporary) / target.name
        if target.suffix == ".keras":
            model.save(partial)
        else:
            model.save_weights(partial)
        partial.replace(target)


def _load_variant(checkpoint: weights.Checkpoint) -> Backbone:
    """Return a model of the variant that a file holds, with its weights.

    Args:
        checkpoint: Checkpoint. What `weights.open_checkpoint` returned.

    Raises:
        ValueError: If the file fits no variant.
    """
    failures = []
    for variant in variants().values():
        options = _options(variant, checkpoint)
        if options is None:
            continue
        model = variant.family(**options, name=variant.name)
        try:
            load_weights(model, checkpoint)
            return model
        except ValueError as error:  # such as another width, which no key shows
            failures.append(error)
    if failures:
        raise failures[0]
    raise ValueError(
        f"{checkpoint.name} holds no model of {', '.join(variants())}; only those are converted. "
        f"{_looks_like(checkpoint)}"
    )


def _looks_like(checkpoint: weights.Checkpoint) -> str:
    """Return what a file holds that fits no variant, in full sentences."""
    for family in families():
        if shown := family.identify(checkpoint):
            options = ", ".join(f"{name}={value!r}" for name, value in shown.items())
            return f"It looks like a {family.__name__} with {options}."
    *others, last = (family.__name__ for family in families())
    first = join_first([repr(key) for key in checkpoint.tensors], 5)
    text = f"Its keys aren't those of {', '.join(others)} or {last}; the first are {first}."
    if plain_vit_tensors(checkpoint) is not None:
        text += (
            " It looks like a plain vision transformer, from which a ViTTM or a CastlingViT can "
            "start by `weights=`."
        )
    return text


def official_tensors(model: Backbone) -> dict[str, np.ndarray]:
    """Return a model's weights under the official keys and in the official layouts.

    Args:
        model: Backbone. The model.

    Example:
    >>> import keras_paca
    >>> model = keras_paca.PaCaViT((8, 8, 8, 8), 1, 1, classes=3)
    >>> official_tensors(model)["head.weight"].shape
    (3, 8)
    """
    arrays = {
        path: keras.ops.convert_to_numpy(variable).astype("float32")
        for path, variable in weights.model_variables(model).items()
    }
    key_map = model.checkpoint_map(model.get_config())
    return {key: entry.join(arrays) for key, entry in key_map.items()}


def _options(variant: Variant, checkpoint: weights.Checkpoint) -> dict[str, Any] | None:
    """Return the options with which a variant fits a file, or `None` where it doesn't."""
    family = variant.family
    shown = family.identify(checkpoint)
    if shown is None:
        return None
    names = family.option_names()
    chosen = {
        name: value
        for name, value in shown.items()
        if name in names and name not in variant.changed
    }
    options = variant.complete(chosen)
    if not all(_agree(options.get(name), shown[name]) for name in shown if name in variant.changed):
        return None
    official, (layer, *_) = checkpoint.official, family.classifier_keys.values()
    bias = f"{next(iter(family.classifier_keys))}.bias" if official else f"{layer}/1"
    head = checkpoint.tensors.get(bias)
    options["include_top"] = head is not None
    if head is not None:
        options["classes"] = int(head.shape[0])
        known = Source(family, CLASSIFICATION, checkpoint=checkpoint).information
        complete(options, known, options["classes"])
    return options


def _agree(option: Any, shown: Any) -> bool:
    """Return whether an option, perhaps one value for all stages, is what a file shows."""
    if isinstance(shown, tuple) and np.ndim(option) == 0:
        option = (option,) * len(shown)
    return (tuple(option) if isinstance(option, list) else option) == shown


def _write_safetensors(
    path: Path, tensors: Mapping[str, np.ndarray], source: str, information: Mapping[str, Any]
) -> None:
    """Write official tensors and, in JSON, the information about the model."""
    metadata = {"source": source}
    metadata |= {name: json.dumps(value) for name, value in information.items() if value}
    weights.write_safetensors(path, tensors, metadata)
