"""PaCa-ViT as a model of KerasHub: presets, LoRA, raw images in.

Import this module before `from_preset` reads a PaCa preset; the classes are found by registration.
Read from top to bottom: the backbone, what prepares its images, the classifier, the way there from
a `keras_paca` model.
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
from keras_paca.backbones.base import add_exclusions, compile_with_exclusions
from keras_paca.backbones.paca_vit import LEVELS, MEAN, STD, PaCaViT
from keras_paca.frozen import restore_trainable_state, set_trainable, trainable_state
from keras_paca.layers.composite import quantized_layers, serialize_policy

# What a classifier has and a backbone hasn't; `image_shape` stands for the shape of the input.
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


@keras.saving.register_keras_serializable(package="keras_paca")
class PaCaBackbone(keras_hub.models.Backbone):
    """A `PaCaViT` without top as a KerasHub backbone, on images that are already normalised.

    Args:
        hidden_dims: channels per stage.
        depths: blocks per stage.
        num_heads: attention heads per stage.
        image_shape: (height, width, channels); sides from 32, `None` for any.
        name: name of the model.
        dtype: dtype or policy of every layer.
        trainable: whether the model trains at all.
        frozen: paths of layers that don't train, as for `PaCaViT`.
        thawed: paths of layers that train inside frozen ones.
        **options: other arguments of `keras_paca.PaCaViT` that define the network, such as
            `clustering`, `clusters`, `mlp_ratio` or `drop_path_rate`.

    Input shape: (batch, height, width, channels), normalised as `PaCaImageConverter` does.
    Output shape: the map P5, (batch, height / 32, width / 32, channels).

    Attributes:
        pyramid_outputs: {"P2": KerasTensor (batch, height / 4, width / 4, channels), ... "P5"}.
        pyramid_level_inputs: {"P2": name of the layer that ends the stage, ...}.
        assignments: {"P2": [KerasTensor (batch, patches, clusters), one per block], ...}, which
            `keras_paca.cluster_maps` reads.
        embedding_dims: channels per level.
        stage_names: the levels.

    Raises:
        ValueError: if an argument doesn't fit.
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
        network = PaCaViT(
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
        restore_trainable_state(self, frozen, thawed, must_exist=not options.get("fused"))
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
        # not from `super()`, which takes the names of a quantized model's policies away
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
        """Return the arguments of `compile`, and which weights the optimizer doesn't decay."""
        return add_exclusions(self, super().get_compile_config())

    def compile_from_config(self, config: dict) -> None:
        """Compile the model as the one that was saved."""
        compile_with_exclusions(self, config)


@keras.saving.register_keras_serializable(package="keras_paca")
class PaCaImageConverter(keras_hub.layers.ImageConverter):
    """Resize RGB images in 0..255 and normalise them to ImageNet's mean and deviation.

    Args:
        image_size: (height, width) to resize to, `None` for the images' own size.
        scale: factors of the channels, by default 1 / (255 x deviation).
        offset: what is added to the channels afterwards, by default -mean / deviation.
        interpolation: how it resizes.
        antialias: whether it smooths before it makes images smaller.
        **kwargs: as for `keras_hub.layers.ImageConverter`.

    Input shape: (height, width, 3) or (batch, height, width, 3).
    Output shape: the same with the new sides.

    The official evaluation resizes to 248 and crops 224 from the middle;
    `keras_paca.evaluation_transform` does, to a pixel.
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
    """What `PaCaImageClassifier` does to raw images; see `PaCaImageConverter`."""

    backbone_cls = PaCaBackbone
    image_converter_cls = PaCaImageConverter


@keras.saving.register_keras_serializable(package="keras_paca")
class PaCaImageClassifier(keras_hub.models.ImageClassifier):
    """A PaCa-ViT that classifies raw images, as KerasHub's `ImageClassifier` does.

    `from_model` makes one of a `keras_paca` model and its weights; `from_preset(FOLDER)` of what
    `save_to_preset(FOLDER)` wrote.

    Attributes:
        class_names: list of str, the name of each class, or `None`; saved with the model.
    """

    backbone_cls = PaCaBackbone
    preprocessor_cls = PaCaImageClassifierPreprocessor

    @property
    def class_names(self) -> list[str] | None:
        """The name of each class, or `None`."""
        names = getattr(self, "_class_names", None)
        return None if names is None else list(names)

    @class_names.setter
    def class_names(self, names: Sequence[str] | None) -> None:
        self._class_names = check_class_names(names, self.num_classes)

    def get_config(self) -> dict:
        """Return the arguments of the constructor, names, what doesn't train, what is quantized."""
        config = {**super().get_config(), **trainable_state(self), "class_names": self.class_names}
        if self.output_dense.quantization_mode is not None:
            config["head_quantization"] = keras.saving.serialize_keras_object(
                self.output_dense.quantization_config
            )
        return config

    @classmethod
    def from_config(cls, config: dict) -> "PaCaImageClassifier":
        """Return the classifier of a configuration."""
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
        """Return the arguments of `compile`, and which weights the optimizer doesn't decay."""
        return add_exclusions(self, super().get_compile_config())

    def compile_from_config(self, config: dict) -> None:
        """Compile the model as the one that was saved."""
        compile_with_exclusions(self, config)

    @classmethod
    def from_model(
        cls, model: PaCaViT, image_size: tuple[int, int] | None = None
    ) -> "PaCaImageClassifier":
        """Make a KerasHub classifier with a model's weights.

        Args:
            model: a `PaCaViT` with its top, such as `keras_paca.PaCaSmall()`.
            image_size: (height, width) that images are resized to; by default the model's own,
                and (224, 224) where that is any.

        Returns:
            A classifier that computes what the model computes, on raw RGB in 0..255 of any size.

        Raises:
            ValueError: if the model isn't such a classifier, or is quantized; quantize the result.
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
