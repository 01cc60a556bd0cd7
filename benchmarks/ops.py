"""The forms of each operation in `keras_paca/ops`, side by side on each backend.

    python benchmarks/ops.py [OPERATION ...]

Operations: linear, patches, depthwise, shortcut, gelu, attention, recompute. For each backend a
process of its environment under .venv compiles all forms and lets them take turns; the medians of
the rounds are printed and written to benchmarks/ops.csv, milliseconds for the outputs alone and
with the gradients, in float32. "recompute" is a training step of PaCa-Small on 16 images, with the
peak memory of the process, one process for each form. About ten minutes.
"""

import csv
import functools
import json
import os
import resource
import statistics
import subprocess
import sys
import time

import numpy as np
from turns import BACKENDS, ROOT, describe, python, read_rows

ROUNDS = 9
FIELDS = ("commit", "processor", "versions", "operation", "backend", "form", "forward_ms",
          "gradient_ms", "memory_mb")  # fmt: skip
NAMES = ("linear", "patches", "depthwise", "shortcut", "gelu", "attention", "recompute")


def draw(*shape):
    """Return normal numbers."""
    return np.random.default_rng(0).normal(size=shape).astype("float32")


# --- The forms: {operation: (arguments, {form: function})} ---------------------------------------


def forms(operation):
    """Return the arguments of an operation and its forms on this backend."""
    import keras
    from keras import ops

    from keras_paca import ops as ours

    backend = keras.backend.backend()
    if operation == "linear":
        separate = lambda x, w, b: ops.add(ops.matmul(x, w), b)  # noqa: E731
        found = {"product, then bias": separate}
        if backend == "torch":
            found["torch.nn.functional.linear"] = ours.linear
        return (draw(8, 3136, 96), draw(96, 384), draw(384)), found
    if operation == "patches":
        convolve = lambda x, k: ops.conv(  # noqa: E731
            x, k, strides=28, padding="valid", data_format="channels_last"
        )
        found = {"a convolution": convolve, "rows, then a product": ours.project_patches}
        return (draw(8, 224, 224, 3), draw(28, 28, 3, 768) / 48), found
    if operation in ("depthwise", "shortcut"):
        module = sys.modules["keras_paca.ops.depthwise"]
        x, kernel, bias = draw(8, 56, 56, 96), draw(7, 7, 96, 1) / 7, draw(96)
        if operation == "shortcut":
            kernel = draw(3, 3, 96, 1) / 3
            identity = module.identity_kernel(3).astype("float32")
            convolve = ours.depthwise_conv2d
            return (x, kernel, bias), {
                "an addition": lambda x, k, b: convolve(x, k, b) + x,
                "a 1 in the kernel": lambda x, k, b: convolve(
                    x, k + ops.convert_to_tensor(identity), b
                ),
            }
        keras_form = lambda x, k, b: ops.depthwise_conv(  # noqa: E731
            x, k, padding="same", data_format="channels_last"
        ) + b  # fmt: skip
        found = {"keras.ops.depthwise_conv": keras_form}
        if backend != "torch":
            found["shifted products"] = lambda x, k, b: module._shifted_sum(x, k) + b
        if backend == "jax":
            found["shifted products, own gradient"] = ours.depthwise_conv2d
        if backend == "torch":
            found["grouped convolution"] = ours.depthwise_conv2d
        return (x, kernel, bias), found
    if operation == "gelu":
        found = {"keras.ops.gelu": lambda x: ops.gelu(x, approximate=False)}
        if backend != "torch":
            found["form for training"] = functools.partial(ours.gelu, training=True)
        return (draw(8, 56, 56, 384),), found
    if operation == "attention":
        from keras_paca.ops.attention import _weigh

        query, key, value = draw(8, 2, 3136, 48), draw(8, 2, 100, 48), draw(8, 2, 100, 48)
        found = {"products and softmax": functools.partial(_weigh, None)}
        if backend == "torch":
            found["scaled_dot_product_attention"] = ours.attend
        return (query, key, value), found
    raise ValueError(operation)


def compiled(function, arguments):
    """Return calls without arguments: of the function, and of it with its gradients."""
    import keras

    backend = keras.backend.backend()
    if backend == "jax":
        import jax

        loss = lambda *x: (function(*x) ** 2).sum()  # noqa: E731
        both = jax.jit(jax.value_and_grad(loss, argnums=tuple(range(len(arguments)))))
        forward, given = jax.jit(function), [jax.numpy.asarray(x) for x in arguments]
        return (
            lambda: jax.block_until_ready(forward(*given)),
            lambda: jax.block_until_ready(both(*given)),
        )
    if backend == "tensorflow":
        import tensorflow as tf

        given = [tf.constant(x) for x in arguments]
        forward = tf.function(function)

        @tf.function
        def both(*x):
            with tf.GradientTape() as tape:
                tape.watch(x)
                loss = tf.reduce_sum(function(*x) ** 2)
            return tape.gradient(loss, x)

        return lambda: forward(*given), lambda: [x.numpy()[..., 0] for x in both(*given)]
    import torch

    given = [torch.tensor(x, requires_grad=True) for x in arguments]

    def forward():
        with torch.no_grad():
            return function(*given)

    def both():
        (function(*given) ** 2).sum().backward()

    return forward, both


def measure(operation):
    """Return {form: (ms forward, ms with gradients)} of an operation on this backend."""
    arguments, found = forms(operation)
    calls = {form: compiled(function, arguments) for form, function in found.items()}
    times = {form: ([], []) for form in calls}
    for i in range(-2, ROUNDS):
        for form, pair in calls.items():
            for call, taken in zip(pair, times[form], strict=True):
                start = time.perf_counter()
                call()
                if i >= 0:
                    taken.append(1000 * (time.perf_counter() - start))
    return {form: [statistics.median(taken) for taken in pair] for form, pair in times.items()}


def measure_step(recompute):
    """Return (ms, MB) of a training step of PaCa-Small, in a process of its own."""
    import keras

    import keras_paca

    model = keras_paca.PaCaSmall(
        weights=None,
        input_shape=(224, 224, 3),
        classifier_activation=None,
        recompute_activations=recompute,
    )
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    images, labels = draw(16, 224, 224, 3), np.arange(16)
    taken = []
    for _ in range(5):
        start = time.perf_counter()
        model.train_on_batch(images, labels)
        taken.append(1000 * (time.perf_counter() - start))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return statistics.median(taken[2:]), peak / 1000


# --- The table ------------------------------------------------------------------------------------


def run(backend, *arguments):
    """Return what this script, as a process on a backend, prints."""
    environment = {**os.environ, "KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "2"}
    environment["PYTHONPATH"] = str(ROOT)
    command = [python(backend), __file__, "--process", *arguments]
    answer = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return json.loads(answer.stdout.splitlines()[-1])


def main():
    """Measure, print and write."""
    if "--process" in sys.argv:
        operation, *more = sys.argv[2:]
        found = measure_step(more[0] == "on") if operation == "recompute" else measure(operation)
        print(json.dumps(found))
        return
    wanted = sys.argv[1:] or NAMES
    target = ROOT / "benchmarks" / "ops.csv"
    kept = [row for row in read_rows(target) if row["operation"] not in wanted]
    about = describe()
    with target.open("w", newline="", encoding="utf-8") as lines:
        writer = csv.writer(lines, lineterminator="\n")
        writer.writerow(FIELDS)
        writer.writerows(row.values() for row in kept)
        for operation in wanted:
            for backend in BACKENDS:
                if operation == "recompute":
                    rows = []
                    for state in ("on", "off"):
                        milliseconds, memory = run(backend, operation, state)
                        rows.append((state, "", round(milliseconds, 1), round(memory)))
                else:
                    found = run(backend, operation)
                    rows = [
                        (form, round(forward, 2), round(both, 2), "")
                        for form, (forward, both) in found.items()
                    ]
                for row in rows:
                    print(f"{operation:10} {backend:11} {row[0]:32} {row[1:]}", flush=True)
                    writer.writerow((*about, operation, backend, *row))
                lines.flush()


if __name__ == "__main__":
    main()
