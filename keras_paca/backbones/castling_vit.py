"""Castling-ViT: Compressing Self-Attention via Switching Towards Linear-Angular Attention.

You et al., CVPR 2023. Paper: https://arxiv.org/abs/2211.10526. Official code of the attention:
https://github.com/GATECH-EIC/Castling-ViT (Apache-2.0). The bodies are DeiT's (Touvron et al., ICML
2021). Read from top to bottom: the graph, the checkpoint keys, what files of plain ViTs need, the
variants.
"""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from keras_paca import layers, weights
from keras_paca.arguments import (
    check_boolean,
    check_rate,
)
from keras_paca.backbones.base import Backbone
from keras_paca.backbones.graph_maker import NORMALIZATIONS, GraphMaker
from keras_paca.backbones.loading import Related, of_backbone
from keras_paca.backbones.per_stage import image_size as check_image_size
from keras_paca.backbones.plain_vit import (
    add_block,
    check_options,
    count_prefix,
    fit_grid,
    fit_positions,
    fit_prefix,
    image_size,
    layer_scale_of_file,
    options_of_plain_vit,
    plain_vit_tensors,
)
from keras_paca.backbones.pyramid import PATCH_LEVELS
from keras_paca.backbones.variants import variant
from keras_paca.layers.auxiliary import AUXILIARY, auxiliary_options
from keras_paca.layers.block import OF_CASTLING
from keras_paca.weights import Entry, JoinedEntry

# --- The graph ------------------------------------------------------------------------------


@keras.saving.register_keras_serializable(package="keras_paca")
class CastlingViT(Backbone):
    """Castling-ViT of any size: a DeiT whose attention is linear in the number of patches.

    Patches, class token and position embeddings -> `depth` x (linear angular attention ->
    feed-forward network) -> LayerNorm -> the class token -> classifier. In training, masked softmax
    attention is added to the attention (`auxiliary`), which `keras_paca.train.CastlingSchedule`
    fades out; inference never has it. See `keras_paca.layers.LinearAngularAttention`.

    With `distillation`, a distillation token has a classifier of its own. Training returns the
    outputs of both and the prediction, which is their mean; inference returns the prediction. To
    distil from a teacher, give `fit` the targets {"predictions": labels, "distilled_predictions":
    the teacher's labels}.

    Without the top, the output is the map of the patches after the last norm, which `pooling`
    reduces to a vector. `class_tokens` has the class token. Sides that aren't multiples of a patch
    lose the rest at the bottom and at the right.

    Args:
        hidden_dim: int. Channels of all tokens.
        num_heads: int. Attention heads. They divide `hidden_dim`.
        depth: int. Number of blocks.
        mlp_ratio: float. Width of the hidden layers of the feed-forward networks, as a multiple of
            the channels.
        patch_size: int. Side of the patches in pixels. By default that of the file that is loaded,
            or 16.
        image_size: int or (int, int). Image size (height, width), both from 32, for which the
            position embeddings are learned; they are resized for images of other sizes. Those of a
            file are resized to it when they are loaded. By default that of the file that is loaded,
            or 224.
        distillation: bool. Whether there is a distillation token, with a second classifier. By
            default as in the file that is loaded, or `False`.
        normalization: str. How images are normalized: "imagenet" for the mean and the deviation of
            ImageNet, as DeiT takes them, or "symmetric" for the range -1..1, as most other ViTs do.
        auxiliary: bool. Whether masked softmax attention is added in training, whose cost grows
            with the square of the number of patches. The attribute of this name can be set to
            `False` after training.
        threshold: float. Weights of that softmax above it are kept, in [0, 1].
        convolution: str. "tokens" for a convolution of the values along the tokens, as in the
            official code, "grid" for one over the rows and columns of the patches.
        kernel_size: int. Length of that convolution's filters, odd. With "grid", their side.
        qkv_bias: bool. Whether the projections to queries, keys and values have biases.
        layer_scale: float. Initial value of learned scales on the residual branches, or `None` for
            none, unless the file that is loaded has them.
        drop_path_rate: float. Rate at which the residual branches of the last block are dropped.
            Those of the others grow up to it linearly from 0.
        dropout: float. Rate of dropout after the projections of the blocks.
        remat: bool. Whether training keeps only the inputs of each block in memory and computes the
            block again in the backward pass: less memory, more time, the same gradients.
        recompute_activations: bool. Whether training computes activations again in the backward
            pass, if that pays; see `keras_paca.ops.is_recomputed`.

    Attributes:
        class_tokens: list of KerasTensor. The class token (batch, hidden_dim) after the last norm,
            and the distillation token if there is one.
        pyramid_outputs: dict. The map of the patches as the level of its stride, such as "P4" for
            patches of 16. Other patches than 4, 8, 16 and 32 aren't a level.

    Input shape: (batch, height, width, channels).
    Output shape: (batch, classes), or without the top (batch, height // patch_size, width //
        patch_size, hidden_dim) or a vector.

    Raises:
        ValueError: If an argument doesn't fit.

    Source: You et al., "Castling-ViT: Compressing Self-Attention via Switching Towards
    Linear-Angular Attention at Vision Transformer Inference", CVPR 2023.

    Example:
    >>> backbone = CastlingViT(8, num_heads=2, depth=2, include_top=False)
    >>> backbone.compute_output_shape((1, 224, 192, 3))
    (1, 14, 12, 8)
    >>> list(backbone.pyramid_outputs), backbone.class_tokens[0].shape
    (['P4'], (None, 8))
    """

    family = "castling_vit"
    file_options = ("patch_size", "image_size", "distillation", "layer_scale")
    variant_prefix = "CastlingViT"
    unreleased = (
        "The authors released the code of the attention alone. To start from a DeiT or a ViT, "
        "whose weights fit all but the filters of the attention, pass the path of its file as "
        "`weights`."
    )
    other_files = (
        "The file may also be one of a ViT or DeiT of timm or KerasHub. All of it is loaded.\n"
        "    The filters of the attention, which it doesn't have, keep their initial values."
    )
    variant_options = (
        *("patch_size", "image_size", "distillation", "normalization", "auxiliary", "threshold"),
        *("convolution", "kernel_size", "qkv_bias", "layer_scale", "drop_path_rate", "dropout"),
        *("remat", "recompute_activations"),
    )
    classifier_keys = {"head": "predictions", "head_dist": "distilled_predictions"}  # noqa: RUF012
    auxiliary = AUXILIARY

    def __init__(
        self,
        hidden_dim: int,
        num_heads: int,
        depth: int = 12,
        mlp_ratio: float = 4.0,
        patch_size: int | None = None,
        image_size: int | Sequence[int] | None = None,
        distillation: bool | None = None,
        normalization: str = "imagenet",
        auxiliary: bool = True,
        threshold: float = 0.02,
        convolution: str = "tokens",
        kernel_size: int = 9,
        qkv_bias: bool = True,
        layer_scale: float | None = None,
        drop_path_rate: float = 0.1,
        dropout: float = 0.0,
        remat: bool = False,
        recompute_activations: bool = True,
        **kwargs: Any,
    ) -> None:
        config = {name: value for name, value in locals().items() if name in self.option_names()}
        size = 224 if image_size is None else image_size
        config |= {
            "patch_size": 16 if patch_size is None else patch_size,
            "image_size": check_image_size("image_size", size),
            "distillation": False if distillation is None else distillation,
        }
        _check_config(config)
        super().__init__(config, **kwargs)

    def get_config(self) -> dict:
        """Return the arguments of the constructor, without weights and tensors."""
        return {**super().get_config(), **auxiliary_options(self)}

    def build_graph(
        self, images: Any, config: Mapping[str, Any], make: GraphMaker
    ) -> tuple[Any, dict[str, Any], dict[str, list]]:
        """Build the embedding, the blocks and the last norm; see `Backbone`."""
        patch, names = config["patch_size"], list(self.classifiers(config).values())
        embedding = (layers.PatchEmbedding, "embedding", images, config["hidden_dim"], patch)
        patches = make.first(*embedding, grid_size=_grid(config))
        x = make(layers.ClassTokens, "tokens", config["distillation"])(patches)
        options = {name: config[name] for name in OF_BLOCKS}
        castling = {name: config[name] for name in OF_CASTLING if name in config}
        castling["prefix_tokens"] = len(names)
        rates = np.linspace(0.0, config["drop_path_rate"], config["depth"]).tolist()
        for i, rate in enumerate(rates, start=1):
            block = (layers.PaCaBlock, f"block{i}", config["num_heads"])
            more = {"dwconv_in_mlp": False, "castling": castling, "drop_path_rate": rate}
            x = make(*block, **more, **options)(x, like=patches)
        x = make(keras.layers.LayerNormalization, "norm", epsilon=1e-6)(x)
        features = make(layers.TokensToMap, "patches", len(names))(x, patches)
        levels = {PATCH_LEVELS[patch]: features} if patch in PATCH_LEVELS else {}
        if not config["include_top"]:
            return features, levels, {}
        tokens = {name: make(layers.TokenAt, f"{name}_token", i) for i, name in enumerate(names)}
        return {name: token(x) for name, token in tokens.items()}, levels, {}

    @classmethod
    def classifiers(cls, config: Mapping[str, Any]) -> dict[str, str]:
        """Return the classifiers of a model; see `Backbone`."""
        keys = list(cls.classifier_keys.items())
        return dict(keys if config["distillation"] else keys[:1])

    @classmethod
    def normalisation(cls, config: Mapping[str, Any]) -> tuple[Sequence[float], Sequence[float]]:
        """Return mean and deviation of images in 0..1; see `Backbone`."""
        return NORMALIZATIONS[config["normalization"]]

    @property
    def class_tokens(self) -> list[keras.KerasTensor]:
        """The class token after the last norm, and the distillation token if there is one."""
        tokens = self.get_layer("norm").output
        return [tokens[:, i] for i in range(len(self.classifiers(self._config)))]

    # --- Checkpoint keys ------------------------------------------------------------------------

    @classmethod
    def checkpoint_map(cls, config: Mapping[str, Any]) -> weights.KeyMap:
        """Return where each tensor belongs, by timm's keys of a DeiT; see `Backbone`."""
        entries = weights.KeyMap()
        entries.kernel("patch_embed.proj", "embedding", "conv")
        entries["cls_token"] = Entry("tokens", "class_token", "tokens")
        if config["distillation"]:
            entries["dist_token"] = Entry("tokens", "distillation_token", "tokens")
        of_tokens = Entry("tokens", "position_embedding", "tokens")
        of_patches = Entry("embedding", "position_embedding", "positions")
        entries["pos_embed"] = JoinedEntry((of_tokens, of_patches), axis=1)
        for i in range(config["depth"]):
            add_block(entries, config, i)
            local = Entry(f"block{i + 1}/attention/local", "kernel", "depthwise")
            entries[f"blocks.{i}.{FILTER}"] = local
        entries.norm("norm", "norm")
        if config["include_top"]:
            for key, layer in cls.classifiers(config).items():
                entries.kernel(key, layer, "linear")
        return entries

    # --- Files, also of plain vision transformers -------------------------------------------------

    @classmethod
    def options_of_file(cls, tensors: Mapping[str, np.ndarray]) -> dict[str, Any]:
        """Return the patches, the image size, the tokens and the layer scale of a file."""
        tensors = of_backbone(tensors)
        if {"embedding/0", "embedding/2", "tokens/1"} <= tensors.keys():  # a saved model
            patch, grid = tensors["embedding/0"].shape[0], tensors["embedding/2"].shape[:2]
            held = {"patch_size": int(patch), "image_size": image_size(patch, grid)}
            held["distillation"] = "tokens/2" in tensors
            return held | layer_scale_of_file(tensors)
        plain = plain_vit_tensors(weights.Checkpoint("", "pos_embed" in tensors, tensors))
        return {} if plain is None else options_of_plain_vit(plain)

    @classmethod
    def adapt_tensors(
        cls, tensors: Mapping[str, np.ndarray], config: Mapping[str, Any]
    ) -> Mapping[str, np.ndarray]:
        """Return tensors with position embeddings for the image size; see `Backbone`."""
        adapted, grid = dict(tensors), _grid(config)
        prefix, is_own = len(cls.classifiers(config)), any(key.endswith(FILTER) for key in tensors)
        for key in {"pos_embed", "backbone.pos_embed"} & tensors.keys():
            adapted[key] = fit_positions(tensors[key], grid, prefix, is_own)
        if "embedding/2" in tensors:
            adapted["embedding/2"] = fit_grid(tensors["embedding/2"], grid)
        return adapted

    @classmethod
    def related_checkpoint(
        cls, checkpoint: weights.Checkpoint, config: Mapping[str, Any]
    ) -> Related | None:
        """Return what a model takes of a plain ViT: all that it has, and no more.

        A distillation token that only the model has gets the position embedding of the class token.
        """
        tensors = plain_vit_tensors(checkpoint)
        if tensors is None or "pos_embed" not in tensors:
            return None
        if any(key.endswith(FILTER) for key in tensors):  # of a CastlingViT
            return None
        if "head.predictions.weight" in tensors:  # of KerasHub, in the layout of Keras
            tensors["head.weight"] = tensors.pop("head.predictions.weight").T
            tensors["head.bias"] = tensors.pop("head.predictions.bias")
        held = count_prefix(tensors, math.prod(_grid(config)))
        tensors["pos_embed"] = fit_prefix(tensors["pos_embed"], held, len(cls.classifiers(config)))
        own, has_token = cls.checkpoint_map(config).keys(), "dist_token" in tensors
        unused = set() if config["distillation"] else {"dist_token"} & tensors.keys()
        if not config["include_top"]:
            unused |= {key for key in tensors if key.startswith(("head", "pre_logits"))}
        missing = {
            "each attention's filter": {key for key in own if key.endswith(FILTER)},
            "the distillation token": set() if has_token else {"dist_token"},
            **{f"`{name}`": {f"{key}.weight", f"{key}.bias"}
               for key, name in cls.classifier_keys.items() if f"{key}.weight" not in tensors},
        }  # fmt: skip
        missing = {name: keys & own for name, keys in missing.items() if keys & own}
        part = f"what it doesn't have ({', '.join(missing)})"
        fresh = set().union(*missing.values())
        return Related(tensors, unused, fresh, part, "a plain vision transformer")

    @classmethod
    def identify(cls, checkpoint: weights.Checkpoint) -> dict[str, Any] | None:
        """Return the options that the keys of a file show; see `Backbone`."""
        tensors, official = checkpoint.tensors, checkpoint.official
        tensors = of_backbone(tensors)
        local = tensors.get(f"blocks.0.{FILTER}" if official else "block1/attention/local/0")
        held = cls.options_of_file(tensors)
        if local is None or local.ndim != 4 or not held:
            return None
        heads, _, *size = local.shape if official else (local.shape[2], 1, *local.shape[:2])
        norm = r"blocks\.\d+\.norm1\.bias" if official else r"block\d+/norm1_before/1"
        bias = "blocks.0.attn.qkv.bias" if official else "block1/attention/query/1"
        return {
            "hidden_dim": int(tensors["cls_token" if official else "tokens/0"].shape[-1]),
            "num_heads": int(heads),
            "depth": sum(re.fullmatch(norm, key) is not None for key in tensors),
            "convolution": "tokens" if size[1] == 1 else "grid",
            "kernel_size": int(size[0]),
            "qkv_bias": bias in tensors,
            **held,
        }


OF_BLOCKS = (  # options of the blocks beside those of their attention
    *("mlp_ratio", "qkv_bias", "layer_scale", "dropout", "remat", "recompute_activations"),
)
FILTER = "attn.dconv.weight"  # the name in the official code of the attention


def _grid(config: Mapping[str, Any]) -> tuple[int, int]:
    """Return the rows and columns of patches for images of the size `image_size`."""
    return tuple(side // config["patch_size"] for side in config["image_size"])


# --- Arguments ------------------------------------------------------------------------------


def _check_config(config: Mapping[str, Any]) -> None:
    """Raise an error if arguments have a wrong type or don't fit one another."""
    check_boolean("distillation", config["distillation"])
    for name in ("drop_path_rate", "dropout"):
        check_rate(name, config[name])
    check_options(config, ["patch_size"])


# --- Variants -------------------------------------------------------------------------------

CastlingViTTiny = variant(CastlingViT, "castling_vit_tiny", hidden_dim=192, num_heads=3)
CastlingViTSmall = variant(CastlingViT, "castling_vit_small", hidden_dim=384, num_heads=6)
CastlingViTBase = variant(CastlingViT, "castling_vit_base", hidden_dim=768, num_heads=12)
