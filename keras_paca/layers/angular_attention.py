"""Linear angular attention, whose cost grows linearly with the number of tokens."""

import math
from typing import Any

import keras
from keras.ops import cast, matmul, mean, reshape, rsqrt, shape, square, swapaxes, where
from keras.ops import sum as total

from keras_paca import ops
from keras_paca.arguments import (
    check_boolean,
    check_choice,
    check_positive,
    check_rate,
    check_share,
)
from keras_paca.layers.base import BaseLayer
from keras_paca.layers.initializers import HostUniform, linear
from keras_paca.layers.policies import exact_dtype

CONVOLUTIONS = ("tokens", "grid")
SHORTEST = 1e-6  # vectors below this length have no direction


@keras.saving.register_keras_serializable(package="keras_paca")
class LinearAngularAttention(BaseLayer):
    """Self-attention with the angle between queries and keys, expanded to its linear term.

    With q = Wq x, k = Wk x, v = Wv x by head, and each q and k divided by its length,

    y_i = v_i / 2 + q_i (sum_j k_j^T v_j) / pi,

    and the output is Wo (y / |y| + w * v), where w is a depthwise convolution with a filter per
    head. The cost grows linearly with the number of tokens. The angular similarity
    1 - angle(q, k) / pi has further terms. In training, with `auxiliary`, masked softmax attention
    stands for them: M softmax(q k^T / sqrt(d)) v is added to y, where q and k have their own
    lengths and M keeps the weights above the threshold. The cost of this part grows with the square
    of the number of tokens. Inference never computes it, whatever `auxiliary` is.

    Lengths, sums and the softmax are computed in float32 under every policy. A vector shorter than
    1e-6 becomes zero, with gradient zero.

    Args:
        num_heads: int. Number of heads. It must divide the channels.
        qkv_bias: bool. Whether the projections to queries, keys and values have biases.
        auxiliary: bool. Whether masked softmax attention is added in training. It can be set to
            `False` after training, which `keras_paca.finish_castling` does for a whole model. A
            layer or a model that passes this argument on must have an attribute of this name that
            can be set.
        threshold: float. The masked softmax keeps weights above this value, in [0, 1]. It can be
            set at any time, also between two steps of a training that is compiled; then call
            `model.jax_state_sync()` first on JAX.
        kernel_size: int. Length of the filters, odd. With `convolution="grid"`, their side.
        convolution: str. "tokens" for a convolution along the tokens in their order, the prefix
            included, as in the released code. "grid" for one over the rows and columns of patches,
            without the prefix.
        prefix_tokens: int. Number of tokens before those of the patches, such as the class token.
        dropout: float. Rate of dropout on the output.
        **kwargs: As for `keras.layers.Layer`.

    Call arguments:
        inputs: Tensor. Tokens (batch, tokens, channels) or a map (batch, height, width, channels),
            float.
        like: Tensor or None. A map (batch, rows, columns, any), whose sides are those of the
            patches for `convolution="grid"`. By default, tokens are those of a square.

    Output shape: That of `inputs`.

    Raises:
        ValueError: If an argument has another value; if `num_heads` doesn't divide the channels; if
            the inputs are neither tokens nor a map, or a map for a layer with prefix tokens; or if
            the patches of `convolution="grid"` make no square and `like` isn't given, or has
            another number of patches.

    Source: Castling-ViT (You et al., CVPR 2023). The released code has `convolution="tokens"`.

    Example:
    >>> layer = LinearAngularAttention(num_heads=2, convolution="grid", prefix_tokens=1)
    >>> tokens, image = keras.ops.ones((1, 1 + 3 * 4, 8)), keras.ops.ones((1, 3, 4, 3))
    >>> tuple(layer(tokens, like=image).shape), layer.mask_density
    ((1, 13, 8), None)
    >>> _ = layer(tokens, like=image, training=True)  # 13 equal weights of 1 / 13
    >>> layer.mask_density
    1.0
    """

    def __init__(
        self,
        num_heads: int,
        qkv_bias: bool = False,
        auxiliary: bool = True,
        threshold: float = 0.02,
        kernel_size: int = 9,
        convolution: str = "tokens",
        prefix_tokens: int = 0,
        dropout: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.num_heads = check_positive("num_heads", num_heads)
        self.qkv_bias = check_boolean("qkv_bias", qkv_bias)
        self.kernel_size = check_positive("kernel_size", kernel_size)
        if self.kernel_size % 2 == 0:
            raise ValueError(f"`kernel_size` must be odd. Received: kernel_size={kernel_size}")
        self.convolution = check_choice("convolution", convolution, CONVOLUTIONS)
        self.prefix_tokens = _check_prefix(prefix_tokens)
        self.dropout = check_rate("dropout", dropout)
        self._threshold = check_share("threshold", threshold)
        self.auxiliary_attention = None
        if check_boolean("auxiliary", auxiliary):
            self.auxiliary_attention = self.make(MaskedAttention, "auxiliary_attention", threshold)

    @property
    def auxiliary(self) -> bool:
        """Whether masked softmax attention is added in training; it can only be switched off."""
        return self.auxiliary_attention is not None

    @auxiliary.setter
    def auxiliary(self, value: bool) -> None:
        if check_boolean("auxiliary", value) and not self.auxiliary:
            raise ValueError(
                "A layer without the auxiliary can't get one: create the layer with "
                "`auxiliary=True`. Received: auxiliary=True"
            )
        if self.auxiliary and not value:
            self._tracker.untrack(self.auxiliary_attention)
            self.auxiliary_attention = None

    @property
    def threshold(self) -> float:
        """The value above which the masked softmax keeps its weights."""
        return self._threshold

    @threshold.setter
    def threshold(self, value: float) -> None:
        self._threshold = check_share("threshold", value)
        if self.auxiliary and self.built:
            self.auxiliary_attention.threshold.assign(self._threshold)

    @property
    def mask_density(self) -> float | None:
        """The share of softmax weights above the threshold in the last training step, in [0, 1].

        It is 0.0 without the auxiliary and from a threshold of 1.0, and `None` before the first
        step in training. A file doesn't hold it.
        """
        if not self.auxiliary or self._threshold >= 1:
            return 0.0
        if not self.built:
            return None
        density = float(keras.ops.convert_to_numpy(self.auxiliary_attention.density))
        return None if density < 0 else density

    def build(self, inputs_shape: tuple, like_shape: tuple | None = None) -> None:
        """Build the projections, the filters and the auxiliary."""
        self._check_shapes(inputs_shape, like_shape)
        channels = inputs_shape[-1]
        tokens_shape = (inputs_shape[0], None, channels)
        names = ("query", "key", "value")
        self.query_dense, self.key_dense, self.value_dense = (
            self.make(linear, name, channels, use_bias=self.qkv_bias) for name in names
        )
        self.output_dense = self.make(linear, "attention_output", channels)
        for dense in (self.query_dense, self.key_dense, self.value_dense, self.output_dense):
            dense.build(tokens_shape)
        columns = self.kernel_size if self.convolution == "grid" else 1
        self.local = self.make(HeadwiseConv, "local", self.num_heads, (self.kernel_size, columns))
        self.local.build((inputs_shape[0], None, None, channels))
        if self.auxiliary:
            self.auxiliary_attention.initial_threshold = self._threshold
            self.auxiliary_attention.build()
        self.dropout_layer = self.make(keras.layers.Dropout, "dropout", self.dropout)

    def _check_shapes(self, inputs_shape: tuple, like_shape: tuple | None) -> None:
        shapes = f"Received: inputs of shape {inputs_shape}"
        if len(inputs_shape) not in (3, 4):
            raise ValueError(
                f"The inputs must be tokens (batch, tokens, channels) or a map. {shapes}"
            )
        if len(inputs_shape) == 4 and self.prefix_tokens:
            raise ValueError(
                f"A map has no prefix tokens. {shapes}, prefix_tokens={self.prefix_tokens}"
            )
        if inputs_shape[-1] % self.num_heads:
            raise ValueError(
                "`num_heads` must divide the channels of the input. "
                f"{shapes}, num_heads={self.num_heads}"
            )
        if self.convolution == "grid" and len(inputs_shape) == 3 and inputs_shape[1] is not None:
            self._check_grid(inputs_shape[1], like_shape)

    def _check_grid(self, tokens: int | None, like_shape: tuple | None) -> None:
        """Check that tokens make a grid, as far as their number is known."""
        count = None if tokens is None else tokens - self.prefix_tokens
        received = f"Received: {tokens} tokens, prefix_tokens={self.prefix_tokens}"
        if like_shape is None and (count is None or count < 1 or math.isqrt(count) ** 2 != count):
            raise ValueError(
                "The patches must make a square, or `like` must be a map with their rows and "
                f"columns. {received}"
            )
        patches = None if like_shape is None else ops.count_patches(like_shape)
        if None not in (patches, count) and patches != count:
            raise ValueError(
                "`like` must have as many rows x columns as there are patches. "
                f"{received}, like of shape {like_shape}"
            )

    def call(self, inputs: Any, like: Any = None, training: bool = False) -> Any:
        """Attend from each token of `inputs` to all of them."""
        tokens = ops.flatten_map(inputs) if len(inputs.shape) == 4 else inputs  # (b, n, c)
        values = self.value_dense(tokens)
        query = ops.split_heads(self.query_dense(tokens), self.num_heads)  # (b, heads, n, d)
        key = ops.split_heads(self.key_dense(tokens), self.num_heads)
        value = ops.to_float32(ops.split_heads(values, self.num_heads))
        summary = matmul(swapaxes(direction(key), 2, 3), value)  # (b, heads, d, d)
        outputs = value / 2 + matmul(direction(query), summary / math.pi)
        if training and self.auxiliary_attention is not None:
            outputs = outputs + self.auxiliary_attention(query, key, value)
        outputs = cast(ops.join_heads(direction(outputs)), self.compute_dtype)
        outputs = outputs + self._convolve(values, inputs if len(inputs.shape) == 4 else like)
        outputs = self.output_dense(outputs)
        if training:
            outputs = self.dropout_layer(outputs, training=True)
        return outputs if len(inputs.shape) == 3 else ops.unflatten_patches(outputs, like=inputs)

    def _convolve(self, values: Any, like: Any) -> Any:
        """Convolve the values (b, n, c) of all tokens, or those of the patches of a grid."""
        if self.convolution == "tokens":
            return self.local(values[:, :, None])[:, :, 0]  # a map of one column
        prefix, patches = values[:, : self.prefix_tokens], values[:, self.prefix_tokens :]
        self._check_grid(values.shape[1], None if like is None else tuple(like.shape))
        if like is None:
            side = math.isqrt(patches.shape[1])
            maps = reshape(patches, (-1, side, side, patches.shape[2]))
        else:
            maps = ops.unflatten_patches(patches, like=like)
        local = reshape(self.local(maps), shape(patches))
        if not self.prefix_tokens:
            return local
        return keras.ops.concatenate([keras.ops.zeros_like(prefix), local], axis=1)

    def compute_output_shape(self, inputs_shape: tuple, like_shape: tuple | None = None) -> tuple:
        """Return `inputs_shape`."""
        return inputs_shape

    def count_products(self, inputs_shape: tuple, like: tuple | None = None) -> int:
        """Return the multiply-accumulates in inference, without those of the layers inside."""
        size, channels = math.prod(inputs_shape), inputs_shape[-1]
        return 2 * size * channels // self.num_heads


class MaskedAttention(BaseLayer):
    """The auxiliary of linear angular attention: M softmax(q k^T / sqrt(d)) v.

    M is 1 where a weight is above the threshold, and 0 elsewhere, and has no gradient. The rest
    isn't normalized again. The threshold and the density of M are variables, so that a compiled
    training step needn't be compiled again for another threshold. They are no weights: files and
    `weights` are the same with this layer and without it.

    Args:
        initial_threshold: float. The first threshold.
        **kwargs: As for `keras.layers.Layer`.

    Call arguments:
        query: Tensor. Shape (batch, heads, tokens, d).
        key: Tensor. Shape (batch, heads, tokens, d).
        value: Tensor. Shape (batch, heads, tokens, d), float32 or wider.

    Output shape: That of `value`.

    Example:
    >>> layer, x = MaskedAttention(0.3), keras.ops.ones((1, 1, 2, 4))
    >>> layer(x, x, x).tolist(), float(layer.density)
    ([[[[1.0, 1.0, 1.0, 1.0], [1.0, 1.0, 1.0, 1.0]]]], 1.0)
    """

    def __init__(self, initial_threshold: float, **kwargs: Any) -> None:
        super().__init__(autocast=False, **kwargs)
        self.initial_threshold = initial_threshold

    def build(self, *shapes: tuple) -> None:
        """Create the two variables."""
        self.threshold, self.density = (
            self.add_weight(
                name=name,
                shape=(),
                initializer=keras.initializers.Constant(value),
                dtype=exact_dtype(self.dtype_policy),
                trainable=False,
                autocast=False,
                aggregation="mean",
            )
            for name, value in (("threshold", self.initial_threshold), ("density", -1.0))
        )

    def call(self, query: Any, key: Any, value: Any) -> Any:
        """Return what the weights above the threshold gather, and keep their share."""
        query, key = ops.to_float32(query), ops.to_float32(key)
        scores = ops.attention_scores(query, key * query.shape[-1] ** -0.5)
        weights = ops.stable_softmax(scores, axis=-1)  # (b, heads, n, n)
        mask = weights > cast(self.threshold, weights.dtype)
        self.density.assign(mean(cast(mask, self.density.dtype)))
        return matmul(where(mask, weights, 0.0), value)

    def compute_output_shape(
        self, query_shape: tuple, key_shape: tuple, value_shape: tuple
    ) -> tuple:
        """Return `value_shape`."""
        return value_shape

    @property
    def weights(self) -> list:
        """None: neither of the two variables is a weight."""
        return []

    def save_own_variables(self, store: Any) -> None:
        """Save nothing."""

    def load_own_variables(self, store: Any) -> None:
        """Load nothing."""


class HeadwiseConv(BaseLayer):
    """Depthwise convolution in which the channels of a head share one filter, without bias.

    Args:
        num_heads: int. Number of heads. It must divide the channels.
        kernel_size: (int, int). Height and width of the filters, odd.
        **kwargs: As for `keras.layers.Layer`.

    Input shape: (batch, height, width, channels), the channels of a head side by side.
    Output shape: The same. The borders are padded with zeros.

    Example:
    >>> layer = HeadwiseConv(2, (9, 1))
    >>> tuple(layer(keras.ops.ones((1, 5, 1, 8))).shape), tuple(layer.kernel.shape)
    ((1, 5, 1, 8), (9, 1, 2, 1))
    """

    def __init__(self, num_heads: int, kernel_size: tuple[int, int], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.num_heads, self.kernel_size = num_heads, tuple(kernel_size)

    def build(self, input_shape: tuple) -> None:
        """Create the kernel (height, width, heads, 1), with PyTorch's initial values."""
        limit = 1 / math.sqrt(math.prod(self.kernel_size))
        self.kernel = self.add_weight(
            name="kernel",
            shape=(*self.kernel_size, self.num_heads, 1),
            initializer=HostUniform(limit),
        )

    def call(self, inputs: Any) -> Any:
        """Convolve the map `inputs` (b, h, w, c)."""
        kernel = keras.ops.convert_to_tensor(self.kernel)
        kernel = keras.ops.repeat(kernel, inputs.shape[-1] // self.num_heads, axis=2)
        return ops.depthwise_conv2d(inputs, kernel)

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        """Return `input_shape`."""
        return input_shape

    def count_products(self, input_shape: tuple) -> int:
        """Return the number of multiply-accumulates of a call."""
        return math.prod(input_shape) * math.prod(self.kernel_size)


def direction(vectors: Any) -> Any:
    """Return vectors divided by their lengths, in float32 or wider; short ones become zero.

    The gradient is finite everywhere: it is zero where a vector becomes zero.

    Args:
        vectors: Tensor. Shape (..., channels).

    Returns:
        Tensor (..., channels).

    Example:
    >>> direction(keras.ops.array([[3.0, 4.0], [0.0, 0.0]])).tolist()
    [[0.6000000238418579, 0.800000011920929], [0.0, 0.0]]
    """
    vectors = ops.to_float32(vectors)
    squares = total(square(vectors), axis=-1, keepdims=True)
    is_short = squares < SHORTEST**2
    return vectors * where(is_short, 0.0, rsqrt(where(is_short, 1.0, squares)))


def _check_prefix(value: Any) -> int:
    is_zero = value == 0 and not isinstance(value, bool)
    return 0 if is_zero else check_positive("prefix_tokens", value)
