"""The speed that the library must have, measured: each bar met or missed.

    make bars        or        python benchmarks/bars.py [GROUP ...]

Contenders run in processes of their own, each on its backend's environment under .venv, and take
turns, round by round. Medians and their ratios are printed; the raw times, with commit, processor
and versions, go to benchmarks/bars.csv. The exit status is 1 where a bar is missed. Linux only. It
takes hours on two cores; a group alone takes less.
"""

import csv
import math
import statistics
import sys
import time

from turns import BACKENDS, ROOT, describe, read_rows, take_turns, touch_memory

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
    "remat": (3, with_options({
        **with_options(OURS, remat=True),
        **YARDSTICK,
    }, task="step")),
    "plain-forward": (3, {
        "ours jax": {"backend": "jax"},
        "plain jax": {"backend": "jax", "plain": True},
    }),
    "plain-step": (2, {
        "ours jax": {"backend": "jax", "task": "step"},
        "plain jax": {"backend": "jax", "task": "step", "plain": True},
    }),
    "fit-tensorflow": (7, {
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


def measure(group, write):
    """Run a group; return {contender: (median ms, peak memory after three steps)}."""
    rounds, contenders = GROUPS[group]
    found = take_turns(contenders, rounds, lambda *answer: write(group, *answer))
    found = {name: (answer["ms"], answer["memory"]) for name, answer in found.items()}
    print(f"\n{group}")
    for name, (milliseconds, memory) in found.items():
        print(f"  {name:24} {milliseconds:9.0f} ms {memory / 1e6:9.0f} MB", flush=True)
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
        yardstick, _ = found[group]["PVTv2-B2 torch"]
        limit = 1.6 if group == "forward" else 2.0
        yield f"{group}: slowest backend / fastest", max(ours) / min(ours), "at most", limit
        yield f"{group}: PVTv2-B2's time / fastest's", yardstick / min(ours), "at least", 1.0
        yield f"{group}: PVTv2-B2's time / slowest's", yardstick / max(ours), "at least", 0.5
    for group in ("step", "remat"):
        for name in OURS if group in found else ():
            ratio = found[group][name][1] / found[group]["PVTv2-B2 torch"][1]
            yield f"{group}: peak memory of {name} / PVTv2-B2's", ratio, "at most", 1.0
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


def main(groups):
    """Measure the groups, print the bars and return how many are missed."""
    unknown = set(groups) - set(GROUPS)
    if unknown:
        raise SystemExit(f"No such groups: {sorted(unknown)}. There are {list(GROUPS)}")
    about, found = describe(), {}
    path = ROOT / "benchmarks" / "bars.csv"
    kept = []
    if set(groups) != set(GROUPS):
        kept = [row for row in read_rows(path) if row["group"] not in groups]
    with path.open("w", newline="", encoding="utf-8") as lines:
        writer = csv.DictWriter(lines, FIELDS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(kept)

        def write(group, contender, number, answer):
            row = (*about, group, contender, number, f"{answer['ms']:.1f}", answer["memory"])
            writer.writerow(dict(zip(FIELDS, row, strict=True)))
            lines.flush()

        touch_memory()
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
