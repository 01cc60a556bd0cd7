"""Stochastic depth."""

from typing import Any

import keras
from keras import ops

from keras_paca.arguments import check_rate


@keras.saving.register_keras_serializable(package="keras_paca")
class DropPath(keras.layers.Layer):
    """Drop a residual branch, sample by sample: y = x m / (1 - rate), m ~ Bernoulli(1 - rate).

    Identity outside training.

    Args:
        rate: float. Probability with which the branch of a sample is dropped, 0 <= rate < 1.
        seed: int. Seed of the random numbers, or `None` for a random one.
        **kwargs: As for `keras.layers.Layer`.

    Input shape: (batch, ...).
    Output shape: The same.

    Raises:
        ValueError: If `rate` lies outside [0, 1).

    Source: Huang et al., "Deep Networks with Stochastic Depth", ECCV 2016.

    Example:
    >>> float(ops.sum(DropPath(0.5)(ops.ones((4, 2)))))
    8.0
    """

    def __init__(self, rate: float, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.rate = check_rate("rate", rate)
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)
        self.supports_masking = True
        self.built = True  # else `predict` on JAX first runs the model uncompiled

    def call(self, inputs: Any, training: bool = False) -> Any:
        """Drop the branch of some samples if `training`."""
        if not training or self.rate == 0:
            return inputs
        # The factor 0 or 1 / (1 - rate) of each sample: one pass over the inputs, not two.
        ones = ops.ones((ops.shape(inputs)[0],) + (1,) * (len(inputs.shape) - 1), inputs.dtype)
        return inputs * keras.random.dropout(ones, self.rate, seed=self.seed_generator)

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        """Return `input_shape`."""
        return input_shape

    def get_config(self) -> dict:
        """Return the arguments of the constructor."""
        return {**super().get_config(), "rate": self.rate, "seed": self.seed}
