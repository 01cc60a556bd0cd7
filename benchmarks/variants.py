"""Parameters and multiply-accumulates of every variant beside those that its authors state.

    KERAS_BACKEND=torch python benchmarks/variants.py

Both are counted: parameters are the sizes of the trainable weights, multiply-accumulates are those
of the matrix products and convolutions that PyTorch runs for one image of 224 x 224. A table is
printed, after about two minutes.
"""

import os

os.environ.setdefault("KERAS_BACKEND", "torch")

import numpy as np
from macs import count_costs

import keras_paca
from keras_paca.weights import released_files

FACTORIES = {
    "tiny": keras_paca.PaCaTiny,
    "small": keras_paca.PaCaSmall,
    "base": keras_paca.PaCaBase,
}


def count(model):
    """Return (millions of parameters, billions of multiply-accumulates)."""
    parameters = sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)
    macs, _ = count_costs(lambda: model(np.zeros((1, 224, 224, 3), "float32"), training=False))
    return parameters / 1e6, macs / 1e9


def main():
    """Print a row per released ImageNet checkpoint, then the variants that nobody released."""
    print(f"{'variant':58} {'params M':>9} {'stated':>7} {'MACs G':>8} {'stated':>7}")
    seen = set()
    for file in released_files():
        if (file.family, file.task) == ("paca_vit", "classification"):
            model = FACTORIES[file.size](
                weights=None,
                clustering=file.clustering,
                clusters=file.clusters,
                cluster_every=1 if file.blockwise else None,
            )
            parameters, macs = count(model)
            seen.add((file.size, file.clustering))
            print(
                f"{file.variant:58} {parameters:9.2f} {file.params_m:7.1f} {macs:8.2f} "
                f"{file.gmacs:7.1f}"
            )
    for size, factory in FACTORIES.items():
        for clustering in ("conv", "mlp", "linear", "teacher"):
            if (size, clustering) not in seen:
                parameters, macs = count(factory(weights=None, clustering=clustering))
                variant = f"{size}, clustering={clustering!r}"
                print(f"{variant:58} {parameters:9.2f} {'':7} {macs:8.2f}")


if __name__ == "__main__":
    main()
