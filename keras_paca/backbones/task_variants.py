"""The functions that build a segmenter or a detector on a variant, with released weights."""

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
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
from keras_paca.backbones.loading import CLASSIFICATION, Task, find_source
from keras_paca.backbones.variants import (
    NamedModel,
    Variant,
    build_variant,
    describe_arguments,
    ema_parameter,
    last_parameters,
    option_parameters,
    parameters_of,
    shared_parameters,
)

OF_INPUT = ("include_preprocessing", "input_tensor", "input_shape", "name")


@dataclass(frozen=True)
class TaskModel:
    """A kind of model on a backbone, such as a segmenter, and the functions that build it.

    Attributes:
        task: Task. The task.
        model_class: type. The class of the model. Its constructor takes a backbone and more.
        positional: tuple of str. The arguments of the functions that come first, in their order:
            "weights", and some of the class.
        keyword: tuple of str. The arguments of the class that the functions take by keyword.
        docstring: str. The docstring of the functions, with {name}, {backbone} and {source} to fill
            in. Its `Args` describe what differs from the class.
        module: str. Name of the module that holds the functions.
        check: Callable. It takes the arguments of the functions and raises a ValueError where one
            is wrong. By default, it does nothing.

    Example:
    >>> from keras_paca.segmentation.variants import SEGMENTER
    >>> SEGMENTER.task.data_set, SEGMENTER.model_class.__name__
    ('ADE20K', 'Segmenter')
    >>> list(SEGMENTER.parameters())
    ['head', 'num_classes', 'auxiliary_weight', 'ignore_class', 'weights']
    """

    task: Task
    model_class: type
    positional: tuple[str, ...]
    keyword: tuple[str, ...]
    docstring: str
    module: str
    check: Callable[[Mapping[str, Any]], Any] = lambda arguments: None

    def parameters(self) -> dict[str, inspect.Parameter]:
        """Return the parameters of the functions that come from the class, and "weights"."""
        found = inspect.signature(self.model_class.__init__).parameters
        given = {name: found[name] for name in (*self.positional, *self.keyword) if name in found}
        for name in self.keyword:
            given[name] = given[name].replace(kind=inspect.Parameter.KEYWORD_ONLY)
        given["weights"] = inspect.Parameter(
            "weights",
            inspect.Parameter.POSITIONAL_OR_KEYWORD,
            default=self.task.weights,
            annotation=str | Path | None,
        )
        return given


def task_variant(
    model: TaskModel,
    variant: Variant,
    name: str,
    defaults: Callable[[Mapping[str, Any]], dict[str, Any]] = lambda arguments: {},
    changed: Iterable[str] = (),
    **own_defaults: Any,
) -> Callable[..., keras.Model]:
    """Return the function that builds a model for a task on a variant of a family.

    Args:
        model: TaskModel. The kind of model.
        variant: Variant. The variant of the backbone.
        name: str. Name of the function's models, such as "paca_small_segmenter".
        defaults: Callable. It takes the function's arguments and returns the options of the family
            that differ from those of the variant, and possibly "evaluation_transform": a function
            that takes the backbone and returns the transform for weights that bring none.
        changed: Iterable of str. The names of such options that have a default in the signature of
            the family.
        **own_defaults: Defaults of arguments of the model's class, and of `weights`, that differ
            from the class's.

    Example:
    >>> import keras_paca
    >>> from keras_paca.segmentation.variants import SEGMENTER
    >>> size = {"hidden_dims": (8, 8, 8, 8), "depths": 1, "num_heads": 1}
    >>> pico = Variant(keras_paca.PaCaViT, "paca_pico", size, when={}, size="pico")
    >>> PaCaPicoSegmenter = task_variant(SEGMENTER, pico, "paca_pico_segmenter")
    >>> segmenter = PaCaPicoSegmenter(weights=None, num_classes=3)
    >>> segmenter.compute_output_shape((1, 64, 96, 3))
    (1, 64, 96, 3)
    """
    family, task = variant.family, model.task
    function = f"{variant.title}{model.model_class.__name__}"
    own = model.parameters()
    own |= {key: own[key].replace(default=value) for key, value in own_defaults.items()}
    shared = parameters_of(shared_parameters, name=name)
    of_family = option_parameters(family, {*variant.changed, *changed}, has_top=False)
    options_of_family = [each.name for each in of_family]
    parameters = join_parameters(
        [own[each] for each in model.positional],
        [each for each in shared if each.name in OF_INPUT],
        of_family,
        own.values(),
        parameters_of(ema_parameter) if family.has_ema else (),
        parameters_of(last_parameters),
    )

    def build(
        weights: Any,
        weights_url: Any,
        input_tensor: Any,
        name: str,
        dtype: Any,
        ema: bool = False,
        **arguments: Any,
    ) -> keras.Model:
        check_boolean("ema", ema)
        model.check({**arguments, "weights": weights})
        changed = defaults({**arguments, "weights": weights})
        transform = changed.pop("evaluation_transform", lambda backbone: None)
        options: dict[str, Any] = {"include_top": False, "dtype": dtype}
        for key in (*options_of_family, "include_preprocessing", "input_shape"):
            value = arguments.pop(key)
            options[key] = changed.get(key) if value is None else value

        if weights == CLASSIFICATION.weights:  # for the backbone alone
            backbone = build_variant(
                variant, weights, weights_url, input_tensor, variant.name, ema, **options
            )
            known = {"evaluation_transform": transform(backbone)}
            complete(arguments, known, arguments["num_classes"])
            return model.model_class(backbone, name=name, dtype=dtype, **arguments)
        head = arguments.get("head")
        origin = find_source(family, variant.size, task, weights, options, head, ema)
        backbone = family(
            **variant.complete(origin.complete(options)),
            input_tensor=input_tensor,
            name=variant.name,
        )
        known = {"evaluation_transform": transform(backbone), **origin.information}
        complete(arguments, known, arguments["num_classes"])
        built = model.model_class(backbone, name=name, dtype=dtype, **arguments)
        origin.load(built, options, weights_url)
        return built

    text = inspect.cleandoc(model.docstring).format(
        name=function, backbone=variant.title, source=read_source(family.__doc__)
    )
    descriptions = {
        **read_args(model.model_class.__doc__),
        **describe_arguments(family),
        **read_args(text),
        **read_args(defaults.__doc__),
    }
    text = with_args(text, {each.name: descriptions[each.name] for each in parameters})
    made = make_function(function, parameters, text, model.module, build, model.model_class)
    variant.models[name] = NamedModel(name, variant, task, made)
    return made
