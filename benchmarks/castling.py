"""One layer of linear angular attention beside softmax attention, from 196 to 16,384 tokens.

    python benchmarks/castling.py [--backend jax ...] [--tokens 196 1024 ...] [--task call step]
                                  [--together] [--output benchmarks/castling-h100.csv]

The layers have 192 channels and 3 heads, as in DeiT-Tiny, and one image in float32. "softmax" is
`keras.layers.MultiHeadAttention`; "angular" is `LinearAngularAttention`, in "step" also with its
auxiliary, which is quadratic. "call" is the compiled forward pass, "step" is `train_on_batch` with
SGD. For each number of tokens, the sides run in processes of their own, which take turns, or one
after the other if they don't fit into the memory together; times are medians, and memory is the
peak since before the first step. A side that wouldn't fit alone is left out, with a row that says
so. The rows are printed and written to benchmarks/castling.csv in place of those of the same
backend, task and tokens, and drawn in benchmarks/castling.png. `--tokens` with nothing behind it
only draws. It takes half an hour.

Where the backend computes on a GPU, memory is the GPU's. With `--together`, the processes of all
numbers of tokens start at the same time, which needs a core for each of 18 processes and, on JAX,
XLA_PYTHON_CLIENT_PREALLOCATE=false.
"""

import argparse
import itertools
from pathlib import Path

from turns import (
    BACKENDS,
    ROOT,
    describe,
    free_memory,
    read_rows,
    take_turns,
    touch_memory,
    write_rows,
)

FIELDS = (
    *("commit", "device", "versions", "backend", "task", "tokens", "channels", "heads", "side"),
    *("ms", "memory_mb", "rounds"),
)
TARGET = ROOT / "benchmarks" / "castling.csv"
TOKENS = (196, 576, 1024, 2304, 4096, 9216, 16384)
CHANNELS, HEADS = 192, 3
SIDES = {  # options of contender.py
    "softmax": {"model": "softmax_attention"},
    "angular": {"model": "angular_attention"},
    "angular, auxiliary": {"model": "angular_attention", "auxiliary": True},
}
COPIES = {"tensorflow": 5, "jax": 9, "torch": 5}  # of the attention weights, held in a step


def measure(backend, task, tokens, options):
    """Yield a row of each side for each of some numbers of tokens."""
    sides = [name for name in SIDES if task == "step" or "," not in name]
    free = free_memory()
    contenders, needed = {}, {}
    for number in tokens:
        size = {"size": [number, CHANNELS], "batch": 1, "heads": HEADS}
        for name in sides:
            copies = (COPIES[backend] if task == "step" else 2) * (name != "angular")
            needed[number, name] = 4 * HEADS * number**2 * copies
            if needed[number, name] < 0.8 * free:
                about = {"backend": backend, "task": task}
                contenders[number, name] = {**about, **size, **SIDES[name]}
    fit = sum(needed[name] for name in contenders) < 0.8 * free
    found = {}
    for group in [contenders] if fit else [{name: each} for name, each in contenders.items()]:
        found |= take_turns(group, options.rounds, lambda *step: None, options.together)
    for (number, name), memory in needed.items():
        row = {"backend": backend, "task": task, "tokens": number, "side": name}
        row |= {"channels": CHANNELS, "heads": HEADS, "rounds": options.rounds}
        if answer := found.get((number, name)):
            row |= {"device": answer["device"], "ms": f"{answer['ms']:.2f}"}
            yield {**row, "memory_mb": f"{answer['memory'] / 1e6:.0f}"}
        else:
            yield {**row, "ms": "", "memory_mb": f"over {memory / 1e6:.0f}"}


def plot(rows, path):
    """Draw time and memory by the number of tokens, one line for each side and backend."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    tasks = [task for task in ("call", "step") if any(row["task"] == task for row in rows)]
    figure, axes = pyplot.subplots(len(tasks), 2, figsize=(11, 4.2 * len(tasks)), squeeze=False)
    styles = dict(zip(SIDES, ("s--", "o-", "^:"), strict=True))
    for task, pair in zip(tasks, axes, strict=True):
        for number, backend in enumerate(BACKENDS):
            for side, style in styles.items():
                found = [
                    row
                    for row in rows
                    if (row["task"], row["backend"], row["side"]) == (task, backend, side)
                    and row["ms"]
                ]
                found.sort(key=lambda row: int(row["tokens"]))
                tokens = [int(row["tokens"]) for row in found]
                for axis, field in zip(pair, ("ms", "memory_mb"), strict=True):
                    look = {"color": f"C{number}", "label": f"{side}, {backend}"}
                    values = [float(row[field]) for row in found]
                    axis.loglog(tokens, values, style, **(look if found else {}))
        what = {"call": "forward pass", "step": "training step"}[task]
        pair[0].set(xlabel="tokens", ylabel=f"ms, {what}")
        pair[1].set(xlabel="tokens", ylabel=f"peak memory of the {what}, MB")
        pair[0].legend(fontsize=7)
    figure.tight_layout()
    figure.savefig(path, dpi=100)
    pyplot.close(figure)


def main():
    """Measure, print, write and draw."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--backend", choices=BACKENDS, nargs="+", default=BACKENDS)
    parser.add_argument("--tokens", type=int, nargs="*", default=TOKENS)
    parser.add_argument("--task", choices=("call", "step"), nargs="+", default=("call", "step"))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--together", action="store_true", help="start all sizes at once")
    parser.add_argument("--output", type=Path, default=TARGET, help="the table to write")
    options = parser.parse_args()
    about = dict(zip(FIELDS[:3], describe(), strict=True))
    rows = read_rows(options.output)
    if options.tokens:
        touch_memory()
    runs = [(backend, task) for backend in options.backend for task in options.task]
    groups = [options.tokens] if options.together else [[number] for number in options.tokens]
    for (backend, task), tokens in itertools.product(runs, groups):
        measured = [{**about, **row} for row in measure(backend, task, tokens, options)]
        for row in measured:
            print(
                f"{backend:11} {task:5} {row['tokens']:6} tokens {row['side']:19} "
                f"{row['ms'] or '-':>9} ms {row['memory_mb']:>9} MB",
                flush=True,
            )
        keys = {(backend, task, str(number)) for number in tokens}
        rows = [row for row in rows if (row["backend"], row["task"], row["tokens"]) not in keys]
        rows += [{name: str(value) for name, value in row.items()} for row in measured]
        write_rows(options.output, FIELDS, rows)
    plot(rows, options.output.with_suffix(".png"))


if __name__ == "__main__":
    main()
