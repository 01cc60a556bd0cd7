"""What all models of the library have in common, apart from their graphs.

Read from top to bottom: what a model says about itself, what a file keeps of it, and what is
checked before training.
"""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import keras

from keras_paca.arguments import check_class_names, check_transform, refuse_16_bits
from keras_paca.backbones.data import is_stream, look_at, only, only_image
from keras_paca.cloning import refuse_cloning
from keras_paca.forms import is_twin, resolve
from keras_paca.frozen import restore_trainable_state, set_trainable, trainable_state


class BaseModel(keras.Model):
    """Functional model whose file keeps all that is needed to use it and to train it further.

    Subclasses build their graph, call `_set_up` at the end of the constructor and add
    `_shared_config()` to their configuration.

    Attributes:
        class_names: list of str. The name of each class, or `None`.
        evaluation_transform: dict. How images are prepared for the model, or `None`.

    Example:
    >>> import tempfile
    >>> import keras_paca
    >>> model = keras_paca.PaCaViT((8, 8, 8, 8), 1, 1, classes=2, class_names=["cat", "dog"])
    >>> isinstance(model, BaseModel)
    True
    >>> path = f"{tempfile.mkdtemp()}/example.keras"
    >>> model.save(path)
    >>> keras.saving.load_model(path).class_names
    ['cat', 'dog']
    """

    _transform_keys: tuple[str, ...] = ("image_size", "crop")
    _inference: "GraphPart | None" = None  # the graph outside training, if it differs

    def _set_up(
        self,
        num_classes: int | None,
        class_names: Sequence[str] | None,
        evaluation_transform: Mapping[str, Any] | None,
        frozen: Sequence[str],
        thawed: Sequence[str],
        trainable: bool,
    ) -> None:
        """Set what all models have, after the graph was built."""
        self._num_classes = num_classes
        self.class_names = class_names
        self.evaluation_transform = evaluation_transform
        if not trainable:  # for every variable, which models around this one read
            set_trainable(self, False)
        # After `fuse`, layers whose weights became part of other layers are missing.
        is_whole = not any(is_twin(type(layer)) for layer in self._flatten_layers())
        restore_trainable_state(self, frozen, thawed, must_exist=is_whole)

    def _shared_config(self) -> dict:
        """Return the part of the configuration that `_set_up` sets."""
        return {
            "class_names": self.class_names,
            "evaluation_transform": self.evaluation_transform,
            **trainable_state(self),
            "trainable": self.trainable,
        }

    @classmethod
    def from_config(cls, config: dict, custom_objects: dict | None = None) -> "BaseModel":
        """Create a model from a configuration, in the form that the configuration asks for."""
        wanted, config = resolve(cls, config)
        return wanted(**{**config, "dtype": keras.dtype_policies.get(config.get("dtype"))})

    def call(
        self, inputs: Any, training: bool | None = None, mask: Any = None, **kwargs: Any
    ) -> Any:
        """Compute the outputs for images, which may be the only item of a dict or a list."""
        images = only_image(inputs, self.inputs[0].name)
        if self._inference is None or (training and not _is_inside_another(self)):
            return super().call(images, training=training, **kwargs)
        return self._inference(images, training=bool(training))

    def compute_output_spec(
        self, inputs: Any, training: bool | None = None, mask: Any = None
    ) -> Any:
        """Return the symbolic outputs of `call`."""
        images = only_image(inputs, self.inputs[0].name)
        if self._inference is None or training:
            return super().compute_output_spec(images)
        return self._inference.model.compute_output_spec(images)

    def compute_output_shape(self, input_shape: tuple) -> Any:
        """Return the shapes of the outputs of `call` outside training."""
        if self._inference is None:
            return super().compute_output_shape(input_shape)
        return self._inference.model.compute_output_shape(input_shape)

    # --- What the model says about itself -----------------------------------------------------

    @property
    def class_names(self) -> list[str] | None:
        """The name of each class, or `None`."""
        return None if self._class_names is None else list(self._class_names)

    @class_names.setter
    def class_names(self, names: Sequence[str] | None) -> None:
        self._class_names = check_class_names(names, self._num_classes)

    @property
    def evaluation_transform(self) -> dict[str, Any] | None:
        """How images are prepared for the model: keyword arguments of the transform, or `None`."""
        return None if self._evaluation_transform is None else dict(self._evaluation_transform)

    @evaluation_transform.setter
    def evaluation_transform(self, transform: Mapping[str, Any] | None) -> None:
        checked = check_transform(transform, self._transform_keys)
        self._evaluation_transform = None if checked is None else tuple(checked.items())

    @property
    def include_preprocessing(self) -> bool:
        """Whether the model takes RGB in 0..255 and normalises it."""
        return getattr(self.backbone, "include_preprocessing", True)

    # --- What a file keeps ----------------------------------------------------------------------

    def save(self, filepath: Any, *args: Any, **kwargs: Any) -> None:
        """Save the model as a `.keras` file, as `keras.Model.save` does.

        Args:
            filepath: str or Path. Where to save the model; ends in ".keras".
            *args: As for `keras.Model.save`.
            **kwargs: As for `keras.Model.save`.

        Raises:
            ValueError: If the path ends in ".h5" or ".hdf5". Training can't be resumed from a whole
                model in that legacy format.
        """
        _refuse_hdf5(filepath)
        super().save(filepath, *args, **kwargs)

    def get_compile_config(self) -> dict:
        """Return the arguments of `compile`, and the weights without weight decay."""
        return add_exclusions(self, super().get_compile_config())

    def compile_from_config(self, config: dict) -> None:
        """Compile the model as it was compiled when it was saved."""
        compile_with_exclusions(self, config)

    def _run_through_graph(self, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        refuse_cloning(inputs, kwargs, f"a plain Functional model of this {type(self).__name__}")
        return super()._run_through_graph(inputs, *args, **kwargs)

    # --- What is checked before training --------------------------------------------------------

    def fit(self, *args: Any, **kwargs: Any) -> Any:
        """Check the data, then train the model as `keras.Model.fit` does.

        Args:
            *args: As for `keras.Model.fit`.
            **kwargs: As for `keras.Model.fit`.

        Raises:
            ValueError: If the targets don't fit the model. Of a data set, the first batch is
                checked, and the next batches while the targets are empty.
        """
        given = _bind("fit", self, args, kwargs)
        for callback in keras.tree.flatten(given.get("callbacks")):
            whole = isinstance(callback, keras.callbacks.ModelCheckpoint)
            if whole and not callback.save_weights_only:
                _refuse_hdf5(callback.filepath)
        given = self._check_data(given)
        validation = given.get("validation_data")
        if validation is not None:
            names = ("x", "y", "sample_weight")
            unpacked = keras.utils.unpack_x_y_sample_weight(validation)
            checked = self._check_data(dict(zip(names, unpacked, strict=True)))
            if checked["x"] is not unpacked[0]:  # a generator that was replaced
                given["validation_data"] = checked["x"]
        return super().fit(**self._prepare_fit(given))

    def evaluate(self, *args: Any, **kwargs: Any) -> Any:
        """Check the data, then evaluate the model as `keras.Model.evaluate` does.

        Args:
            *args: As for `keras.Model.evaluate`.
            **kwargs: As for `keras.Model.evaluate`.

        Raises:
            ValueError: If the targets don't fit the model.
        """
        if kwargs.get("_use_cached_eval_dataset"):  # from `fit`, which has checked them
            return super().evaluate(*args, **kwargs)
        given = _bind("evaluate", self, args, kwargs)
        return super().evaluate(**self._check_data(given))

    def train_on_batch(self, *args: Any, **kwargs: Any) -> Any:
        """Train the model on one batch, as `keras.Model.train_on_batch` does."""
        given = _bind("train_on_batch", self, args, kwargs)
        return super().train_on_batch(**self._prepare_fit(self._check_data(given)))

    def test_on_batch(self, *args: Any, **kwargs: Any) -> Any:
        """Evaluate the model on one batch, as `keras.Model.test_on_batch` does."""
        given = _bind("test_on_batch", self, args, kwargs)
        return super().test_on_batch(**self._check_data(given))

    def predict(self, x: Any, *args: Any, **kwargs: Any) -> Any:
        """Return the outputs for images, as `keras.Model.predict` does.

        Args:
            x: Any. Images, or batches of them.
            *args: As for `keras.Model.predict`.
            **kwargs: As for `keras.Model.predict`.

        Raises:
            ValueError: If they are images with 16 bits.
        """
        refuse_16_bits(only(x))
        return super().predict(x, *args, **kwargs)

    def _prepare_fit(self, given: dict) -> dict:
        """Return the arguments of `fit` or `train_on_batch`, which subclasses may change."""
        return given

    def _check_data(self, given: dict) -> dict:
        """Check the data among the arguments of a method, and return the arguments.

        A generator is replaced by one that also yields the batches that were checked.
        """
        x = given.get("x")
        refuse_16_bits(only(x))
        if not self._knows_targets():
            return given
        if not is_stream(x):
            self._check_targets(x, given.get("y"), given.get("sample_weight"), is_first=False)
            return given

        def look(batch: Any) -> bool:
            images, y, sample_weight = keras.utils.unpack_x_y_sample_weight(batch)
            refuse_16_bits(only(images))
            self._check_targets(images, y, sample_weight, is_first=True)
            return self._tells_enough(y)

        return {**given, "x": look_at(x, look)}

    def _knows_targets(self) -> bool:
        """Return whether the model can check targets."""
        return True

    def _tells_enough(self, y: Any) -> bool:
        """Return whether the targets of a batch aren't empty, so that no other batch is checked."""
        return True

    def _check_targets(self, x: Any, y: Any, sample_weight: Any, is_first: bool) -> None:
        """Raise an error or warn if data don't fit the model.

        Args:
            x: Any. The images.
            y: Any. The targets.
            sample_weight: Any. The weights.
            is_first: bool. Whether these are only the first batches of a data set.
        """


def _is_inside_another(model: keras.Model) -> bool:
    """Return whether a model is called as a layer of another one, which expects one output."""
    from keras.src.backend.common import global_state  # Keras has no public way to ask

    context = global_state.get_global_attribute("current_call_ctx")
    return context is not None and context.entry_layer is not model


# --- Files --------------------------------------------------------------------------------------


def _refuse_hdf5(path: Any) -> None:
    """Raise an error if a whole model would be saved in Keras's legacy format."""
    if str(path).lower().endswith((".h5", ".hdf5")):
        raise ValueError(
            "A whole model is saved in a file that ends in .keras; training can't be resumed from "
            "the legacy HDF5 format. `save_weights` saves the weights alone, in .weights.h5. "
            f"Received: {str(path)!r}"
        )


def add_exclusions(model: keras.Model, config: dict | None) -> dict | None:
    """Return the compile configuration of a model, with its weights without weight decay.

    Args:
        model: keras.Model. The model, compiled or not.
        config: dict. The result of `keras.Model.get_compile_config`.

    Returns:
        dict.

    Example:
    >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    >>> optimizer = keras.optimizers.AdamW(weight_decay=0.1)
    >>> optimizer.exclude_from_weight_decay(var_names=["bias"])
    >>> model.compile(optimizer, "mse")
    >>> add_exclusions(model, model.get_compile_config())["weight_decay_exclusions"]
    {'names': ['bias'], 'variables': []}
    """
    if not config:
        return config
    return {
        **config,
        "auto_scale_loss": _is_loss_scaled(model.optimizer),
        "weight_decay_exclusions": _exclusions(model.optimizer, model.variables),
    }


def compile_with_exclusions(model: keras.Model, config: dict) -> None:
    """Compile a model with a configuration that `add_exclusions` returned.

    Args:
        model: keras.Model. The model.
        config: dict. The serialized configuration.

    Example:
    >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    >>> optimizer = keras.optimizers.AdamW(weight_decay=0.1)
    >>> optimizer.exclude_from_weight_decay(var_names=["bias"])
    >>> model.compile(optimizer, "mse")
    >>> copy = keras.models.clone_model(model)
    >>> compile_with_exclusions(copy, add_exclusions(model, model.get_compile_config()))
    >>> add_exclusions(copy, copy.get_compile_config())["weight_decay_exclusions"]
    {'names': ['bias'], 'variables': []}
    """
    config = dict(config)
    exclusions = config.pop("weight_decay_exclusions", None)
    config = keras.saving.deserialize_keras_object(config)
    if exclusions is not None:
        variables = model.variables
        _innermost(config["optimizer"]).exclude_from_weight_decay(
            var_list=[variables[index] for index in exclusions["variables"]],
            var_names=exclusions["names"],
        )
    model.compile(**config)
    if model.built and model.optimizer is not None:
        model.optimizer.build(model.trainable_variables)


def _is_loss_scaled(optimizer: Any) -> bool:
    return isinstance(optimizer, keras.optimizers.LossScaleOptimizer)


def _innermost(optimizer: Any) -> Any:
    return optimizer.inner_optimizer if _is_loss_scaled(optimizer) else optimizer


def _exclusions(optimizer: Any, variables: Sequence[Any]) -> dict | None:
    """Return the arguments of `optimizer.exclude_from_weight_decay` in a form that can be saved."""
    optimizer = _innermost(optimizer)
    pattern = getattr(optimizer, "_exclude_from_weight_decay_pattern", None)
    listed = getattr(optimizer, "_exclude_from_weight_decay", None) or ()
    indices = [i for i, v in enumerate(variables) if listed and optimizer._var_key(v) in listed]
    if pattern is None and not indices:
        return None
    return {"names": None if pattern is None else [pattern.pattern], "variables": indices}


class GraphPart:
    """A part of a model's graph that can be computed by itself.

    `keras.Function` calls each layer with the `training` that the graph was built with: dropout
    never drops, and Keras's random layers always change images. A `keras.Model` uses the `training`
    of each call. As an attribute of a model, it would be saved again, so this class holds it.

    Args:
        inputs: KerasTensor. The inputs of the part.
        outputs: KerasTensor, list or dict. The outputs of the part.

    Example:
    >>> x = keras.Input((4,))
    >>> part = GraphPart(x, keras.layers.Dense(2)(x))
    >>> tuple(part(keras.ops.ones((1, 4))).shape)
    (1, 2)
    """

    def __init__(self, inputs: keras.KerasTensor, outputs: Any) -> None:
        self.model = keras.Model(inputs, outputs)

    def __call__(self, inputs: Any, training: bool = False) -> Any:
        """Compute the outputs; they are symbolic if the inputs are."""
        return self.model(inputs, training=training)


# Read at import time, because other libraries wrap these methods.
SIGNATURES = {
    name: inspect.signature(getattr(keras.Model, name))
    for name in ("fit", "evaluate", "train_on_batch", "test_on_batch")
}


def _bind(method: str, model: Any, args: tuple, kwargs: dict) -> dict:
    """Return the arguments of a call by their names."""
    bound = SIGNATURES[method].bind(model, *args, **kwargs).arguments
    named = dict(list(bound.items())[1:])
    more = named.pop("kwargs", {})
    return {**named, **more}
