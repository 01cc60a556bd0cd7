"""The official heads in NumPy and float64, from the equations."""

import math

import numpy as np


def parameters(layer):
    """Return {path inside the layer: float64 array}."""
    start = f"{layer.path}/"
    return {
        w.path.split(start, 1)[1]: np.asarray(_numpy(w.value), "float64") for w in layer.weights
    }


def _numpy(x):
    from keras import ops

    return ops.convert_to_numpy(x)


def conv(x, kernel, bias=0.0):
    """Return a convolution with zero padding that keeps the size, of odd kernels."""
    k = kernel.shape[0]
    pad = k // 2
    padded = np.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    height, width = x.shape[1:3]
    total = bias
    for i in range(k):
        for j in range(k):
            total = total + padded[:, i : i + height, j : j + width] @ kernel[i, j]
    return total


def nearest(x, size):
    """Return a map resized by nearest neighbours, as PyTorch's "nearest"."""
    rows = [math.floor(i * (x.shape[1] / size[0])) for i in range(size[0])]
    columns = [math.floor(i * (x.shape[2] / size[1])) for i in range(size[1])]
    return x[:, rows][:, :, columns]


def bilinear(x, size):
    """Return a map resized bilinearly with half-pixel centres."""
    for axis in (1, 2):
        old, new = x.shape[axis], size[axis - 1]
        place = np.clip((np.arange(new) + 0.5) * old / new - 0.5, 0, old - 1)
        low = np.floor(place).astype(int)
        high = np.minimum(low + 1, old - 1)
        shape = [1] * 4
        shape[axis] = new
        share = (place - low).reshape(shape)
        x = np.take(x, low, axis) * (1 - share) + np.take(x, high, axis) * share
    return x


def semantic_fpn(weights, maps):
    """Return the logits of mmsegmentation's `FPN` and `FPNHead` in inference."""
    maps = [np.asarray(x, "float64") for x in maps]

    def conv_of(name, x):
        return conv(x, weights[f"{name}/kernel"], weights.get(f"{name}/bias", 0.0))

    merged = [conv_of(f"lateral{i + 1}", x) for i, x in enumerate(maps)]
    for i in reversed(range(len(maps) - 1)):
        merged[i] = merged[i] + nearest(merged[i + 1], merged[i].shape[1:3])
    pyramid = [conv_of(f"fpn{i + 1}", x) for i, x in enumerate(merged)]
    total = 0.0
    for i, x in enumerate(pyramid):
        for step in range(max(i, 1)):
            unit = f"level{i + 1}_conv{step + 1}"
            x = conv_of(f"{unit}/conv", x)
            norm = {key: weights[f"{unit}/norm/{key}"] for key in NORM}
            deviation = np.sqrt(norm["moving_variance"] + 1e-5)
            x = (x - norm["moving_mean"]) / deviation * norm["gamma"] + norm["beta"]
            x = np.maximum(x, 0.0)
            if i:
                x = bilinear(x, [2 * side for side in x.shape[1:3]])
        total = total + bilinear(x, maps[0].shape[1:3])
    return total @ weights["classify/kernel"] + weights["classify/bias"]


NORM = ("gamma", "beta", "moving_mean", "moving_variance")


def mask_transformer(weights, maps, num_heads, num_layers=2):
    """Return the logits of mmsegmentation's `SegmenterMaskTransformerHead`."""
    x = np.concatenate([np.asarray(x, "float64") for x in maps], axis=-1)
    shape = x.shape
    x = x.reshape(shape[0], -1, shape[-1])

    def dense(name, x):
        return x @ weights[f"{name}/kernel"] + weights.get(f"{name}/bias", 0.0)

    def norm(name, x):
        centred = x - x.mean(-1, keepdims=True)
        scaled = centred / np.sqrt(centred.var(-1, keepdims=True) + 1e-5)
        return scaled * weights[f"{name}/gamma"] + weights[f"{name}/beta"]

    x = dense("input_projection", x)
    embeddings = weights["class_embeddings"]
    classes = len(embeddings)
    x = np.concatenate([x, np.repeat(embeddings[None], len(x), axis=0)], axis=1)
    for i in range(num_layers):
        layer = f"layer{i + 1}"
        y = norm(f"{layer}/norm1_before", x)
        q, k, v = (
            dense(f"{layer}/attention/{name}", y)
            .reshape(*y.shape[:2], num_heads, -1)
            .transpose(0, 2, 1, 3)
            for name in ("query", "key", "value")
        )
        scores = q @ k.transpose(0, 1, 3, 2) / math.sqrt(q.shape[-1])
        scores = np.exp(scores - scores.max(-1, keepdims=True))
        y = (scores / scores.sum(-1, keepdims=True)) @ v
        y = y.transpose(0, 2, 1, 3).reshape(x.shape)
        x = x + dense(f"{layer}/attention/attention_output", y)
        y = dense(f"{layer}/mlp/expand", norm(f"{layer}/norm2_before", x))
        y = y * 0.5 * (1 + np.vectorize(math.erf)(y / math.sqrt(2)))
        x = x + dense(f"{layer}/mlp/project", y)
    x = norm("norm", x)
    patches = dense("patch_projection", x[:, :-classes])
    embeddings = dense("class_projection", x[:, -classes:])
    patches, embeddings = (
        each / np.linalg.norm(each, axis=-1, keepdims=True) for each in (patches, embeddings)
    )
    return norm("mask_norm", patches @ embeddings.transpose(0, 2, 1)).reshape(*shape[:3], classes)
