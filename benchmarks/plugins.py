"""The matrix of KerasHub's and KerasCV's models around our backbones, from the tests' own reports.

    make plugins

It runs tests/plugins on each backend and gives this script pytest's reports. Each row of
benchmarks/plugins.csv says what was seen of one consumer around one family on one backend at one
image size: "yes" where the step was checked, else why it can't be. Rows that no report has stay as
they are; of two reports of a row the later one counts. The table for the README is printed.

    python benchmarks/plugins.py REPORT.xml ...

The tests take about an hour on two cores, the script a second.
"""

import csv
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

STEPS = ("build", "fit", "predict", "save and load")
KEYS = ("family", "library", "consumer", "backend", "size")
FIELDS = (*KEYS, *STEPS)
BACKENDS = {"tensorflow": "TensorFlow", "jax": "JAX", "torch": "PyTorch"}


def read(paths):
    """Return {(family, library, consumer, backend, size): {step: what was seen}}."""
    rows = {}
    for path in paths:
        for case in ET.parse(path).iter("testcase"):
            noted = {p.get("name"): p.get("value") for p in case.iter("property")}
            if "consumer" not in noted:
                continue
            skipped = case.find("skipped")
            reason = "failed" if skipped is None else skipped.get("message")
            row = {step: noted.get(step, reason) for step in STEPS}
            rows[tuple(noted[key] for key in KEYS)] = row
    return rows


def main():
    """Write the rows and print the table."""
    target = Path(__file__).with_name("plugins.csv")
    with target.open(newline="", encoding="utf-8") as lines:
        kept = {tuple(row.pop(key) for key in KEYS): row for row in csv.DictReader(lines)}
    rows = kept | read(sys.argv[1:])
    with target.open("w", newline="", encoding="utf-8") as lines:
        writer = csv.writer(lines, lineterminator="\n")
        writer.writerow(FIELDS)
        writer.writerows((*key, *row.values()) for key, row in sorted(rows.items()))
    reasons = []
    print("| | around |", " | ".join(BACKENDS.values()), "|")
    print("| --- " * (2 + len(BACKENDS)) + "|")
    groups = dict.fromkeys((library, name, family) for family, library, name, *_ in sorted(rows))
    for library, consumer, family in sorted(groups):
        cells = []
        for backend in BACKENDS:
            short = []  # of (size, step) that wasn't seen
            for size in ("fixed", "not_square", "unknown"):
                key = (family, library, consumer, backend, size)
                row = rows.get(key, dict.fromkeys(STEPS, "not run"))
                for step, what in row.items():
                    if what != "yes":
                        reasons += [what] * (what not in reasons)
                        short.append((size, step, reasons.index(what) + 1))
            cells.append(_cell(short))
        print(f"| {library} `{consumer}` | {family} |", " | ".join(cells), "|")
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
