"""PaCa-ViT as a model of KerasHub: presets, LoRA, preprocessing of raw images.

Import this module before `from_preset` reads a preset of PaCa-ViT, as it registers the classes.
"""

from collections.abc import Sequence
from typing import Any

import keras

from keras_paca.extras import install_command
from keras_paca.naming import default_name

try:
    import keras_hub
except ImportError as error:
    raise ImportError(f"`keras_paca.hub` needs KerasHub: {install_command('hub')}") from error

from keras_paca.arguments import check_class_names
from keras_paca.backbones.base import MEAN, STD
from keras_paca.backbones.model import add_exclusions, compile_with_exclusions
from keras_paca.backbones.paca_vit import PaCaViT
from keras_paca.backbones.pyramid import LEVELS
from keras_paca.forms import accept_key, is_twin, resolve
from keras_paca.frozen import restore_trainable_state, set_trainable, trainable_state
from keras_paca.layers.policies import quantized_layers, serialize_policy

# Arguments of `PaCaViT` that a backbone doesn't have; it has `image_shape` for `input_shape`.
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
_SCALE = tuple(1 / (255 * deviation) for deviation in STD)
_OFFSET = tuple(-mean / deviation for mean, deviation in zip(MEAN, STD, strict=True))


@accept_key
@keras.saving.register_keras_serializable(package="keras_paca")
class PaCaBackbone(keras_hub.models.Backbone):
    """A `PaCaViT` without its top as a KerasHub backbone, for images that are already normalised.

    Args:
        hidden_dims: int or sequence of int. Channels of each stage.
        depths: int or sequence of int. Blocks of each stage.
        num_heads: int or sequence of int. Attention heads of each stage.
        image_shape: tuple. (height, width, channels) of the images. Height and width are 32 or
            more, or `None` for any.
        name: str. Name of the model.
        dtype: str or keras.DTypePolicy. Dtype or policy of every layer.
        trainable: bool. Whether the model's weights are trained at all.
        frozen: sequence of str. Paths of the layers that aren't trained, as for `PaCaViT`.
        thawed: sequence of str. Paths of the layers inside frozen ones that are trained.
        **options: Other arguments of `keras_paca.PaCaViT` that define the network, such as
            `clustering`, `clusters`, `mlp_ratio` or `drop_path_rate`.

    Input shape: (batch, height, width, channels), normalised as by `PaCaImageConverter`.
    Output shape: the map P5, (batch, height / 32, width / 32, channels).

    Attributes:
        pyramid_outputs: dict. The maps of the levels, {"P2": KerasTensor (batch, height / 4,
            width / 4, channels), ...} up to "P5" with height / 32.
        pyramid_level_inputs: dict. The name of the last layer of each level, {"P2": str, ...}.
        assignments: dict. The clusters of each block, {"P2": [KerasTensor (batch, patches,
            clusters), ...], ...}, which `keras_paca.cluster_maps` reads.
        embedding_dims: list of int. Channels of each level.
        stage_names: list of str. The names of the levels.

    Raises:
        ValueError: If an argument isn't one of `PaCaViT` that defines the network, or its value
            doesn't fit.

    Example:
    >>> backbone = PaCaBackbone((8, 8, 8, 8), depths=1, num_heads=1, image_shape=(64, 64, 3))
    >>> backbone.pyramid_outputs["P2"].shape
    (None, 16, 16, 8)
    """

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
        refused = sorted(set(options) & {*_CLASSIFIER_ARGUMENTS, "input_tensor"})
        if refused:
            raise ValueError(
                "`PaCaBackbone` takes the arguments of `PaCaViT` that define the network, and "
                f"`image_shape` for its input. Received: {', '.join(refused)}"
            )
        cls, options = resolve(PaCaViT, options)  # a fused one, where the options say so
        network = cls(
            hidden_dims=hidden_dims,
            depths=depths,
            num_heads=num_heads,
            include_top=False,
            include_preprocessing=False,
            input_shape=image_shape,
            dtype=dtype,
            **options,
        )
        config = network.get_config()
        super().__init__(
            inputs=network.input,
            outputs=network.output,
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
        self.stage_names = list(LEVELS)
        self.data_format = "channels_last"
        own_arguments = ("name", "dtype", "trainable", "frozen", "thawed", "hidden_dims")
        for key in (*_CLASSIFIER_ARGUMENTS, *own_arguments):
            del config[key]
        self.network_config = config

    def get_config(self) -> dict:
        """Return the arguments of the constructor."""
        # not from `super()`, which removes the names of a quantized model's policies
        return {
            "name": self.name,
            "trainable": self.trainable,
            **trainable_state(self),
            "dtype": serialize_policy(self.dtype_policy, self.layers),
            **self.network_config,
            "hidden_dims": list(self.hidden_dims),
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


@keras.saving.register_keras_serializable(package="keras_paca")
class PaCaImageConverter(keras_hub.layers.ImageConverter):
    """Resize RGB images in 0..255 and normalise them with ImageNet's mean and standard deviation.

    `output = resized * scale + offset`. The official evaluation resizes to 248 and crops 224 from
    the centre, which `keras_paca.evaluation_transform` reproduces to the pixel.

    Args:
        image_size: (int, int). Height and width to resize to, `None` for the images' own size.
        scale: sequence of float. A factor for each channel, by default 1 / (255 × deviation).
        offset: sequence of float. A summand for each channel, by default -mean / deviation.
        interpolation: str. How images are resized, as for `keras.layers.Resizing`.
        antialias: bool. Whether images are smoothed before they are made smaller.
        **kwargs: Other arguments of `keras_hub.layers.ImageConverter`.

    Input shape: (height, width, 3) or (batch, height, width, 3), RGB in 0..255.
    Output shape: the same with the new height and width, normalised.

    Example:
    >>> converter = PaCaImageConverter(image_size=(64, 64))
    >>> tuple(converter(keras.ops.ones((1, 48, 96, 3))).shape)
    (1, 64, 64, 3)
    """

    backbone_cls = PaCaBackbone

    def __init__(
        self,
        image_size: Any = (224, 224),
        scale: Any = _SCALE,
        offset: Any = _OFFSET,
        interpolation: str = "bicubic",
        antialias: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            image_size=image_size,
            scale=scale,
            offset=offset,
            interpolation=interpolation,
            antialias=antialias,
            **{"data_format": "channels_last", **kwargs},
        )


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
class PaCaImageClassifier(keras_hub.models.ImageClassifier):
    """A PaCa-ViT as KerasHub's `ImageClassifier`, which classifies raw images.

    `from_model` makes a classifier from a `keras_paca` model with its weights, and
    `from_preset(FOLDER)` loads what `save_to_preset(FOLDER)` saved.

    Args:
        backbone: PaCaBackbone. The backbone.
        num_classes: int. Number of classes.
        preprocessor: PaCaImageClassifierPreprocessor. The preprocessing in `fit`, `evaluate` and
            `predict`, `None` for images that are already normalised.
        **kwargs: Other arguments of `keras_hub.models.ImageClassifier`, such as `activation`.

    Input shape: (batch, height, width, 3), RGB in 0..255, of any size in `predict`.
    Output shape: (batch, num_classes), logits or, with `activation="softmax"`, probabilities.

    Attributes:
        class_names: list of str. The name of each class, or `None`. It is saved with the model.

    Example:
    >>> backbone = PaCaBackbone((8, 8, 8, 8), depths=1, num_heads=1, image_shape=(64, 64, 3))
    >>> classifier = PaCaImageClassifier(backbone, num_classes=2)
    >>> classifier.class_names = ["ant", "bee"]
    >>> tuple(classifier(keras.ops.ones((1, 64, 64, 3))).shape)
    (1, 2)
    """

    backbone_cls = PaCaBackbone
    preprocessor_cls = PaCaImageClassifierPreprocessor

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
    def from_config(cls, config: dict) -> "PaCaImageClassifier":
        """Make a classifier from its configuration.

        Args:
            config: dict. What `get_config` returns.

        Returns:
            PaCaImageClassifier. A classifier with new weights.
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
        cls, model: PaCaViT, image_size: tuple[int, int] | None = None
    ) -> "PaCaImageClassifier":
        """Make a KerasHub classifier that computes what a model computes, with its weights.

        Args:
            model: PaCaViT. A model with its top, such as `keras_paca.PaCaSmall()`.
            image_size: (int, int). Height and width to which images are resized; by default the
                model's own, and (224, 224) where it takes any.

        Returns:
            PaCaImageClassifier. The classifier, for RGB images in 0..255 of any size.

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
        config = model.get_config() if isinstance(model, PaCaViT) else {}
        if not (config.get("include_top") and config["include_preprocessing"]):
            raise ValueError(
                "`from_model` takes a `PaCaViT` with `include_top=True` and "
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
        backbone = PaCaBackbone(
            **{**options, "dtype": model.dtype_policy, "name": f"{model.name}_backbone"},
            image_shape=shape,
        )
        classifier = cls(
            backbone=backbone,
            num_classes=config["classes"],
            activation=config["classifier_activation"],
            preprocessor=PaCaImageClassifierPreprocessor(PaCaImageConverter(image_size)),
            head_dtype=model.get_layer("predictions").dtype_policy,
            name=model.name,
        )
        for layer in backbone.layers:
            layer.set_weights(model.get_layer(layer.name).get_weights() if layer.weights else [])
        classifier.output_dense.set_weights(model.get_layer("predictions").get_weights())
        restore_trainable_state(backbone, *state, must_exist=False)
        classifier.output_dense.trainable = model.get_layer("predictions").trainable
        classifier.class_names = model.class_names
        return classifier
