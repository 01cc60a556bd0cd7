"""ResNet with attentive normalization (Li, Sun and Wu, ECCV 2020).

Paper: https://arxiv.org/abs/1908.01259, from whose equations this is written. Read from top to
bottom: the graph, the checkpoint keys, what files need, the variants.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from keras_paca import layers, weights
from keras_paca.arguments import check_rate
from keras_paca.backbones.attentive import AttentiveBackbone, mixtures_of_stages
from keras_paca.backbones.graph_maker import GraphMaker
from keras_paca.backbones.loading import of_backbone
from keras_paca.backbones.per_stage import integers_per_stage
from keras_paca.backbones.pyramid import LEVELS
from keras_paca.backbones.variants import variant

EXPANSION = 4  # channels of a stage over those inside its blocks

# --- The graph ------------------------------------------------------------------------------


@keras.saving.register_keras_serializable(package="keras_paca")
class ResNetAN(AttentiveBackbone):
    """ResNet with attentive normalization: a classifier, or without its top a backbone.

    Stem -> 4 x bottleneck blocks -> mean -> classifier. The output of each stage is a level of the
    pyramid: P2 to P5, of the strides 4 to 32. A block is a
    `keras_paca.layers.AttentiveBottleneck`, in which attentive normalization follows the 3 x 3
    convolution and batch normalization the others.

    Args:
        hidden_dims: Sequence of int. Channels per stage, divisible by 4. Inside the blocks there is
            a quarter of them, as in the stem for the first stage.
        depths: int or Sequence of int. Blocks per stage.
        mixtures: int or Sequence of int. Per stage, K, the affine transformations that each
            attentive normalization mixes.
        drop_path_rate: float. Rate at which the residual branch of the last block is dropped. Those
            of the others grow up to it linearly from 0.
        dropout: float. Rate of dropout before the classifier.
        remat: bool. Whether training keeps only the inputs of each block in memory and computes the
            block again in the backward pass: less memory, more time, the same gradients.

    Input shape: (batch, height, width, channels).
    Output shape: (batch, classes), or without the top the map P5 or a vector.

    Raises:
        ValueError: If an argument doesn't fit.

    Source: Li, Sun and Wu, "Attentive Normalization", ECCV 2020.

    Example:
    >>> backbone = ResNetAN((16, 16, 32, 32), depths=1, mixtures=5, include_top=False)
    >>> backbone.compute_output_shape((1, 224, 192, 3))
    (1, 7, 6, 32)
    >>> list(backbone.pyramid_outputs)
    ['P2', 'P3', 'P4', 'P5']
    """

    family = "resnet_an"
    variant_prefix = "ResNet"
    classifier_keys = {"fc": "predictions"}  # noqa: RUF012

    def __init__(
        self,
        hidden_dims: Sequence[int],
        depths: int | Sequence[int],
        mixtures: int | Sequence[int] = (10, 10, 20, 20),
        drop_path_rate: float = 0.0,
        dropout: float = 0.0,
        remat: bool = False,
        **kwargs: Any,
    ) -> None:
        widths = integers_per_stage("hidden_dims", hidden_dims)
        if any(width % EXPANSION for width in widths):
            raise ValueError(
                f"`hidden_dims` must be divisible by {EXPANSION}. Received: hidden_dims="
                f"{hidden_dims!r}"
            )
        config = {
            "hidden_dims": widths,
            "depths": integers_per_stage("depths", depths),
            "mixtures": integers_per_stage("mixtures", mixtures),
            "drop_path_rate": check_rate("drop_path_rate", drop_path_rate),
            "dropout": check_rate("dropout", dropout),
            "remat": remat,
        }
        super().__init__(config, **kwargs)

    def build_graph(
        self, images: Any, config: Mapping[str, Any], make: GraphMaker
    ) -> tuple[Any, dict[str, Any], dict[str, list]]:
        """Build the stem and the stages; see `Backbone`."""
        x = make.first(layers.PlainStem, "stem", images, config["hidden_dims"][0] // EXPANSION)
        levels = {}
        for stage, level in enumerate(LEVELS):
            for _, name, options in _blocks(config, stage):
                x = make(layers.AttentiveBottleneck, name, **options)(x)
            levels[level] = x
        return x, levels, {}

    # --- Checkpoint keys ------------------------------------------------------------------------

    @classmethod
    def checkpoint_map(cls, config: Mapping[str, Any]) -> weights.KeyMap:
        """Return where each tensor of an official checkpoint belongs; see `Backbone`."""
        entries = weights.KeyMap()
        entries.conv_norm("conv1", "bn1", "stem/conv", "conv", bias=False)
        channels = config["hidden_dims"][0] // EXPANSION
        for stage, width in enumerate(config["hidden_dims"]):
            for key, block, options in _blocks(config, stage):
                parts = [("conv1", "bn1", "reduce"), ("conv3", "bn3", "expand")]
                if options["strides"] != 1 or channels != width:
                    parts.append(("downsample.0", "downsample.1", "shortcut"))
                for conv, norm, layer in parts:
                    names = (f"{key}.{conv}", f"{key}.{norm}", f"{block}/{layer}")
                    entries.conv_norm(*names, "pointwise", bias=False)
                entries.kernel(f"{key}.conv2", f"{block}/conv", "conv", bias=False)
                entries.attentive_norm(f"{key}.bn2", f"{block}/norm")
                channels = width
        if config["include_top"]:
            entries.kernel("fc", "predictions", "linear")
        return entries

    # --- Files ----------------------------------------------------------------------------------

    @classmethod
    def identify(cls, checkpoint: weights.Checkpoint) -> dict[str, Any] | None:
        """Return the options that the keys of a file imply; see `Backbone`."""
        official = r"layer(\d)\.(\d+)\.bn2\.weight_"
        pattern = official if checkpoint.official else r"stage(\d)_block(\d+)/norm/0"
        stages = mixtures_of_stages(of_backbone(checkpoint.tensors), pattern)
        if not all(stages):
            return None
        return {
            "hidden_dims": tuple(EXPANSION * blocks[0][1] for blocks in stages),
            "depths": tuple(map(len, stages)),
            "mixtures": tuple(blocks[0][0] for blocks in stages),
        }


def _blocks(config: Mapping[str, Any], stage: int) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield the official key, the name and the options of each block of a stage."""
    depths, start = config["depths"], sum(config["depths"][:stage])
    rates = np.linspace(0.0, config["drop_path_rate"], sum(depths)).tolist()
    for j in range(depths[stage]):
        options = {
            "filters": config["hidden_dims"][stage] // EXPANSION,
            "mixtures": config["mixtures"][stage],
            "strides": 2 if stage > 0 and j == 0 else 1,
            "drop_path_rate": rates[start + j],
            "remat": config["remat"],
        }
        yield f"layer{stage + 1}.{j}", f"stage{stage + 1}_block{j + 1}", options


# --- Variants -------------------------------------------------------------------------------

WIDTHS = (256, 512, 1024, 2048)

ResNet50AN = variant(
    ResNetAN,
    "resnet50_an",
    size="50",
    title="ResNet50AN",
    hidden_dims=WIDTHS,
    depths=(3, 4, 6, 3),
)
ResNet101AN = variant(
    ResNetAN,
    "resnet101_an",
    size="101",
    title="ResNet101AN",
    hidden_dims=WIDTHS,
    depths=(3, 4, 23, 3),
)
