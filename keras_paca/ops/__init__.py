"""Operations on tensors, one file each; the only place that asks which backend runs.

An operation that has a form per backend says in its file which form runs where and why. Layers ask
for the operation and don't know which form they get.
"""

from keras_paca.ops.attention import attend, attention_scores, join_heads, split_heads
from keras_paca.ops.depthwise import depthwise_conv2d
from keras_paca.ops.gelu import gelu
from keras_paca.ops.linear import linear
from keras_paca.ops.patches import (
    count_patches,
    flatten_map,
    halve,
    project_patches,
    unflatten_patches,
)
from keras_paca.ops.recompute import is_recomputed, recompute
from keras_paca.ops.replicas import sum_over_replicas
from keras_paca.ops.resize import (
    average_pool_to,
    double,
    double_like,
    resize_bicubic,
    resize_bilinear,
    resize_like,
    resize_nearest,
)
from keras_paca.ops.softmax import stable_softmax, to_float32

__all__ = [
    "attend",
    "attention_scores",
    "average_pool_to",
    "count_patches",
    "depthwise_conv2d",
    "double",
    "double_like",
    "flatten_map",
    "gelu",
    "halve",
    "is_recomputed",
    "join_heads",
    "linear",
    "project_patches",
    "recompute",
    "resize_bicubic",
    "resize_bilinear",
    "resize_like",
    "resize_nearest",
    "split_heads",
    "stable_softmax",
    "sum_over_replicas",
    "to_float32",
    "unflatten_patches",
]
