"""PaCa-Tiny (conv, once per stage) in float64 NumPy, written from the paper, knowing no Keras.

Images channels first, checkpoint keys and layouts the official ones.
"""

import numpy as np
from scipy.special import erf

DEPTHS, HEADS = (2, 2, 4, 2), (2, 4, 8, 16)
MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])


def logits_float64(images, checkpoint):
    """Return the logits (b, classes) of uint8 images (b, h, w, 3)."""
    images = (images.astype("float64") / 255 - MEAN) / STD
    return forward(images.transpose(0, 3, 1, 2), checkpoint)


def forward(x, checkpoint):
    """Return the logits (b, classes) of normalised images (b, 3, h, w)."""
    w = {key: array.astype("float64") for key, array in checkpoint.items()}
    x = conv(x.astype("float64"), w["patch_embed.proj.0.weight"], w["patch_embed.proj.0.bias"])
    x = conv(x, w["patch_embed.proj.1.weight"], w["patch_embed.proj.1.bias"])
    x = norm(x, w, "patch_embed.norm")
    for stage in range(4):
        assignment = None
        for j in range(DEPTHS[stage]):
            key = f"stage{stage + 1}.{j}"
            y, assignment = attention(norm(x, w, f"{key}.norm1_before"), assignment, w, key, stage)
            x = x + y
            x = x + mlp(norm(x, w, f"{key}.norm2_before"), w, f"{key}.mlp")
        x = norm(x, w, f"norm{stage + 1}")
        if stage < 3:
            key = f"transition{stage + 1}"
            x = norm(conv(x, w[f"{key}.proj.weight"], w[f"{key}.proj.bias"]), w, f"{key}.norm")
    return x.mean(axis=(2, 3)) @ w["head.weight"].T + w["head.bias"]


def attention(x, assignment, w, key, stage):
    b, c, height, width = x.shape
    clustering = f"{key}.attn.clustering.clustering"
    if f"{clustering}.0.weight" in w:
        y = gelu(depthwise(x, w[f"{clustering}.0.weight"], w[f"{clustering}.0.bias"]))
        y = np.einsum("oi,bihw->bohw", w[f"{clustering}.2.weight"][:, :, 0, 0], y)
        y = gelu(y + w[f"{clustering}.2.bias"][:, None, None])
        y = np.einsum("oi,bihw->bohw", w[f"{clustering}.4.weight"][:, :, 0, 0], y)
        assignment = softmax(y.reshape(b, -1, height * width))  # (b, m, n), over patches
    patches = x.reshape(b, c, -1).transpose(0, 2, 1)  # (b, n, c)
    source = patches
    if assignment is not None:
        source = assignment @ patches
        mean, variance = source.mean(-1, keepdims=True), source.var(-1, keepdims=True)
        source = (source - mean) / np.sqrt(variance + 1e-6)
        source = source * w[f"{key}.attn.cluster_norm.weight"] + w[f"{key}.attn.cluster_norm.bias"]

    def project(tokens, name):
        return tokens @ w[f"{key}.attn.{name}.weight"].T + w[f"{key}.attn.{name}.bias"]

    def split(tokens):
        return tokens.reshape(b, -1, HEADS[stage], c // HEADS[stage]).transpose(0, 2, 1, 3)

    q, k, v = split(project(patches, "q")), split(project(source, "k")), split(project(source, "v"))
    y = softmax(q @ k.transpose(0, 1, 3, 2) / np.sqrt(q.shape[-1])) @ v
    y = project(y.transpose(0, 2, 1, 3).reshape(b, -1, c), "proj")
    return y.transpose(0, 2, 1).reshape(x.shape), assignment


def mlp(x, w, key):
    x = np.einsum("oi,bihw->bohw", w[f"{key}.fc1.weight"], x) + w[f"{key}.fc1.bias"][:, None, None]
    x = x + depthwise(x, w[f"{key}.dwconv.dwconv.weight"], w[f"{key}.dwconv.dwconv.bias"])
    x = np.einsum("oi,bihw->bohw", w[f"{key}.fc2.weight"], gelu(x))
    return x + w[f"{key}.fc2.bias"][:, None, None]


def conv(x, kernel, bias):
    """Return the 3 x 3 convolution of stride 2, one row of zeros on every side."""
    height, width = -(-x.shape[2] // 2), -(-x.shape[3] // 2)
    x = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    y = sum(
        np.einsum(
            "oi,bihw->bohw",
            kernel[:, :, i, j],
            x[:, :, i:, j:][:, :, ::2, ::2][..., :height, :width],
        )
        for i in range(3)
        for j in range(3)
    )
    return y + bias[:, None, None]


def depthwise(x, kernel, bias):
    size, (height, width) = kernel.shape[-1], x.shape[2:]
    margin = (size // 2, size // 2)
    x = np.pad(x, ((0, 0), (0, 0), margin, margin))
    y = sum(
        kernel[:, 0, i, j][:, None, None] * x[:, :, i : i + height, j : j + width]
        for i in range(size)
        for j in range(size)
    )
    return y + bias[:, None, None]


def norm(x, w, key):
    mean, variance = x.mean(axis=1, keepdims=True), x.var(axis=1, keepdims=True)
    x = (x - mean) / np.sqrt(variance + 1e-6)
    return x * w[f"{key}.weight"][:, None, None] + w[f"{key}.bias"][:, None, None]


def gelu(x):
    return 0.5 * x * (1 + erf(x / np.sqrt(2)))


def softmax(x):
    x = np.exp(x - x.max(axis=-1, keepdims=True))
    return x / x.sum(axis=-1, keepdims=True)
