"""The functions that build a segmenter or a detector on a variant, with released weights."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import keras

from keras_paca.arguments import complete
from keras_paca.backbones.documentation import (
    join_parameters,
    make_function,
    read_args,
    read_source,
    with_args,
)
from keras_paca.backbones.loading import CLASSIFICATION, Task, find_source
from keras_paca.backbones.variants import (
    Variant,
    build_variant,
    describe_arguments,
    last_parameters,
    option_parameters,
    parameters_of,
    shared_parameters,
)

OF_INPUT = ("include_preprocessing", "input_tensor", "input_shape")


@dataclass(frozen=True)
class TaskModel:
    """A kind of model on a backbone, such as a segmenter, and the functions that build it.

    Attributes:
        task: Task. The task.
        model_class: type. The class of the model. Its constructor takes a backbone and the
            arguments of `parameters`.
        parameters: Callable. A function with the arguments of the class that the functions take, in
            their order and with their defaults, and their descriptions.
        docstring: str. The docstring of the functions, with {name}, {backbone} and {source} to fill
            in.

    Example:
    >>> from keras_paca.segmentation.variants import SEGMENTER
    >>> SEGMENTER.task.data_set, SEGMENTER.model_class.__name__
    ('ADE20K', 'Segmenter')
    >>> [each.name for each in parameters_of(SEGMENTER.parameters)][:3]
    ['head', 'weights', 'num_classes']
    """

    task: Task
    model_class: type
    parameters: Callable[..., None]
    docstring: str


def task_variant(
    model: TaskModel,
    variant: Variant,
    name: str,
    defaults: Callable[[Mapping[str, Any]], dict[str, Any]] = lambda arguments: {},
) -> Callable[..., keras.Model]:
    """Return the function that builds a model for a task on a variant of a family.

    Args:
        model: TaskModel. The kind of model.
        variant: Variant. The variant of the backbone.
        name: str. Name of the function's models, such as "paca_small_segmenter".
        defaults: Callable. It takes the function's arguments and returns the options of the family
            that differ from those of the variant.

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
    own = parameters_of(model.parameters, name=name)
    parameters = join_parameters(
        [each for each in own if each.name in ("head", "weights", "num_classes")],
        [
            each
            for each in own
            if each.kind is not inspect.Parameter.KEYWORD_ONLY and each.name != "name"
        ],
        [each for each in parameters_of(shared_parameters) if each.name in OF_INPUT],
        [each for each in own if each.name == "name"],
        option_parameters(family, variant.changed),
        own,
        parameters_of(last_parameters),
    )

    def build(
        weights: Any, weights_url: Any, input_tensor: Any, name: str, dtype: Any, **arguments: Any
    ) -> keras.Model:
        changed = defaults({**arguments, "weights": weights})
        options: dict[str, Any] = {"include_top": False, "dtype": dtype}
        for key in (*family.variant_options, "include_preprocessing", "input_shape"):
            value = arguments.pop(key)
            options[key] = changed.get(key) if value is None else value

        if weights == CLASSIFICATION.weights:  # for the backbone alone
            backbone = build_variant(
                variant, weights, weights_url, input_tensor, variant.name, **options
            )
            return model.model_class(backbone, name=name, dtype=dtype, **arguments)
        origin = find_source(family, variant.size, task, weights, options, arguments.get("head"))
        complete(arguments, origin.information, arguments["num_classes"])
        backbone = family(
            **variant.complete(origin.complete(options)),
            input_tensor=input_tensor,
            name=variant.name,
        )
        built = model.model_class(backbone, name=name, dtype=dtype, **arguments)
        origin.load(built, options, weights_url)
        return built

    descriptions = {
        **describe_arguments(family),
        **read_args(model.parameters.__doc__),
        **read_args(defaults.__doc__),
    }
    backbone = variant.title
    text = inspect.cleandoc(model.docstring).format(
        name=function, backbone=backbone, source=read_source(family.__doc__)
    )
    text = with_args(text, {each.name: descriptions[each.name] for each in parameters})
    return make_function(
        function, parameters, text, model.parameters.__module__, build, model.model_class
    )
