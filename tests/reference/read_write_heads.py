"""The read and write heads of ViTTM in float64 NumPy, knowing no Keras.

Tokens are (b, n, c); weights are {name of the layer: (kernel (in, out), bias) or (scale, offset)}.
"""

import numpy as np
from scipy.special import erf


def dense(x, w, name):
    """Return x W + b."""
    return x @ w[name][0] + w[name][1]


def norm(x, w, name):
    """Return a layer normalization of epsilon 1e-5."""
    x = x - x.mean(-1, keepdims=True)
    return x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-5) * w[name][0] + w[name][1]


def softmax(x, axis):
    """Return the softmax over an axis."""
    x = np.exp(x - x.max(axis, keepdims=True))
    return x / x.sum(axis, keepdims=True)


def mlp(x, w, name):
    """Return two projections with an exact GELU between them."""
    hidden = dense(x, w, f"{name}/expand")
    return dense(0.5 * hidden * (1 + erf(hidden / np.sqrt(2))), w, f"{name}/project")


def linear(z, x, w, heads):
    """Return (what tokens x read of z, the weights by head), token by token."""
    phi = lambda t: np.where(t > 0, t + 1, np.exp(np.minimum(t, 0)))  # noqa: E731
    q, k, v = phi(dense(x, w, "query")), phi(dense(z, w, "key")), dense(z, w, "value")
    q, k, v = (np.split(t, heads, -1) for t in (q, k, v))
    weights = []
    for i in range(heads):
        scores = np.einsum("bnc,bmc->bnm", q[i], k[i])
        weights.append(scores / (scores.sum(-1, keepdims=True) + 1e-6))
    return np.concatenate([a @ b for a, b in zip(weights, v, strict=True)], -1), weights


def _projected(z, x, w, heads):
    given = {"query": x, "key": z, "value": z}
    return [np.split(norm(dense(t, w, n), w, f"{n}_norm"), heads, -1) for n, t in given.items()]


def cross_attention(z, x, w, heads):
    """Return the same of the head "ca"."""
    q, k, v = _projected(z, x, w, heads)
    scale = q[0].shape[-1] ** -0.5
    weights = [softmax(scale * a @ b.swapaxes(1, 2), -1) for a, b in zip(q, k, strict=True)]
    y = np.concatenate([a @ b for a, b in zip(weights, v, strict=True)], -1)
    return dense(y, w, "attention_output"), weights


def latent_cross_attention(z, x, w, heads):
    """Return the same of the head "lca"."""
    q, k, v = _projected(z, x, w, heads)
    pairs = zip(q, k, strict=True)
    weights = [softmax(a, -1) @ softmax(b, 1).swapaxes(1, 2) for a, b in pairs]
    y = np.concatenate([a @ b for a, b in zip(weights, v, strict=True)], -1)
    return dense(y, w, "attention_output"), weights


def latent_attention(z, x, w, heads):
    """Return the same of the head "la"."""
    q, k = mlp(norm(x, w, "query_norm"), w, "query_mlp"), mlp(norm(z, w, "norm"), w, "mlp")
    weights = softmax(q, -1) @ softmax(k, 1).swapaxes(1, 2)
    return weights @ z, [weights]


def token_learner(z, x, w, heads):
    """Return the same of the head "tl"."""
    both = np.concatenate([z, x], 1)
    weights = softmax(mlp(norm(both, w, "norm"), w, "mlp"), 1).swapaxes(1, 2)
    return weights @ both, [weights[:, :, : z.shape[1]]]
