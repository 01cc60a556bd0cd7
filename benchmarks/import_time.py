"""What `import keras_paca` adds to `import keras`, in milliseconds, and what it imports beside.

    KERAS_BACKEND=torch python benchmarks/import_time.py

The median of nine processes is printed, after one or two minutes.
"""

import statistics
import subprocess
import sys

CODE = """
import sys, time
import keras
loaded, start = set(sys.modules), time.perf_counter()
import keras_paca
print(1000 * (time.perf_counter() - start))
print(*sorted({name.partition('.')[0] for name in set(sys.modules) - loaded}))
"""


def main():
    """Print the median and the packages."""
    runs = [
        subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
        for _ in range(9)
    ]
    times = [float(run.stdout.splitlines()[0]) for run in runs]
    print(f"import keras_paca: {statistics.median(times):.0f} ms more than import keras")
    print(f"packages: {runs[0].stdout.splitlines()[1]}")


if __name__ == "__main__":
    main()
