"""Our families as models of KerasHub: presets, LoRA, preprocessing of raw images.

Import this module before `from_preset` reads a preset of one of them, as it registers the classes.
Each family has a backbone, an image converter, a preprocessor and a classifier. What they compute
is in the base classes, which come first.
"""

import inspect
from collections.abc import Sequence
from typing import Any, ClassVar

import keras
import numpy as np

from keras_paca.extras import install_command
from keras_paca.layers.auxiliary import AUXILIARY, auxiliary_options
from keras_paca.naming import default_name

try:
    import keras_hub
except ImportError as error:
    raise ImportError(f"`keras_paca.hub` needs KerasHub: {install_command('hub')}") from error

from keras_paca.arguments import check_class_names
from keras_paca.backbones.base import Backbone
from keras_paca.backbones.castling_vit import CastlingViT
from keras_paca.backbones.densenet_an import DenseNetAN
from keras_paca.backbones.documentation import join_parameters, with_args
from keras_paca.backbones.mobilenet_an import MobileNetAN
from keras_paca.backbones.model import add_exclusions, compile_with_exclusions
from keras_paca.backbones.paca_vit import PaCaViT
from keras_paca.backbones.rapidnet import RapidNet
from keras_paca.backbones.resnet_an import ResNetAN
from keras_paca.backbones.vittm import ViTTM
from keras_paca.forms import accept_key, is_twin, resolve
from keras_paca.frozen import restore_trainable_state, set_trainable, trainable_state
from keras_paca.layers.policies import quantized_layers, serialize_policy

# Arguments of a family that a backbone doesn't have; it has `image_shape` for `input_shape`.
_CLASSIFIER_ARGUMENTS = (
    "class_names",
    "classes",
    "classifier_activation",
    "evaluation_transform",
    "include_preprocessing",
    "include_top",
    "input_name",
    "input_shape",
    "pooling",
)

# --- What all families share ------------------------------------------------------------------


class FamilyBackbone(keras_hub.models.Backbone):
    """A family's network without its top as a KerasHub backbone, for normalised images.

    Args:
        image_shape: tuple. (height, width, channels) of the images. Height and width are 32 or
            more, or `None` for any.
        name: str. Name of the model.
        dtype: str or keras.DTypePolicy. Dtype or policy of every layer.
        trainable: bool. Whether the model's weights are trained at all.
        frozen: Sequence of str. Paths of the layers that aren't trained, as for the family.
        thawed: Sequence of str. Paths of the layers inside frozen ones that are trained.
        **options: Other arguments of the family that define the network.

    Attributes:
        pyramid_outputs: dict. The maps of the levels, {"P2": KerasTensor (batch, height / 4,
            width / 4, channels), ...}, as far as the family has them.
        pyramid_level_inputs: dict. The name of the last layer of each level, {"P2": str, ...}.
        assignments: dict. The clusters of each block, {"P2": [KerasTensor (batch, patches,
            clusters), ...], ...}, which `keras_paca.cluster_maps` reads; empty without clusters.
        hidden_dims, embedding_dims: list of int. Channels of each level.
        stage_names: list of str. The names of the levels.

    Raises:
        ValueError: If an argument isn't one of the family that defines the network, or its value
            doesn't fit.
    """

    family: ClassVar[type[Backbone]]
    output_layer: ClassVar[str | None] = None  # by default, the output is that of the family
    auxiliary = AUXILIARY

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Complete the signature and the docstring with the family's own options."""
        super().__init_subclass__(**kwargs)
        shared = list(inspect.signature(FamilyBackbone.__init__).parameters.values())[1:-1]
        if "__init__" not in vars(cls):
            own = cls.family.own_parameters().values()
            cls.__signature__ = inspect.Signature(join_parameters(own, shared))
        described = cls.family.describe_parameters()
        names = [*cls.family.own_parameters(), *(each.name for each in shared)]
        args = {name: described[name] for name in names if name in described}
        args["image_shape"] = described["input_shape"]
        cls.__doc__ = with_args(cls.__doc__, args)

    def __init__(
        self,
        *args: Any,
        image_shape: Any = (None, None, 3),
        name: str | None = None,
        dtype: Any = None,
        trainable: bool = True,
        frozen: Sequence[str] = (),
        thawed: Sequence[str] = (),
        **options: Any,
    ) -> None:
        refused = sorted(set(options) & {*_CLASSIFIER_ARGUMENTS, "input_tensor"})
        if refused:
            raise ValueError(
                f"`{type(self).__name__}` takes the arguments of `{self.family.__name__}` that "
                f"define the network, and `image_shape` for its input. "
                f"Received: {', '.join(refused)}"
            )
        cls, options = resolve(self.family, options)  # a fused one, where the options say so
        network = cls(
            *args,
            include_top=False,
            include_preprocessing=False,
            input_shape=image_shape,
            dtype=dtype,
            **options,
        )
        config = network.get_config()
        layer = None if self.output_layer is None else network.get_layer(self.output_layer)
        super().__init__(
            inputs=network.input,
            outputs=network.output if layer is None else layer.output,
            name=name or default_name(type(self)),
            dtype=network.dtype_policy,
        )
        if not trainable:
            set_trainable(self, False)
        restore_trainable_state(self, frozen, thawed, must_exist=not is_twin(cls))
        self.pyramid_outputs = network.pyramid_outputs
        self.pyramid_level_inputs = network.pyramid_level_inputs
        self.assignments = network.assignments
        self.hidden_dims = self.embedding_dims = network.hidden_dims
        self.image_shape = network.image_shape
        self.stage_names = network.stage_names
        self.data_format = "channels_last"
        for key in (*_CLASSIFIER_ARGUMENTS, "name", "dtype", "trainable", "frozen", "thawed"):
            del config[key]
        self.network_config = config

    def default_lora_layer_names(self) -> list[str]:
        """Return the names of the layers that `enable_lora` trains."""
        return list(self.family.lora_layers)

    def get_config(self) -> dict:
        """Return the arguments of the constructor."""
        # not from `super()`, which removes the names of a quantized model's policies
        return {
            "name": self.name,
            "trainable": self.trainable,
            **trainable_state(self),
            "dtype": serialize_policy(self.dtype_policy, self.layers),
            **self.network_config,
            **auxiliary_options(self),
            "image_shape": self.image_shape,
        }

    def get_compile_config(self) -> dict | None:
        """Return the arguments of `compile`, and the weights that the optimizer doesn't decay."""
        return add_exclusions(self, super().get_compile_config())

    def compile_from_config(self, config: dict) -> None:
        """Compile the model with the arguments of a saved one.

        Args:
            config: dict. What `get_compile_config` returns.
        """
        compile_with_exclusions(self, config)


class FamilyImageConverter(keras_hub.layers.ImageConverter):
    """Resize RGB images in 0..255 and normalise them with the family's mean and deviation.

    `output = resized * scale + offset`. The official evaluation resizes and then crops the centre,
    such as 224 pixels of 248, which `keras_paca.evaluation_transform` reproduces to the pixel.

    Args:
        image_size: (int, int). Height and width to resize to, `None` for the images' own size.
        scale: sequence of float. A factor for each channel; "auto" for 1 / (255 × deviation).
        offset: sequence of float. A summand for each channel; "auto" for -mean / deviation.
        interpolation: str. How images are resized, as for `keras.layers.Resizing`.
        antialias: bool. Whether images are smoothed before they are made smaller.
        **kwargs: Other arguments of `keras_hub.layers.ImageConverter`.

    Input shape: (height, width, 3) or (batch, height, width, 3), RGB in 0..255.
    Output shape: the same with the new height and width, normalised.
    """

    def __init__(
        self,
        image_size: Any = (224, 224),
        scale: Any = "auto",
        offset: Any = "auto",
        interpolation: str = "bicubic",
        antialias: bool = True,
        **kwargs: Any,
    ) -> None:
        family = self.backbone_cls.family
        auto = _scale_and_offset(family.mean, family.deviation)
        scale = auto["scale"] if isinstance(scale, str) else scale
        offset = auto["offset"] if isinstance(offset, str) else offset
        super().__init__(
            image_size=image_size,
            scale=scale,
            offset=offset,
            interpolation=interpolation,
            antialias=antialias,
            **{"data_format": "channels_last", **kwargs},
        )


def _scale_and_offset(
    mean: Sequence[float], deviation: Sequence[float]
) -> dict[str, tuple[float, ...]]:
    """Return the arguments of an image converter for a mean and a deviation of images in 0..1."""
    pairs = list(zip(mean, deviation, strict=True))
    return {
        "scale": tuple(1 / (255 * each) for _, each in pairs),
        "offset": tuple(-middle / each for middle, each in pairs),
    }


class FamilyImageClassifier(keras_hub.models.ImageClassifier):
    """A family's network as KerasHub's `ImageClassifier`, which classifies raw images.

    `from_model` makes a classifier from a `keras_paca` model with its weights, and
    `from_preset(FOLDER)` loads what `save_to_preset(FOLDER)` saved. It computes what the model
    computes in inference: of several classifiers, there is one with their combined weights.

    Args:
        backbone: FamilyBackbone. The family's backbone.
        num_classes: int. Number of classes.
        preprocessor: keras_hub.models.ImageClassifierPreprocessor. The preprocessing in `fit`,
            `evaluate` and `predict`, `None` for images that are already normalised.
        **kwargs: Other arguments of `keras_hub.models.ImageClassifier`, such as `activation`.

    Input shape: (batch, height, width, 3), RGB in 0..255, of any size in `predict`.
    Output shape: (batch, num_classes), logits or, with `activation="softmax"`, probabilities.

    Attributes:
        class_names: list of str. The name of each class, or `None`. It is saved with the model.
    """

    @property
    def class_names(self) -> list[str] | None:
        """The name of each class, or `None`.

        Raises:
            ValueError: If it is set to anything else than one string for each class, or `None`.
        """
        names = getattr(self, "_class_names", None)
        return None if names is None else list(names)

    @class_names.setter
    def class_names(self, names: Sequence[str] | None) -> None:
        self._class_names = check_class_names(names, self.num_classes)

    def get_config(self) -> dict:
        """Return the arguments of the constructor, class names, frozen and quantized layers."""
        config = {**super().get_config(), **trainable_state(self), "class_names": self.class_names}
        if self.output_dense.quantization_mode is not None:
            config["head_quantization"] = keras.saving.serialize_keras_object(
                self.output_dense.quantization_config
            )
        return config

    @classmethod
    def from_config(cls, config: dict) -> "FamilyImageClassifier":
        """Make a classifier from its configuration.

        Args:
            config: dict. What `get_config` returns.

        Returns:
            FamilyImageClassifier. A classifier with new weights.
        """
        config = dict(config)
        quantization = config.pop("head_quantization", None)
        state = config.pop("frozen", ()), config.pop("thawed", ())
        names = config.pop("class_names", None)
        classifier = super().from_config(config)
        if names is not None and len(names) == classifier.num_classes:
            classifier.class_names = names
        restore_trainable_state(classifier, *state, must_exist=False)
        if quantization is not None:
            quantization = keras.saving.deserialize_keras_object(quantization)
            classifier.output_dense.quantize(config=quantization)
        return classifier

    def get_compile_config(self) -> dict | None:
        """Return the arguments of `compile`, and the weights that the optimizer doesn't decay."""
        return add_exclusions(self, super().get_compile_config())

    def compile_from_config(self, config: dict) -> None:
        """Compile the model with the arguments of a saved one.

        Args:
            config: dict. What `get_compile_config` returns.
        """
        compile_with_exclusions(self, config)

    @classmethod
    def from_model(
        cls, model: Backbone, image_size: tuple[int, int] | None = None
    ) -> "FamilyImageClassifier":
        """Make a KerasHub classifier that computes what a model computes, with its weights.

        Args:
            model: Backbone. A model of the family with its top, such as `keras_paca.PaCaSmall()`.
            image_size: (int, int). Height and width to which images are resized; by default the
                model's own, and (224, 224) where it takes any.

        Returns:
            FamilyImageClassifier. The classifier, for RGB images in 0..255 of any size.

        Raises:
            ValueError: If the model has no top or doesn't normalise its images, or is quantized.
                Quantize the classifier instead.

        Example:
        >>> import keras_paca
        >>> import numpy as np
        >>> model = keras_paca.PaCaViT((8, 8, 8, 8), 1, 1, classes=2, class_names=["ant", "bee"])
        >>> classifier = PaCaImageClassifier.from_model(model, image_size=(64, 64))
        >>> classifier.predict(np.zeros((1, 48, 96, 3)), verbose=0).shape
        (1, 2)
        >>> classifier.class_names
        ['ant', 'bee']
        """
        family = cls.backbone_cls.family
        config = model.get_config() if isinstance(model, family) else {}
        if not (config.get("include_top") and config["include_preprocessing"]):
            raise ValueError(
                f"`from_model` takes a `{family.__name__}` with `include_top=True` and "
                f"`include_preprocessing=True`. Received: {model!r}"
            )
        if quantized_layers(model):
            raise ValueError(
                "`from_model` takes a model that isn't quantized; quantize the classifier that it "
                f"makes. Received: {model!r}"
            )
        shape = config["input_shape"]
        if image_size is None:
            image_size = shape[:2] if None not in shape[:2] else (224, 224)
        state = config.pop("frozen"), config.pop("thawed")
        options = {key: config[key] for key in config if key not in _CLASSIFIER_ARGUMENTS}
        backbone = cls.backbone_cls(
            **{**options, "dtype": model.dtype_policy, "name": f"{model.name}_backbone"},
            image_shape=shape,
        )
        normalisation = _scale_and_offset(*family.normalisation(config))
        converter = cls.preprocessor_cls.image_converter_cls(image_size, **normalisation)
        heads = [model.get_layer(name) for name in model.classifiers(config).values()]
        classifier = cls(
            backbone=backbone,
            num_classes=config["classes"],
            activation=config["classifier_activation"],
            preprocessor=cls.preprocessor_cls(converter),
            head_dtype=heads[0].dtype_policy,
            name=model.name,
        )
        for part in (backbone, *classifier.neck):
            for layer in part.layers:
                if layer.weights:
                    layer.set_weights(_weights_for_normalised(model.get_layer(layer.name)))
            restore_trainable_state(part, *state, must_exist=False)
        classifier.output_dense.set_weights(_combined_weights(model, heads))
        classifier.output_dense.trainable = heads[0].trainable
        classifier.class_names = model.class_names
        return classifier

    @property
    def neck(self) -> list[keras.Model]:
        """The model between the backbone and the classifier, if it is more than a mean."""
        return [self.pooler] if isinstance(self.pooler, keras.Model) else []


class FamilyImageClassifierWithNeck(FamilyImageClassifier):
    """A `FamilyImageClassifier` with the layers that the family has before its classifiers.

    They are one model, the classifier's `pooler`.

    Args:
        backbone: FamilyBackbone. The family's backbone.
        num_classes: int. Number of classes.
        preprocessor: keras_hub.models.ImageClassifierPreprocessor. As for `FamilyImageClassifier`.
        pooling: str. "avg", the pooling of the family.
        activation: str or Callable. Activation of the classifier, `None` for logits.
        dropout: float. Rate of dropout before the classifier.
        head_dtype: str or keras.DTypePolicy. Dtype of the classifier, by default the backbone's.
        neck_dtype: str or keras.DTypePolicy. Dtype of the layers before it, likewise.
        **kwargs: Other arguments of `keras_hub.models.Task`.
    """

    def __init__(
        self,
        backbone: FamilyBackbone,
        num_classes: int,
        preprocessor: Any = None,
        pooling: str = "avg",
        activation: Any = None,
        dropout: float = 0.0,
        head_dtype: Any = None,
        neck_dtype: Any = None,
        **kwargs: Any,
    ) -> None:
        if pooling != "avg":
            raise ValueError(
                f'`pooling` must be "avg", as in `{backbone.family.__name__}`. '
                f"Received: pooling={pooling!r}"
            )
        head_dtype = head_dtype or backbone.dtype_policy
        self.backbone, self.preprocessor = backbone, preprocessor
        self.pooler = _make_neck(backbone, neck_dtype or backbone.dtype_policy)
        self.output_dropout = keras.layers.Dropout(dropout, dtype=head_dtype, name="output_dropout")
        self.output_dense = keras.layers.Dense(
            num_classes, activation=activation, dtype=head_dtype, name="predictions"
        )
        x = self.output_dropout(self.pooler(backbone(backbone.input)))
        # not KerasHub's own constructor, which would pool in place of the neck
        keras_hub.models.Task.__init__(
            self, inputs=backbone.input, outputs=self.output_dense(x), **kwargs
        )
        self.num_classes, self.activation = num_classes, activation
        self.pooling, self.dropout = pooling, dropout

    def get_config(self) -> dict:
        """Return the arguments of the constructor, those of `FamilyImageClassifier` included."""
        policy = serialize_policy(self.backbone.dtype_policy, self.pooler.layers)
        return {**super().get_config(), "neck_dtype": policy}


def _weights_for_normalised(layer: keras.layers.Layer) -> list:
    """Return the weights of a layer for normalised images, also of a fused stem that normalises."""
    return getattr(layer, "weights_for_normalised", layer.get_weights)()


def _make_neck(backbone: FamilyBackbone, dtype: Any) -> keras.Model:
    """Return the layers of a family between its features and its first classifier, as new ones."""
    cls, options = resolve(backbone.family, backbone.network_config)
    whole = cls(
        **options,
        include_preprocessing=False,
        input_shape=backbone.image_shape,
        dtype=keras.dtype_policies.get(dtype),
        classes=1,
    )
    features = whole.get_layer(backbone.output._keras_history.operation.name).output
    names = whole.classifiers(whole.get_config()).values()
    heads = [whole.get_layer(name) for name in names]
    vectors = _vectors(whole, heads)
    if len(vectors) > 1:
        join = keras.layers.Concatenate(name="join", dtype=keras.dtype_policies.get(dtype))
        vectors = [join(vectors)]
    neck = keras.Model(features, vectors[0], name="pooler")
    return keras.models.clone_model(neck)  # whose layers don't keep the whole network in memory


def _shares(model: Backbone, heads: Sequence[keras.layers.Layer]) -> dict[str, float]:
    """Return how much the logits of each classifier count in a model's prediction."""
    if len(heads) == 1:
        return {heads[0].name: 1.0}
    return {
        head.name: model.combine_heads({each.name: float(each is head) for each in heads})
        for head in heads
    }


def _vectors(model: Backbone, heads: Sequence[keras.layers.Layer]) -> list[keras.KerasTensor]:
    """Return the different vectors that the classifiers of a model's prediction read."""
    shares = _shares(model, heads)
    return list({id(head.input): head.input for head in heads if shares[head.name]}.values())


def _combined_weights(model: Backbone, heads: Sequence[keras.layers.Layer]) -> list:
    """Return the weights of one classifier for the logits that a model's classifiers make.

    It reads the vectors that `_vectors` returns side by side.
    """
    shares = _shares(model, heads)
    kernels = [
        sum(shares[h.name] * h.get_weights()[0] for h in heads if h.input is vector)
        for vector in _vectors(model, heads)
    ]
    biases = [shares[head.name] * head.get_weights()[1] for head in heads]
    return [np.concatenate(kernels), sum(biases)]


# --- PaCa-ViT -----------------------------------------------------------------------------------


@accept_key
@keras.saving.register_keras_serializable(package="keras_paca")
class PaCaBackbone(FamilyBackbone):
    """A `PaCaViT` without its top as a KerasHub backbone, for images that are already normalised.

    Args:
        x: filled in by the base.

    Input shape: (batch, height, width, channels), normalised as by `PaCaImageConverter`.
    Output shape: the map P5, (batch, height / 32, width / 32, channels).

    Example:
    >>> backbone = PaCaBackbone((8, 8, 8, 8), depths=1, num_heads=1, image_shape=(64, 64, 3))
    >>> backbone.pyramid_outputs["P2"].shape
    (None, 16, 16, 8)
    """

    family = PaCaViT

    def __init__(
        self,
        hidden_dims: Any,
        depths: Any,
        num_heads: Any,
        image_shape: Any = (None, None, 3),
        name: str | None = None,
        dtype: Any = None,
        trainable: bool = True,
        frozen: Sequence[str] = (),
        thawed: Sequence[str] = (),
        **options: Any,
    ) -> None:
        own = {"hidden_dims": hidden_dims, "depths": depths, "num_heads": num_heads}
        shared = {"image_shape": image_shape, "name": name, "dtype": dtype, "trainable": trainable}
        super().__init__(**own, **shared, frozen=frozen, thawed=thawed, **options)


@keras.saving.register_keras_serializable(package="keras_paca")
class PaCaImageConverter(FamilyImageConverter):
    """A `FamilyImageConverter` for PaCa-ViT.

    Example:
    >>> converter = PaCaImageConverter(image_size=(64, 64))
    >>> tuple(converter(keras.ops.ones((1, 48, 96, 3))).shape)
    (1, 64, 64, 3)
    """

    backbone_cls = PaCaBackbone


@keras.saving.register_keras_serializable(package="keras_paca")
class PaCaImageClassifierPreprocessor(keras_hub.models.ImageClassifierPreprocessor):
    """The preprocessing of `PaCaImageClassifier`: a `PaCaImageConverter` and the labels.

    Args:
        image_converter: PaCaImageConverter. The layer that resizes and normalises images.
        **kwargs: Other arguments of `keras_hub.models.ImageClassifierPreprocessor`.

    Input shape: images (batch, height, width, 3), RGB in 0..255; labels and sample weights, which
        are passed on, may come with them.
    Output shape: (batch, height, width, 3), with the converter's height and width.

    Example:
    >>> preprocessor = PaCaImageClassifierPreprocessor(PaCaImageConverter((64, 64)))
    >>> tuple(preprocessor(keras.ops.ones((1, 48, 96, 3))).shape)
    (1, 64, 64, 3)
    """

    backbone_cls = PaCaBackbone
    image_converter_cls = PaCaImageConverter


@keras.saving.register_keras_serializable(package="keras_paca")
class PaCaImageClassifier(FamilyImageClassifier):
    """A PaCa-ViT as KerasHub's `ImageClassifier`; see `FamilyImageClassifier`.

    Example:
    >>> backbone = PaCaBackbone((8, 8, 8, 8), depths=1, num_heads=1, image_shape=(64, 64, 3))
    >>> classifier = PaCaImageClassifier(backbone, num_classes=2)
    >>> classifier.class_names = ["ant", "bee"]
    >>> tuple(classifier(keras.ops.ones((1, 64, 64, 3))).shape)
    (1, 2)
    """

    backbone_cls = PaCaBackbone
    preprocessor_cls = PaCaImageClassifierPreprocessor


# --- RapidNet -----------------------------------------------------------------------------------


@accept_key
@keras.saving.register_keras_serializable(package="keras_paca")
class RapidNetBackbone(FamilyBackbone):
    """A `RapidNet` without its top as a KerasHub backbone, for images that are already normalised.

    Args:
        x: filled in by the base.

    Input shape: (batch, height, width, channels), normalised as by `RapidNetImageConverter`.
    Output shape: the map P5, (batch, height / 32, width / 32, channels).

    Example:
    >>> depths = ((1, 0), (1, 0), (1, 1), (0, 1))
    >>> backbone = RapidNetBackbone((8, 8, 16, 16), depths, image_shape=(64, 64, 3))
    >>> backbone.pyramid_outputs["P2"].shape
    (None, 16, 16, 8)
    """

    family = RapidNet


@keras.saving.register_keras_serializable(package="keras_paca")
class RapidNetImageConverter(FamilyImageConverter):
    """A `FamilyImageConverter` for RapidNet.

    Example:
    >>> converter = RapidNetImageConverter(image_size=(64, 64))
    >>> tuple(converter(keras.ops.ones((1, 48, 96, 3))).shape)
    (1, 64, 64, 3)
    """

    backbone_cls = RapidNetBackbone


@keras.saving.register_keras_serializable(package="keras_paca")
class RapidNetImageClassifierPreprocessor(keras_hub.models.ImageClassifierPreprocessor):
    """The preprocessing of `RapidNetImageClassifier`: a `RapidNetImageConverter` and the labels.

    Args:
        image_converter: RapidNetImageConverter. The layer that resizes and normalises images.
        **kwargs: Other arguments of `keras_hub.models.ImageClassifierPreprocessor`.

    Example:
    >>> preprocessor = RapidNetImageClassifierPreprocessor(RapidNetImageConverter((64, 64)))
    >>> tuple(preprocessor(keras.ops.ones((1, 48, 96, 3))).shape)
    (1, 64, 64, 3)
    """

    backbone_cls = RapidNetBackbone
    image_converter_cls = RapidNetImageConverter


@keras.saving.register_keras_serializable(package="keras_paca")
class RapidNetImageClassifier(FamilyImageClassifierWithNeck):
    """A RapidNet as KerasHub's `ImageClassifier`; see `FamilyImageClassifier`.

    Its classifier is the mean of the model's two, as in the model's inference.

    Example:
    >>> depths = ((1, 0), (1, 0), (1, 1), (0, 1))
    >>> backbone = RapidNetBackbone((8, 8, 16, 16), depths, image_shape=(64, 64, 3))
    >>> classifier = RapidNetImageClassifier(backbone, num_classes=2)
    >>> tuple(classifier(keras.ops.ones((1, 64, 64, 3))).shape)
    (1, 2)
    """

    backbone_cls = RapidNetBackbone
    preprocessor_cls = RapidNetImageClassifierPreprocessor


# --- ViTTM --------------------------------------------------------------------------------------


@accept_key
@keras.saving.register_keras_serializable(package="keras_paca")
class ViTTMBackbone(FamilyBackbone):
    """A `ViTTM` without its top as a KerasHub backbone, for images that are already normalised.

    Args:
        x: filled in by the base.

    Input shape: (batch, height, width, channels), normalised as by `ViTTMImageConverter`.
    Output shape: the memory, (batch, height // memory_patch_size, width // memory_patch_size,
        hidden_dim).

    Example:
    >>> backbone = ViTTMBackbone(8, num_heads=2, depth=1, image_shape=(56, 84, 3))
    >>> backbone.output_shape
    (None, 2, 3, 8)
    """

    family = ViTTM

    @property
    def memory_reads(self) -> list[tuple[keras.layers.Layer, list[keras.KerasTensor]]]:
        """The head of each block that reads the memory, and its inputs [memory, process tokens]."""
        heads = [self.get_layer(f"block{i + 1}_read") for i in range(self.network_config["depth"])]
        return [(head, head.input) for head in heads]


@keras.saving.register_keras_serializable(package="keras_paca")
class ViTTMImageConverter(FamilyImageConverter):
    """A `FamilyImageConverter` for ViTTM.

    Example:
    >>> converter = ViTTMImageConverter(image_size=(56, 56))
    >>> tuple(converter(keras.ops.ones((1, 48, 96, 3))).shape)
    (1, 56, 56, 3)
    """

    backbone_cls = ViTTMBackbone


@keras.saving.register_keras_serializable(package="keras_paca")
class ViTTMImageClassifierPreprocessor(keras_hub.models.ImageClassifierPreprocessor):
    """The preprocessing of `ViTTMImageClassifier`: a `ViTTMImageConverter` and the labels.

    Args:
        image_converter: ViTTMImageConverter. The layer that resizes and normalises images.
        **kwargs: Other arguments of `keras_hub.models.ImageClassifierPreprocessor`.

    Example:
    >>> preprocessor = ViTTMImageClassifierPreprocessor(ViTTMImageConverter((56, 56)))
    >>> tuple(preprocessor(keras.ops.ones((1, 48, 96, 3))).shape)
    (1, 56, 56, 3)
    """

    backbone_cls = ViTTMBackbone
    image_converter_cls = ViTTMImageConverter


@keras.saving.register_keras_serializable(package="keras_paca")
class ViTTMImageClassifier(FamilyImageClassifierWithNeck):
    """A ViTTM as KerasHub's `ImageClassifier`; see `FamilyImageClassifier`.

    It has the classifier of the memory alone, which makes the model's prediction. `ViTTM` itself
    also trains one of the process tokens.

    Example:
    >>> backbone = ViTTMBackbone(8, num_heads=2, depth=1, image_shape=(56, 84, 3))
    >>> classifier = ViTTMImageClassifier(backbone, num_classes=2)
    >>> tuple(classifier(keras.ops.ones((1, 56, 84, 3))).shape)
    (1, 2)
    """

    backbone_cls = ViTTMBackbone
    preprocessor_cls = ViTTMImageClassifierPreprocessor


# --- ResNet with attentive normalization --------------------------------------------------------


@accept_key
@keras.saving.register_keras_serializable(package="keras_paca")
class ResNetANBackbone(FamilyBackbone):
    """A `ResNetAN` without its top as a KerasHub backbone, for normalised images.

    Args:
        x: filled in by the base.

    Input shape: (batch, height, width, channels), normalised as by `ResNetANImageConverter`.
    Output shape: the map P5, (batch, height / 32, width / 32, channels).

    Example:
    >>> backbone = ResNetANBackbone((8, 8, 16, 16), depths=1, image_shape=(64, 64, 3))
    >>> backbone.pyramid_outputs["P2"].shape
    (None, 16, 16, 8)
    """

    family = ResNetAN


@keras.saving.register_keras_serializable(package="keras_paca")
class ResNetANImageConverter(FamilyImageConverter):
    """A `FamilyImageConverter` for ResNetAN.

    Example:
    >>> converter = ResNetANImageConverter(image_size=(64, 64))
    >>> tuple(converter(keras.ops.ones((1, 48, 96, 3))).shape)
    (1, 64, 64, 3)
    """

    backbone_cls = ResNetANBackbone


@keras.saving.register_keras_serializable(package="keras_paca")
class ResNetANImageClassifierPreprocessor(keras_hub.models.ImageClassifierPreprocessor):
    """The preprocessing of `ResNetANImageClassifier`: a `ResNetANImageConverter` and labels.

    Args:
        image_converter: ResNetANImageConverter. The layer that resizes and normalises images.
        **kwargs: Other arguments of `keras_hub.models.ImageClassifierPreprocessor`.

    Example:
    >>> preprocessor = ResNetANImageClassifierPreprocessor(ResNetANImageConverter((64, 64)))
    >>> tuple(preprocessor(keras.ops.ones((1, 48, 96, 3))).shape)
    (1, 64, 64, 3)
    """

    backbone_cls = ResNetANBackbone
    image_converter_cls = ResNetANImageConverter


@keras.saving.register_keras_serializable(package="keras_paca")
class ResNetANImageClassifier(FamilyImageClassifier):
    """A ResNetAN as KerasHub's `ImageClassifier`; see `FamilyImageClassifier`.

    Example:
    >>> backbone = ResNetANBackbone((8, 8, 16, 16), depths=1, image_shape=(64, 64, 3))
    >>> classifier = ResNetANImageClassifier(backbone, num_classes=2)
    >>> tuple(classifier(keras.ops.ones((1, 64, 64, 3))).shape)
    (1, 2)
    """

    backbone_cls = ResNetANBackbone
    preprocessor_cls = ResNetANImageClassifierPreprocessor


# --- MobileNetV2 with attentive normalization ---------------------------------------------------


@accept_key
@keras.saving.register_keras_serializable(package="keras_paca")
class MobileNetANBackbone(FamilyBackbone):
    """A `MobileNetAN` without its top as a KerasHub backbone, for normalised images.

    Args:
        x: filled in by the base.

    Input shape: (batch, height, width, channels), normalised as by `MobileNetANImageConverter`.
    Output shape: the map P5, (batch, height / 32, width / 32, channels).

    Example:
    >>> backbone = MobileNetANBackbone((8, 8, 8, 16, 16, 24, 32), depths=1, image_shape=(64, 64, 3))
    >>> backbone.pyramid_outputs["P2"].shape
    (None, 16, 16, 8)
    """

    family = MobileNetAN


@keras.saving.register_keras_serializable(package="keras_paca")
class MobileNetANImageConverter(FamilyImageConverter):
    """A `FamilyImageConverter` for MobileNetAN.

    Example:
    >>> converter = MobileNetANImageConverter(image_size=(64, 64))
    >>> tuple(converter(keras.ops.ones((1, 48, 96, 3))).shape)
    (1, 64, 64, 3)
    """

    backbone_cls = MobileNetANBackbone


@keras.saving.register_keras_serializable(package="keras_paca")
class MobileNetANImageClassifierPreprocessor(keras_hub.models.ImageClassifierPreprocessor):
    """The preprocessing of `MobileNetANImageClassifier`: a `MobileNetANImageConverter` and labels.

    Args:
        image_converter: MobileNetANImageConverter. The layer that resizes and normalises images.
        **kwargs: Other arguments of `keras_hub.models.ImageClassifierPreprocessor`.

    Example:
    >>> preprocessor = MobileNetANImageClassifierPreprocessor(MobileNetANImageConverter((64, 64)))
    >>> tuple(preprocessor(keras.ops.ones((1, 48, 96, 3))).shape)
    (1, 64, 64, 3)
    """

    backbone_cls = MobileNetANBackbone
    image_converter_cls = MobileNetANImageConverter


@keras.saving.register_keras_serializable(package="keras_paca")
class MobileNetANImageClassifier(FamilyImageClassifierWithNeck):
    """A MobileNetAN as KerasHub's `ImageClassifier`; see `FamilyImageClassifier`.

    Example:
    >>> backbone = MobileNetANBackbone((8, 8, 8, 16, 16, 24, 32), depths=1, image_shape=(64, 64, 3))
    >>> classifier = MobileNetANImageClassifier(backbone, num_classes=2)
    >>> tuple(classifier(keras.ops.ones((1, 64, 64, 3))).shape)
    (1, 2)
    """

    backbone_cls = MobileNetANBackbone
    preprocessor_cls = MobileNetANImageClassifierPreprocessor


# --- DenseNet with attentive normalization ------------------------------------------------------


@accept_key
@keras.saving.register_keras_serializable(package="keras_paca")
class DenseNetANBackbone(FamilyBackbone):
    """A `DenseNetAN` without its top as a KerasHub backbone, for normalised images.

    Args:
        x: filled in by the base.

    Input shape: (batch, height, width, channels), normalised as by `DenseNetANImageConverter`.
    Output shape: the map P5, (batch, height / 32, width / 32, channels).

    Example:
    >>> backbone = DenseNetANBackbone(depths=1, growth_rate=8, image_shape=(64, 64, 3))
    >>> backbone.pyramid_outputs["P2"].shape
    (None, 16, 16, 24)
    """

    family = DenseNetAN


@keras.saving.register_keras_serializable(package="keras_paca")
class DenseNetANImageConverter(FamilyImageConverter):
    """A `FamilyImageConverter` for DenseNetAN.

    Example:
    >>> converter = DenseNetANImageConverter(image_size=(64, 64))
    >>> tuple(converter(keras.ops.ones((1, 48, 96, 3))).shape)
    (1, 64, 64, 3)
    """

    backbone_cls = DenseNetANBackbone


@keras.saving.register_keras_serializable(package="keras_paca")
class DenseNetANImageClassifierPreprocessor(keras_hub.models.ImageClassifierPreprocessor):
    """The preprocessing of `DenseNetANImageClassifier`: a `DenseNetANImageConverter` and labels.

    Args:
        image_converter: DenseNetANImageConverter. The layer that resizes and normalises images.
        **kwargs: Other arguments of `keras_hub.models.ImageClassifierPreprocessor`.

    Example:
    >>> preprocessor = DenseNetANImageClassifierPreprocessor(DenseNetANImageConverter((64, 64)))
    >>> tuple(preprocessor(keras.ops.ones((1, 48, 96, 3))).shape)
    (1, 64, 64, 3)
    """

    backbone_cls = DenseNetANBackbone
    image_converter_cls = DenseNetANImageConverter


@keras.saving.register_keras_serializable(package="keras_paca")
class DenseNetANImageClassifier(FamilyImageClassifier):
    """A DenseNetAN as KerasHub's `ImageClassifier`; see `FamilyImageClassifier`.

    Example:
    >>> backbone = DenseNetANBackbone(depths=1, growth_rate=8, image_shape=(64, 64, 3))
    >>> classifier = DenseNetANImageClassifier(backbone, num_classes=2)
    >>> tuple(classifier(keras.ops.ones((1, 64, 64, 3))).shape)
    (1, 2)
    """

    backbone_cls = DenseNetANBackbone
    preprocessor_cls = DenseNetANImageClassifierPreprocessor


# --- Castling-ViT -------------------------------------------------------------------------------


@accept_key
@keras.saving.register_keras_serializable(package="keras_paca")
class CastlingViTBackbone(FamilyBackbone):
    """A `CastlingViT` without its top as a KerasHub backbone, for images already normalised.

    As KerasHub's own `ViTBackbone`, it returns all tokens, so that a classifier can read the class
    token.

    Args:
        x: filled in by the base.

    Input shape: (batch, height, width, channels), normalised as by `CastlingViTImageConverter`.
    Output shape: the tokens (batch, tokens, hidden_dim): the class token, the distillation token if
        there is one, and the patches.

    Example:
    >>> backbone = CastlingViTBackbone(8, num_heads=2, depth=1, image_shape=(64, 48, 3))
    >>> backbone.output_shape, backbone.pyramid_outputs["P4"].shape
    ((None, 13, 8), (None, 4, 3, 8))
    """

    family = CastlingViT
    output_layer = "norm"


@keras.saving.register_keras_serializable(package="keras_paca")
class CastlingViTImageConverter(FamilyImageConverter):
    """A `FamilyImageConverter` for Castling-ViT.

    Example:
    >>> converter = CastlingViTImageConverter(image_size=(64, 64))
    >>> tuple(converter(keras.ops.ones((1, 48, 96, 3))).shape)
    (1, 64, 64, 3)
    """

    backbone_cls = CastlingViTBackbone


@keras.saving.register_keras_serializable(package="keras_paca")
class CastlingViTImageClassifierPreprocessor(keras_hub.models.ImageClassifierPreprocessor):
    """The preprocessing of `CastlingViTImageClassifier`: images and labels.

    Args:
        image_converter: CastlingViTImageConverter. The layer that resizes and normalises images.
        **kwargs: Other arguments of `keras_hub.models.ImageClassifierPreprocessor`.

    Example:
    >>> preprocessor = CastlingViTImageClassifierPreprocessor(CastlingViTImageConverter((64, 64)))
    >>> tuple(preprocessor(keras.ops.ones((1, 48, 96, 3))).shape)
    (1, 64, 64, 3)
    """

    backbone_cls = CastlingViTBackbone
    image_converter_cls = CastlingViTImageConverter


@keras.saving.register_keras_serializable(package="keras_paca")
class CastlingViTImageClassifier(FamilyImageClassifierWithNeck):
    """A Castling-ViT as KerasHub's `ImageClassifier`; see `FamilyImageClassifier`.

    With a distillation token, its classifier is the mean of the model's two, as in the model's
    inference.

    Example:
    >>> backbone = CastlingViTBackbone(8, num_heads=2, depth=1, image_shape=(64, 48, 3))
    >>> classifier = CastlingViTImageClassifier(backbone, num_classes=2)
    >>> tuple(classifier(keras.ops.ones((1, 64, 48, 3))).shape)
    (1, 2)
    """

    backbone_cls = CastlingViTBackbone
    preprocessor_cls = CastlingViTImageClassifierPreprocessor
