"""DenseNet with attentive normalization (Li, Sun and Wu, ECCV 2020).

Paper: https://arxiv.org/abs/1908.01259, from whose equations this is written. Read from top to
bottom: the graph, the checkpoint keys, what files need, the variants.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import keras

from keras_paca import layers, weights
from keras_paca.arguments import check_positive, check_rate
from keras_paca.backbones.attentive import AttentiveBackbone, mixtures_of_stages
from keras_paca.backbones.graph_maker import GraphMaker
from keras_paca.backbones.loading import of_backbone
from keras_paca.backbones.per_stage import STAGES, integers_per_stage
from keras_paca.backbones.pyramid import LEVELS
from keras_paca.backbones.variants import variant

# --- The graph ------------------------------------------------------------------------------


@keras.saving.register_keras_serializable(package="keras_paca")
class DenseNetAN(AttentiveBackbone):
    """DenseNet with attentive normalization: a classifier, or without its top a backbone.

    Stem -> 4 x dense layers, with a transition between the stages -> norm -> mean -> classifier.
    The pyramid's levels P2 to P5, of the strides 4 to 32, are the outputs of the stages before the
    transitions, and of the last stage after the norm. Transitions leave out the last row or column
    of an odd side. A dense layer is a `keras_paca.layers.AttentiveDenseLayer`, whose second norm is
    the attentive one.

    Args:
        depths: int or Sequence of int. Dense layers per stage.
        growth_rate: int. Channels that each layer appends. The stem has twice as many.
        mixtures: int or Sequence of int. Per stage, K, the affine transformations that each
            attentive normalization mixes.
        expansion: int. Width inside a dense layer as a multiple of `growth_rate`.
        dropout: float. Rate of dropout before the classifier.
        remat: bool. Whether training keeps only the inputs of each layer in memory and computes the
            layer again in the backward pass: less memory, more time, the same gradients.

    Input shape: (batch, height, width, channels).
    Output shape: (batch, classes), or without the top the map P5 or a vector.

    Raises:
        ValueError: If an argument doesn't fit.

    Source: Li, Sun and Wu, "Attentive Normalization", ECCV 2020.

    Example:
    >>> backbone = DenseNetAN(depths=2, growth_rate=8, mixtures=5, include_top=False)
    >>> backbone.compute_output_shape((1, 224, 192, 3))
    (1, 7, 6, 32)
    >>> backbone.hidden_dims
    [32, 32, 32, 32]
    """

    family = "densenet_an"
    variant_prefix = "DenseNet"
    variant_options = ("dropout", "remat")
    classifier_keys = {"classifier": "predictions"}  # noqa: RUF012

    def __init__(
        self,
        depths: int | Sequence[int],
        growth_rate: int = 32,
        mixtures: int | Sequence[int] = (10, 10, 20, 20),
        expansion: int = 4,
        dropout: float = 0.0,
        remat: bool = False,
        **kwargs: Any,
    ) -> None:
        config = {
            "depths": integers_per_stage("depths", depths),
            "growth_rate": check_positive("growth_rate", growth_rate),
            "mixtures": integers_per_stage("mixtures", mixtures),
            "expansion": check_positive("expansion", expansion),
            "dropout": check_rate("dropout", dropout),
            "remat": remat,
        }
        super().__init__(config, **kwargs)

    def build_graph(
        self, images: Any, config: Mapping[str, Any], make: GraphMaker
    ) -> tuple[Any, dict[str, Any], dict[str, list]]:
        """Build the stem, the stages and the last norm; see `Backbone`."""
        x = make.first(layers.PlainStem, "stem", images, 2 * config["growth_rate"])
        levels = {}
        options = {name: config[name] for name in ("growth_rate", "expansion", "remat")}
        for stage, level in enumerate(LEVELS):
            if stage > 0:
                x = make(layers.DenseTransition, f"transition{stage}", x.shape[-1] // 2)(x)
            for _, name in _layers(config, stage):
                mixtures = config["mixtures"][stage]
                x = make(layers.AttentiveDenseLayer, name, mixtures=mixtures, **options)(x)
            levels[level] = x
        x = make(layers.BatchNormalization, "norm")(x)
        levels[LEVELS[-1]] = x = make(keras.layers.Activation, "activation", "relu")(x)
        return x, levels, {}

    # --- Checkpoint keys ------------------------------------------------------------------------

    @classmethod
    def checkpoint_map(cls, config: Mapping[str, Any]) -> weights.KeyMap:
        """Return where each tensor of an official checkpoint belongs; see `Backbone`."""
        entries = weights.KeyMap()
        entries.conv_norm("stem.conv1.conv", "stem.conv1.bn", "stem/conv", "conv", bias=False)
        for stage in range(STAGES):
            for key, layer in _layers(config, stage):
                entries.batch_norm(f"{key}.bn1", f"{layer}/norm1")
                entries.kernel(f"{key}.conv1", f"{layer}/reduce", "pointwise", bias=False)
                entries.attentive_norm(f"{key}.AttnBN2d2", f"{layer}/norm2", "attn_weights")
                entries.kernel(f"{key}.conv2", f"{layer}/conv", "conv", bias=False)
            if stage < STAGES - 1:
                key, layer = f"layer{stage + 1}.1", f"transition{stage + 1}"
                entries.batch_norm(f"{key}.bn", f"{layer}/norm")
                entries.kernel(f"{key}.conv", f"{layer}/conv", "pointwise", bias=False)
        entries.batch_norm(f"layer{STAGES}.1", "norm")
        if config["include_top"]:
            entries.kernel("classifier", "predictions", "linear")
        return entries

    # --- Files ----------------------------------------------------------------------------------

    @classmethod
    def identify(cls, checkpoint: weights.Checkpoint) -> dict[str, Any] | None:
        """Return the options that the keys of a file imply; see `Backbone`."""
        tensors, official = of_backbone(checkpoint.tensors), checkpoint.official
        pattern = r"layer(\d)\.0\.denselayer(\d+)\.AttnBN2d2\.weight_"
        pattern = pattern if official else r"stage(\d)_layer(\d+)/norm2/0"
        stages = mixtures_of_stages(tensors, pattern)
        stem = tensors.get("stem.conv1.bn.weight" if official else "stem/conv/norm/0")
        if not all(stages) or stem is None:
            return None
        growth = int(stem.size) // 2
        return {
            "depths": tuple(map(len, stages)),
            "growth_rate": growth,
            "mixtures": tuple(each[0][0] for each in stages),
            "expansion": stages[0][0][1] // growth,
        }


def _layers(config: Mapping[str, Any], stage: int) -> Iterator[tuple[str, str]]:
    """Yield the official key and the name of each dense layer of a stage."""
    for j in range(1, config["depths"][stage] + 1):
        yield f"layer{stage + 1}.0.denselayer{j}", f"stage{stage + 1}_layer{j}"


# --- Variants -------------------------------------------------------------------------------

DenseNet121AN = variant(
    DenseNetAN, "densenet121_an", size="121", title="DenseNet121AN", depths=(6, 12, 24, 16)
)
