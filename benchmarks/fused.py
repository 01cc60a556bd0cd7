"""Time of `predict` before and after `keras_paca.fuse`, on each backend.

    python benchmarks/fused.py

Both models of a pair run in one process and take turns, so that both see the same machine. The
ratios are medians of the rounds' own, of the time that passes and of the processors' time, which
others on the machine disturb less. PyTorch runs on one thread: several wait for one another in a
loop that counts. The table is printed and written to benchmarks/fused.csv.
"""

import csv
import json
import os
import statistics
import subprocess
import sys
import time

from turns import BACKENDS, ROOT, describe, python

MODELS = {
    "PaCa-Small": {"size": 224, "batch": 1, "rounds": 12},
    "PaCa-Small, batch 8": {"size": 224, "batch": 8, "rounds": 5},
    "PaCa-Small segmenter, paca": {"size": 512, "batch": 1, "rounds": 4, "head": "paca"},
    "PaCa-Small segmenter, upernet": {"size": 512, "batch": 1, "rounds": 3, "head": "upernet"},
}
ENVIRONMENT = {"TF_CPP_MIN_LOG_LEVEL": "2", "OMP_NUM_THREADS": "1"}
FIELDS = (
    "commit", "processor", "versions", "model", "backend", "ms", "fused_ms", "ratio",
    "processor_ratio", "parameters", "fused_parameters", "rounds",
)  # fmt: skip


def main():
    """Measure, print and write."""
    about = describe()
    with (ROOT / "benchmarks" / "fused.csv").open("w", newline="", encoding="utf-8") as lines:
        writer = csv.writer(lines, lineterminator="\n")
        writer.writerow(FIELDS)
        for backend in BACKENDS:
            for name in MODELS:
                writer.writerow((*about, name, backend, *measure(backend, name)))
                lines.flush()


def measure(backend, name):
    """Measure a pair of models in a process of their own, print, and return their row."""
    found = json.loads(
        subprocess.run(
            [python(backend), __file__, json.dumps(MODELS[name])],
            env={**os.environ, "KERAS_BACKEND": backend, **ENVIRONMENT},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            check=True,
            text=True,
        ).stdout.splitlines()[-1]
    )
    print(
        f"{name:30} {backend:11} {found['ms']:7.0f} ms, fused {found['fused_ms']:7.0f} "
        f"ms: {found['ratio']:.3f} of it, {found['processor_ratio']:.3f} of the processors' time",
        flush=True,
    )
    times = [f"{found[key]:.0f}" for key in ("ms", "fused_ms")]
    ratios = [f"{found[key]:.3f}" for key in ("ratio", "processor_ratio")]
    return *times, *ratios, *found["parameters"], MODELS[name]["rounds"]


def contend(options):
    """Print what a pair of models takes, as JSON."""
    import numpy as np

    import keras_paca

    shape = (options["size"], options["size"], 3)
    if "head" in options:
        model = keras_paca.segmentation.PaCaSmallSegmenter(
            options["head"], weights=None, input_shape=shape
        )
    else:
        model = keras_paca.PaCaSmall(weights=None, input_shape=shape)
    models = model, keras_paca.fuse(model)
    images = np.random.default_rng(0).uniform(0, 255, (options["batch"], *shape))
    images = images.astype("float32")
    rounds = []
    for number in range(options["rounds"] + 2):  # the first two compile and warm up
        taken = {}
        for which in (0, 1) if number % 2 else (1, 0):
            start = time.perf_counter(), time.process_time()
            models[which].predict(images, batch_size=options["batch"], verbose=0)
            taken[which] = time.perf_counter() - start[0], time.process_time() - start[1]
        rounds.append(taken)
    rounds = rounds[2:]
    print(
        json.dumps(
            {
                "ms": 1000 * statistics.median(taken[0][0] for taken in rounds),
                "fused_ms": 1000 * statistics.median(taken[1][0] for taken in rounds),
                "ratio": statistics.median(taken[1][0] / taken[0][0] for taken in rounds),
                "processor_ratio": statistics.median(taken[1][1] / taken[0][1] for taken in rounds),
                "parameters": [model.count_params() for model in models],
            }
        )
    )


if __name__ == "__main__":
    contend(json.loads(sys.argv[1])) if len(sys.argv) > 1 else main()
