"""What two mechanisms change in small networks: castling attention, attentive normalization.

    KERAS_BACKEND=jax python benchmarks/mechanisms.py [VARIANT ...] [--seeds 0 1 2 3 4]

Networks that differ in one mechanism alone learn scikit-learn's handwritten digits from the same
500 images, in the same order, with the same optimizer, and are tested on the other 1,297. The
seeds draw the initial values and the order of the images.

- castling: a small vision transformer with softmax attention, with softmax attention and the
  convolution along the tokens that linear angular attention has, with linear angular attention, and
  with the same trained with its auxiliary and `CastlingSchedule`.
- attentive: a small residual network with batch normalization, with squeeze-and-excitation after
  it, and with attentive batch normalization.

Each run is a row of benchmarks/mechanisms.csv, where the rows of other runs stay. The threshold,
the densities and the accuracy with and without the auxiliary after every second epoch of the runs
with `CastlingSchedule` go to benchmarks/castling_schedule.csv, and their means are drawn in
benchmarks/castling_schedule.png. Mean and deviation of all rows of a variant are printed; without a
variant, all are trained; `--seeds` with nothing behind it only prints and draws. Needs the extra
`demo`. It takes an hour or two on two cores, and a quarter of an hour on a large GPU.
"""

import argparse
import time
from pathlib import Path

import keras
import numpy as np
from keras import layers as core
from turns import ROOT, commit, hardware, read_rows, write_rows

from keras_paca import layers, ops
from keras_paca.demo import load_digits
from keras_paca.train import CastlingSchedule

TRAINING, SIDE, BATCH = 500, 32, 50
FIELDS = (
    *("commit", "device", "backend", "variant", "seed"),
    *("epochs", "parameters", "accuracy", "seconds"),
)
STEPS = (
    *("device", "backend", "seed", "epoch"),
    *("threshold", "mean_density", "highest_density", "with", "without"),
)


# --- Networks -------------------------------------------------------------------------------


def transformer(kind, dim=64, heads=4, depth=4, patch=4):
    """Return a vision transformer of 64 patches with one kind of attention."""
    images = keras.Input((SIDE, SIDE, 3))
    x = core.Rescaling(1 / 127.5, offset=-1)(images)
    x = core.Conv2D(dim, patch, patch, data_format="channels_last")(x)
    x = core.Reshape((-1, dim))(x)
    x = Positions()(x)
    for _ in range(depth):
        y = core.LayerNormalization(epsilon=1e-6)(x)
        if kind == "softmax":
            start = keras.initializers.RandomNormal(stddev=0.02)  # as the others have it
            y = core.MultiHeadAttention(heads, dim // heads, kernel_initializer=start)(y, y)
        elif kind == "convolved":
            y = ConvolvedAttention(heads, qkv_bias=True, auxiliary=False)(y)
        else:
            auxiliary = kind == "castling"
            y = layers.LinearAngularAttention(heads, qkv_bias=True, auxiliary=auxiliary)(y)
        x = core.Add()([x, y])
        y = core.LayerNormalization(epsilon=1e-6)(x)
        y = core.Dense(4 * dim, activation="gelu")(y)
        x = core.Add()([x, core.Dense(dim)(y)])
    x = core.GlobalAveragePooling1D(data_format="channels_last")(core.LayerNormalization()(x))
    return keras.Model(images, core.Dense(10, activation="softmax")(x))


class ConvolvedAttention(layers.LinearAngularAttention):
    """Softmax attention in place of the linear one, and the same convolution of the values."""

    def call(self, inputs, like=None, training=False):
        """Attend from each token to all."""
        values = self.value_dense(inputs)
        query, key, value = (
            ops.split_heads(x, self.num_heads)
            for x in (self.query_dense(inputs), self.key_dense(inputs), values)
        )
        scores = ops.attention_scores(query, key * query.shape[-1] ** -0.5)
        outputs = ops.join_heads(keras.ops.matmul(ops.stable_softmax(scores, axis=-1), value))
        return self.output_dense(outputs + self.local(values[:, :, None])[:, :, 0])


class Positions(keras.layers.Layer):
    """Adds a learned position embedding to tokens."""

    def build(self, shape):
        """Create the embedding."""
        self.positions = self.add_weight(shape=shape[1:], initializer="truncated_normal")

    def call(self, inputs):
        """Add it."""
        return inputs + self.positions


def residual_network(kind, widths=(16, 32, 64), blocks=2):
    """Return a residual network of blocks with one of three norms after the first convolution."""
    options = {"padding": "same", "use_bias": False, "data_format": "channels_last"}
    images = keras.Input((SIDE, SIDE, 3))
    x = core.Rescaling(1 / 127.5, offset=-1)(images)
    x = core.Conv2D(widths[0], 3, **options)(x)
    x = core.ReLU()(layers.BatchNormalization()(x))
    for width in widths:
        for block in range(blocks):
            strides = 2 if block == 0 and width != widths[0] else 1
            y = core.Conv2D(width, 3, strides, **options)(x)
            y = core.ReLU()(normalize(y, kind))
            y = layers.BatchNormalization()(core.Conv2D(width, 3, **options)(y))
            if strides > 1:
                x = layers.BatchNormalization()(core.Conv2D(width, 1, strides, **options)(x))
            x = core.ReLU()(core.Add()([x, y]))
    x = core.GlobalAveragePooling2D(data_format="channels_last")(x)
    return keras.Model(images, core.Dense(10, activation="softmax")(x))


def normalize(x, kind):
    """Return the map after a batch norm, a squeeze-and-excited one, or an attentive one."""
    if kind == "attentive":
        return layers.AttentiveBatchNormalization(mixtures=5)(x)
    x = layers.BatchNormalization()(x)
    if kind == "batch":
        return x
    width = x.shape[-1]
    weights = core.GlobalAveragePooling2D(data_format="channels_last", keepdims=True)(x)
    weights = core.Dense(width // 4, activation="relu")(weights)
    return core.Multiply()([x, core.Dense(width, activation="sigmoid")(weights)])


# --- Training -------------------------------------------------------------------------------


class Watch(keras.callbacks.Callback):
    """After every second epoch, evaluates the model with the auxiliary and without it."""

    def __init__(self, test):
        super().__init__()
        self.test, self.rows = test, []

    def on_epoch_end(self, epoch, logs=None):
        """Evaluate; the schedule, which comes before, has put its numbers into the logs."""
        if epoch % 2 == 0:
            return
        if hasattr(self.model, "jax_state_sync"):
            self.model.jax_state_sync()
        images, labels = self.test
        found = {"epoch": epoch + 1, "threshold": round(logs["castling_threshold"], 4)}
        densities = [value for name, value in logs.items() if name.startswith("mask_density")]
        found |= {"mean_density": f"{np.mean(densities):.6f}"}
        found |= {"highest_density": f"{max(densities):.6f}"}
        for name, training in (("with", True), ("without", False)):
            parts = [self.model(images[i : i + 325], training=training) for i in (0, 325, 650, 975)]
            scores = np.concatenate([keras.ops.convert_to_numpy(part) for part in parts])
            found[name] = f"{np.mean(scores.argmax(-1) == labels[: len(scores)]):.4f}"
        self.rows.append(found)


VARIANTS = {  # name: (network, kind of its attention or norm, epochs)
    "softmax attention": (transformer, "softmax", 40),
    "softmax attention with the convolution": (transformer, "convolved", 40),
    "angular attention": (transformer, "angular", 40),
    "angular attention with CastlingSchedule": (transformer, "castling", 40),
    "batch norm": (residual_network, "batch", 20),
    "batch norm with squeeze-and-excitation": (residual_network, "excited", 20),
    "attentive batch norm": (residual_network, "attentive", 20),
}


def run(variant, seed, data):
    """Train a network; return its row, and those of the schedule if it has one."""
    build, kind, epochs = VARIANTS[variant]
    (images, labels), test = data
    keras.utils.set_random_seed(seed)
    model, steps = build(kind), epochs * TRAINING // BATCH
    rate = keras.optimizers.schedules.CosineDecay(
        0.0, steps - steps // 10, warmup_target=2e-3, warmup_steps=steps // 10
    )
    model.compile(
        keras.optimizers.AdamW(rate, weight_decay=0.05),
        "sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    watch = Watch(test)
    callbacks = [CastlingSchedule(), watch] if kind == "castling" else []
    start = time.perf_counter()
    model.fit(images, labels, batch_size=BATCH, epochs=epochs, callbacks=callbacks, verbose=0)
    seconds = round(time.perf_counter() - start)
    _, accuracy = model.evaluate(*test, batch_size=len(test[0]), verbose=0)
    row = {"variant": variant, "seed": seed, "epochs": epochs, "seconds": seconds}
    return row | {"parameters": model.count_params(), "accuracy": f"{accuracy:.4f}"}, watch.rows


def main():
    """Train, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("variants", nargs="*", metavar="VARIANT", help=", ".join(VARIANTS))
    parser.add_argument("--seeds", type=int, nargs="*", default=range(5))
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks", help="a folder")
    options = parser.parse_args()
    if unknown := set(options.variants) - set(VARIANTS):
        parser.error(f"a variant must be one of {list(VARIANTS)}, not {sorted(unknown)}")
    (images, labels), (others, other_labels) = load_digits()
    images = np.concatenate([images, others])[:, 1::2, 1::2]
    labels = np.concatenate([labels, other_labels])
    data = (images[:TRAINING], labels[:TRAINING]), (images[TRAINING:], labels[TRAINING:])
    backend = keras.backend.backend()
    about = {"device": hardware(backend), "backend": backend}
    table = options.output / "mechanisms.csv"
    for variant in options.variants or VARIANTS:
        for seed in options.seeds:
            row, steps = run(variant, seed, data)
            row = {"commit": commit(), **about, **row}
            print(", ".join(f"{name} {value}" for name, value in row.items()), flush=True)
            merge(table, FIELDS, [row], key=FIELDS[1:5])
            steps = [about | {"seed": seed} | step for step in steps]
            merge(options.output / "castling_schedule.csv", STEPS, steps, key=STEPS[:4])
    for variant in VARIANTS:
        rows = [row for row in read_rows(table) if row["variant"] == variant]
        for (device, backend), of_one in group(rows, "device", "backend"):
            values = [100 * float(row["accuracy"]) for row in of_one]
            deviation = f"+- {np.std(values, ddof=1):.2f}" if len(values) > 1 else ""
            print(
                f"{variant}: {np.mean(values):.2f} {deviation} % over {len(values)} seeds, "
                f"{of_one[0]['parameters']} parameters ({backend}, {device})"
            )
    if rows := read_rows(options.output / "castling_schedule.csv"):
        draw(rows, options.output / "castling_schedule.png")


def draw(rows, path):
    """Draw the means over all runs of what the schedule did after each second epoch."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    epochs, means = [], []
    for (epoch,), of_one in group(rows, "epoch"):
        epochs.append(int(epoch))
        means.append([np.mean([float(row[field]) for row in of_one]) for field in STEPS[4:]])
    threshold, mean, highest, with_it, without = zip(*means, strict=True)
    figure, (above, below) = pyplot.subplots(2, sharex=True, figsize=(7, 6))
    above.semilogy(epochs, threshold, "k:", label="threshold")
    above.set(ylabel="threshold")
    density = above.twinx()
    density.plot(epochs, mean, "C0o-", label="share, mean of the layers")
    density.plot(epochs, highest, "C1s--", label="share, highest")
    density.set(ylabel="share of weights above it")
    where = {"loc": "lower center", "bbox_to_anchor": (0.5, 1.0), "ncol": 3, "frameon": False}
    density.legend(handles=[*above.lines, *density.lines], **where)
    below.plot(epochs, with_it, "C2s--", label="with the auxiliary")
    below.plot(epochs, without, "C3o-", label="without it")
    below.set(xlabel="epoch", ylabel="test accuracy")
    below.legend(**where)
    figure.tight_layout()
    figure.savefig(path, dpi=100)
    pyplot.close(figure)


def group(rows, *fields):
    """Return [(values of fields, the rows with these)]."""
    found = {}
    for row in rows:
        found.setdefault(tuple(row[field] for field in fields), []).append(row)
    return list(found.items())


def merge(target, fields, rows, key):
    """Add rows to a table, in place of those with the same values of some fields."""
    kept = {tuple(row[field] for field in key): row for row in read_rows(target)}
    kept |= {tuple(str(row[field]) for field in key): row for row in rows}
    if rows:
        write_rows(target, fields, kept.values())


if __name__ == "__main__":
    main()
