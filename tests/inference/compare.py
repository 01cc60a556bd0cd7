"""What tests of models for inference compare: random weights, and errors of outputs."""

import keras
import numpy as np
from keras import ops

from keras_paca import layers


def randomise(model, seed=0):
    """Give every weight a random value: fresh scales, centres and statistics change nothing."""
    draw = np.random.default_rng(seed)
    for weight in model.weights:
        if weight.name == "seed_generator_state":
            continue
        values = draw.normal(size=weight.shape)
        if weight.name in ("gamma", "scale", "scale1", "scale2", "moving_variance"):
            values = draw.uniform(0.3, 1.7, weight.shape) * np.where(values > 1.5, -1, 1)
            values = np.abs(values) if weight.name == "moving_variance" else values
        elif weight.name == "kernel":
            values /= np.sqrt(np.prod(weight.shape[:-1]))
        else:
            values *= 0.3
        weight.assign(values.astype("float32"))
    return model


def arrays(outputs):
    return [ops.convert_to_numpy(x).astype("float64") for x in keras.tree.flatten(outputs)]


def error(found, wanted):
    """Return the largest relative error of several outputs."""
    found, wanted = arrays(found), arrays(wanted)
    assert len(found) == len(wanted) > 0
    assert all(np.isfinite(x).all() and x.any() for x in wanted)
    return max(
        np.linalg.norm(a - b) / np.linalg.norm(b) for a, b in zip(found, wanted, strict=True)
    )


CLUSTERINGS = {
    "conv": lambda: layers.ConvClustering(6, 3, name="clustering"),
    "mlp": lambda: layers.MLPClustering(6, 2.0, name="clustering"),
    "linear": lambda: layers.LinearClustering(6, name="clustering"),
    "received": lambda: None,
    "plain": lambda: None,
}


def block_model(clustering, options):
    block = layers.PaCaBlock(2, CLUSTERINGS[clustering](), name="block", **options)
    inputs = keras.Input((5, 6, 8))
    if clustering != "received":
        return keras.Model(inputs, block(inputs))
    assignment = keras.Input((30, 6))
    return keras.Model([inputs, assignment], block(inputs, assignment))
