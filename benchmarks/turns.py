"""Contenders in processes of their own that take turns, so that all see the same machine.

`bars.py`, `table.py` and the others that measure speed import it; it writes nothing.
"""

import csv
import json
import mmap
import os
import platform
import statistics
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
BACKENDS = ("tensorflow", "jax", "torch")
PACKAGES = ("keras", "keras-hub", "tensorflow-cpu", "jax", "torch", "transformers")
RUNTIMES = ("ai-edge-litert", "onnxruntime", "openvino")


class Contender:
    """A process that runs a step when it is told to."""

    def __init__(self, backend, **options):
        self.process = subprocess.Popen(
            [python(backend), ROOT / "benchmarks" / "contender.py", json.dumps(options)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "2"},
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


def python(backend):
    """Return the interpreter of a backend's environment, or this one where there is none."""
    found = ROOT / ".venv" / backend / "bin" / "python"
    return found if found.exists() else Path(sys.executable)


def take_turns(contenders, rounds, write, together=False):
    """Run contenders, {name: options}; return {name: what was found}.

    Args:
        contenders: the options of `contender.py`, and "backend".
        rounds: how often each runs after its first three steps.
        write: called with (name, round, answer) of every step.
        together: whether all start at the same time, which is quicker where they compute on a GPU;
            the times of the first steps say nothing then.

    Returns:
        {name: {"ms": median, "first": ms of the first step, "memory": peak in bytes of the first
        three, "parameters", "device"}}.
    """
    running, found, times = {}, {}, {}
    try:
        if together:
            running = {name: Contender(**options) for name, options in contenders.items()}
        for name, options in contenders.items():
            running[name] = running[name] if together else Contender(**options)
            first = running[name].answer()  # alone: it compiles
            write(name, "first", first)
            for step in ("second", "third"):
                answer = running[name].run()
                write(name, step, answer)
            found[name] = {**answer, "first": first["ms"]}
            times[name] = []
        for number in range(rounds):
            for name, contender in running.items():
                answer = contender.run()
                write(name, number, answer)
                times[name].append(answer["ms"])
    finally:
        for contender in running.values():
            contender.close()
    for name, values in times.items():
        found[name]["ms"] = statistics.median(values)
    return found


def _run(*command):
    """Return what a command prints."""
    return subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.strip()


def commit():
    """Return the commit, marked where files have changed since, or "unknown" without git."""
    try:
        changed = _run("git", "status", "--porcelain", "--", "keras_paca", "benchmarks/*.py")
        return _run("git", "rev-parse", "--short", "HEAD") + ("-dirty" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def processor():
    """Return the name of the processor, its instructions and the number of cores."""
    name = platform.processor() or platform.machine()
    instructions = set()
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            name = line.partition(":")[2].strip()
        elif line.startswith("flags"):
            instructions = {"avx2", "avx512f", "avx512_bf16", "amx_bf16"} & set(line.split())
    return f"{name} ({' '.join(sorted(instructions))}), {os.cpu_count()} cores"


def hardware(backend):
    """Return the name of the device on which a backend computes in this process."""
    if backend == "torch":
        import torch

        return torch.cuda.get_device_name() if torch.cuda.is_available() else processor()
    if backend == "jax":
        import jax

        found = jax.local_devices()[0]
        return found.device_kind if found.platform != "cpu" else processor()
    import tensorflow as tf

    found = tf.config.list_physical_devices("GPU")
    details = tf.config.experimental.get_device_details(found[0]) if found else {}
    return details.get("device_name", processor())


def describe(*more):
    """Return the commit, the processor and the versions of PACKAGES and `more`."""
    code = (
        "from importlib import metadata\n"
        f"for name in {PACKAGES + more!r}:\n"
        "    try: print(name, metadata.version(name))\n"
        "    except metadata.PackageNotFoundError: pass"
    )
    versions = {
        line for backend in BACKENDS for line in _run(python(backend), "-c", code).splitlines()
    }
    return commit(), processor(), "; ".join(sorted(versions))


def read_rows(path):
    """Return the rows of a table, [{field: value}], none where there is no file."""
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as lines:
        return list(csv.DictReader(lines))


def write_rows(path, fields, rows):
    """Write a table of some fields, beside its place, and move it there."""
    beside = path.with_suffix(".new")
    with beside.open("w", newline="", encoding="utf-8") as lines:
        writer = csv.DictWriter(lines, fields, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    beside.replace(path)


def free_memory():
    """Return the free memory in bytes."""
    with open("/proc/meminfo", encoding="ascii") as lines:
        return next(1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvail"))


def touch_memory():
    """Use half of the free memory once: a virtual machine is slow at what it never used."""
    free = free_memory()
    with mmap.mmap(-1, free // 2) as pages:
        for start in range(0, free // 2, mmap.PAGESIZE):
            pages[start] = 1
