"""Files of plain vision transformers, timm's and KerasHub's, from which families may start."""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from keras_paca import ops, weights
from keras_paca.arguments import check_choice, check_factor, check_positive, check_ratio
from keras_paca.backbones.graph_maker import NORMALIZATIONS
from keras_paca.weights import Entry

LAYER_SCALE = 1e-6  # the initial value of DeiT-3's

# What a plain vision transformer has beside its patch embedding and its blocks, by timm's keys.
_OTHERS = re.compile(
    r"(?:cls_token|dist_token|pos_embed|(?:norm|fc_norm|head|head_dist|pre_logits(?:\.fc)?)\..*)"
)
# KerasHub's encoder and its embeddings, of a ViT or a DeiT.
_ENCODER = re.compile(r"(?:.*/)?(?:vit|deit)_encoder/(.*)")
_EMBEDDING = re.compile(r"(?:.*/)?(?:vit|deit)_patching_and_embedding(/.*)?")
_TOKENS = {"0": "cls_token", "1": "dist_token", "2": "pos_embed"}  # by the index in the embeddings
_PARTS = {  # KerasHub's layer in a block: timm's
    "ln_1": "norm1",
    "ln_2": "norm2",
    "mha/query": "attn.q",
    "mha/key": "attn.k",
    "mha/value": "attn.v",
    "mha/attention_output": "attn.proj",
    "mlp/dense_1": "mlp.fc1",
    "mlp/dense_2": "mlp.fc2",
    "mlp/dense": "mlp.fc1",  # of a DeiT
    "output_layer/output": "mlp.fc2",
}


def plain_vit_tensors(checkpoint: weights.Checkpoint) -> dict[str, np.ndarray] | None:
    """Return the tensors of a plain vision transformer under timm's keys.

    Args:
        checkpoint: Checkpoint. What `weights.open_checkpoint` returned.

    Returns:
        dict or None. {timm's key: array in PyTorch's layout}, or `None` for another file. Of a file
        of KerasHub's `ViTBackbone`, `DeiTBackbone` or a classifier on one, the classifier has keys
        of its own that begin with "head".

    Example:
    >>> tensors = {"patch_embed.proj.bias": np.zeros(8), "blocks.0.attn.qkv.bias": np.zeros(24)}
    >>> list(plain_vit_tensors(weights.Checkpoint("vit.pth", True, tensors)))
    ['patch_embed.proj.bias', 'blocks.0.attn.qkv.bias']
    >>> plain_vit_tensors(weights.Checkpoint("other.pth", True, {"head.bias": np.zeros(8)})) is None
    True
    """
    tensors = checkpoint.tensors
    if not checkpoint.official:
        return _from_keras_hub(tensors)
    own = {key.partition(".")[0] for key in tensors}
    known = {"patch_embed", "blocks"} <= own
    known &= any(key.startswith("blocks.0.attn.qkv.") for key in tensors)
    others = own & {"memory_embedder", "process_embedder", "backbone"}
    return dict(tensors) if known and not others else None


def is_beside_blocks(key: str) -> bool:
    """Return whether a plain vision transformer has a tensor beside its patches and blocks.

    Args:
        key: str. timm's key.

    Example:
    >>> is_beside_blocks("cls_token"), is_beside_blocks("blocks.0.norm1.bias")
    (True, False)
    """
    return _OTHERS.fullmatch(key) is not None


def check_options(config: Mapping[str, Any], patch_sizes: Sequence[str]) -> None:
    """Check the options that families with a vision transformer's blocks share.

    Args:
        config: dict. Configuration of the family, with `image_size` already checked.
        patch_sizes: Sequence of str. The names of the options for sides of patches.

    Raises:
        ValueError: If an option has a wrong type, or two of them don't fit.

    Example:
    >>> config = {"hidden_dim": 8, "num_heads": 2, "depth": 1, "mlp_ratio": 4.0, "patch_size": 16}
    >>> config |= {"normalization": "imagenet", "layer_scale": None, "image_size": (64, 64)}
    >>> check_options(config, ["patch_size"])
    """
    for name in ("hidden_dim", "num_heads", "depth"):
        check_positive(name, config[name])
    check_ratio("mlp_ratio", config["mlp_ratio"], config["hidden_dim"])
    check_choice("normalization", config["normalization"], tuple(NORMALIZATIONS))
    if config["layer_scale"] is not None:
        check_factor("layer_scale", config["layer_scale"])
    for name in patch_sizes:
        patch = check_positive(name, config[name])
        if min(config["image_size"]) < patch:
            raise ValueError(
                f"`image_size` must hold a patch of `{name}`. Received: "
                f"image_size={config['image_size']} and {name}={patch}"
            )
    if config["hidden_dim"] % config["num_heads"]:
        raise ValueError(
            "`num_heads` must divide `hidden_dim`. Received: "
            f"num_heads={config['num_heads']} and hidden_dim={config['hidden_dim']}"
        )


def add_block(entries: weights.KeyMap, config: Mapping[str, Any], i: int) -> None:
    """Add timm's keys of a transformer block, which is the `PaCaBlock` of the next number.

    Args:
        entries: KeyMap. Where the keys are added.
        config: dict. Configuration of a family with `qkv_bias` and `layer_scale`.
        i: int. The index of the block, from 0.

    Example:
    >>> entries = weights.KeyMap()
    >>> add_block(entries, {"qkv_bias": True, "layer_scale": None}, 0)
    >>> entries["blocks.0.attn.proj.bias"].path
    'block1/attention/attention_output/bias'
    """
    key, block = f"blocks.{i}", f"block{i + 1}"
    entries.norm(f"{key}.norm1", f"{block}/norm1_before")
    qkv = [f"{block}/attention/{name}" for name in ("query", "key", "value")]
    entries.kernels(f"{key}.attn.qkv", qkv, "linear", bias=config["qkv_bias"])
    if config.get("qk_norm"):
        entries.norm(f"{key}.attn.q_norm", f"{block}/attention/query_norm")
        entries.norm(f"{key}.attn.k_norm", f"{block}/attention/key_norm")
    entries.kernel(f"{key}.attn.proj", f"{block}/attention/attention_output", "linear")
    entries.norm(f"{key}.norm2", f"{block}/norm2_before")
    entries.kernel(f"{key}.mlp.fc1", f"{block}/mlp/expand", "linear")
    entries.kernel(f"{key}.mlp.fc2", f"{block}/mlp/project", "linear")
    if config["layer_scale"] is not None:
        entries[f"{key}.ls1.gamma"] = Entry(block, "scale1", "vector")
        entries[f"{key}.ls2.gamma"] = Entry(block, "scale2", "vector")


def layer_scale_of_file(tensors: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Return the layer scale of a file, also of a plain ViT such as DeiT-3.

    Args:
        tensors: dict. The arrays of an official or a saved Keras file by their keys.

    Returns:
        dict. {"layer_scale": DeiT-3's initial value}, empty for files without layer scales.

    Example:
    >>> layer_scale_of_file({"blocks.0.ls1.gamma": np.ones(8)})
    {'layer_scale': 1e-06}
    """
    has_any = "blocks.0.ls1.gamma" in tensors or "block1/0" in tensors
    return {"layer_scale": LAYER_SCALE} if has_any else {}


def options_of_plain_vit(tensors: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Return the patches, the image size, the tokens and the layer scale of a plain ViT.

    Args:
        tensors: dict. What `plain_vit_tensors` returned.

    Returns:
        dict. {"patch_size", "distillation"}, "image_size" if the patches make a square, and perhaps
        "layer_scale"; empty without patches or positions.

    Example:
    >>> shapes = {"patch_embed.proj.weight": (8, 3, 16, 16), "pos_embed": (1, 197, 8)}
    >>> shapes["cls_token"] = (1, 1, 8)
    >>> options_of_plain_vit({key: np.zeros(shape) for key, shape in shapes.items()})
    {'patch_size': 16, 'distillation': False, 'image_size': 224}
    """
    kernel, positions = (tensors.get(key) for key in ("patch_embed.proj.weight", "pos_embed"))
    if kernel is None or positions is None:
        return {}
    held = {"patch_size": int(kernel.shape[-1]), "distillation": "dist_token" in tensors}
    patches = positions.shape[-2] - count_prefix(tensors)
    if _is_square(patches):
        held["image_size"] = image_size(held["patch_size"], (math.isqrt(patches),) * 2)
    return held | layer_scale_of_file(tensors)


def count_prefix(tensors: Mapping[str, np.ndarray], patches: int | None = None) -> int:
    """Return how many rows of a plain ViT's position embeddings belong to tokens before patches.

    There is one for each token of the file, unless the patches alone have position embeddings, as
    in DeiT-3.

    Args:
        tensors: dict. What `plain_vit_tensors` returned, with positions.
        patches: int or None. A number of patches that aren't those of a square but may be the
            file's.

    Example:
    >>> tensors = {"cls_token": np.zeros((1, 1, 8)), "pos_embed": np.zeros((1, 1 + 2 * 3, 8))}
    >>> count_prefix(tensors, patches=6)
    1
    """
    tokens, rows = len({"cls_token", "dist_token"} & tensors.keys()), tensors["pos_embed"].shape[-2]
    fitting = (n for n in (tokens, 0) if rows - n == patches or _is_square(rows - n))
    return next(fitting, tokens)


def _is_square(count: int) -> bool:
    return count > 0 and math.isqrt(count) ** 2 == count


def image_size(patch: int, grid: tuple[int, int]) -> int | tuple[int, int]:
    """Return the image size of a grid of patches, one number for a square.

    Args:
        patch: int. Side of the patches.
        grid: (int, int). Rows and columns.

    Example:
    >>> image_size(16, (14, 14)), image_size(16, (14, 12))
    (224, (224, 192))
    """
    height, width = (int(patch * side) for side in grid)
    return height if height == width else (height, width)


def fit_prefix(positions: np.ndarray, held: int, count: int) -> np.ndarray:
    """Return position embeddings for another number of tokens before the patches.

    A token that the file doesn't have gets those of the first one. If there are none, the tokens
    get zeros.

    Args:
        positions: np.ndarray. Embeddings (1, held + patches, channels), or without the first axis.
        held: int. Number of tokens before the patches in the file; see `count_prefix`.
        count: int. Number of tokens before the patches in the model.

    Returns:
        np.ndarray. (1, count + patches, channels).

    Example:
    >>> fit_prefix(np.reshape([1.0, 2.0, 3.0, 4.0, 5.0], (5, 1)), 1, 2).ravel().tolist()
    [1.0, 1.0, 2.0, 3.0, 4.0, 5.0]
    """
    positions = positions.reshape(1, -1, positions.shape[-1])
    prefix, patches = positions[:, :held], positions[:, held:]
    first = prefix[:, :1] if held else np.zeros_like(patches[:, :1])
    return np.concatenate([prefix[:, :count], *[first] * (count - held), patches], axis=1)


def fit_positions(
    positions: np.ndarray, grid: tuple[int, int], prefix: int = 0, is_own: bool = True
) -> np.ndarray:
    """Resize the position embeddings of an official file to a grid, if theirs is another square.

    Args:
        positions: np.ndarray. Embeddings (1, prefix + patches, channels). Anything else is returned
            as it is, as embeddings of patches that make no square are.
        grid: (int, int). The rows and columns of the model.
        prefix: int. Number of tokens before the patches.
        is_own: bool. Whether the file may be one of the model's own, which has the model's grid
            if the number of patches is the same.

    Returns:
        np.ndarray. (1, prefix + rows x columns, channels).

    Example:
    >>> fit_positions(np.zeros((1, 1 + 16, 8)), (2, 3), prefix=1).shape
    (1, 7, 8)
    """
    if positions.ndim != 3 or len(positions) != 1 or positions.dtype.kind in "biu":
        return positions
    patches, channels = positions.shape[1] - prefix, positions.shape[2]
    side = math.isqrt(max(patches, 0))
    is_same = (side, side) == grid or (is_own and patches == math.prod(grid))
    if is_same or not _is_square(patches):
        return positions
    resized = resize_positions(positions[0, prefix:].reshape(side, side, channels), grid)
    return np.concatenate([positions[:, :prefix], resized.reshape(1, -1, channels)], axis=1)


def fit_grid(positions: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    """Resize the position embeddings of a saved Keras file to a grid, if theirs is another one.

    Args:
        positions: np.ndarray. Embeddings (rows, columns, channels). Anything else is returned as it
            is.
        grid: (int, int). The rows and columns of the model.

    Example:
    >>> fit_grid(np.zeros((4, 4, 8)), (2, 3)).shape
    (2, 3, 8)
    """
    if positions.ndim != 3 or positions.dtype.kind in "biu" or positions.shape[:2] == grid:
        return positions
    return resize_positions(positions, grid)


def resize_positions(positions: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    """Resize position embeddings in float32, by bicubic interpolation with antialiasing, as timm.

    Args:
        positions: np.ndarray. Embeddings (rows, columns, channels).
        grid: (int, int). The new rows and columns.

    Returns:
        np.ndarray. (rows, columns, channels), float32.

    Example:
    >>> resize_positions(np.zeros((4, 4, 8)), (2, 3)).shape
    (2, 3, 8)
    """
    resized = ops.resize_bicubic(np.asarray(positions, "float32")[None], grid)
    return keras.ops.convert_to_numpy(resized)[0]


def _from_keras_hub(tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray] | None:
    """Return the tensors of KerasHub's model under timm's keys, or `None` for another model."""
    parts = [match[1] for key in tensors if (match := _ENCODER.fullmatch(key))]
    if not any(part.startswith("transformer_block_1/") for part in parts):
        return None
    found = {}
    for key, array in tensors.items():
        name = _timm_key(key)
        found[name] = _as_timm(array, name)
    for key in [key for key in found if ".attn.q." in key]:
        three = [key.replace(".q.", f".{name}.") for name in "qkv"]
        if found.keys() >= set(three):
            found[key.replace(".q.", ".qkv.")] = np.concatenate([found.pop(x) for x in three])
    return found


def _timm_key(key: str) -> str:
    """Return timm's key for KerasHub's, which is returned where there is none."""
    path, _, index = key.rpartition("/")
    kind = "weight" if index == "0" else "bias"
    if path in ("predictions", "pre_logits"):
        return f"head.{path}.{kind}"
    if encoder := _ENCODER.fullmatch(path):
        match = re.fullmatch(r"transformer_block_(\d+)/(.*)", encoder[1])
        if match:
            return f"blocks.{int(match[1]) - 1}.{_PARTS.get(match[2], match[2])}.{kind}"
        return f"norm.{kind}" if encoder[1] == "ln" else key
    if embedding := _EMBEDDING.fullmatch(path):
        names = {"/patch_embedding": f"patch_embed.proj.{kind}", "/position_embedding": "pos_embed"}
        return names.get(embedding[1], key) if embedding[1] else _TOKENS.get(index, key)
    return key


def _as_timm(array: np.ndarray, key: str) -> np.ndarray:
    """Return KerasHub's array in the layout of timm's, which has no axis for the heads."""
    if not key.startswith(("blocks.", "patch_embed.")):
        return array
    if key.endswith(".bias") or array.ndim == 1:
        return array.reshape(-1)
    if array.ndim == 4:
        return array.transpose(3, 2, 0, 1)
    sides = (-1, array.shape[-1]) if ".attn.proj." in key else (array.shape[0], -1)
    return array.reshape(sides).T
