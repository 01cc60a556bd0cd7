"""The matrix of KerasHub's and KerasCV's models around our backbones, from the tests' own reports.

    make plugins

It runs tests/plugins on each backend and gives this script pytest's reports. Each row of
benchmarks/plugins.csv says what was seen of one consumer on one backend at one image size: "yes"
where the step was checked, else why it can't be. The table for the README is printed. Of two
reports of a row the later one counts.

    python benchmarks/plugins.py REPORT.xml ...

The tests take about an hour on two cores, the script a second.
"""

import csv
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

STEPS = ("build", "fit", "predict", "save and load")
FIELDS = ("library", "consumer", "backend", "size", *STEPS)
BACKENDS = {"tensorflow": "TensorFlow", "jax": "JAX", "torch": "PyTorch"}


def read(paths):
    """Return {(library, consumer, backend, size): {step: what was seen}}."""
    rows = {}
    for path in paths:
        for case in ET.parse(path).iter("testcase"):
            noted = {p.get("name"): p.get("value") for p in case.iter("property")}
            if "consumer" not in noted:
                continue
            skipped = case.find("skipped")
            reason = "failed" if skipped is None else skipped.get("message")
            row = {step: noted.get(step, reason) for step in STEPS}
            rows[tuple(noted[key] for key in FIELDS[:4])] = row
    return rows


def main():
    """Write the rows and print the table."""
    rows = read(sys.argv[1:])
    target = Path(__file__).with_name("plugins.csv")
    with target.open("w", newline="", encoding="utf-8") as lines:
        writer = csv.writer(lines, lineterminator="\n")
        writer.writerow(FIELDS)
        writer.writerows((*key, *row.values()) for key, row in sorted(rows.items()))
    reasons = []
    print("| |", " | ".join(BACKENDS.values()), "|")
    print("| --- " * (1 + len(BACKENDS)) + "|")
    for library, consumer in dict.fromkeys(key[:2] for key in sorted(rows)):
        cells = []
        for backend in BACKENDS:
            short = []  # of (size, step) that wasn't seen
            for size in ("fixed", "not_square", "unknown"):
                row = rows.get((library, consumer, backend, size), dict.fromkeys(STEPS, "not run"))
                for step, what in row.items():
                    if what != "yes":
                        reasons += [what] * (what not in reasons)
                        short.append((size, step, reasons.index(what) + 1))
            cells.append(_cell(short))
        print(f"| {library} `{consumer}` |", " | ".join(cells), "|")
    for number, reason in enumerate(reasons, 1):
        print(f"\n{number}. {reason}")


def _cell(short):
    """Return what a cell says of the pairs of a size and a step that weren't seen."""
    if not short:
        return "all"
    sizes, steps = ({each[i] for each in short} for i in (0, 1))
    if steps == set(STEPS) and len(sizes) == 3:
        what = "none"
    elif len(sizes) < 3:
        what = f"all but at {' or '.join(sorted(sizes))} size"
    else:
        what = f"all but {', '.join(step for step in STEPS if step in steps)}"
    return f"{what} ({', '.join(str(n) for n in sorted({each[2] for each in short}))})"


if __name__ == "__main__":
    main()
