"""Attentive Normalization: K affine transformations, mixed by attention over the channels."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import keras
from keras.ops import (
    amax,
    cast,
    hard_sigmoid,
    matmul,
    maximum,
    mean,
    ones_like,
    relu,
    rsqrt,
    sigmoid,
    var,
)
from keras.ops import sum as total

from keras_paca import ops
from keras_paca.arguments import check_boolean, check_choice, check_factor, check_positive
from keras_paca.layers.base import BaseLayer
from keras_paca.layers.batch_norm import BatchNormalization
from keras_paca.layers.dense import Dense
from keras_paca.layers.initializers import HostNormal, pointwise
from keras_paca.layers.policies import exact_dtype


class Attention(NamedTuple):
    """How the weights of the mixture are computed from the squeezed map.

    Attributes:
        activation: Callable. The last operation.
        has_norm: bool. Whether a norm follows each linear layer, which has no bias then.
        is_deep: bool. Whether there are two linear layers, with a ReLU between them.

    Example:
    >>> ATTENTIONS["norm_softmax"].has_norm
    True
    """

    activation: Callable[[Any], Any]
    has_norm: bool = False
    is_deep: bool = False


# In the order of their official numbers, from 0. No released network has two layers: these two are
# written from their descriptions.
ATTENTIONS = {
    "sigmoid": Attention(sigmoid),
    "two_layer_sigmoid": Attention(sigmoid, is_deep=True),
    "norm_hard_sigmoid": Attention(hard_sigmoid, has_norm=True),
    "two_layer_norm_hard_sigmoid": Attention(hard_sigmoid, has_norm=True, is_deep=True),
    "hard_sigmoid": Attention(hard_sigmoid),
    "norm_sigmoid": Attention(sigmoid, has_norm=True),
    "norm_softmax": Attention(functools.partial(ops.stable_softmax, axis=-1), has_norm=True),
}
SQUEEZES = ("standardized", "average", "average_max")


class AttentiveNormalization(BaseLayer):
    """Base class of the attentive normalizations; see `AttentiveBatchNormalization`.

    A subclass creates `norm`, which standardizes the map without a scale and an offset, and calls
    `make_attention`.

    Args:
        mixtures: int. K, the number of affine transformations.
        attention: str. How the weights of the mixture are computed, a key of `ATTENTIONS`.
        squeeze: str. How each channel of the map becomes one number: "standardized", "average" or
            "average_max".
        hidden_units: int or None. Units of the first layer of an attention that has two layers;
            `None` for 2 K.
        **kwargs: As for `keras.layers.Layer`.

    Example:
    >>> from keras_paca import layers
    >>> issubclass(layers.AttentiveGroupNormalization, AttentiveNormalization)
    True
    """

    norm: keras.layers.Layer | None

    def __init__(
        self,
        mixtures: int,
        attention: str,
        squeeze: str = "standardized",
        hidden_units: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.mixtures = check_positive("mixtures", mixtures)
        self.attention = check_choice("attention", attention, tuple(ATTENTIONS))
        self.squeeze = check_choice("squeeze", squeeze, SQUEEZES)
        self.hidden_units = hidden_units
        if hidden_units is not None:
            check_positive("hidden_units", hidden_units)
            if not ATTENTIONS[attention].is_deep:
                raise ValueError(
                    "`hidden_units` is for an `attention` of two layers. Received: "
                    f"hidden_units={hidden_units}, attention={attention!r}"
                )
        self.hidden_dense = self.hidden_norm = None

    def make_attention(self, make_norm: Callable[[str], keras.layers.Layer]) -> None:
        """Create the linear layers of the attention, and the norms after them if it has any.

        Args:
            make_norm: Callable. It takes a name and returns a norm.
        """
        _, has_norm, is_deep = ATTENTIONS[self.attention]
        kinds = {"use_bias": not has_norm, "dtype": exact_dtype(self.dtype_policy)}
        if is_deep:
            units = self.hidden_units or 2 * self.mixtures
            self.hidden_dense = self.make(pointwise, "hidden", units, **kinds)
            self.hidden_norm = make_norm("hidden_norm") if has_norm else None
        self.attention_dense = self.make(pointwise, "attention", self.mixtures, **kinds)
        self.attention_norm = make_norm("attention_norm") if has_norm else None

    def build(self, input_shape: tuple) -> None:
        """Build the norm, the attention and the affine transformations."""
        channels = input_shape[-1] if len(input_shape) == 4 else None
        if channels is None:
            raise ValueError(
                "The input must be a map (batch, height, width, channels) whose number of channels "
                f"is known. Received: input_shape={input_shape}"
            )
        if self.norm is not None:
            self.norm.build(input_shape)
        shape = (input_shape[0], channels)
        for dense, norm in self._attention_layers():
            dense.build(shape)
            shape = (input_shape[0], dense.units)
            if norm is not None:
                norm.build(shape)
        table = {"shape": (self.mixtures, channels), "autocast": False}
        self.scales = self.add_weight(name="scales", initializer=HostNormal(1.0, 0.1), **table)
        self.offsets = self.add_weight(name="offsets", initializer=HostNormal(0.0, 0.1), **table)

    def _attention_layers(self) -> list[tuple[Dense, keras.layers.Layer | None]]:
        """Return the linear layers of the attention, each with the norm after it."""
        layers = [
            (self.hidden_dense, self.hidden_norm),
            (self.attention_dense, self.attention_norm),
        ]
        return [(dense, norm) for dense, norm in layers if dense is not None]

    def call(self, inputs: Any, training: bool = False) -> Any:
        """Apply the layer to the map `inputs` (b, h, w, c)."""
        x = ops.to_float32(inputs)
        weights = self.mixture_weights(x, training=training)
        scale = matmul(weights, ops.to_float32(self.scales))[:, None, None]  # (b, 1, 1, c)
        offset = matmul(weights, ops.to_float32(self.offsets))[:, None, None]
        x = x if self.norm is None else self.norm(x, training=training)
        return cast(x * scale + offset, self.compute_dtype)

    def mixture_weights(self, inputs: Any, training: bool = False) -> Any:
        """Return the weights of the affine transformations, by which a map is described.

        Args:
            inputs: Tensor. The map, (batch, height, width, channels), float.
            training: bool. Whether the attention's norms use the statistics of the batch.

        Returns:
            Tensor (batch, mixtures) in [0, 1], float32 or wider.
        """
        x = self._squeeze(ops.to_float32(inputs))
        for dense, norm in self._attention_layers():
            x = dense(x)
            x = x if norm is None else norm(x, training=training)
            x = relu(x) if dense is self.hidden_dense else x
        return ATTENTIONS[self.attention].activation(x)

    def _squeeze(self, x: Any) -> Any:
        """Return one number per channel of the map, (b, c)."""
        centre = mean(x, axis=(1, 2))
        if self.squeeze == "average":
            return centre
        if self.squeeze == "average_max":
            return centre + amax(x, axis=(1, 2))
        count = ops.count_patches(x.shape)
        if isinstance(count, int):
            factor = count / max(count - 1, 1)
        else:
            count = total(ones_like(x[:1, :, :, :1]))
            factor = count / maximum(count - 1, 1)
        return centre * rsqrt(var(x, axis=(1, 2)) * factor + 1e-3)

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        """Return `input_shape`."""
        return input_shape

    def count_products(self, inputs_shape: tuple) -> int:
        """Return the multiply-accumulates of the mixture; those of the attention come on top."""
        return 2 * inputs_shape[0] * self.mixtures * inputs_shape[-1]


@keras.saving.register_keras_serializable(package="keras_paca")
class AttentiveBatchNormalization(AttentiveNormalization):
    """Batch normalization whose scale and offset depend on the map: K of them, mixed by attention.

    With the standardized map z = (x - mean) / sqrt(variance + epsilon) of a batch normalization and
    K scales G and offsets B per channel, each image has its own

    y = gamma z + beta, gamma = lambda G, beta = lambda B, lambda = act(norm(W s)) in [0, 1]^K,

    where s squeezes the input itself to one number per channel. The weights lambda don't sum to
    1, except with a softmax.

    Args:
        mixtures: int. K, the number of affine transformations.
        attention: str. How lambda is computed from s. "norm_hard_sigmoid", that of the published
            networks, is a linear layer without bias, a batch normalization and a hard sigmoid;
            "norm_sigmoid" and "norm_softmax" end in another function. "sigmoid" and "hard_sigmoid"
            are a linear layer with bias and the function. "two_layer_sigmoid" and
            "two_layer_norm_hard_sigmoid" have two linear layers with a ReLU between them, in the
            second case each with its batch normalization.
        squeeze: str. "standardized", the mean of each channel divided by
            sqrt(unbiased variance + 0.001), both over the pixels of one image; "average", the mean;
            or "average_max", the sum of the mean and the maximum.
        hidden_units: int or None. Units of the first layer of a two-layer attention; `None` for 2
            K.
        momentum: float. Weight of the old moving statistics of the map. In the attention it is
            always 0.9, as in the official code, so that its statistics follow a short training.
        epsilon: float. Added to the variance of the map. In the attention it is always 1e-5.
        synchronized: bool. Whether the statistics of a batch are those of all replicas, on
            TensorFlow.
        **kwargs: As for `keras.layers.Layer`.

    Input shape: (batch, height, width, channels), float. Statistics are computed in float32 under
        every policy. A map of one pixel has the variance 0.
    Output shape: The same.

    Weights: `scales` and `offsets` (K, channels); the statistics of `norm`; `attention` (a `Dense`)
        and `attention_norm`, and for two layers `hidden` and `hidden_norm`.

    Raises:
        ValueError: If an argument has another value, or if the input isn't a map.

    Source: Li, Sun and Wu, "Attentive Normalization", ECCV 2020, from its equations.

    Example:
    >>> norm = AttentiveBatchNormalization(mixtures=5)
    >>> x = keras.random.normal((2, 7, 5, 8))
    >>> tuple(norm(x).shape), tuple(norm.mixture_weights(x).shape)
    ((2, 7, 5, 8), (2, 5))
    """

    def __init__(
        self,
        mixtures: int,
        attention: str = "norm_hard_sigmoid",
        squeeze: str = "standardized",
        hidden_units: int | None = None,
        momentum: float = 0.9,
        epsilon: float = 1e-5,
        synchronized: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(mixtures, attention, squeeze, hidden_units, **kwargs)
        self.momentum = check_factor("momentum", momentum)
        self.epsilon = check_factor("epsilon", epsilon)
        self.synchronized = check_boolean("synchronized", synchronized)
        exact = exact_dtype(self.dtype_policy)
        statistics = {"synchronized": synchronized, "dtype": exact}
        self.norm = self.make(
            BatchNormalization,
            "norm",
            momentum=momentum,
            epsilon=epsilon,
            center=False,
            scale=False,
            **statistics,
        )
        self.make_attention(lambda name: self.make(BatchNormalization, name, **statistics))


@keras.saving.register_keras_serializable(package="keras_paca")
class AttentiveGroupNormalization(AttentiveNormalization):
    """Group normalization whose scale and offset depend on the map: K of them, mixed by attention.

    It is `AttentiveBatchNormalization` with z standardized by the statistics of each image over
    its pixels and the channels of each group, in training as in inference. A norm in the attention
    is a group normalization of all its units, so that nothing depends on the other images.

    Args:
        mixtures: int. K, the number of affine transformations.
        groups: int. Number of groups. It must divide the channels.
        attention: str. As for `AttentiveBatchNormalization`. "hard_sigmoid" is that of the released
            detectors.
        squeeze: str. As for `AttentiveBatchNormalization`.
        hidden_units: int or None. As for `AttentiveBatchNormalization`.
        epsilon: float. Added to the variances of the group normalizations.
        **kwargs: As for `keras.layers.Layer`.

    Input shape: (batch, height, width, channels), float. Statistics are computed in float32 under
        every policy.
    Output shape: The same.

    Weights: As for `AttentiveBatchNormalization`; `norm` has none.

    Raises:
        ValueError: If an argument has another value, if `groups` doesn't divide the channels, or if
            the input isn't a map.

    Source: Li, Sun and Wu, "Attentive Normalization", ECCV 2020, from its equations.

    Example:
    >>> norm = AttentiveGroupNormalization(mixtures=5, groups=4)
    >>> tuple(norm(keras.random.normal((2, 7, 5, 8))).shape)
    (2, 7, 5, 8)
    """

    def __init__(
        self,
        mixtures: int,
        groups: int = 32,
        attention: str = "hard_sigmoid",
        squeeze: str = "standardized",
        hidden_units: int | None = None,
        epsilon: float = 1e-5,
        **kwargs: Any,
    ) -> None:
        super().__init__(mixtures, attention, squeeze, hidden_units, **kwargs)
        self.groups = check_positive("groups", groups)
        self.epsilon = check_factor("epsilon", epsilon)
        norm, exact = keras.layers.GroupNormalization, exact_dtype(self.dtype_policy)
        options = {"epsilon": epsilon, "dtype": exact}
        self.norm = self.make(norm, "norm", groups, center=False, scale=False, **options)
        self.make_attention(lambda name: self.make(norm, name, 1, **options))

    def build(self, input_shape: tuple) -> None:
        """Build the norm, the attention and the affine transformations."""
        channels = input_shape[-1]
        if channels is not None and channels % self.groups:
            raise ValueError(
                "`groups` must divide the number of channels. Received: "
                f"groups={self.groups}, input_shape={input_shape}"
            )
        super().build(input_shape)
