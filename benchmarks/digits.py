"""How well and how fast a small model of each family learns scikit-learn's handwritten digits.

    KERAS_BACKEND=torch python benchmarks/digits.py [FAMILY ...]

Each model trains from random values on 1,472 images, enlarged to 64 x 64, and is tested on the
other 325. Accuracy and seconds are printed and written to benchmarks/digits.csv, beside the rows
of other backends and families. Needs the extra `demo`. It takes some minutes.
"""

import sys
import time
from pathlib import Path

import keras
from turns import read_rows, write_rows

import keras_paca
from keras_paca.demo import BATCH, SETTINGS, SIDE, load_digits

COMMON = {"classes": 10, "input_shape": (SIDE, SIDE, 3)}
# family: (class, its options, epochs, learning rate)
FAMILIES = {
    "paca_vit": (keras_paca.PaCaViT, SETTINGS, 8, 2e-3),
    "rapidnet": (
        keras_paca.RapidNet,
        {
            "hidden_dims": (16, 32, 48, 96),
            "depths": ((1, 0), (1, 0), (2, 1), (1, 1)),
            "embedding_dim": 128,
            **COMMON,
        },
        5,
        4e-3,
    ),
    "vittm": (
        keras_paca.ViTTM,
        {
            "hidden_dim": 96,
            "num_heads": 4,
            "depth": 3,
            "memory_patch_size": 8,
            "process_patch_size": 8,
            "image_size": SIDE,
            **COMMON,
        },
        34,
        2e-3,
    ),
    "resnet_an": (
        keras_paca.ResNetAN,
        {"hidden_dims": (32, 64, 96, 128), "depths": 1, "mixtures": 5, **COMMON},
        5,
        4e-3,
    ),
    "mobilenet_an": (
        keras_paca.MobileNetAN,
        {
            "hidden_dims": (8, 16, 24, 32, 48, 64, 96),
            "depths": 1,
            "mixtures": 5,
            "stem_filters": 16,
            "expansion": 4,
            "embedding_dim": 128,
            **COMMON,
        },
        5,
        4e-3,
    ),
    "densenet_an": (
        keras_paca.DenseNetAN,
        {"depths": (2, 2, 3, 2), "growth_rate": 16, "mixtures": 5, **COMMON},
        5,
        4e-3,
    ),
}
FAMILIES["castling_vit"] = (
    keras_paca.CastlingViT,
    {"hidden_dim": 96, "num_heads": 4, "depth": 3, "patch_size": 8, "image_size": SIDE, **COMMON},
    34,
    2e-3,
)
FAMILIES["paca_vit_castling"] = (
    keras_paca.PaCaViT,
    {**SETTINGS, "attention": "castling", "convolution": "grid", "local_kernel_size": 3},
    8,
    2e-3,
)
FIELDS = ("family", "backend", "parameters", "epochs", "accuracy", "seconds")
TARGET = Path(__file__).with_suffix(".csv")


def main():
    """Train, print and write."""
    rows = {(row["family"], row["backend"]): row for row in read_rows(TARGET)}
    for family in sys.argv[1:] or FAMILIES:
        row = train(family)
        print(", ".join(f"{name} {value}" for name, value in row.items()), flush=True)
        rows[family, row["backend"]] = row
        write_rows(TARGET, FIELDS, [rows[key] for key in sorted(rows)])


def train(family):
    """Train a model of a family; return its row of the table."""
    cls, options, epochs, rate = FAMILIES[family]
    keras.utils.set_random_seed(0)
    (images, labels), test = load_digits()
    model = cls(**options)
    steps = epochs * -(-len(images) // BATCH)
    schedule = keras.optimizers.schedules.CosineDecay(
        0.0, steps - steps // 10, warmup_target=rate, warmup_steps=steps // 10
    )
    model.compile(
        keras.optimizers.AdamW(schedule, weight_decay=0.05),
        "sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    start = time.perf_counter()
    model.fit(images, labels, batch_size=BATCH, epochs=epochs, verbose=2)
    seconds = time.perf_counter() - start
    _, accuracy = model.evaluate(*test, batch_size=len(test[0]), verbose=0)
    return {
        "family": family,
        "backend": keras.backend.backend(),
        "parameters": model.count_params(),
        "epochs": epochs,
        "accuracy": round(accuracy, 4),
        "seconds": round(seconds),
    }


if __name__ == "__main__":
    main()
