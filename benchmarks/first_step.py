"""How long the first call takes on each backend, where two compile and one doesn't.

    python benchmarks/first_step.py

PaCa-Tiny and PaCa-Small at 224 x 224, 8 images at a time: `predict`, and a training step (forward,
backward, AdamW). Each runs alone, in a process of its own; the table is printed and written to
benchmarks/first_step.csv. It takes about ten minutes on two cores.
"""

import csv

from turns import BACKENDS, ROOT, describe, take_turns, touch_memory

FIELDS = ("commit", "processor", "versions", "model", "task", "backend", "first_ms", "ms")


def main():
    """Measure, print and write."""
    about = describe()
    touch_memory()
    with (ROOT / "benchmarks" / "first_step.csv").open("w", newline="", encoding="utf-8") as lines:
        writer = csv.writer(lines, lineterminator="\n")
        writer.writerow(FIELDS)
        for model in ("paca_tiny", "paca_small"):
            for task in ("forward", "step"):
                for backend in BACKENDS:
                    options = {"backend": backend, "model": model, "task": task}
                    found = take_turns({task: options}, 3, lambda *answer: None)[task]
                    row = [f"{found[key]:.0f}" for key in ("first", "ms")]
                    print(f"{model:11} {task:8} {backend:11} first {row[0]:>6} ms, then "
                          f"{row[1]:>5} ms", flush=True)  # fmt: skip
                    writer.writerow((*about, model, task, backend, *row))
                    lines.flush()


if __name__ == "__main__":
    main()
