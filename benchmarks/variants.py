"""Parameters and multiply-accumulates of every model, beside what the authors state.

    KERAS_BACKEND=torch python benchmarks/variants.py [NAME or PATTERN ...]

Parameters are the sizes of the trainable weights, multiply-accumulates are those of the matrix
products and convolutions that PyTorch runs for one image: 224 x 224 for a classifier, 512 x 512
for a segmenter, 800 x 1280 for a detector. The models of `keras_paca.list_models` with their
default options are counted and written to `keras_paca/models.csv`, from which `list_models` reads
them. Then a table of the released ImageNet checkpoints is printed. All models take ten minutes on
two cores.
"""

import os
import sys
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "torch")

import keras
import numpy as np
from macs import count_costs
from turns import read_rows, write_rows

import keras_paca
from keras_paca.backbones.registry import families
from keras_paca.weights import released_files

TABLE = Path(keras_paca.__file__).parent / "models.csv"
FIELDS = ("name", "parameters", "macs", "height", "width")
SIZES = {"classification": (224, 224), "segmentation": (512, 512), "detection": (800, 1280)}


def count(model, size=(224, 224)):
    """Return (parameters, multiply-accumulates) of a model."""
    parameters = sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)
    images = np.zeros((1, *size, 3), "float32")
    macs, _ = count_costs(lambda: model(images, training=False))
    return parameters, macs


def count_listed(model):
    """Return the row of a model of `keras_paca.list_models`."""
    size = SIZES[model.task]
    keras.utils.set_random_seed(0)  # a detector's heads run on what it finds
    counts = count(model.function(weights=None), size)
    keras.backend.clear_session()
    return dict(zip(FIELDS, (model.name, *counts, *size), strict=True))


def write(patterns):
    """Count the models and write the table, in the order of `list_models`."""
    rows = {row["name"]: row for row in read_rows(TABLE)}
    for pattern in patterns:
        for model in keras_paca.list_models(pattern):
            row = rows[model.name] = count_listed(model)
            print("{name:28} {parameters:>12,} {macs:>16,}".format(**row), flush=True)
    names = [model.name for model in keras_paca.list_models() if model.name in rows]
    write_rows(TABLE, FIELDS, [rows[name] for name in names])


def compare():
    """Print a row per released ImageNet checkpoint, with our counts and the authors'."""
    print(f"\n{'variant':58} {'params M':>9} {'stated':>7} {'MACs G':>8} {'stated':>7}")
    for family in families():
        functions = {
            each.size: each.models[each.name].function for each in family.variants.values()
        }
        for file in released_files():
            if (file.family, file.task) == (family.family, "classification"):
                parameters, macs = count(functions[file.size](weights=None, **file.options))
                stated = ["" if x is None else f"{x:.1f}" for x in (file.params_m, file.gmacs)]
                print(f"{file.variant:58} {parameters / 1e6:9.2f} {stated[0]:>7} "
                      f"{macs / 1e9:8.2f} {stated[1]:>7}", flush=True)  # fmt: skip


def main(patterns):
    """Write the table of all models or of some; after all, print the comparison."""
    write(patterns or ["*"])
    if not patterns:
        compare()


if __name__ == "__main__":
    main(sys.argv[1:])
