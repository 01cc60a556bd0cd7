"""The keys of ViTTM's files: where they belong, which of them nothing uses, what they show."""

import math
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from keras_paca import weights
from keras_paca.backbones import plain_vit
from keras_paca.backbones.plain_vit import add_block, layer_scale_of_file
from keras_paca.weights import Entry

STREAMS = ("memory", "process")
MEMORY_KERNEL = "memory_embedder.proj.weight"
PLAIN_EMBEDDING = ("patch_embed.proj.weight", "patch_embed.proj.bias", "pos_embed", "cls_token")
PROJECTIONS = {"q": "query", "k": "key", "v": "value"}
_HEAD_OUTPUT = re.compile(r"((?:read|write)_head\.\d+)\.proj\.(?:weight|bias)")
_DIFFERENCES = {  # a key of each kind of head that those after it don't have: official, Keras
    "latent_attention": ("mlp2.fc1.bias", "query_mlp/expand/1"),
    "token_learner": ("mlp.fc1.bias", "mlp/expand/1"),
    "cross_attention": ("q_norm.bias", "query_norm/1"),
    "linear": ("q.bias", "query/1"),
}


def key_map(config: Mapping[str, Any]) -> weights.KeyMap:
    """Return where the tensors of an official checkpoint belong, without those of the top.

    Args:
        config: dict. Configuration of a `ViTTM`.

    Example:
    >>> from keras_paca import ViTTM
    >>> config = ViTTM(8, num_heads=2, depth=1, include_top=False).get_config()
    >>> key_map(config)["blocks.0.attn.proj.bias"].path
    'block1/attention/attention_output/bias'
    """
    entries = weights.KeyMap()
    for stream in STREAMS:
        layer = f"{stream}_embedding"
        entries.kernel(f"{stream}_embedder.proj", layer, "conv")
        entries[f"{stream}_pos_embed"] = Entry(layer, "position_embedding", "positions")
    for i in range(config["depth"]):
        _add_block(entries, config, i)
    if config["fusion"] == "add_erase":
        entries.kernel("read_fusion.linear", "process_fusion/gate", "linear")
        entries.kernel("write_fusion.linear", "memory_fusion/gate", "linear")
    return entries


def _add_block(entries: weights.KeyMap, config: Mapping[str, Any], i: int) -> None:
    """Add the keys of a block."""
    block = f"block{i + 1}"
    add_block(entries, config, i)
    for name in ("read", "write"):
        entries.norm(f"{name}_norm.{i}", f"{block}_{name}_norm")
        _add_head(entries, f"{name}_head.{i}", f"{block}_{name}", config["read_write_head"])
    if config["memory_block"] == "mlp":
        entries.norm(f"mem_blocks.{i}.norm", f"{block}_memory/norm")
        _add_mlp(entries, f"mem_blocks.{i}.mlp", f"{block}_memory/mlp")


def _add_mlp(entries: weights.KeyMap, key: str, layer: str) -> None:
    """Add the keys of a feed-forward network."""
    entries.kernel(f"{key}.fc1", f"{layer}/expand", "linear")
    entries.kernel(f"{key}.fc2", f"{layer}/project", "linear")


def _add_head(entries: weights.KeyMap, key: str, layer: str, kind: str) -> None:
    """Add the keys of a read or write head."""
    if kind in ("token_learner", "latent_attention"):
        entries.norm(f"{key}.norm", f"{layer}/norm")
        _add_mlp(entries, f"{key}.mlp", f"{layer}/mlp")
        if kind == "latent_attention":
            entries.norm(f"{key}.norm_q", f"{layer}/query_norm")
            _add_mlp(entries, f"{key}.mlp2", f"{layer}/query_mlp")
        return
    for official, name in PROJECTIONS.items():
        entries.kernel(f"{key}.{official}", f"{layer}/{name}", "linear")
        if kind != "linear":
            entries.norm(f"{key}.{official}_norm", f"{layer}/{name}_norm")
    if kind != "linear":
        entries.kernel(f"{key}.proj", f"{layer}/attention_output", "linear")


def unused_keys(tensors: Mapping[str, np.ndarray]) -> set[str]:
    """Return the keys of an official file that the official code never uses.

    Those are the counter of an averaged model; the output projections of linear heads, which are
    the heads without norms; and the plain ViT's own patch embedding, position embedding and class
    token, which stand beside the embeddings of the memory.

    Args:
        tensors: dict. The arrays of a file by their keys.

    Example:
    >>> sorted(unused_keys(dict.fromkeys(["read_head.0.q.weight", "read_head.0.proj.bias"])))
    ['read_head.0.proj.bias']
    """
    unused = {key for key in tensors if key == "n_averaged" and tensors[key].ndim == 0}
    if MEMORY_KERNEL in tensors:
        unused |= tensors.keys() & set(PLAIN_EMBEDDING)
    for key in tensors:
        head = match[1] if (match := _HEAD_OUTPUT.fullmatch(key)) else ""
        if f"{head}.q.weight" in tensors and f"{head}.q_norm.weight" not in tensors:
            unused.add(key)
    return unused


def grid_of(stream: str, config: Mapping[str, Any]) -> tuple[int, ...]:
    """Return (rows, columns) of a stream's tokens for images of the size `image_size`.

    Args:
        stream: str. "memory" or "process".
        config: dict. Configuration of a `ViTTM`.

    Example:
    >>> grid_of("memory", {"image_size": (64, 48), "memory_patch_size": 16})
    (4, 3)
    """
    return tuple(side // config[f"{stream}_patch_size"] for side in config["image_size"])


def resize_positions(
    tensors: Mapping[str, np.ndarray], config: Mapping[str, Any]
) -> dict[str, np.ndarray]:
    """Resize the position embeddings of a file to the image size of a model.

    They are resized in float32, by bicubic interpolation with antialiasing, as timm and the
    official segmenters resize them. Embeddings that aren't those of a grid stay as they are.

    Args:
        tensors: dict. The arrays of an official or a saved Keras file by their keys, of a backbone
            or of a model on one.
        config: dict. Configuration of the model, a `ViTTM`.

    Example:
    >>> config = {"image_size": (32, 48), "memory_patch_size": 16, "process_patch_size": 16}
    >>> resized = resize_positions({"memory_pos_embed": np.zeros((1, 16, 8))}, config)
    >>> resized["memory_pos_embed"].shape
    (1, 6, 8)
    """
    resized = dict(tensors)
    for stream in STREAMS:
        grid = grid_of(stream, config)
        official = {f"{stream}_pos_embed", f"backbone.{stream}_pos_embed"}
        for key in official & tensors.keys():  # the official code has square grids alone
            resized[key] = plain_vit.fit_positions(tensors[key], grid)
        if (key := f"{stream}_embedding/2") in tensors:
            resized[key] = plain_vit.fit_grid(tensors[key], grid)
    return resized


def patches_of_file(tensors: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Return the patches and the image size of an official or a saved Keras file.

    The image size is the smallest with the grids of both position embeddings.

    Args:
        tensors: dict. The arrays of a file by their keys.

    Returns:
        dict. {"memory_patch_size", "process_patch_size", "image_size"}, empty for other files.

    Example:
    >>> patches_of_file({})
    {}
    """
    patches, sizes = {}, []
    for stream in STREAMS:
        official = f"{stream}_pos_embed" in tensors
        names = (
            ("embedder.proj.weight", "pos_embed") if official else ("embedding/0", "embedding/2")
        )
        kernel, positions = (tensors.get(f"{stream}_{name}") for name in names)
        if kernel is None or positions is None or (kernel.ndim, positions.ndim) != (4, 3):
            return {}
        side = math.isqrt(positions.shape[1])  # the official code has square grids alone
        grid = (side, side) if official else positions.shape[:2]
        patches[f"{stream}_patch_size"] = patch = int(kernel.shape[2 if official else 0])
        sizes.append([patch * int(count) for count in grid])
    height, width = map(max, *sizes)
    return {**patches, "image_size": height if height == width else (height, width)}


def identify(tensors: Mapping[str, np.ndarray], official: bool) -> dict[str, Any] | None:
    """Return the options of a `ViTTM` that the keys of a file show, or `None` for other files.

    The fusions "residual" and "erase" have the same keys and count as the first.

    Args:
        tensors: dict. The arrays of a file by their keys.
        official: bool. Whether the keys are those of the official code.

    Example:
    >>> identify({}, official=True) is None
    True
    """
    held = patches_of_file(tensors)
    if not held:
        return None
    start, index = ("read_head.0.", 0) if official else ("block1_read/", 1)
    head = next((k for k, v in _DIFFERENCES.items() if start + v[index] in tensors), "linear")
    positions = tensors["memory_pos_embed" if official else "memory_embedding/2"]
    dim = int(positions.shape[-1])
    shown = {"hidden_dim": dim, "read_write_head": head, **held}
    norm = r"read_norm\.\d+\.bias" if official else r"block\d+_read_norm/1"
    shown["depth"] = sum(re.fullmatch(norm, key) is not None for key in tensors)
    query = tensors.get(start + ("q.bias" if official else "query/1"))
    if head == "cross_attention" and query.size != dim:
        shown["read_write_head"] = "latent_cross_attention"
    if query is not None and query.size != dim:
        shown["latent_size_scale"] = dim // query.size
    if ("read_fusion.linear.bias" if official else "process_fusion/gate/1") in tensors:
        shown["fusion"] = "add_erase"
    attention = "blocks.0.attn." if official else "block1/attention/"
    if attention + ("q_norm.bias" if official else "query_norm/1") in tensors:
        shown["qk_norm"] = True
    if attention + ("qkv.bias" if official else "query/1") not in tensors:
        shown["qkv_bias"] = False
    hidden = tensors.get("mem_blocks.0.mlp.fc1.bias" if official else "block1_memory/mlp/expand/1")
    if hidden is not None:
        shown |= {"memory_block": "mlp", "memory_mlp_ratio": hidden.size / dim}
    return shown | layer_scale_of_file(tensors)
