"""The official initial values. Each call returns a fresh object: a shared one repeats its draw."""

from typing import Any

import keras

from keras_paca.layers.dense import Dense


def linear_initializer() -> keras.initializers.Initializer:
    """Return N(0, 0.02), for linear projections and position embeddings.

    The official code calls this truncated, but cuts at an absolute 2.0, a hundred deviations away;
    Keras's `TruncatedNormal` cuts at two deviations and would be a tenth too narrow.
    """
    return keras.initializers.RandomNormal(stddev=0.02)


def conv_initializer() -> keras.initializers.Initializer:
    """Return N(0, sqrt(2 / fan_out)), for convolutions of every kind, 1 x 1 and depthwise included.

    `fan_out` is kernel height x kernel width x output channels / groups.
    """
    return keras.initializers.VarianceScaling(2.0, "fan_out", "untruncated_normal")


def linear(units: int, **kwargs: Any) -> Dense:
    """Return a linear projection of the last axis with the official initial values."""
    return Dense(units, kernel_initializer=linear_initializer(), **kwargs)


def pointwise(filters: int, **kwargs: Any) -> Dense:
    """Return a 1 x 1 convolution, as the matrix product that it is."""
    return Dense(filters, kernel_initializer=conv_initializer(), **kwargs)
