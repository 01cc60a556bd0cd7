"""Time and peak memory of Mask R-CNN on PaCa-Small at COCO's size, 800 x 1333, on each backend.

    python benchmarks/detector.py

One image at a time: `predict`, and a training step (forward, backward, AdamW) on 12 objects, with
and without `remat`. Each runs alone, in a process of its own; the table is printed and written to
benchmarks/detector.csv. Linux only. It takes about twenty minutes on two cores.
"""

import csv

from turns import BACKENDS, ROOT, describe, take_turns, touch_memory

SIZE = (800, 1333)
TASKS = {
    "predict": {"task": "forward"},
    "step": {"task": "step"},
    "step, remat=True": {"task": "step", "remat": True},
}
FIELDS = ("commit", "processor", "versions", "task", "backend", "first_ms", "ms", "peak_mb")


def main():
    """Measure, print and write."""
    about = describe()
    touch_memory()
    with (ROOT / "benchmarks" / "detector.csv").open("w", newline="", encoding="utf-8") as lines:
        writer = csv.writer(lines, lineterminator="\n")
        writer.writerow(FIELDS)
        for task, options in TASKS.items():
            for backend in BACKENDS:
                given = {"backend": backend, "model": "mask_rcnn", "size": SIZE, "batch": 1}
                answers = take_turns({task: {**given, **options}}, 3, lambda *answer: None)
                found = answers[task]
                row = [f"{found[key]:.0f}" for key in ("first", "ms")]
                row.append(f"{found['memory'] / 1e6:.0f}")
                print(f"{task:18} {backend:11} first {row[0]:>7} ms, then {row[1]:>6} ms, "
                      f"{row[2]:>6} MB", flush=True)  # fmt: skip
                writer.writerow((*about, task, backend, *row))
                lines.flush()


if __name__ == "__main__":
    main()
