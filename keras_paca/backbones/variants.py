"""The functions that build a variant of a family, with released weights by default.

Their signature is like those of `keras.applications`: the arguments that all families share, the
options of the family, and the arguments for files of weights.
"""

import inspect
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras

from keras_paca.arguments import check_boolean, complete
from keras_paca.backbones.documentation import (
    join_parameters,
    make_function,
    read_args,
    read_source,
    with_args,
)
from keras_paca.backbones.input_shape import is_plain_input, shape_of_tensor
from keras_paca.backbones.loading import CLASSIFICATION, Task, find_source


@dataclass(frozen=True)
class NamedModel:
    """A model that is found and built by its name, such as "paca_small_segmenter".

    Attributes:
        name: str. Its name, the default name of the models that the function builds.
        variant: Variant. The variant of its backbone.
        task: Task. What it is for.
        function: Callable. The function that builds it.

    Example:
    >>> from keras_paca import PaCaViT
    >>> model = PaCaViT.variants["paca_tiny"].models["paca_tiny"]
    >>> model.task.weights, model.function.__name__
    ('imagenet', 'PaCaTiny')
    """

    name: str
    variant: "Variant"
    task: Task
    function: Callable[..., keras.Model]

    @property
    def options(self) -> dict[str, inspect.Parameter]:
        """The function's own options by name: those of the family, and of a task such as `head`."""
        parameters = inspect.signature(self.function).parameters
        return {name: each for name, each in parameters.items() if name not in OF_ALL_MODELS}


@dataclass(frozen=True)
class Variant:
    """One size of a family.

    Attributes:
        family: type. The class of the family.
        name: str. Name of the variant, such as "paca_small".
        config: dict. The options of the family that define the size.
        when: dict. {(option, value): options that differ if that option has that value}.
        size: str. Its size in the table of released files, such as "small".
        models: dict. The models on this variant by their names, itself included.
        function_name: str. Name of the function that builds it; by default, made from `name`.

    Example:
    >>> import keras_paca
    >>> size = {"depths": 1, "num_heads": 1}
    >>> pico = Variant(keras_paca.PaCaViT, "paca_pico", size, when={}, size="pico")
    >>> pico.title, pico.complete({"depths": None, "num_heads": 2})
    ('PaCaPico', {'depths': 1, 'num_heads': 2})
    """

    family: type
    name: str
    config: Mapping[str, Any]
    when: Mapping[tuple[str, Any], Mapping[str, Any]]
    size: str
    models: dict[str, NamedModel] = field(default_factory=dict, compare=False, repr=False)
    function_name: str = ""

    @property
    def title(self) -> str:
        """The name of the function that builds it, such as "PaCaSmall"."""
        if self.function_name:
            return self.function_name
        if not self.family.variant_prefix:
            return self.name.title().replace("_", "")
        rest = self.name.rpartition("_")[2]
        return self.family.variant_prefix + rest.title().replace("_", "")

    @property
    def changed(self) -> set[str]:
        """The names of the options that the variant sets."""
        return {*self.config, *(name for changes in self.when.values() for name in changes)}

    def complete(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """Return the caller's options, completed by those of the size.

        Args:
            options: dict. The caller's options, `None` where the caller chose nothing.

        Returns:
            dict.
        """
        config = dict(self.config)
        given = {**_defaults(self.family), **self.config, **_given(options)}
        for (name, value), changes in self.when.items():
            if given.get(name) == value:
                config |= changes
        return {**options, **config, **_given(options)}


def variant(
    family: type,
    name: str,
    when: Mapping | None = None,
    size: str | None = None,
    title: str = "",
    **config: Any,
) -> Callable[..., keras.Model]:
    """Return the function that builds a variant of a family.

    Args:
        family: type. A subclass of `Backbone`.
        name: str. Name of the variant and of its models, such as "paca_small".
        when: dict. {(option, value): options that differ if that option has that value}.
        size: str. Its size in the table of released files, by default the last part of the name.
        title: str. Name of the function; by default, made from `name`.
        **config: The options of the family that define the size.

    Example:
    >>> import keras_paca
    >>> PaCaPico = variant(
    ...     keras_paca.PaCaViT, "paca_pico", hidden_dims=(8, 8, 8, 8), depths=1, num_heads=1
    ... )
    >>> PaCaPico(weights=None, classes=3).output_shape
    (None, 3)
    """
    size = size or name.rpartition("_")[2]
    made = Variant(family, name, config, when or {}, size, function_name=title)

    def build(
        weights: Any,
        weights_url: Any,
        input_tensor: Any,
        name: str,
        ema: bool = False,
        **options: Any,
    ) -> keras.Model:
        check_boolean("ema", ema)
        return build_variant(made, weights, weights_url, input_tensor, name, ema, **options)

    parameters = join_parameters(
        parameters_of(shared_parameters, name=name),
        option_parameters(family, made.changed),
        parameters_of(ema_parameter) if family.has_ema else (),
        parameters_of(last_parameters),
    )
    text = _describe(made, parameters)
    function = make_function(made.title, parameters, text, family.__module__, build, keras.Model)
    made.models[name] = NamedModel(name, made, CLASSIFICATION, function)
    family.variants[name] = made
    return function


def build_variant(
    variant: Variant,
    source: Any,
    url: str | None,
    input_tensor: Any,
    name: str,
    ema: bool = False,
    **options: Any,
) -> keras.Model:
    """Build a variant on a new input or on the caller's tensor, and load its weights.

    Args:
        variant: Variant. The variant.
        source: str, Path or None. The argument `weights`.
        url: str. URL of a mirror of the released files, or `None`.
        input_tensor: KerasTensor. A `keras.Input`, another tensor, or `None`.
        name: str. Name of the model.
        ema: bool. Whether to load the exponential moving average of the weights.
        **options: Other arguments of the family's class.

    Example:
    >>> import keras_paca
    >>> size = {"hidden_dims": (8, 8, 8, 8), "depths": 1, "num_heads": 1}
    >>> pico = Variant(keras_paca.PaCaViT, "paca_pico", size, when={}, size="pico")
    >>> images = keras.Input((64, 96, 3))
    >>> options = {"include_top": False, "input_shape": None}
    >>> build_variant(pico, None, None, images, "example", **options).output_shape
    (None, 2, 3, 8)
    """
    tensor = None  # on which the model is called, unless it is a plain input
    if input_tensor is not None:
        options["input_shape"] = shape_of_tensor(input_tensor, options["input_shape"])
        if not is_plain_input(input_tensor):
            tensor, input_tensor = input_tensor, None

    origin = find_source(variant.family, variant.size, CLASSIFICATION, source, options, ema=ema)
    arguments = origin.complete(options)
    if options.get("include_top", True):
        _complete_information(arguments, origin.information)
    model = variant.family(
        **variant.complete(arguments),
        input_tensor=input_tensor,
        name=name if tensor is None else f"{name}_backbone",
    )
    origin.load(model, options, url)
    if tensor is None:
        return model
    inputs = keras.utils.get_source_inputs(tensor)
    if len(inputs) == 1:  # a model of a list would not accept a single array
        (inputs,) = inputs
    return keras.Model(inputs, model(tensor), name=name)


def option_parameters(
    family: type, changed: Iterable[str], has_top: bool = True
) -> list[inspect.Parameter]:
    """Return a function's parameters for the options of a family.

    Args:
        family: type. A subclass of `Backbone`.
        changed: Iterable of str. Options for which the variant has its own default. Their default
            in the signature is `None`.
        has_top: bool. Whether the function builds models with a top. Otherwise the options that
            only a top uses are left out.

    Returns:
        list of inspect.Parameter.

    Example:
    >>> from keras_paca import PaCaViT
    >>> parameters = option_parameters(PaCaViT, changed=["drop_path_rate"])
    >>> [str(each) for each in parameters if each.name.startswith("drop")]
    ['drop_path_rate: float | None = None', 'dropout: float = 0.0']
    """
    changed, parameters, own = set(changed), [], family.own_parameters()
    for name in family.variant_options:
        if name in family.top_options and not has_top:
            continue
        parameter = own[name].replace(kind=inspect.Parameter.KEYWORD_ONLY)
        if name in changed:
            annotation = parameter.annotation | None
            parameter = parameter.replace(default=None, annotation=annotation)
        parameters.append(parameter)
    return parameters


def _given(options: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


def _defaults(family: type) -> dict[str, Any]:
    return {name: each.default for name, each in family.own_parameters().items()}


def _complete_information(arguments: dict[str, Any], known: dict[str, Any]) -> None:
    """Add class names and the transform of a file, for images of the model's size.

    That is the size of its input, or else that of its option `image_size`, if it has any.
    """
    shape = arguments["input_shape"]
    fixed = tuple(shape[:2]) if isinstance(shape, tuple | list) else ()
    is_fixed = len(fixed) == 2 and None not in fixed
    size = fixed if is_fixed else arguments.get("image_size")
    if known.get("evaluation_transform") and size is not None:
        transform = {**known["evaluation_transform"], "image_size": size}
        known = {**known, "evaluation_transform": transform}
    complete(arguments, known, arguments["classes"])


# --- Signature and docstring --------------------------------------------------------------------


def parameters_of(function: Callable, **defaults: Any) -> list[inspect.Parameter]:
    """Return the parameters of a function, some of them with other defaults.

    Args:
        function: Callable. The function.
        **defaults: The new defaults by the names of the parameters.

    Returns:
        list of inspect.Parameter.

    Example:
    >>> [str(each) for each in parameters_of(lambda x, y=1: None, y=2)]
    ['x', 'y=2']
    """
    found = inspect.signature(function).parameters.values()
    return [
        each.replace(default=defaults[each.name]) if each.name in defaults else each
        for each in found
    ]


def shared_parameters(  # noqa: D417 - `Backbone` describes the others
    include_top: bool = True,
    include_preprocessing: bool = True,
    weights: str | Path | None = "imagenet",
    input_tensor: Any = None,
    input_shape: Sequence[int | None] | None = None,
    pooling: str | None = None,
    classes: int = 1000,
    classifier_activation: str | Callable | None = "softmax",
    name: str = "",
) -> None:
    """Declare the parameters that come first.

    Args:
        weights: str, Path or None. "imagenet" for the released file, which is downloaded once;
            `None` for random values; or the path of an official `.pth`, a `.safetensors`,
            `.weights.h5` or `.keras` file. Of a detection or segmentation checkpoint, only the
            backbone is loaded.
        input_tensor: KerasTensor. A `keras.Input` to build on. With another symbolic tensor, the
            result is a plain `keras.Model` over the whole graph.
        classes: int. Number of classes of the top. If it isn't that of the file, the head keeps its
            initial values.

    Example:
    >>> [each.name for each in parameters_of(shared_parameters)][:3]
    ['include_top', 'include_preprocessing', 'weights']
    """


def last_parameters(
    *,
    class_names: Sequence[str] | None = None,
    evaluation_transform: Mapping[str, Any] | None = None,
    weights_url: str | None = None,
    dtype: Any = None,
) -> None:
    """Declare the parameters that come last.

    Args:
        class_names: Sequence of str. The name of each class, which a saved model keeps. By default,
            those of the file if it has as many classes.
        evaluation_transform: dict. How images are prepared for the model, as keyword arguments of
            `keras_paca.evaluation_transform`. By default, that of the file.
        weights_url: str. URL of a mirror of the released files. By default, that in the environment
            variable KERAS_PACA_WEIGHTS_URL, or else the address of the authors.
        dtype: str or keras.DTypePolicy. Dtype or policy of every layer.

    Example:
    >>> [each.name for each in parameters_of(last_parameters)]
    ['class_names', 'evaluation_transform', 'weights_url', 'dtype']
    """


def ema_parameter(*, ema: bool = False) -> None:
    """Declare the parameter of families whose official files hold averaged weights as well.

    Args:
        ema: bool. Whether to load the exponential moving average of the weights, which the official
            files of classifiers hold beside the weights.

    Example:
    >>> [each.name for each in parameters_of(ema_parameter)]
    ['ema']
    """


OF_ALL_MODELS = {  # parameters that are no options of a family or a task
    *inspect.signature(shared_parameters).parameters,
    *inspect.signature(ema_parameter).parameters,
    *inspect.signature(last_parameters).parameters,
    "num_classes",
}

_DOCSTRING = """Build {name}, {released}.

{sizes}

Args:
    x: filled in below.

Returns:
    keras.Model. A `keras_paca.{family}`. Its input is (batch, height, width, channels). Its
    output is (batch, classes), or without the top the last map or a vector.

Raises:
    ValueError: If an argument or the file doesn't fit, or if no such weights were released.
    FileNotFoundError: If there is no file at `weights`, or none could be downloaded.

{source}
Example:
>>> import keras_paca
>>> model = keras_paca.{function}(weights=None, classes=10)
>>> model.compute_output_shape((1, 64, 96, 3))
(1, 10)
"""


_FROM_FILES = (
    "str, Path or None. `None` for random values, or the path of an official `.pth`, a "
    "`.safetensors`, `.weights.h5` or `.keras` file. Of a detection or segmentation checkpoint, "
    'only the backbone is loaded. "imagenet" raises an error.'
)


def describe_arguments(family: type) -> dict[str, str]:
    """Return the descriptions of all arguments of a family's functions.

    Args:
        family: type. A subclass of `Backbone`.

    Example:
    >>> from keras_paca import PaCaViT
    >>> describe_arguments(PaCaViT)["depths"]
    'int or Sequence of int. Blocks per stage.'
    """
    shared = read_args(shared_parameters.__doc__)
    other_files = family.other_files
    if family.unreleased:
        shared["weights"] = textwrap.fill(f"{_FROM_FILES} {family.unreleased}", 92)
        shared["weights"] = shared["weights"].replace("\n", "\n    ")
    return {
        **family.describe_parameters(),
        **shared,
        **({"weights": f"{shared['weights']}\n    {other_files}"} if other_files else {}),
        **read_args(ema_parameter.__doc__),
        **read_args(last_parameters.__doc__),
    }


def _describe(variant: Variant, parameters: list[inspect.Parameter]) -> str:
    """Return the docstring of the function that builds a variant."""
    family = variant.family
    descriptions = describe_arguments(family)
    name = variant.title
    sizes = ", ".join(f"`{key}={value}`" for key, value in variant.config.items())
    for (option, value), changes in variant.when.items():
        changed = ", ".join(f"`{key}={each}`" for key, each in changes.items())
        sizes += f"; with `{option}={value!r}`: {changed}"
    text = _DOCSTRING.format(
        name=name,
        function=name,
        family=family.__name__,
        released="with random weights or those of a file"
        if family.unreleased
        else "with the released ImageNet weights by default",
        sizes=textwrap.fill(f"The size: {sizes}.", 96),
        source=f"{source}\n" if (source := read_source(family.__doc__)) else "",
    )
    return with_args(text, {each.name: descriptions[each.name] for each in parameters})
