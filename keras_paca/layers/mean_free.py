"""Norms that needn't look for a mean, in the traces of exports.

What a block adds to the map may have any mean over the channels where nothing but norms reads the
map: they drop it. With a mean of 0 throughout, a layer norm is a root-mean-square norm, which takes
a pass and a sum less, a few percent of a file's time where a runtime has no operator for layer
norms.

Source: Jiang et al., "Pre-RMSNorm and Pre-CRMSNorm Transformers: Equivalent and Efficient Pre-LN
Transformers", NeurIPS 2023, section 3.
"""

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

import keras
from keras import ops

_MEAN_FREE = ContextVar("mean_free", default=False)


@contextlib.contextmanager
def mean_free_norms() -> Iterator[None]:
    """Have blocks whose `channel_mean` isn't "kept" take the mean away once, and not look for it.

    Their projections must add none: see `PaCaBlock.centre`.
    """
    token = _MEAN_FREE.set(True)
    try:
        yield
    finally:
        _MEAN_FREE.reset(token)


def take_mean(inputs: Any) -> Any:
    """Return the map `inputs` less its mean over the channels, in `mean_free_norms`."""
    if not _MEAN_FREE.get():
        return inputs
    x = ops.cast(inputs, keras.backend.result_type(inputs.dtype, "float32"))
    return ops.cast(x - ops.mean(x, axis=-1, keepdims=True), inputs.dtype)


class MeanFreeNormalization(keras.layers.LayerNormalization):
    """Layer norm over the channels, in `mean_free_norms` gamma x / sqrt(mean(x^2) + e) + beta.

    Input shape: (..., channels), with a mean of 0 in `mean_free_norms`. Output shape: the same.
    """

    def call(self, inputs: Any) -> Any:
        """Norm the last axis of `inputs`."""
        if not _MEAN_FREE.get():
            return super().call(inputs)
        x = ops.cast(inputs, keras.backend.result_type(inputs.dtype, "float32"))
        x = ops.rms_normalization(x, self.gamma, axis=-1, epsilon=self.epsilon)
        x = x if self.beta is None else x + ops.cast(self.beta, x.dtype)
        return ops.cast(x, self.compute_dtype)
