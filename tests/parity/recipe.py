"""Stand-in checkpoints: an official checkpoint's keys and shapes, filled by a seeded rule.

A full-size model can so be compared with its official implementation without shipping its weights:
both sides fill the same keys with the same numbers. README.md beside this file says how to use it.
"""

import json
import zlib
from pathlib import Path

import numpy as np


def fill(key, shape, seed=0):
    """Return the value of one checkpoint entry.

    Args:
        key: the entry's name in the official checkpoint.
        shape: the entry's shape, in the official (PyTorch, channels-first) layout.
        seed: the case's seed; every (seed, key) pair has its own stream.

    Returns:
        A float32 array of `shape`, or an int64 zero for `num_batches_tracked`.
    """
    if key.endswith("num_batches_tracked"):
        return np.zeros(shape, "int64")
    if key.endswith("blur_filter"):  # a constant of the architecture, not a weight
        taps = np.outer([1, 2, 1], [1, 2, 1]).astype("float32") / 16
        return np.broadcast_to(taps, shape).copy()
    rng = np.random.RandomState(zlib.crc32(f"{seed}:{key}".encode()))
    if key.endswith("running_var"):
        return rng.uniform(0.5, 1.5, shape).astype("float32")
    noise = rng.standard_normal(shape).astype("float32")
    if key.endswith("running_mean") or key.endswith("bias"):
        return 0.1 * noise
    if "layer_scale" in key:
        return np.float32(0.2) * (1.0 + 0.1 * noise)
    if len(shape) <= 1:  # normalisation scales
        return 1.0 + 0.1 * noise
    fan_in = int(np.prod(shape[1:]))
    return np.float32(1.5 / np.sqrt(fan_in)) * noise


def image(shape, seed=0):
    """Return a batch of normalised images: coarse blobs plus fine noise.

    Args:
        shape: (batch, channels, height, width).
        seed: the case's seed.

    Returns:
        A float32 array of `shape`, channels first.
    """
    rng = np.random.RandomState(1000 + seed)
    b, c, h, w = shape
    coarse = rng.standard_normal((b, c, -(-h // 16), -(-w // 16)))
    blobs = coarse.repeat(16, axis=2).repeat(16, axis=3)[:, :, :h, :w]
    return (blobs + 0.3 * rng.standard_normal(shape)).astype("float32")


def case(path):
    """Return (description, stand-in checkpoint, expected) of the case at `path`, no suffix."""
    path = Path(path)
    description = json.loads(path.with_suffix(".json").read_text())
    checkpoint = {
        key: fill(key, tuple(shape), description["seed"])
        for key, shape in description["checkpoint"].items()
    }
    return description, checkpoint, dict(np.load(path.with_suffix(".npz")))
