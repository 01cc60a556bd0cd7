"""ViTTM: Token Turing Machines are Efficient Vision Models (Jajal et al., WACV 2025).

Paper: https://arxiv.org/abs/2409.07613. Official code:
https://github.com/pjjajal/EfficientTTMs (MIT). Read from top to bottom: the graph, the checkpoint
keys, what released files and plain ViTs need, the variants.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from keras_paca import layers, weights
from keras_paca.arguments import check_choice, check_positive, check_rate, check_ratio
from keras_paca.backbones import vittm_keys
from keras_paca.backbones.base import Backbone
from keras_paca.backbones.graph_maker import NORMALIZATIONS, GraphMaker
from keras_paca.backbones.loading import Related, of_backbone
from keras_paca.backbones.per_stage import image_size as check_image_size
from keras_paca.backbones.plain_vit import (
    check_options,
    is_beside_blocks,
    layer_scale_of_file,
    plain_vit_tensors,
)
from keras_paca.backbones.pyramid import PATCH_LEVELS
from keras_paca.backbones.variants import variant
from keras_paca.backbones.vittm_keys import MEMORY_KERNEL, PLAIN_EMBEDDING, STREAMS
from keras_paca.layers.policies import exact_dtype

HEADS = ("linear", "cross_attention", "latent_attention", "latent_cross_attention", "token_learner")
FUSIONS = ("residual", "erase", "add_erase")
MEMORY_BLOCKS = (None, "mlp")
RATES = (
    *("drop_path_rate", "read_write_drop_path_rate", "attention_dropout", "dropout"),
    *("position_dropout", "head_dropout"),
)


# --- The graph ------------------------------------------------------------------------------


@keras.saving.register_keras_serializable(package="keras_paca")
class ViTTM(Backbone):
    """ViTTM of any size: a vision transformer with a few process tokens and a memory.

    The image becomes two maps of tokens, each with patches and position embeddings of its own:
    the memory m and the process tokens p. In each of `depth` blocks, the process tokens read the
    memory, pass through a transformer block and write to the memory:

        m, p = LayerNorm_r(m), LayerNorm_r(p)
        p = transformer_block(p + read(m, p))
        m, p = LayerNorm_w(m), LayerNorm_w(p)
        m = m + write(p, m)

    A classifier reads the mean of each map. That of the memory makes the prediction; training sums
    the losses of both. Without the top, the output is the memory after the last block. Sides that
    aren't multiples of a patch lose the rest at the bottom and at the right.

    Args:
        hidden_dim: int. Channels of all tokens.
        num_heads: int. Attention heads. They divide `hidden_dim`.
        depth: int. Number of blocks.
        mlp_ratio: float. Width of the hidden layers of the transformer blocks' feed-forward
            networks, as a multiple of the channels.
        memory_patch_size: int. Side in pixels of the patches of the memory. By default that of the
            file that is loaded, or 28.
        process_patch_size: int. Side in pixels of the patches of the process tokens. By default
            that of the file that is loaded, or 28.
        image_size: int or (int, int). Image size (height, width), both from 32, for which the
            position embeddings are learned; they are resized for images of other sizes. Those of a
            file are resized to it when they are loaded. By default that of the file that is loaded,
            or 224.
        normalization: str. How images are normalized: "imagenet" for the mean and the deviation of
            ImageNet, "symmetric" for the range -1..1, which the official segmenters take.
        read_write_head: str. How tokens read and write: "linear" for linear attention,
            "cross_attention", "latent_attention", "latent_cross_attention", or "token_learner" for
            images of one size only.
        latent_size_scale: int. The channels of the heads' queries and keys, or the number of their
            latents, are `hidden_dim // latent_size_scale`. "cross_attention" and "token_learner"
            have none.
        fusion: str. What becomes of what was read or written: "residual" adds it to the tokens,
            "erase" replaces them, "add_erase" mixes both with a gate for each token, for images of
            one size only.
        memory_block: str. What the memory passes through after each block: `None` for nothing,
            "mlp" for a feed-forward network.
        memory_mlp_ratio: float. Width of that network's hidden layer, as a multiple of the
            channels.
        qkv_bias: bool. Whether the transformer blocks' projections to queries, keys and values have
            biases.
        qk_norm: bool. Whether layer normalization is applied to the queries and keys of each head
            of the transformer blocks.
        layer_scale: float. Initial value of learned scales on the transformer blocks' residual
            branches, or `None` for none, unless the file that is loaded has them.
        drop_path_rate: float. Rate at which the residual branches of the last block are dropped.
            Those of the others grow up to it linearly from 0. Small and Base have the paper's by
            default.
        read_write_drop_path_rate: float. Rate at which what was read or written is dropped, in all
            blocks.
        attention_dropout: float. Rate of dropout on the attention weights.
        dropout: float. Rate of dropout after the projections of the blocks.
        position_dropout: float. Rate of dropout after the position embeddings.
        head_dropout: float. Rate of dropout before the classifiers.
        remat: bool. Whether training keeps only the inputs of each transformer block in memory and
            computes the block again in the backward pass: less memory, more time, the same
            gradients.
        recompute_activations: bool. Whether training computes attention weights and activations
            again in the backward pass, if that pays; see `keras_paca.ops.is_recomputed`.

    Attributes:
        token_maps: dict. {"memory": [KerasTensor (batch, rows, columns, channels), one per block],
            "process": [...]}, the tokens after each block.
        grid_maps: list of KerasTensor. What a `keras_paca.segmentation.MaskTransformerHead` takes:
            the process tokens after the last block, and the memory if its patches have the same
            size.
        pyramid_outputs: dict. The memory as the level of its stride, such as "P4" for patches of
            16, and the process tokens as that of theirs, such as "P5" for patches of 32. Other
            patches than 4, 8, 16 and 32 aren't levels. If both have the same, it is the memory.

    Input shape: (batch, height, width, channels).
    Output shape: (batch, classes), or without the top the memory (batch, height //
        memory_patch_size, width // memory_patch_size, hidden_dim) or a vector.

    Raises:
        ValueError: If an argument doesn't fit.

    Source: Jajal et al., "Token Turing Machines are Efficient Vision Models", WACV 2025. Of the
    official code's options, two aren't available: `pre_norm`, the norm before the blocks of CLIP's
    checkpoints, and `patch_drop_rate`, because tokens without those that are dropped aren't a map.
    Nor are those that fail there: the head "dyna" (DynaMixer), memory blocks "conv", and process
    tokens that are latents or an average of the memory.

    Example:
    >>> backbone = ViTTM(8, num_heads=2, depth=2, memory_patch_size=16, process_patch_size=32,
    ...     include_top=False)
    >>> backbone.compute_output_shape((1, 224, 192, 3))
    (1, 14, 12, 8)
    >>> list(backbone.pyramid_outputs), len(backbone.token_maps["process"])
    (['P4', 'P5'], 2)
    """

    family = "vittm"
    file_options = ("memory_patch_size", "process_patch_size", "image_size", "layer_scale")
    variant_prefix = "ViTTM"
    other_files = (
        "The file may also be one of a plain vision transformer, a ViT or DeiT of timm or\n"
        "    KerasHub. Its blocks are loaded, and its patch projection if the memory's patches\n"
        "    have the same size. All else keeps its initial values."
    )
    variant_options = (
        *("memory_patch_size", "process_patch_size", "image_size", "normalization"),
        *("read_write_head", "latent_size_scale", "fusion", "memory_block", "memory_mlp_ratio"),
        *("qkv_bias", "qk_norm", "layer_scale", *RATES),
        *("remat", "recompute_activations"),
    )
    classifier_keys = {"head": "predictions", "process_head": "process_predictions"}  # noqa: RUF012
    classifier_initializer = keras.initializers.Zeros

    def __init__(
        self,
        hidden_dim: int,
        num_heads: int,
        depth: int = 12,
        mlp_ratio: float = 4.0,
        memory_patch_size: int | None = None,
        process_patch_size: int | None = None,
        image_size: int | Sequence[int] | None = None,
        normalization: str = "imagenet",
        read_write_head: str = "linear",
        latent_size_scale: int = 4,
        fusion: str = "residual",
        memory_block: str | None = None,
        memory_mlp_ratio: float = 0.5,
        qkv_bias: bool = True,
        qk_norm: bool = False,
        layer_scale: float | None = None,
        drop_path_rate: float = 0.0,
        read_write_drop_path_rate: float = 0.0,
        attention_dropout: float = 0.0,
        dropout: float = 0.0,
        position_dropout: float = 0.0,
        head_dropout: float = 0.0,
        remat: bool = False,
        recompute_activations: bool = True,
        **kwargs: Any,
    ) -> None:
        config = {name: value for name, value in locals().items() if name in self.option_names()}
        size = 224 if image_size is None else image_size
        config["image_size"] = check_image_size("image_size", size)
        for name in ("memory_patch_size", "process_patch_size"):
            config[name] = 28 if config[name] is None else config[name]
        _check_config(config)
        super().__init__(config, **kwargs)

    def build_graph(
        self, images: Any, config: Mapping[str, Any], make: GraphMaker
    ) -> tuple[Any, dict[str, Any], dict[str, list]]:
        """Build the embeddings and the blocks; see `Backbone`."""
        memory, process = (_embed(stream, images, config, make) for stream in STREAMS)
        add_read, add_written = (_fusion(stream, config, make) for stream in ("process", "memory"))
        rates = np.linspace(0.0, config["drop_path_rate"], config["depth"]).tolist()
        options = {option: config[option] for option in OF_BLOCKS}
        for i, rate in enumerate(rates, start=1):
            norm = make(keras.layers.LayerNormalization, f"block{i}_read_norm", epsilon=1e-6)
            memory, process = norm(memory), norm(process)
            read = _head(f"block{i}_read", "process", config, make)(memory, process)
            process = add_read(f"block{i}_add_read", read, process)
            process = make(
                layers.PaCaBlock, f"block{i}", dwconv_in_mlp=False, drop_path_rate=rate, **options
            )(process)
            norm = make(keras.layers.LayerNormalization, f"block{i}_write_norm", epsilon=1e-6)
            memory, process = norm(memory), norm(process)
            if i == config["depth"]:
                process = make(keras.layers.Identity, "process")(process)
            written = _head(f"block{i}_write", "memory", config, make)(process, memory)
            memory = add_written(f"block{i}_add_written", written, memory)
            if config["memory_block"] == "mlp":
                mlp = (config["memory_mlp_ratio"], config["dropout"])
                memory = make(layers.ResidualMLP, f"block{i}_memory", *mlp)(memory)
        memory = make(keras.layers.Identity, "memory")(memory)
        levels = _levels({"process": process, "memory": memory}, config)
        if not config["include_top"]:
            return memory, levels, {}
        process = make(keras.layers.LayerNormalization, "process_norm", epsilon=1e-6)(process)
        vectors = (
            _pool(name, x, config, make) for name, x in zip(STREAMS, (memory, process), strict=True)
        )
        return dict(zip(self.classifier_keys.values(), vectors, strict=True)), levels, {}

    def combine_heads(self, logits: Mapping[str, Any]) -> Any:
        """Return the logits of the memory, which are the prediction."""
        return logits["predictions"]

    @property
    def token_maps(self) -> dict[str, list[keras.KerasTensor]]:
        """The memory and the process tokens after each block."""
        depth = self._config["depth"]
        norms = [self.get_layer(f"block{i}_read_norm") for i in range(2, depth + 1)]
        memory = [norm._inbound_nodes[0].input_tensors[0] for norm in norms]
        return {
            "memory": [*memory, self.get_layer("memory").output],
            "process": [self.get_layer(f"block{i + 1}_write").input[0] for i in range(depth)],
        }

    @property
    def grid_maps(self) -> list[keras.KerasTensor]:
        """The last process tokens, and the memory if its patches have the same size."""
        process, memory = (self.token_maps[name][-1] for name in ("process", "memory"))
        same = self._config["memory_patch_size"] == self._config["process_patch_size"]
        return [process, memory] if same else [process]

    @property
    def memory_reads(self) -> list[tuple[keras.layers.Layer, list[keras.KerasTensor]]]:
        """The head of each block that reads the memory, and its inputs [memory, process tokens]."""
        heads = [self.get_layer(f"block{i + 1}_read") for i in range(self._config["depth"])]
        return [(head, head.input) for head in heads]

    @classmethod
    def normalisation(cls, config: Mapping[str, Any]) -> tuple[Sequence[float], Sequence[float]]:
        """Return mean and deviation of images in 0..1; see `Backbone`."""
        return NORMALIZATIONS[config["normalization"]]

    # --- Checkpoint keys ------------------------------------------------------------------------

    @classmethod
    def checkpoint_map(cls, config: Mapping[str, Any]) -> weights.KeyMap:
        """Return where each tensor of an official checkpoint belongs; see `Backbone`."""
        entries = vittm_keys.key_map(config)
        if config["include_top"]:
            entries.norm("process_norm", "process_norm")
            entries.norm("fc_norm", "memory_pool_norm")
            entries.norm("fc_norm_process", "process_pool_norm")
            for key, layer in cls.classifier_keys.items():
                entries.kernel(key, layer, "linear")
        return entries

    # --- Released files -------------------------------------------------------------------------

    @classmethod
    def constant_keys(cls, tensors: Mapping[str, np.ndarray]) -> set[str]:
        """Return the keys that the official code never uses; see `vittm_keys.unused_keys`."""
        return super().constant_keys(tensors) | vittm_keys.unused_keys(tensors)

    @classmethod
    def options_of_file(cls, tensors: Mapping[str, np.ndarray]) -> dict[str, Any]:
        """Return the patches and the image size of a file, and the layer scale if it has any."""
        tensors = of_backbone(tensors)
        return vittm_keys.patches_of_file(tensors) | layer_scale_of_file(tensors)

    @classmethod
    def adapt_tensors(
        cls, tensors: Mapping[str, np.ndarray], config: Mapping[str, Any]
    ) -> Mapping[str, np.ndarray]:
        """Return tensors with position embeddings for the image size; see `Backbone`."""
        return vittm_keys.resize_positions(tensors, config)

    @classmethod
    def rank(cls, file: weights.ReleasedFile, options: Mapping[str, Any]) -> int | None:
        """Return 0 for a file with these options, 1 if only the image size differs."""
        defaults = {name: each.default for name, each in cls.own_parameters().items()}
        wanted = {name: defaults[name] for name in OF_WEIGHTS} | dict(file.options)
        fallback = defaults | {name: wanted[name] for name in cls.file_options}
        given = {x: fallback[x] if options[x] is None else options[x] for x in wanted}
        sizes = [check_image_size("image_size", each.pop("image_size")) for each in (given, wanted)]
        return None if given != wanted else int(sizes[0] != sizes[1])

    @classmethod
    def related_checkpoint(
        cls, checkpoint: weights.Checkpoint, config: Mapping[str, Any]
    ) -> Related | None:
        """Return what a ViTTM takes of a plain ViT: the blocks, and the patches if they agree.

        The class token, the position embedding, the last norm and the classifier of the plain ViT
        aren't loaded: a ViTTM has other positions, and two classifiers on means of tokens.
        """
        tensors = plain_vit_tensors(checkpoint)
        if tensors is None:
            return None
        kernel = tensors.get("patch_embed.proj.weight")
        if kernel is not None and kernel.shape[-1] == config["memory_patch_size"]:
            for key in PLAIN_EMBEDDING[:2]:  # as the official code, which then has one for both
                if key in tensors:
                    tensors[key.replace("patch_embed", "memory_embedder")] = tensors.pop(key)
        unused = {key for key in tensors if is_beside_blocks(key) or key in PLAIN_EMBEDDING}
        own = cls.checkpoint_map(config).keys()
        taken = {key for key in own if key.startswith(("blocks.", "memory_embedder."))}
        fresh = own - {key for key in taken if key.startswith("blocks.") or key in tensors}
        part = "all but the transformer blocks"
        if MEMORY_KERNEL in tensors:
            part = "all but the transformer blocks and the memory's patch projection"
        return Related(tensors, unused, fresh, part, "a plain vision transformer")

    @classmethod
    def identify(cls, checkpoint: weights.Checkpoint) -> dict[str, Any] | None:
        """Return the options that the keys of a file imply; see `Backbone`."""
        tensors = of_backbone(checkpoint.tensors)
        return vittm_keys.identify(tensors, checkpoint.official)


OF_BLOCKS = (  # options of the transformer blocks
    *("num_heads", "mlp_ratio", "qkv_bias", "qk_norm", "layer_scale"),
    *("attention_dropout", "dropout", "remat", "recompute_activations"),
)
OF_WEIGHTS = (
    "memory_block",
    "latent_size_scale",
    "qkv_bias",
    "qk_norm",
    "layer_scale",
)  # beside those of each row


def _embed(stream: str, images: Any, config: Mapping[str, Any], make: GraphMaker) -> Any:
    """Return the tokens of a stream before the first block."""
    x = make.first(
        layers.PatchEmbedding,
        f"{stream}_embedding",
        images,
        config["hidden_dim"],
        config[f"{stream}_patch_size"],
        grid_size=vittm_keys.grid_of(stream, config),
        initial="fan_in" if stream == "memory" else "glorot",
    )
    if not config["position_dropout"]:
        return x
    return make(keras.layers.Dropout, f"{stream}_dropout", config["position_dropout"])(x)


def _head(name: str, target: str, config: Mapping[str, Any], make: GraphMaker) -> Any:
    """Create the head through which the tokens of the stream `target` read the others."""
    heads, latents = config["num_heads"], config["hidden_dim"] // config["latent_size_scale"]
    cls, options = {
        "linear": (layers.LinearCrossAttention, (heads, latents)),
        "cross_attention": (layers.CrossAttention, (heads,)),
        "latent_attention": (layers.LatentAttention, (latents,)),
        "latent_cross_attention": (layers.LatentCrossAttention, (heads, latents)),
        "token_learner": (layers.TokenLearner, (int(np.prod(vittm_keys.grid_of(target, config))),)),
    }[config["read_write_head"]]
    more = {"dropout": config["head_dropout"]} if cls is layers.TokenLearner else {}
    return make(cls, name, *options, **more)


def _fusion(target: str, config: Mapping[str, Any], make: GraphMaker) -> Callable:
    """Return the function that fuses what was read or written into the tokens of a stream."""
    rate, shared = config["read_write_drop_path_rate"], None
    if config["fusion"] == "add_erase":  # the official code has one for all blocks
        shared = make(
            layers.AddErase, f"{target}_fusion", int(np.prod(vittm_keys.grid_of(target, config)))
        )

    def fuse(name: str, given: Any, tokens: Any) -> Any:
        if rate:
            given = make(layers.DropPath, f"{name}_drop_path", rate)(given)
        if config["fusion"] == "erase":
            return given
        if shared is not None:
            return shared(given, tokens)
        return make(keras.layers.Add, name)([tokens, given])

    return fuse


def _levels(maps: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the maps of the streams whose patches have the stride of a level."""
    found = {PATCH_LEVELS.get(config[f"{name}_patch_size"]): x for name, x in maps.items()}
    return {level: found[level] for level in PATCH_LEVELS.values() if level in found}


def _pool(stream: str, x: Any, config: Mapping[str, Any], make: GraphMaker) -> Any:
    """Return the vector of a stream's tokens from which its classifier predicts."""
    exact = {"data_format": "channels_last", "dtype": exact_dtype(make.policy)}
    x = make(keras.layers.GlobalAveragePooling2D, f"{stream}_pool", **exact)(x)
    x = make(
        keras.layers.LayerNormalization,
        f"{stream}_pool_norm",
        epsilon=1e-6,
        dtype=exact_dtype(make.policy),
    )(x)
    if not config["head_dropout"]:
        return x
    return make(keras.layers.Dropout, f"{stream}_pool_dropout", config["head_dropout"])(x)


# --- Arguments ------------------------------------------------------------------------------


def _check_config(config: Mapping[str, Any]) -> None:
    """Raise an error if arguments have a wrong type or don't fit one another."""
    for name in RATES:
        check_rate(name, config[name])
    check_options(config, [f"{stream}_patch_size" for stream in STREAMS])
    check_positive("latent_size_scale", config["latent_size_scale"])
    width = config["hidden_dim"] if config["memory_block"] == "mlp" else None
    check_ratio("memory_mlp_ratio", config["memory_mlp_ratio"], width)
    check_choice("read_write_head", config["read_write_head"], HEADS)
    check_choice("fusion", config["fusion"], FUSIONS)
    check_choice("memory_block", config["memory_block"], MEMORY_BLOCKS)
    dim, heads = config["hidden_dim"], config["num_heads"]
    latents, head = dim // config["latent_size_scale"], config["read_write_head"]
    if latents < 1 or (head in ("linear", "latent_cross_attention") and latents % heads):
        raise ValueError(
            "`num_heads` must divide `hidden_dim // latent_size_scale`, the channels of the heads' "
            f"queries. Received: num_heads={heads}, hidden_dim={dim} and "
            f"latent_size_scale={config['latent_size_scale']}"
        )


# --- Variants -------------------------------------------------------------------------------

SMALL, BASE = {"drop_path_rate": 0.1}, {"drop_path_rate": 0.2}

ViTTMTiny = variant(ViTTM, "vittm_tiny", hidden_dim=192, num_heads=3, **SMALL)
ViTTMSmall = variant(ViTTM, "vittm_small", hidden_dim=384, num_heads=6, **SMALL)
ViTTMBase = variant(ViTTM, "vittm_base", hidden_dim=768, num_heads=12, **BASE)
ViTTMLarge = variant(ViTTM, "vittm_large", hidden_dim=1024, num_heads=16, depth=24, **BASE)
