"""Scaled dot-product attention.

| backend                                          | form                             |
| ------------------------------------------------ | -------------------------------- |
| TensorFlow                                       | two matrix products, a softmax   |
| JAX                                              | two matrix products, a softmax   |
| PyTorch                                          | `scaled_dot_product_attention`   |
| PyTorch, with dropout on the weights in training | two matrix products, a softmax   |

PyTorch's kernel holds no weights, and draws dropout from another generator than Keras. In training,
the weights are computed again in the backward pass where `is_recomputed("attention")`.

Measured by `python benchmarks/ops.py attention` on two CPU cores, for 8 images of 3136 patches, 100
clusters and 2 heads of 48 channels in float32, in ms for the outputs / with the gradients:

| form                           | TensorFlow | JAX     | PyTorch  |
| ------------------------------ | ---------- | ------- | -------- |
| two matrix products, a softmax | 7.1 / 24   | 19 / 44 | 12 / 36  |
| `scaled_dot_product_attention` |            |         | 6.1 / 21 |
"""

import functools
from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from keras_paca.ops.recompute import is_recomputed, recompute
from keras_paca.ops.softmax import stable_softmax


def attend(
    query: Any,
    key: Any,
    value: Any,
    dropout: Callable[..., Any] | None = None,
    recompute_weights: bool = False,
) -> Any:
    """Return softmax(q k^T / sqrt(d)) v.

    Args:
        query: Tensor. Shape (b, heads, n, d).
        key: Tensor. Shape (b, heads, m, d).
        value: Tensor. Shape (b, heads, m, d).
        dropout: keras.layers.Dropout. Dropout of the weights, in training only.
        recompute_weights: bool. Whether the backward pass computes the weights again instead of
            keeping them in memory, if that pays on the backend.

    Returns:
        Tensor (b, heads, n, d), of the dtype of the inputs.

    Example:
    >>> from keras import ops
    >>> tuple(attend(ops.ones((1, 2, 9, 4)), *[ops.ones((1, 2, 3, 4))] * 2).shape)
    (1, 2, 9, 4)
    """
    if keras.backend.backend() == "torch" and dropout is None:
        from torch.nn import functional

        return functional.scaled_dot_product_attention(query, key, value)
    weigh = functools.partial(_weigh, dropout)
    if recompute_weights and is_recomputed("attention"):
        layers = [] if dropout is None else [dropout]
        return recompute(layers, weigh, query, key, value)
    return weigh(query, key, value)


def split_heads(tokens: Any, num_heads: int) -> Any:
    """Return tokens with their channels divided among heads.

    Args:
        tokens: Tensor. Shape (b, n, c).
        num_heads: int. Number of heads, which divides c.

    Returns:
        Tensor (b, heads, n, c / heads).

    Example:
    >>> from keras import ops
    >>> tuple(split_heads(ops.ones((1, 9, 8)), 2).shape)
    (1, 2, 9, 4)
    """
    batch, count, channels = ops.shape(tokens)
    tokens = ops.reshape(tokens, (batch, count, num_heads, channels // num_heads))
    return ops.transpose(tokens, (0, 2, 1, 3))


def join_heads(tokens: Any) -> Any:
    """Return tokens with the channels of all heads side by side, the inverse of `split_heads`.

    Args:
        tokens: Tensor. Shape (b, heads, n, d).

    Returns:
        Tensor (b, n, heads x d).

    Example:
    >>> from keras import ops
    >>> tuple(join_heads(ops.ones((1, 2, 9, 4))).shape)
    (1, 9, 8)
    """
    batch, heads, count, channels = ops.shape(tokens)
    return ops.reshape(ops.transpose(tokens, (0, 2, 1, 3)), (batch, count, heads * channels))


def attention_scores(query: Any, key: Any) -> Any:
    """Return query key^T, the scalar products over the last axis; for float16 inputs in float32.

    Args:
        query: Tensor. Shape (..., n, d).
        key: Tensor. Shape (..., m, d).

    Returns:
        Tensor (..., n, m).

    Example:
    >>> from keras import ops
    >>> tuple(attention_scores(ops.ones((9, 4)), ops.ones((3, 4))).shape)
    (9, 3)
    """
    if keras.backend.standardize_dtype(query.dtype) == "float16":
        query, key = ops.cast(query, "float32"), ops.cast(key, "float32")
    return ops.matmul(query, ops.swapaxes(key, -1, -2))


def _weigh(dropout: Any, query: Any, key: Any, value: Any) -> Any:
    scores = attention_scores(query, key * query.shape[-1] ** -0.5)
    weights = ops.cast(stable_softmax(scores, axis=-1), value.dtype)  # (b, heads, n, m)
    if dropout is not None:
        weights = dropout(weights, training=True)
    return ops.matmul(weights, value)
