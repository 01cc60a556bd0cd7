"""What every family of backbones shares.

Read from top to bottom: the constructor, the graph and its heads, training, what others read of a
backbone, and what a family says about files.
"""

import inspect
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import keras
import numpy as np

from keras_paca import weights
from keras_paca.arguments import check_boolean, check_choice, check_positive
from keras_paca.backbones.data import is_sparse, only, refuse_wrong_labels
from keras_paca.backbones.documentation import join_parameters, read_args, with_args
from keras_paca.backbones.graph_maker import MEAN, STD, GraphMaker
from keras_paca.backbones.input_shape import check_input_shape, describe_input
from keras_paca.backbones.loading import Related
from keras_paca.backbones.model import BaseModel, GraphPart
from keras_paca.backbones.views import DictEncoder, SegFormerEncoder
from keras_paca.labels import imagenet_classes
from keras_paca.layers.initializers import linear_initializer
from keras_paca.layers.policies import default_policy, exact_dtype, serialize_policy
from keras_paca.naming import default_name

_numbers = itertools.count(1)
COMBINED = "combined"  # the prediction, beside the outputs of several classifiers
POOLS = {"avg": keras.layers.GlobalAveragePooling2D, "max": keras.layers.GlobalMaxPooling2D}


class Backbone(BaseModel):
    """Base class of a family of networks: classifiers, or backbones with `include_top=False`.

    The constructor of a subclass has the family's options as arguments and passes them on as
    `config`. `build_graph` builds the graph, and `checkpoint_map` says where the tensors of
    official files belong. This class does the rest. See "A family" in CONTRIBUTING.md.

    Args:
        config: dict. The options of the family, already checked, by the names of its arguments.
        include_top: bool. Whether the model ends in a classifier.
        include_preprocessing: bool. Whether the model takes RGB in 0..255 and normalises it.
            Otherwise it takes normalised images, of any number of channels.
        input_tensor: KerasTensor. A `keras.Input` to build on, in place of `input_shape` and
            `input_name`. To use another tensor, call the model on it.
        input_shape: Sequence of int. (height, width, channels), (None, None, 3) by default. Height
            and width are at least 32 and may be odd; `None` means any.
        input_name: str. Name of the input, the key of the images in data given as a dict.
        pooling: str. Without the top: `None` for the map (batch, height, width, channels), "avg" or
            "max" for a vector.
        classes: int. Number of classes of the top.
        classifier_activation: str or Callable. Activation of the top, or `None` for logits.
        class_names: Sequence of str. The name of each class, which a saved model keeps, or `None`.
        evaluation_transform: dict. How images are prepared for the model, as keyword arguments of
            `keras_paca.evaluation_transform`, such as `{"image_size": 224, "crop": 0.9}`.
        frozen: Sequence of str. Paths of layers that don't train, such as "stem". Setting
            `layer.trainable` later changes them, and a saved model keeps them.
        thawed: Sequence of str. Paths of layers inside frozen ones that train.
        name: str. Name of the model.
        dtype: str or keras.DTypePolicy. Dtype or policy of every layer.
        trainable: bool. Whether the model trains at all.

    A model with several classifiers returns their outputs by their names in training, and beside
    them the prediction as "combined". In inference, and inside another model, it returns the
    prediction alone. `fit` adds the losses of all. Their targets are the same, or, in a dict by the
    names of the classifiers, each has its own.

    Attributes:
        pyramid_outputs: dict. {"P2": KerasTensor (batch, height / 4, width / 4, channels), ...},
            with the levels of the family.
        pyramid_level_inputs: dict. {"P2": name of the layer whose output is the level, ...}.
        hidden_dims, embedding_dims: list of int. Channels per level.
        image_shape: tuple. The `input_shape`.
        stage_names: list of str. The levels.
        assignments: dict. {"P2": [KerasTensor (batch, patches, clusters), one per block], ...},
            only for stages with clusters.

    Example:
    >>> from keras_paca.backbones import Backbone
    >>> class StemOnly(Backbone):
    ...     "A network of one convolution."
    ...
    ...     def __init__(self, channels, **kwargs):
    ...         super().__init__({"channels": channels}, **kwargs)
    ...
    ...     def build_graph(self, images, config, make):
    ...         conv, channels = keras.layers.Conv2D, config["channels"]
    ...         features = make.first(conv, "stem", images, channels, 4, strides=4)
    ...         return features, {"P2": features}, {}
    >>> model = StemOnly(8, classes=3)
    >>> model.output_shape, model.hidden_dims
    ((None, 3), [8])
    """

    family: ClassVar[str] = ""  # its name in the table of released files
    variants: ClassVar[dict[str, Any]] = {}  # by name
    variant_prefix: ClassVar[str] = ""  # of the functions, where not as in the variants' names
    variant_options: ClassVar[tuple[str, ...]] = ()  # options that the functions take
    top_options: ClassVar[tuple[str, ...]] = ()  # those of them that only a top uses
    file_options: ClassVar[tuple[str, ...]] = ()  # options that `options_of_file` returns
    other_files: ClassVar[str] = ""  # sentences on files of other families, for `weights`
    unreleased: ClassVar[str] = ""  # why "imagenet" names no file, and what there is instead
    files_licence: ClassVar[str] = ""  # of files that aren't downloaded by name
    has_ema: ClassVar[bool] = False  # whether official files hold averaged weights as well
    lora_layers: ClassVar[tuple[str, ...]] = ("query", "value")  # what KerasHub's LoRA trains
    mean: ClassVar[tuple[float, ...]] = MEAN  # of images in 0..1
    deviation: ClassVar[tuple[float, ...]] = STD
    number: ClassVar[int] = 0  # of the families, in the order of their definitions
    classifier_keys: ClassVar[dict[str, str]] = {"head": "predictions"}  # official key: layer
    maker: ClassVar[type] = GraphMaker
    classifier_initializer: ClassVar[Callable] = staticmethod(linear_initializer)  # of kernels

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Complete the signature and the docstring, and start the table of variants."""
        super().__init_subclass__(**kwargs)
        cls.variants = {}
        cls.number = next(_numbers)
        shared = list(inspect.signature(Backbone.__init__).parameters.values())[2:]
        cls.__signature__ = inspect.Signature(
            join_parameters(cls.own_parameters().values(), shared)
        )
        if cls.__doc__ is not None:
            args = cls.describe_parameters()
            names = [name for name in cls.__signature__.parameters if name in args]
            cls.__doc__ = with_args(cls.__doc__, {name: args[name] for name in names})

    @classmethod
    def own_parameters(cls) -> dict[str, inspect.Parameter]:
        """Return the parameters of the family's own options, those of its bases included."""
        found: dict[str, inspect.Parameter] = {}
        for part in cls.__mro__[: cls.__mro__.index(Backbone)]:
            if "__init__" not in vars(part):
                continue
            parameters = list(inspect.signature(part.__init__).parameters.values())[1:]
            for each in parameters:
                if each.kind not in (each.VAR_KEYWORD, each.VAR_POSITIONAL):
                    found.setdefault(each.name, each)
            if all(each.kind is not each.VAR_KEYWORD for each in parameters):
                break  # it doesn't pass others on
        return found

    @classmethod
    def describe_parameters(cls) -> dict[str, str]:
        """Return the descriptions of all parameters by name."""
        parts = cls.__mro__[: cls.__mro__.index(Backbone) + 1]
        return {k: v for part in reversed(parts) for k, v in read_args(part.__doc__).items()}

    def __init__(
        self,
        config: Mapping[str, Any],
        *,
        include_top: bool = True,
        include_preprocessing: bool = True,
        input_tensor: Any = None,
        input_shape: Sequence[int | None] | None = None,
        input_name: str | None = None,
        pooling: str | None = None,
        classes: int = 1000,
        classifier_activation: str | Callable | None = "softmax",
        class_names: Sequence[str] | None = None,
        evaluation_transform: Mapping[str, Any] | None = None,
        frozen: Sequence[str] = (),
        thawed: Sequence[str] = (),
        name: str | None = None,
        dtype: Any = None,
        trainable: bool = True,
    ) -> None:
        check_boolean("include_top", include_top)
        check_boolean("include_preprocessing", include_preprocessing)
        check_boolean("trainable", trainable)
        for key, parameter in self.own_parameters().items():
            if parameter.annotation in (bool, "bool") and key in config:
                check_boolean(key, config[key])
        check_choice("pooling", pooling, (None, *POOLS))
        if input_tensor is not None:
            input_shape, input_name = describe_input(input_tensor, input_shape)
        config = {
            **config,
            "include_top": include_top,
            "include_preprocessing": include_preprocessing,
            "input_shape": check_input_shape(input_shape, include_preprocessing),
            "input_name": input_name,
            "pooling": pooling,
            "classes": check_positive("classes", classes),
            "classifier_activation": keras.activations.serialize(
                keras.activations.get(classifier_activation)
            ),
        }
        given = keras.dtype_policies.get(dtype or keras.config.dtype_policy())
        normalisation = self.normalisation(config) if include_preprocessing else None
        make = self.maker(given, normalisation)
        is_new = input_tensor is None
        images = keras.Input(config["input_shape"], name=input_name) if is_new else input_tensor
        features, levels, assignments = self.build_graph(images, config, make)
        if not make.is_normalised:
            raise RuntimeError(f"{type(self).__name__}.build_graph must normalise the images.")
        outputs, inference = self._build_top(features, config, make)
        super().__init__(inputs=images, outputs=outputs, name=name or default_name(type(self)))
        self._inference = None if inference is None else GraphPart(images, inference)
        self._set_up(
            num_classes=config["classes"] if include_top else None,
            class_names=class_names,
            evaluation_transform=evaluation_transform,
            frozen=frozen,
            thawed=thawed,
            trainable=trainable,
        )
        self.dtype_policy = default_policy(given)
        self._config, self._levels, self._assignments = config, levels, assignments

    # --- The graph ------------------------------------------------------------------------------

    def build_graph(
        self, images: Any, config: Mapping[str, Any], make: GraphMaker
    ) -> tuple[Any, dict[str, Any], dict[str, list]]:
        """Build the graph up to the head. Every family must override this method.

        Args:
            images: KerasTensor. The input (b, h, w, c), which `make.first` or `make.normalise` has
                to normalise.
            config: dict. The options of the family and those that all families share.
            make: GraphMaker. It creates each layer: `make(cls, name, ...)`.

        Returns:
            tuple. The features (b, h, w, c), or {name of a classifier: map or vector}, the levels
            {"P2": KerasTensor, ...}, and the cluster assignments by level.
        """
        raise NotImplementedError

    def _build_top(
        self, features: Any, config: Mapping[str, Any], make: GraphMaker
    ) -> tuple[Any, Any]:
        """Pool and classify; return the outputs, and those in inference if they differ."""
        pooling = "avg" if config["include_top"] else config["pooling"]
        names = list(self.classifiers(config).values())
        given = features if isinstance(features, Mapping) else {names[0]: features}
        if pooling is not None and any(len(x.shape) == 4 for x in given.values()):
            options = {"data_format": "channels_last", "dtype": exact_dtype(make.policy)}
            pool = make(POOLS[pooling], f"{pooling}_pool", **options)
            given = {name: pool(x) if len(x.shape) == 4 else x for name, x in given.items()}
        vectors = given if isinstance(features, Mapping) else dict.fromkeys(names, given[names[0]])
        if not config["include_top"]:
            return vectors[names[0]], None
        activation = keras.activations.get(config["classifier_activation"])
        if len(names) == 1:
            return self.classify(names[0], vectors[names[0]], activation, config, make), None
        logits = {name: self.classify(name, vectors[name], None, config, make) for name in names}
        outputs = {
            name: make(
                keras.layers.Activation,
                name if name == COMBINED else f"{name}_activation",
                activation,
                dtype=make.policy.variable_dtype,
            )(x)
            for name, x in {**logits, COMBINED: self.combine_heads(logits)}.items()
        }
        return outputs, outputs[COMBINED]

    def classify(
        self, name: str, features: Any, activation: Any, config: Mapping[str, Any], make: GraphMaker
    ) -> Any:
        """Apply a classifier, by default one projection.

        Args:
            name: str. Name of the classifier's layer.
            features: KerasTensor. Vectors (b, c).
            activation: Callable or None. Its activation.
            config: dict. The options of the family and those that all share.
            make: GraphMaker. Creates each layer.
        """
        return make(
            keras.layers.Dense,
            name,
            config["classes"],
            activation=activation,
            kernel_initializer=self.classifier_initializer(),
            dtype=make.policy.variable_dtype,
        )(features)

    def combine_heads(self, logits: Mapping[str, Any]) -> Any:
        """Return the logits of a model with several classifiers, by default their mean.

        Args:
            logits: dict. {name of the classifier: KerasTensor (batch, classes)}.
        """
        first, *others = logits.values()
        return sum(others, first) / len(logits)

    # --- Training -------------------------------------------------------------------------------

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Any:
        """Return the loss, with several classifiers the sum of their losses.

        Args:
            x: Any. The images.
            y: Tensor or dict. The targets. With several classifiers, {name of the classifier:
                targets} gives each its own, such as a teacher's predictions to that for
                distillation.
            y_pred: Tensor or dict. What `call` returned.
            sample_weight: Tensor or None. Weights of the images.
            training: bool. Whether the model is trained.
        """
        if self._inference is None:
            return super().compute_loss(x, y, y_pred, sample_weight, training)
        first, *others = self._heads
        own = y if isinstance(y, Mapping) else dict.fromkeys((first, *others), y)
        if not isinstance(y_pred, Mapping):
            return super().compute_loss(x, own[first], y_pred, sample_weight, training)
        loss = super().compute_loss(x, own[first], y_pred[first], sample_weight, training)
        if self._compile_loss is None:  # what `add_loss` collects is the loss
            return loss
        # not `super().compute_loss`, which would add regularisation again
        return loss + sum(
            self._compile_loss(own[name], y_pred[name], sample_weight) for name in others
        )

    def compute_metrics(self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None) -> dict:
        """Update the metrics with the prediction, and with the first classifier's targets."""
        if self._inference is not None:
            y_pred = y_pred[COMBINED] if isinstance(y_pred, Mapping) else y_pred
            y = y[self._heads[0]] if isinstance(y, Mapping) else y
        return super().compute_metrics(x, y, y_pred, sample_weight)

    def _check_targets(self, x: Any, y: Any, sample_weight: Any, is_first: bool) -> None:
        targets = [y] if self._inference is None else self._targets_of_heads(y)
        if is_sparse(getattr(self, "loss", None)):
            ignored = getattr(only(self.loss), "ignore_class", None)
            for each in targets:
                refuse_wrong_labels(each, self._num_classes, ignored)

    def _targets_of_heads(self, y: Any) -> list:
        """Return the targets of the classifiers, and check their form and that of the loss."""
        names = self._heads
        if keras.tree.is_nested(getattr(self, "loss", None)):
            raise ValueError(
                "`compile` takes one loss, which each classifier of the model has: "
                f"{', '.join(names)}. Received: loss={self.loss!r}"
            )
        expected = f"`y` must be an array, or a dict of arrays with the keys {names}. Received: "
        if isinstance(y, list | tuple) and any(np.ndim(each) for each in y):
            raise ValueError(f"{expected}a {type(y).__name__} of {len(y)}")
        if not isinstance(y, Mapping):
            return [y]
        if y.keys() != set(names):
            raise ValueError(f"{expected}the keys {list(y)}")
        return list(y.values())

    @property
    def _heads(self) -> list[str]:
        """The names of the classifiers."""
        return list(self.classifiers(self._config).values())

    def _knows_targets(self) -> bool:
        loss = getattr(self, "loss", None)
        return self._num_classes is not None and (self._inference is not None or is_sparse(loss))

    # --- What other code reads ------------------------------------------------------------------

    @property
    def output(self) -> Any:
        """The output in inference, to build on; `outputs` has those of training."""
        return super().output if self._inference is None else self._inference.model.output

    @property
    def output_shape(self) -> Any:
        """The shape of `output`."""
        part = self._inference
        return super().output_shape if part is None else part.model.output_shape

    @property
    def pyramid_outputs(self) -> dict[str, keras.KerasTensor]:
        """The maps of the levels."""
        return dict(self._levels)

    @property
    def pyramid_level_inputs(self) -> dict[str, str]:
        """The names of the layers whose outputs are the levels."""
        return {level: x._keras_history.operation.name for level, x in self._levels.items()}

    @property
    def assignments(self) -> dict[str, list[keras.KerasTensor]]:
        """The cluster assignments after each block, by level; stages with clusters only."""
        return {level: list(made) for level, made in self._assignments.items()}

    @property
    def hidden_dims(self) -> list[int]:
        """Channels of the levels."""
        return [level.shape[-1] for level in self._levels.values()]

    @property
    def embedding_dims(self) -> list[int]:
        """Channels of the levels, under the name that KerasCV reads."""
        return self.hidden_dims

    @property
    def include_preprocessing(self) -> bool:
        """Whether the model takes RGB in 0..255 and normalises it."""
        return self._config["include_preprocessing"]

    @property
    def image_shape(self) -> tuple:
        """(height, width, channels) of the input, `None` where any."""
        return self._config["input_shape"]

    @property
    def stage_names(self) -> list[str]:
        """The levels, in order."""
        return list(self._levels)

    def as_segformer_encoder(self, name: str | None = None) -> SegFormerEncoder:
        """Return a view for KerasHub's `SegFormerBackbone`, with shared layers.

        Args:
            name: str. Name of the view.
        """
        return SegFormerEncoder(self, name)

    def as_dict_encoder(self, name: str | None = None) -> DictEncoder:
        """Return a view for KerasHub's `DFineBackbone`, with shared layers.

        Args:
            name: str. Name of the view.
        """
        return DictEncoder(self, name)

    def get_config(self) -> dict:
        """Return the arguments of the constructor, without weights and tensors."""
        return {
            **self._config,
            **self._shared_config(),
            "name": self.name,
            "dtype": serialize_policy(self.dtype_policy, self.layers),
        }

    # --- What a family says about files ---------------------------------------------------------

    @classmethod
    def checkpoint_map(cls, config: Mapping[str, Any]) -> weights.KeyMap:
        """Return where each tensor of an official checkpoint belongs. Every family overrides it.

        Args:
            config: dict. Configuration of a model.

        Returns:
            KeyMap. {official key: entry}, one for every weight of the model.
        """
        raise NotImplementedError

    @classmethod
    def classifiers(cls, config: Mapping[str, Any]) -> dict[str, str]:
        """Return the classifiers of a model, by default all of `classifier_keys`.

        Keys of others in a file are ignored.

        Args:
            config: dict. Configuration of a model.

        Returns:
            dict. {official key: layer}.
        """
        return cls.classifier_keys

    @classmethod
    def normalisation(cls, config: Mapping[str, Any]) -> tuple[Sequence[float], Sequence[float]]:
        """Return mean and deviation of images in 0..1, by default `mean` and `deviation`.

        Args:
            config: dict. Configuration of a model.
        """
        return cls.mean, cls.deviation

    @classmethod
    def constant_keys(cls, tensors: Mapping[str, np.ndarray]) -> set[str]:
        """Return the keys of a file that hold no weights; by default, those of counters of batches.

        Args:
            tensors: dict. The arrays of a file by their keys.
        """
        return {key for key in tensors if key.endswith("num_batches_tracked")}

    @classmethod
    def options_of_file(cls, tensors: Mapping[str, np.ndarray]) -> dict[str, Any]:
        """Return the options that a file implies where the caller doesn't choose them.

        Args:
            tensors: dict. The arrays of a file by their keys.
        """
        return {}

    @classmethod
    def adapt_tensors(
        cls, tensors: Mapping[str, np.ndarray], config: Mapping[str, Any]
    ) -> Mapping[str, np.ndarray]:
        """Return the tensors of a file, some of them adapted to the options of a model.

        Args:
            tensors: dict. The arrays of an official or of a saved Keras file by their keys.
            config: dict. Configuration of the model.
        """
        return tensors

    @classmethod
    def fresh_keys(
        cls, tensors: Mapping[str, np.ndarray], config: Mapping[str, Any], source: str
    ) -> set[str]:
        """Return the keys whose weights keep their initial values under these options, and warn.

        Args:
            tensors: dict. The arrays of a file by their keys.
            config: dict. Configuration of the model.
            source: str. Name of the file, for the warning.
        """
        return set()

    @classmethod
    def related_checkpoint(
        cls, checkpoint: weights.Checkpoint, config: Mapping[str, Any]
    ) -> Related | None:
        """Return what a model takes of a file of another family from which it may start.

        Args:
            checkpoint: Checkpoint. What `weights.open_checkpoint` returned.
            config: dict. Configuration of the model.

        Returns:
            Related or None. `None` for a file of this family, or for one that can't be used.
        """
        return None

    @classmethod
    def rank(cls, file: weights.ReleasedFile, options: Mapping[str, Any]) -> int | None:
        """Return how well a released file fits the options of a model.

        Args:
            file: ReleasedFile. A file of the right variant and task.
            options: dict. The options, `None` where the caller chose nothing.

        Returns:
            int or None. 0 for a file with these options, 1 for a file that can be used as a start,
            `None` for a file that doesn't fit.
        """
        return 0 if all(options.get(key) == value for key, value in file.options.items()) else None

    @classmethod
    def identify(cls, checkpoint: weights.Checkpoint) -> dict[str, Any] | None:
        """Return the options that the keys of a file show, by which `convert` finds the variant.

        Args:
            checkpoint: Checkpoint. What `weights.open_checkpoint` returned.

        Returns:
            dict. The options, or `None` for a file of another family, or where files of the family
                can't be converted.
        """
        return None

    @classmethod
    def released_information(cls, file: weights.ReleasedFile) -> dict[str, Any]:
        """Return the class names and the evaluation transform of a released classifier.

        Args:
            file: ReleasedFile. The file.
        """
        if file.task != "classification":
            return {}
        return {
            "class_names": [name for _, name in imagenet_classes()],
            "evaluation_transform": {"image_size": [224, 224], "crop": file.crop},
        }

    @classmethod
    def option_names(cls) -> tuple[str, ...]:
        """Return the names of the family's own options."""
        return tuple(cls.own_parameters())
