"""Blocks whose maps have the mean 0 over the channels, so that their norms needn't subtract it.

If only norms read the map that a block returns, its mean over the channels doesn't matter, because
the norms subtract it. Such a block can subtract the mean of its input once, and its projections can
be changed so that they don't add to the mean. Its layer norms are then root-mean-square norms,
which saves a sum and a pass over the map. In a runtime without an operator for layer norms, this is
a few percent of the time.

This is done in exported files only, because a model may be trained further, and other code may read
its maps.

Source: Jiang et al., "Pre-RMSNorm and Pre-CRMSNorm Transformers: Equivalent and Efficient Pre-LN
Transformers", NeurIPS 2023, section 3.
"""

from collections.abc import Iterable
from typing import Any

import keras
from keras import ops

from keras_paca.forms import is_twin
from keras_paca.inference.folding import to_float64
from keras_paca.layers import PaCaBlock
from keras_paca.ops import to_float32


def mean_free_blocks(model: keras.Model) -> dict[PaCaBlock, bool]:
    """Return the blocks of a model whose maps may have the mean 0 over the channels.

    Args:
        model: keras.Model. A model that `fuse` made.

    Returns:
        dict. {block: whether the mean of its input may differ from 0, so that it has to be
        subtracted}.

    Example:
    >>> import keras_paca
    >>> model = keras_paca.fuse(keras_paca.PaCaViT((8, 8, 8, 8), (2, 1, 1, 1), 1))
    >>> [(block.name, first) for block, first in mean_free_blocks(model).items()][:2]
    [('stage1_block1', True), ('stage1_block2', False)]
    """
    graphs = [each for each in model._flatten_layers() if hasattr(each, "_nodes_by_depth")]
    calls = [(graph, node) for graph in graphs for node in _nodes(graph)]
    calls = [(graph, node) for graph, node in calls if _is_pre_norm(node.operation)]
    read = {
        node.operation
        for graph, node in calls
        if not _ends_in_norms(node.output_tensors[0], _nodes(graph), graph.outputs)
    }
    free: list[Any] = []  # maps without a mean
    found: dict[PaCaBlock, bool] = {}
    for _, node in calls:
        block = node.operation
        if block not in read:
            has_mean = not _is_in(node.input_tensors[0], free)
            found[block] = found.get(block, False) or has_mean
            free.append(node.output_tensors[0])
    return found


def center_weights(blocks: Iterable[PaCaBlock]) -> None:
    """Change the weights of blocks so that what they add has the mean 0 over the channels.

    Args:
        blocks: Iterable of PaCaBlock. Blocks that `mean_free_blocks` found.

    Example:
    >>> import keras_paca
    >>> model = keras_paca.fuse(keras_paca.PaCaViT((8, 8, 8, 8), 1, 1))
    >>> block, *_ = blocks = mean_free_blocks(model)
    >>> center_weights(blocks)
    >>> bool(abs(to_float64(block.mlp.project_dense.kernel).mean(axis=-1)).max() < 1e-6)
    True
    """
    for block in blocks:
        projections = (block.attention.output_dense, block.mlp.project_dense)
        weights = [weight for dense in projections for weight in (dense.kernel, dense.bias)]
        if block.position_embedding is not None:
            weights.append(block.position_embedding)
        for weight in weights:
            values = to_float64(weight)
            weight.assign(values - values.mean(axis=-1, keepdims=True))


def is_over_channels(layer: Any, rank: int) -> bool:
    """Return whether a layer is a layer norm that subtracts the mean over the last axis.

    Args:
        layer: keras.layers.Layer. Any layer.
        rank: int. The number of axes of its inputs.

    Example:
    >>> is_over_channels(keras.layers.LayerNormalization(axis=[1, 2]), rank=4)
    False
    """
    if not isinstance(layer, keras.layers.LayerNormalization) or layer.rms_scaling:
        return False
    axes = [layer.axis] if isinstance(layer.axis, int) else list(layer.axis)
    return [axis % rank for axis in axes] == [rank - 1]


def subtract_mean(inputs: Any) -> Any:
    """Subtract the mean over the channels from a map, computed in float32 or wider.

    Args:
        inputs: Tensor. Shape (b, h, w, c).

    Example:
    >>> subtract_mean(ops.array([[1.0, 3.0]])).tolist()
    [[-1.0, 1.0]]
    """
    x = to_float32(inputs)
    return ops.cast(x - ops.mean(x, axis=-1, keepdims=True), inputs.dtype)


def _nodes(graph: Any) -> list:
    """Return the nodes of a functional model in the order of computation."""
    by_depth = graph._nodes_by_depth
    return [node for depth in sorted(by_depth, reverse=True) for node in by_depth[depth]]


def _is_pre_norm(layer: Any) -> bool:
    """Return whether a layer is a fused block that reads its input through norms alone."""
    return (
        isinstance(layer, PaCaBlock)
        and is_twin(type(layer))
        and layer.norm1_before is not None
        and layer.norm1_after is None
    )


def _ends_in_norms(tensor: Any, nodes: list, outputs: list) -> bool:
    """Return whether nothing but norms over the channels reads a tensor of a graph."""
    if _is_in(tensor, outputs):
        return False
    readers = [node for node in nodes if _is_in(tensor, node.input_tensors)]
    return all(_reads_through_norms(node, tensor, nodes, outputs) for node in readers)


def _reads_through_norms(node: Any, tensor: Any, nodes: list, outputs: list) -> bool:
    layer = node.operation
    if is_over_channels(layer, len(tensor.shape)):
        return True
    reads = isinstance(layer, keras.layers.Add)
    reads = reads or (_is_pre_norm(layer) and tensor is node.input_tensors[0])
    return reads and _ends_in_norms(node.output_tensors[0], nodes, outputs)


def _is_in(tensor: Any, tensors: Any) -> bool:
    return any(tensor is other for other in tensors)
