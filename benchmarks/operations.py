"""Where the time of PaCa-Small goes, by operation, against what the machine could do.

    KERAS_BACKEND=jax python benchmarks/operations.py forward|step [BATCH]

The backend's own profiler measures one run after two others: threads' time by kind of operation
(TensorFlow, PyTorch), or the time of each compiled loop by the layer that it came from (JAX). The
machine's rates are those of PyTorch's or NumPy's matrix product and of a copy. A table is printed,
after one or two minutes.
"""

import collections
import gzip
import json
import os
import re
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
TASK = sys.argv[1] if len(sys.argv) > 1 else "forward"
BATCH = int(sys.argv[2]) if len(sys.argv) > 2 else 8
FOLDER = Path(tempfile.mkdtemp())
if os.environ.get("KERAS_BACKEND") == "jax":  # the names of the compiled loops
    os.environ["XLA_FLAGS"] = (
        os.environ.get("XLA_FLAGS", "") + f" --xla_dump_to={FOLDER}/hlo --xla_dump_hlo_as_text"
    )
ROWS = 30


def median(function, times=7):
    """Return the median seconds of a function."""
    taken = []
    for _ in range(times + 2):
        start = time.perf_counter()
        function()
        taken.append(time.perf_counter() - start)
    return sorted(taken[2:])[times // 2]


def machine_rates():
    """Return (multiply-accumulates per second of a large product, bytes per second of a copy)."""
    side = 2048
    a, b = (np.random.default_rng(0).normal(size=(side, side)).astype("float32") for _ in "ab")
    try:
        import torch

        x, y = torch.from_numpy(a), torch.from_numpy(b)
        product = median(lambda: x @ y)
    except ImportError:
        product = median(lambda: a @ b)
    source = np.ones(50_000_000, "float32")
    target = np.ones_like(source)
    return side**3 / product, 2 * source.nbytes / median(lambda: np.copyto(target, source))


def build():
    """Return a function that runs the task."""
    from contender import DEFAULTS, keras_task

    return keras_task({**DEFAULTS, "task": TASK, "batch": BATCH})[0]


def tensorflow_operations(run):
    """Return {kind of operation: [ms, count]}."""
    import tensorflow as tf
    from tensorflow.tsl.profiler.protobuf import xplane_pb2

    tf.profiler.experimental.start(str(FOLDER))
    run()
    tf.profiler.experimental.stop()
    space = xplane_pb2.XSpace()
    space.ParseFromString(next(FOLDER.rglob("*.xplane.pb")).read_bytes())
    found = collections.defaultdict(lambda: [0.0, 0])
    for plane in space.planes:
        for line in plane.lines:
            for event in line.events:
                name, colon, kind = plane.event_metadata[event.metadata_id].name.rpartition(":")
                if colon and name and kind.isidentifier() and kind not in ("Process", "Run"):
                    found[kind][0] += event.duration_ps / 1e9
                    found[kind][1] += 1
    return found


def torch_operations(run):
    """Return the same."""
    import torch

    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        run()
    return {
        event.key: [event.self_cpu_time_total / 1e3, event.count]
        for event in profile.key_averages()
    }


def jax_operations(run):
    """Return {direction, layer and operation: [ms, number of loops]}."""
    import jax

    with jax.profiler.trace(str(FOLDER / "trace"), create_perfetto_trace=True):
        run()
    trace = next((FOLDER / "trace").rglob("perfetto_trace.json.gz"))
    events = json.loads(gzip.decompress(trace.read_bytes()))
    events = events["traceEvents"] if isinstance(events, dict) else events
    times = collections.Counter()
    for event in events:
        if event.get("ph") == "X":
            times[event["name"]] += event["dur"] / 1e3
    texts = (FOLDER / "hlo").glob("*cpu_after_optimizations.txt")
    text = max(texts, key=lambda path: path.stat().st_size).read_text(encoding="utf-8")
    found = collections.defaultdict(lambda: [0.0, 0])
    for line in text.splitlines():
        loop = re.match(r"\s*(?:ROOT )?%?([\w.\-]+) = ", line)
        if not loop or loop[1] not in times:
            continue
        origin = re.search(r'op_name="([^"]*)"', line)
        origin = origin[1] if origin else "?"
        direction = "backward" if "transpose(" in origin else "forward"
        layer = re.sub(r"(?:transpose\()?jvp\(([^()]*)\)\)?", r"\1", origin.split("/", 1)[-1])
        layer = re.sub(r"stage\d_block\d+", "block", layer)
        layer = re.sub(r"(/while|/body|/closed_call|jit\(\w+\)|/dot_general)", "", layer)
        found[f"{direction} {layer}"][0] += times.pop(loop[1])
        found[f"{direction} {layer}"][1] += 1
    return found


def main():
    """Print the table."""
    import keras

    backend = keras.backend.backend()
    run = build()
    run()
    run()
    taken = median(run, 5)
    found = globals()[f"{backend}_operations"](run)
    total = sum(milliseconds for milliseconds, _ in found.values())
    product, copy = machine_rates()
    macs = 5.501e9 * BATCH * (3 if TASK == "step" else 1)
    print(f"\nPaCa-Small, {TASK}, batch {BATCH}, {backend}: {1000 * taken:.0f} ms")
    print(f"matrix products at {2 * product / 1e9:.0f} GFLOP/s and copies at {copy / 1e9:.1f} GB/s")
    print(f"the model's multiply-accumulates at that rate: {1000 * macs / product:.0f} ms\n")
    for name, (milliseconds, count) in sorted(found.items(), key=lambda item: -item[1][0])[:ROWS]:
        print(f"{milliseconds:9.1f} ms {100 * milliseconds / total:5.1f} % {count:6d}  {name[:90]}")
    print(f"{total:9.1f} ms in all")


if __name__ == "__main__":
    main()
