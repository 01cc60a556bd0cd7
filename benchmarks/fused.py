"""Time before and after `keras_paca.fuse`: of `predict` on each backend, and of exported files.

    python benchmarks/fused.py [BACKEND or FORMAT or MODEL ...]

Both models of a pair run in one process and take turns, so that both see the same machine. The
ratios are medians of the rounds' own, of the time that passes and of the processors' time, which
others on the machine disturb less. PyTorch runs on one thread: several wait for one another in a
loop that counts. Exported files of single images run in their own runtimes, on all cores, in
processes that take turns. The table is printed and written to benchmarks/fused.csv, all of it or
the rows of what is named. It takes about an hour on two cores; a backend, a format or a model alone
takes less.
"""

import csv
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from turns import BACKENDS, ROOT, RUNTIMES, describe, python, read_rows

MODELS = {
    "PaCa-Tiny": {"variant": "PaCaTiny", "size": 224, "batch": 1, "rounds": 20},
    "PaCa-Small": {"size": 224, "batch": 1, "rounds": 12},
    "PaCa-Small, batch 8": {"size": 224, "batch": 8, "rounds": 5},
    "PaCa-Small segmenter, paca": {"size": 512, "batch": 1, "rounds": 12, "head": "paca"},
    "PaCa-Small segmenter, upernet": {"size": 512, "batch": 1, "rounds": 6, "head": "upernet"},
    "RapidNet-Ti": {"variant": "RapidNetTi", "size": 224, "batch": 1, "rounds": 20},
    "RapidNet-M": {"variant": "RapidNetM", "size": 224, "batch": 1, "rounds": 12},
    "RapidNet-M, batch 8": {"variant": "RapidNetM", "size": 224, "batch": 8, "rounds": 5},
}
FORMATS = ("tf_saved_model", "litert", "onnx", "openvino")
RUNS = 5  # of each file, of at least three seconds
ENVIRONMENT = {"TF_CPP_MIN_LOG_LEVEL": "2", "OMP_NUM_THREADS": "1"}
FIELDS = (
    "commit", "processor", "versions", "model", "backend", "ms", "fused_ms", "ratio",
    "processor_ratio", "parameters", "fused_parameters", "rounds",
)  # fmt: skip


def main():
    """Measure, print and write."""
    about = describe(*RUNTIMES)
    target = ROOT / "benchmarks" / "fused.csv"
    names = [name for name in sys.argv[1:] if name in MODELS] or list(MODELS)
    wanted = [where for where in sys.argv[1:] if where in (*BACKENDS, *FORMATS)]
    wanted = wanted or [*BACKENDS, *FORMATS]
    kept = [
        row
        for row in read_rows(target)
        if row["backend"] not in wanted or row["model"] not in names
    ]
    with target.open("w", newline="", encoding="utf-8") as lines:
        writer = csv.writer(lines, lineterminator="\n")
        writer.writerow(FIELDS)
        writer.writerows(row.values() for row in kept)
        for where in wanted:
            for name in names:
                options = MODELS[name]
                if where in FORMATS and (options["batch"] > 1 or "head" in options):
                    continue  # an hour more
                found = files(where, options) if where in FORMATS else predictions(where, options)
                writer.writerow((*about, name, where, *row(name, where, found)))
                lines.flush()


def predictions(backend, options):
    """Return what a pair of models takes in a process of its own."""
    answer = subprocess.run(
        [python(backend), __file__, "--predict", json.dumps(options)],
        env={**os.environ, "KERAS_BACKEND": backend, **ENVIRONMENT},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        check=True,
        text=True,
    )
    return json.loads(answer.stdout.splitlines()[-1])


def files(format, options):
    """Return what a pair of exported files takes, in processes that take turns."""
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "KERAS_BACKEND": "tensorflow", "PYTHONPATH": str(ROOT)}
        command = [python("tensorflow"), __file__, "--export", json.dumps(options), format, folder]
        written = subprocess.run(
            command,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            check=True,
            text=True,
        )
        said = json.loads(written.stdout.splitlines()[-1])
        runtime = ROOT / "keras_paca" / "deploy" / "runtime.py"
        images = Path(folder) / "images.npz"
        taken = []
        for number in range(RUNS):
            times = {}
            for which in (0, 1) if number % 2 else (1, 0):
                command = [python("tensorflow"), runtime, format, said["files"][which], images]
                before = os.times()
                answer = subprocess.run(
                    [*command, "measure"], capture_output=True, check=True, text=True
                )
                after = os.times()
                found = json.loads(answer.stdout.splitlines()[-1])
                processors = after.children_user - before.children_user
                times[which] = found["ms"], processors / (found["calls"] + 1)
            taken.append(times)
    return summary(taken, said["parameters"]) | {"rounds": RUNS}


def row(name, where, found):
    """Print and return the row of a pair."""
    print(
        f"{name:30} {where:11} {found['ms']:7.0f} ms, fused {found['fused_ms']:7.0f} "
        f"ms: {found['ratio']:.3f} of it, {found['processor_ratio']:.3f} of the processors' time",
        flush=True,
    )
    times = [f"{found[key]:.1f}" for key in ("ms", "fused_ms")]
    ratios = [f"{found[key]:.3f}" for key in ("ratio", "processor_ratio")]
    return *times, *ratios, *found["parameters"], found["rounds"]


def summary(taken, parameters):
    """Return the medians of rounds {0: (seconds, of processors), 1: those of the fused form}."""
    return {
        "ms": statistics.median(times[0][0] for times in taken),
        "fused_ms": statistics.median(times[1][0] for times in taken),
        "ratio": statistics.median(times[1][0] / times[0][0] for times in taken),
        "processor_ratio": statistics.median(times[1][1] / times[0][1] for times in taken),
        "parameters": parameters,
        "rounds": len(taken),
    }


def build(options):
    """Return a model, its fused form and images."""
    import numpy as np

    import keras_paca

    shape = (options["size"], options["size"], 3)
    if "head" in options:
        model = keras_paca.segmentation.PaCaSmallSegmenter(
            options["head"], weights=None, input_shape=shape
        )
    else:
        variant = getattr(keras_paca, options.get("variant", "PaCaSmall"))
        model = variant(weights=None, input_shape=shape)
    images = np.random.default_rng(0).uniform(0, 255, (options["batch"], *shape))
    return (model, keras_paca.fuse(model)), images.astype("float32")


def predict(options):
    """Print what `predict` of a pair of models takes, as JSON."""
    models, images = build(options)
    rounds = []
    for number in range(options["rounds"] + 2):  # the first two compile and warm up
        taken = {}
        for which in (0, 1) if number % 2 else (1, 0):
            start = time.perf_counter(), time.process_time()
            models[which].predict(images, batch_size=options["batch"], verbose=0)
            passed, processors = time.perf_counter() - start[0], time.process_time() - start[1]
            taken[which] = 1000 * passed, processors
        rounds.append(taken)
    print(json.dumps(summary(rounds[2:], [model.count_params() for model in models])))


def export(options, format, folder):
    """Write a pair of files and an image; print the files' paths and the parameters, as JSON."""
    import numpy as np

    import keras_paca
    from keras_paca.deploy.exports import SUFFIXES

    models, images = build(options)
    np.savez(Path(folder) / "images.npz", images=images)
    paths = []
    for i, model in enumerate(models):
        paths.append(str(Path(folder) / f"model{i}{SUFFIXES[format]}"))
        keras_paca.export(
            model,
            paths[i],
            format,
            image_size=options["size"],
            batch_size=1,
            check=False,
            fuse=False,
            verbose=False,
        )
    print(json.dumps({"files": paths, "parameters": [model.count_params() for model in models]}))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--predict"]:
        predict(json.loads(sys.argv[2]))
    elif sys.argv[1:2] == ["--export"]:
        export(json.loads(sys.argv[2]), *sys.argv[3:])
    else:
        main()
