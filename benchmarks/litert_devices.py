"""LiteRT on few threads, as on a phone: RapidNet beside MobileNet, in each precision.

    python benchmarks/litert_devices.py [FOLDER]

RapidNet-Ti, -S, -M and -B, and MobileNetV2 (alpha 1.0 and 1.4) and MobileNetV3-Large of
`keras.applications`, with random weights, 224 x 224, batch 1. All of them take RGB in 0..255 and
are exported by `keras_paca.export` as float32, float16 and int8, the last in integers throughout.
Then all files run in one process, on one thread and on two, and take turns: in each round, each has
one call to warm up and a few that count. The time of a file is the median over the rounds; the load
of the machine is noted, which should have two cores to itself. The files are written to FOLDER,
from which those that are there already are used again. Needs TensorFlow as
the backend and the extra `litert`. The table is printed and written to
benchmarks/litert_devices.csv. It takes about ten minutes on two cores, five of them for the files.
"""

import collections
import csv
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from turns import ROOT, RUNTIMES, describe

SIZE = 224
RAPIDNETS = ("RapidNetTi", "RapidNetS", "RapidNetM", "RapidNetB")
MODELS = (*RAPIDNETS, "MobileNetV2", "MobileNetV2 1.4", "MobileNetV3Large")
PRECISIONS = ("float32", "float16", "int8")
THREADS = (1, 2)
SECONDS, ROUNDS, CALLS = 150, 30, 3  # at most so long, so many rounds; calls in each
FIELDS = (
    "commit", "processor", "versions", "load", "model", "parameters", "mmacs", "precision",
    "megabytes", "in_float", "threads", "ms", "fastest_ms", "processor_ms", "rounds",
)  # fmt: skip


def main():
    """Write the files, measure, print and write."""
    if len(sys.argv) > 1:
        measure(Path(sys.argv[1]))
        return
    with tempfile.TemporaryDirectory() as folder:
        measure(Path(folder))


def measure(folder):
    """Measure all models' files in a folder; print and write the table."""
    about = describe(*RUNTIMES)
    facts = {name: files(name, folder) for name in MODELS}
    before = os.getloadavg()[0]
    paths = {(n, p): folder / f"{n}-{p}.tflite" for n in MODELS for p in PRECISIONS}
    times = take_turns(paths)
    load = f"{before:.1f}-{os.getloadavg()[0]:.1f}"
    with (ROOT / "benchmarks" / "litert_devices.csv").open("w", newline="") as lines:
        writer = csv.writer(lines, lineterminator="\n")
        writer.writerow(FIELDS)
        for (name, precision, threads), values in times.items():
            parameters, macs, of_files = (facts[name][x] for x in ("parameters", "macs", "files"))
            size, in_float = of_files[precision]
            passed, processors = zip(*values, strict=True)
            found = [statistics.median(passed), min(passed), statistics.median(processors)]
            found = (*(f"{each:.2f}" for each in found), len(values))
            row = (name, parameters, f"{macs / 1e6:.0f}", precision, f"{size / 1e6:.1f}", in_float)
            writer.writerow((*about, load, *row, threads, *found))
    table(facts, times)


def files(name, folder):
    """Write a model's files where they are missing; return its costs and theirs."""
    known = folder / f"{name}.json"
    if known.exists():
        return json.loads(known.read_text())
    import keras

    import keras_paca
    from keras_paca.deploy import check

    keras.utils.set_random_seed(0)
    model = build(name)
    images = check.check_images(model, (None, SIZE, SIZE, 3))[0]
    facts = {"parameters": sum(int(np.prod(each.shape)) for each in model.trainable_weights)}
    facts["macs"] = keras_paca.quantization_report(model).macs
    facts["files"] = {}
    for precision in PRECISIONS:
        exported = keras_paca.export(
            model,
            folder / f"{name}-{precision}.tflite",
            quantize=None if precision == "float32" else precision,
            representative_data=images if precision == "int8" else None,
            check=False,
        )
        names = exported.float_operators if precision == "int8" else ("all",)
        facts["files"][precision] = exported.size, " ".join(names)
    known.write_text(json.dumps(facts))
    return facts


def build(name):
    """Return a model with random weights that takes RGB in 0..255."""
    import keras

    import keras_paca

    options = {"weights": None, "input_shape": (SIZE, SIZE, 3)}
    if name in RAPIDNETS:
        return getattr(keras_paca, name)(**options)
    if name == "MobileNetV3Large":  # it scales its images itself
        return keras.applications.MobileNetV3Large(**options)
    alpha = 1.4 if name.endswith("1.4") else 1.0
    network = keras.applications.MobileNetV2(alpha=alpha, **options)
    scale = keras.layers.Rescaling(1 / 127.5, offset=-1)
    inputs = keras.Input((SIZE, SIZE, 3))
    return keras.Model(inputs, network(scale(inputs)), name="mobilenet_v2")


def take_turns(paths):
    """Return the times of files, {(model, precision, threads): those of each round}.

    Those of a round are in ms: of what passed, and of the processors', which others on the machine
    disturb less.
    """
    calls = {(*key, n): call_of(path, n) for key, path in paths.items() for n in THREADS}
    times = collections.defaultdict(list)
    end = time.perf_counter() + SECONDS
    order = list(calls)
    for number in range(ROUNDS):
        for key in order if number % 2 else order[::-1]:
            calls[key]()  # its weights are in no cache any more
            taken = []
            for _ in range(CALLS):
                start = time.perf_counter(), time.process_time()
                calls[key]()
                end_of_call = time.perf_counter(), time.process_time()
                taken.append([1000 * (b - a) for a, b in zip(start, end_of_call, strict=True)])
            times[key].append([statistics.median(each) for each in zip(*taken, strict=True)])
        if time.perf_counter() > end:
            break
    return {key: times[key] for key in order}


def call_of(path, threads):
    """Return a function that runs a file on one image."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path), num_threads=threads)
    interpreter.allocate_tensors()
    (entry,) = interpreter.get_input_details()
    image = np.random.default_rng(0).integers(0, 256, (1, SIZE, SIZE, 3))
    interpreter.set_tensor(entry["index"], image.astype(entry["dtype"]))
    return interpreter.invoke


def table(facts, times):
    """Print the README's table: latency on one thread and on two, and size."""
    print("| | parameters | MACs | " + " | ".join(f"{p}: MB, ms" for p in PRECISIONS) + " |")
    print("| --- | --- | --- | " + " | ".join("---" for _ in PRECISIONS) + " |")
    for name in MODELS:
        cells = [f"{facts[name]['parameters'] / 1e6:.1f} M", f"{facts[name]['macs'] / 1e6:,.0f} M"]
        for precision in PRECISIONS:
            rounds = [times[name, precision, threads] for threads in THREADS]
            ms = [statistics.median(passed for passed, _ in each) for each in rounds]
            size = facts[name]["files"][precision][0] / 1e6
            cells.append(f"{size:.1f}, {' / '.join(f'{each:.1f}' for each in ms)}")
        print(f"| {name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
