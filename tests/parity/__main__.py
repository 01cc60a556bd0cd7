"""Print case x backend x error of every parity case and add the rows to a CSV file."""

import csv
import subprocess
import sys
import time
from pathlib import Path

import keras

from tests.parity import attentive_nets, attentive_norm, castling, dense, official, vittm

# The tree is that of keras_paca/ (`git rev-parse HEAD:keras_paca`), the same after a rebase.
FIELDS = ("commit", "tree", "case", "backend", "keras", "dtype", "array", "relative_error", "bar")

CASES = {  # what returns the errors of a case, and the cases
    official.errors: (*official.SMALL, *official.LARGE),
    castling.errors: castling.CASES,
    attentive_norm.errors: attentive_norm.CASES,
    vittm.errors: (*vittm.SMALL, *vittm.LARGE),
    attentive_nets.errors: attentive_nets.NETWORKS,
    attentive_nets.box_head_errors: (attentive_nets.BOX_HEAD,),
    dense.errors: dense.SEGMENTERS,
    dense.detector_errors: dense.DETECTORS,
}


def main(path):
    # Keras's layers compute in float64 where `floatx` is that, on TensorFlow throughout.
    dtypes = ("float32", "float64") if keras.backend.backend() == "tensorflow" else ("float32",)
    failed = 0
    new = not path.exists()
    with path.open("a", newline="") as lines:
        writer = csv.writer(lines, lineterminator="\n")
        if new:
            writer.writerow(FIELDS)
        for dtype in dtypes:
            keras.config.set_floatx(dtype)
            keras.config.set_dtype_policy(dtype)
            for errors, names in CASES.items():
                for name in names:
                    failed += _run(name, errors(name), dtype, writer)
    return failed


def _run(name, errors, dtype, writer):
    """Print and write a case's rows; return how many are over the bar."""
    code, backend, failed = _code(), keras.backend.backend(), 0
    what = f"{name:36} {backend:11} {dtype}"
    start = time.perf_counter()
    for array, error, bar in errors:
        state = "" if error < bar else "  OVER THE BAR"
        failed += error >= bar
        print(f"{what} {array:26} {error:.2e} < {bar:.0e}{state}")
        row = (name, backend, keras.__version__, dtype, array, f"{error:.2e}", bar)
        writer.writerow((*code, *row))
    print(f"{what} {time.perf_counter() - start:.0f} s", flush=True)
    keras.backend.clear_session()
    return failed


def _code():
    """Return the commit and the tree of the package, marked where files have changed since."""

    def git(*arguments):
        return subprocess.run(
            ["git", *arguments], capture_output=True, text=True, check=True
        ).stdout.strip()

    dirty = "-dirty" if git("status", "--porcelain", "--", "keras_paca", "tests") else ""
    return [git("rev-parse", "--short", name) + dirty for name in ("HEAD", "HEAD:keras_paca")]


if __name__ == "__main__":
    sys.exit(1 if main(Path(sys.argv[1])) else 0)
