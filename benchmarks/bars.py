"""The speed that the library must have, measured: each bar met or missed.

    make bars        or        python benchmarks/bars.py [GROUP ...]

Contenders run in processes of their own, each on its backend's environment under .venv, and take
turns, round by round. Medians and their ratios are printed; the raw times, with commit, processor
and versions, go to benchmarks/bars.csv. The exit status is 1 where a bar is missed. Linux only.
"""

import csv
import json
import math
import os
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
BACKENDS = ("tensorflow", "jax", "torch")
PACKAGES = ("keras", "tensorflow-cpu", "jax", "torch", "transformers")
SIDES = (224, 320, 448, 640, 1024)
FIELDS = ("commit", "processor", "versions", "group", "contender", "round", "ms", "memory")

OURS = {f"ours {backend}": {"backend": backend} for backend in BACKENDS}
YARDSTICK = {"PVTv2-B2 torch": {"backend": "torch", "model": "pvt_v2_b2"}}


def with_options(contenders, **options):
    """Return contenders with more options."""
    return {name: {**given, **options} for name, given in contenders.items()}


# group: (rounds, contenders that take turns)
GROUPS = {
    "forward": (7, with_options({**OURS, **YARDSTICK}, task="forward")),
    "step": (5, with_options({**OURS, **YARDSTICK}, task="step")),
    "plain-forward": (3, {
        "ours jax": {"backend": "jax"},
        "plain jax": {"backend": "jax", "plain": True},
    }),
    "plain-step": (2, {
        "ours jax": {"backend": "jax", "task": "step"},
        "plain jax": {"backend": "jax", "task": "step", "plain": True},
    }),
    "fit-tensorflow": (3, {
        "default": {"backend": "tensorflow", "task": "fit"},
        "jit_compile=False": {"backend": "tensorflow", "task": "fit", "jit": False},
        "jit_compile=True": {"backend": "tensorflow", "task": "fit", "jit": True},
    }),
    **{f"scaling-{backend}": (3, {
        str(side): {"backend": backend, "size": [side, side], "batch": 1} for side in SIDES
    }) for backend in BACKENDS},
    "bfloat16": (5, {
        f"{name} {dtype}": {**given, "dtype": policy}
        for name, given in OURS.items()
        for dtype, policy in (("float32", "float32"), ("bfloat16", "mixed_bfloat16"))
    }),
}  # fmt: skip


class Contender:
    """A process that runs a step when it is told to."""

    def __init__(self, backend, **options):
        python = ROOT / ".venv" / backend / "bin" / "python"
        environment = {**os.environ, "KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "2"}
        self.process = subprocess.Popen(
            [python, ROOT / "benchmarks" / "contender.py", json.dumps(options)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
            text=True,
        )

    def answer(self):
        """Return what the step took."""
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.process.args} ended with {self.process.wait()}")
        return json.loads(line)

    def run(self):
        """Run a step and return what it took."""
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return self.answer()

    def close(self):
        """End the process."""
        self.process.stdin.close()
        self.process.wait()


def measure(group, write):
    """Run a group; return {contender: (median ms, peak memory after three steps)}."""
    rounds, contenders = GROUPS[group]
    running = {}
    try:
        for name, options in contenders.items():
            running[name] = Contender(**options)
            first = running[name].answer()  # alone: it compiles
            write(group, name, "first", first)
            for step in ("second", "third"):
                third = running[name].run()
                write(group, name, step, third)
            running[name].memory = third["memory"]
        times = {name: [] for name in running}
        for number in range(rounds):
            for name, contender in running.items():
                answer = contender.run()
                write(group, name, number, answer)
                times[name].append(answer["ms"])
    finally:
        for contender in running.values():
            contender.close()
    found = {name: (statistics.median(times[name]), running[name].memory) for name in running}
    print(f"\n{group}")
    for name, (milliseconds, memory) in found.items():
        print(f"  {name:24} {milliseconds:9.0f} ms {memory / 1e6:9.0f} MB")
    return found


def exponent(found):
    """Return the exponent of the time per image in the number of patches, by least squares."""
    points = [(2 * math.log(int(side)), math.log(ms)) for side, (ms, _) in found.items()]
    x = [point[0] for point in points]
    y = [point[1] for point in points]
    return statistics.linear_regression(x, y).slope


def bars(found):
    """Yield (what, measured, "at most" or "at least", bar) of all that was measured."""
    for group in ("forward", "step"):
        if group not in found:
            continue
        ours = [found[group][name][0] for name in OURS]
        yardstick, memory = found[group]["PVTv2-B2 torch"]
        limit = 1.6 if group == "forward" else 2.0
        yield f"{group}: slowest backend / fastest", max(ours) / min(ours), "at most", limit
        yield f"{group}: PVTv2-B2's time / fastest's", yardstick / min(ours), "at least", 1.0
        yield f"{group}: PVTv2-B2's time / slowest's", yardstick / max(ours), "at least", 0.5
        if group == "step":
            for name in OURS:
                ratio = found[group][name][1] / memory
                yield f"step: peak memory of {name} / PVTv2-B2's", ratio, "at most", 1.0
    for group in ("plain-forward", "plain-step"):
        if group in found:
            ratio = found[group]["plain jax"][0] / found[group]["ours jax"][0]
            yield f"{group}: a plain port's time on JAX / ours", ratio, "at least", 6.0
    if "fit-tensorflow" in found:
        times = {name: ms for name, (ms, _) in found["fit-tensorflow"].items()}
        ratio = min(times.values()) / times["default"]
        yield "fit-tensorflow: best setting's time / default's", ratio, "at least", 0.95
    for backend in BACKENDS:
        if f"scaling-{backend}" in found:
            slope = exponent(found[f"scaling-{backend}"])
            yield f"scaling-{backend}: exponent in the patches", slope, "at most", 1.1
    if "bfloat16" in found:
        ratio = max(
            found["bfloat16"][f"{name} float32"][0] / found["bfloat16"][f"{name} bfloat16"][0]
            for name in OURS
        )
        yield "bfloat16: float32's time / bfloat16's, best backend", ratio, "at least", 1.6


def describe():
    """Return the commit, the processor and the versions of what is measured."""

    def run(*command):
        return subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout.strip()

    changed = run("git", "status", "--porcelain", "--", "keras_paca", "benchmarks/*.py")
    commit = run("git", "rev-parse", "--short", "HEAD") + ("-dirty" if changed else "")
    processor = platform.processor() or platform.machine()
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            processor = line.partition(":")[2].strip()
    code = (
        "from importlib import metadata\n"
        f"for name in {PACKAGES!r}:\n"
        "    try: print(name, metadata.version(name))\n"
        "    except metadata.PackageNotFoundError: pass"
    )
    versions = {
        line
        for backend in BACKENDS
        for line in run(ROOT / ".venv" / backend / "bin" / "python", "-c", code).splitlines()
    }
    return commit, f"{processor}, {os.cpu_count()} cores", "; ".join(sorted(versions))


def main(groups):
    """Measure the groups, print the bars and return how many are missed."""
    unknown = set(groups) - set(GROUPS)
    if unknown:
        raise SystemExit(f"No such groups: {sorted(unknown)}. There are {list(GROUPS)}")
    about, found = describe(), {}
    path = ROOT / "benchmarks" / "bars.csv"
    kept = []
    if path.exists() and set(groups) != set(GROUPS):
        with path.open(newline="", encoding="utf-8") as lines:
            kept = [row for row in csv.DictReader(lines) if row["group"] not in groups]
    with path.open("w", newline="", encoding="utf-8") as lines:
        writer = csv.DictWriter(lines, FIELDS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(kept)

        def write(group, contender, number, answer):
            row = (*about, group, contender, number, f"{answer['ms']:.1f}", answer["memory"])
            writer.writerow(dict(zip(FIELDS, row, strict=True)))
            lines.flush()

        start = time.perf_counter()
        for group in groups:
            found[group] = measure(group, write)
    print(f"\n{(time.perf_counter() - start) / 60:.0f} minutes\n")
    missed = 0
    for what, measured, kind, bar in bars(found):
        met = measured <= bar if kind == "at most" else measured >= bar
        missed += not met
        print(f"{'met   ' if met else 'MISSED'} {what}: {measured:.2f}, {kind} {bar}")
    return missed


if __name__ == "__main__":
    sys.exit(bool(main(sys.argv[1:] or list(GROUPS))))
