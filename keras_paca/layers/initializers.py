"""The initial values and constants of the official code.

Each function returns a new initializer, because one that two weights share repeats its values.
"""

import math
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_paca.layers.dense import Dense


@keras.saving.register_keras_serializable(package="keras_paca")
class HostNormal(keras.initializers.RandomNormal):
    """Normal distribution, drawn by NumPy from Keras's seed: the same values on each backend.

    Keras's own initializer draws on the backend. JAX compiles a program for each shape, which takes
    0.4 s; for a PaCaSmall, that added up to 17 s.

    Args:
        mean: float. Mean of the values.
        stddev: float. Standard deviation of the values. `None` means `sqrt(2 / fan)`, where `fan`
            is kernel height x kernel width x channels / groups (He et al., 2015).
        seed: int. By default, each initializer gets its own seed from Python's `random`, which
            `keras.utils.set_random_seed` seeds.
        fan: str. "out" or "in": whether `fan` counts the channels of the outputs or of the inputs.

    Example:
    >>> tuple(HostNormal(stddev=0.02, seed=0)((2, 3)).shape)
    (2, 3)
    """

    def __init__(
        self,
        mean: float = 0.0,
        stddev: float | None = 0.05,
        seed: int | None = None,
        fan: str = "out",
    ) -> None:
        super().__init__(mean=mean, stddev=stddev, seed=seed)
        if fan not in ("in", "out"):
            raise ValueError(f'`fan` must be "in" or "out". Received: fan={fan!r}')
        self.fan = fan

    def __call__(self, shape: tuple, dtype: Any = None) -> Any:
        """Return a tensor of random values of this shape."""
        stddev = self.stddev
        if stddev is None:
            channels = shape[-1] if self.fan == "out" else shape[-2]
            stddev = math.sqrt(2 / (math.prod(shape[:-2]) * channels))
        values = np.random.default_rng(self.seed).standard_normal(shape, "float32")
        return ops.convert_to_tensor(values * np.float32(stddev) + np.float32(self.mean), dtype)

    def get_config(self) -> dict:
        """Return the arguments of the constructor."""
        return {**super().get_config(), "fan": self.fan}


@keras.saving.register_keras_serializable(package="keras_paca")
class HostUniform(keras.initializers.RandomUniform):
    """Uniform distribution between -limit and limit, drawn by NumPy as `HostNormal` is.

    Args:
        limit: float. The largest absolute value; 0 for zeros.
        seed: int. As for `HostNormal`.

    Example:
    >>> bool(ops.all(ops.abs(HostUniform(0.5, seed=0)((8, 8))) <= 0.5))
    True
    """

    def __init__(self, limit: float, seed: int | None = None) -> None:
        super().__init__(-limit, limit, seed)
        self.limit = limit

    def __call__(self, shape: tuple, dtype: Any = None) -> Any:
        """Return a tensor of random values of this shape."""
        values = np.random.default_rng(self.seed).uniform(-self.limit, self.limit, shape)
        return ops.convert_to_tensor(values, dtype)

    def get_config(self) -> dict:
        """Return the arguments of the constructor."""
        return {"limit": self.limit, "seed": super().get_config()["seed"]}


def linear_initializer() -> keras.initializers.Initializer:
    """Return the initializer N(0, 0.02) of linear projections and position embeddings.

    The official code truncates this distribution at the absolute value 2.0, which is a hundred
    standard deviations away. Keras's `TruncatedNormal` truncates at two standard deviations, which
    would make the values about a tenth smaller.

    Example:
    >>> linear_initializer().stddev
    0.02
    """
    return HostNormal(stddev=0.02)


def conv_initializer() -> keras.initializers.Initializer:
    """Return the initializer N(0, sqrt(2 / fan_out)) of all convolutions, also 1 x 1 and depthwise.

    Example:
    >>> tuple(conv_initializer()((3, 3, 8, 1)).shape)
    (3, 3, 8, 1)
    """
    return HostNormal(stddev=None)


def fan_in_initializer() -> keras.initializers.Initializer:
    """Return the initializer N(0, sqrt(2 / fan_in)) of convolutions and their 1 x 1 form.

    It is the "Kaiming" initializer of PyTorch, by default. Of depthwise convolutions, `fan_in` and
    `fan_out` are the same.

    Example:
    >>> tuple(fan_in_initializer()((3, 3, 8, 4)).shape)
    (3, 3, 8, 4)
    """
    return HostNormal(stddev=None, fan="in")


def linear(units: int, **kwargs: Any) -> Dense:
    """Return a linear projection of the last axis with the official initial values.

    Args:
        units: int. Number of channels of the output.
        **kwargs: As for `keras.layers.Dense`.

    Example:
    >>> tuple(linear(4)(ops.ones((2, 3))).shape)
    (2, 4)
    """
    return Dense(units, kernel_initializer=linear_initializer(), **kwargs)


def pointwise(filters: int, **kwargs: Any) -> Dense:
    """Return a 1 x 1 convolution as a matrix product, with the official initial values.

    Args:
        filters: int. Number of channels of the output.
        **kwargs: As for `keras.layers.Dense`.

    Example:
    >>> tuple(pointwise(4)(ops.ones((1, 5, 7, 3))).shape)
    (1, 5, 7, 4)
    """
    return Dense(filters, kernel_initializer=conv_initializer(), **kwargs)


def conv3x3(filters: int, strides: int = 1, **kwargs: Any) -> keras.layers.Conv2D:
    """Return a 3 x 3 convolution with the official initial values.

    Args:
        filters: int. Number of channels of the output.
        strides: int. 1, or 2 for maps that `embedding.pad_borders` has padded.
        **kwargs: As for `keras.layers.Conv2D`.

    Example:
    >>> tuple(conv3x3(4)(ops.ones((1, 5, 7, 3))).shape)
    (1, 5, 7, 4)
    """
    return keras.layers.Conv2D(
        filters,
        3,
        strides=strides,
        padding="same" if strides == 1 else "valid",
        data_format="channels_last",
        kernel_initializer=conv_initializer(),
        **kwargs,
    )
