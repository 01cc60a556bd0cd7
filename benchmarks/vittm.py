"""The speed of ViTTM-B 28/28 beside that of ViT-B/16, as ratios measured in one run.

    KERAS_BACKEND=torch python benchmarks/vittm.py [--quick] [--batch 8 32] [--task forward step]

The sides are a ViT-B/16 of the pieces that ViTTM is made of (196 patches, no class token),
KerasHub's ViT-B/16 where KerasHub is installed, and on PyTorch timm's, in plain PyTorch, where timm
is installed. All run in this process, on the device that the backend picks, and take turns; the
ratios are medians of the rounds' own. "forward" is a compiled call on images that lie on the
device, "step" is `train_on_batch` with AdamW. The paper states a ratio of 2.26 (batch 128, float32)
and 2.4 times fewer operations. The rows are printed and added to benchmarks/vittm.csv. A backend
takes about ten minutes on two cores; `--quick`, two rounds of the forward pass, one minute.
"""

import argparse
import csv
import statistics
import sys
import time
from importlib import metadata
from pathlib import Path

import keras
import numpy as np
from turns import ROOT, commit, hardware

FIELDS = (
    *("commit", "device", "versions", "backend", "task", "batch", "dtype", "side"),
    *("ms", "images_per_s", "ratio", "rounds"),
)
TARGET = ROOT / "benchmarks" / "vittm.csv"
PACKAGES = ("keras", "keras-hub", "tensorflow", "tensorflow-cpu", "jax", "torch", "timm")
OURS = "ViTTM-B 28/28"


# --- The sides -----------------------------------------------------------------------------------


def vittm(dtype):
    """Return ViTTM-B 28/28."""
    from keras_paca import ViTTMBase

    return ViTTMBase(
        weights=None,
        include_preprocessing=False,
        classifier_activation=None,
        input_shape=(224, 224, 3),
        drop_path_rate=0.0,
        dtype=dtype,
    )


def vit(dtype):
    """Return a ViT-B/16 of the pieces of this library that ViTTM is made of."""
    from keras_paca import layers

    keras.config.set_dtype_policy(dtype)
    images = keras.Input((224, 224, 3))
    x = layers.PatchEmbedding(768, 16, grid_size=(14, 14))(images)
    for i in range(12):
        x = layers.PaCaBlock(12, dwconv_in_mlp=False, name=f"block{i + 1}")(x)
    x = keras.layers.LayerNormalization(epsilon=1e-6)(x)
    x = keras.layers.GlobalAveragePooling2D(data_format="channels_last")(x)
    x = keras.layers.Dense(1000, dtype="float32")(x)
    keras.config.set_dtype_policy("float32")
    return keras.Model(images, x)


def keras_hub_vit(dtype):
    """Return KerasHub's ViT-B/16."""
    from keras_hub.models import ViTBackbone

    backbone = ViTBackbone(
        image_shape=(224, 224, 3),
        patch_size=(16, 16),
        num_layers=12,
        num_heads=12,
        hidden_dim=768,
        mlp_dim=3072,
        dtype=dtype,
    )
    x = keras.layers.GlobalAveragePooling1D(data_format="channels_last")(backbone.output)
    return keras.Model(backbone.input, keras.layers.Dense(1000, dtype="float32")(x))


def timm_vit(dtype):
    """Return timm's ViT-B/16, in plain PyTorch."""
    import timm

    return timm.create_model("vit_base_patch16_224").to(device())


SIDES = {
    OURS: vittm,
    "ViT-B/16 of our pieces": vit,
    "ViT-B/16 of KerasHub": keras_hub_vit,
    "ViT-B/16 of timm": timm_vit,
}


def available():
    """Return the sides that can run here."""
    names = list(SIDES)[:2]
    names += [list(SIDES)[2]] if _is_installed("keras_hub") else []
    is_torch = keras.backend.backend() == "torch"
    return names + ([list(SIDES)[3]] if is_torch and _is_installed("timm") else [])


def _is_installed(name):
    try:
        __import__(name)
    except ImportError:
        return False
    return True


# --- The tasks -----------------------------------------------------------------------------------


def device():
    """Return PyTorch's device."""
    from keras.src.backend.torch.core import get_device

    return get_device()


def forward(model, images, labels, dtype, compiled):
    """Return a function that computes the logits and waits for them."""
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        call, x = tf.function(lambda x: model(x, training=False)), tf.constant(images)
        return lambda: call(x).numpy()
    if backend == "jax":
        import jax

        values = [
            [weight.value for weight in group]
            for group in (model.trainable_variables, model.non_trainable_variables)
        ]
        call = jax.jit(lambda values, x: model.stateless_call(*values, x, training=False)[0])
        x = jax.device_put(images)
        return lambda: call(values, x).block_until_ready()
    import torch

    x = torch.from_numpy(images).to(device())
    plain = not isinstance(model, keras.Model)
    if plain:
        model.eval()
        x = x.permute(0, 3, 1, 2).contiguous()
    cast = torch.autocast(device().partition(":")[0], torch.bfloat16, plain and "bfloat16" in dtype)

    def call(x):
        return model(x) if plain else model(x, training=False)

    call = torch.compile(call, dynamic=False) if compiled else call

    def run():
        with torch.no_grad(), cast:
            return call(x).float().cpu()

    return run


def step(model, images, labels, dtype, compiled):
    """Return a function that runs a training step."""
    if isinstance(model, keras.Model):
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        jit = True if compiled else "auto"
        model.compile(keras.optimizers.AdamW(1e-4, weight_decay=0.05), loss, jit_compile=jit)
        return lambda: model.train_on_batch(images, labels)
    import torch

    x = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous().to(device())
    y = torch.from_numpy(labels).to(device())
    optimizer = torch.optim.AdamW(model.parameters(), 1e-4, weight_decay=0.05)
    cast = torch.autocast(device().partition(":")[0], torch.bfloat16, "bfloat16" in dtype)
    model.train()
    model = torch.compile(model, dynamic=False) if compiled else model

    def run():
        optimizer.zero_grad()
        with cast:
            loss = torch.nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        return loss.item()

    return run


TASKS = {"forward": forward, "step": step}


def measure(names, task, batch, dtype, rounds, compiled):
    """Yield (side, ms, ratio to ours) from runs that take turns."""
    draw = np.random.default_rng(0)
    images = draw.standard_normal((batch, 224, 224, 3)).astype("float32")
    labels = np.arange(batch) % 1000
    calls = {
        name: TASKS[task](SIDES[name](dtype), images, labels, dtype, compiled) for name in names
    }
    times = {name: [] for name in names}
    for i in range(-2, rounds):  # the first compiles, the second is still slow
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            if i >= 0:
                times[name].append(1000 * (time.perf_counter() - start))
    for name, taken in times.items():
        ratios = [a / b for a, b in zip(taken, times[OURS], strict=True)]
        yield name, statistics.median(taken), statistics.median(ratios)


def versions():
    """Return the versions of PACKAGES here."""
    found = []
    for name in PACKAGES:
        try:
            found.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            continue
    return "; ".join(found)


def main():
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="two rounds of the forward pass")
    parser.add_argument("--batch", type=int, nargs="+", default=[8, 32])
    parser.add_argument("--task", choices=TASKS, nargs="+", default=list(TASKS))
    parser.add_argument("--dtype", default="float32", help="such as mixed_bfloat16")
    parser.add_argument("--compile", action="store_true", help="torch.compile on PyTorch")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--output", type=Path, default=TARGET, help="the table to add rows to")
    options = parser.parse_args()
    if options.quick:
        options.task, options.batch, options.rounds = ["forward"], options.batch[:1], 2
    name = keras.backend.backend() + (" compiled" if options.compile else "")
    about = (commit(), hardware(keras.backend.backend()), versions(), name)
    new = not options.output.exists()
    with options.output.open("a", newline="", encoding="utf-8") as lines:
        writer = csv.writer(lines, lineterminator="\n")
        if new:
            writer.writerow(FIELDS)
            lines.flush()  # so that it is there if the run is ended early
        for task in options.task:
            for batch in options.batch:
                found = measure(
                    available(), task, batch, options.dtype, options.rounds, options.compile
                )
                for side, ms, ratio in found:
                    speed = 1000 * batch / ms
                    print(
                        f"{name:14} {task:7} batch {batch:3} {options.dtype:8} {side:24} "
                        f"{ms:8.1f} ms {speed:8.1f} images/s, {ratio:.2f} times as long as ours",
                        flush=True,
                    )
                    row = (task, batch, options.dtype, side, f"{ms:.1f}", f"{speed:.1f}")
                    writer.writerow((*about, *row, f"{ratio:.3f}", options.rounds))
                lines.flush()
                keras.backend.clear_session()


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    main()
