"""Run an exported file in its own runtime, in a process without Keras.

    python runtime.py FORMAT FILE IMAGES.npz OUTPUTS.npz

Needs NumPy and the format's runtime: TensorFlow, ai-edge-litert, onnxruntime or openvino. Each
array of images goes through the file; the outputs and the file's operators are written. `measure`
in place of OUTPUTS.npz prints the latency of the first array and the memory that it took, as JSON.
"""

import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

THREADS = os.cpu_count() or 1


def _open_file(format: str, path: str) -> tuple[Callable[[np.ndarray], dict], list[str]]:
    """Open an exported file in its runtime.

    Args:
        format: str. "tf_saved_model", "litert", "onnx" or "openvino".
        path: str. The file, or the folder of a SavedModel.

    Returns:
        tuple. A function from images (batch, height, width, channels) to a dict of the outputs by
        name, and a list of the names of the operators in the file, which is empty for ONNX.

    Raises:
        ImportError: If the runtime isn't installed.
    """
    return OPENERS[format](path)


def _open_saved_model(path: str) -> tuple[Callable[[np.ndarray], dict], list[str]]:
    sys.modules.setdefault("keras", None)  # TensorFlow would import Keras where it's installed
    import tensorflow as tf

    model = tf.saved_model.load(path)
    serve = model.signatures["serving_default"]
    (name,) = serve.structured_input_signature[1]

    def run(images: np.ndarray) -> dict:
        found = serve(**{name: tf.constant(images)})
        return {key: value.numpy() for key, value in found.items()}

    return run, sorted({node.op for node in _nodes(serve.graph.as_graph_def())})


def _nodes(graph: Any) -> list[Any]:
    return [*graph.node, *(node for f in graph.library.function for node in f.node_def)]


def _open_litert(path: str) -> tuple[Callable[[np.ndarray], dict], list[str]]:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(path, num_threads=THREADS)
    (entry,) = interpreter.get_input_details()
    given = [tuple(entry["shape"])]
    (signature,) = interpreter.get_signature_list()
    runner = interpreter.get_signature_runner(signature)
    (name,) = runner.get_input_details()

    def run(images: np.ndarray) -> dict:
        images = _as_integers(images, entry)
        if images.shape != given[0]:
            interpreter.resize_tensor_input(entry["index"], images.shape)
            given[0] = images.shape
        return {key: np.array(value) for key, value in runner(**{name: images}).items()}

    return run, sorted({each["op_name"] for each in interpreter._get_ops_details()})


def _as_integers(images: np.ndarray, entry: dict) -> np.ndarray:
    """Return images in the integers of a file's input, where those stand for floats."""
    scale, zero = entry["quantization"]
    if not scale or images.dtype.kind != "f":
        return images
    limits = np.iinfo(entry["dtype"])
    steps = np.round(images / scale) + zero
    return np.clip(steps, limits.min, limits.max).astype(entry["dtype"])


def _litert_input(path: str, images: np.ndarray) -> np.ndarray:
    """Return images in the dtype of a file's input."""
    from ai_edge_litert.interpreter import Interpreter

    return _as_integers(images, Interpreter(path).get_input_details()[0])


def _open_onnx(path: str) -> tuple[Callable[[np.ndarray], dict], list[str]]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    (entry,) = session.get_inputs()
    names = [output.name for output in session.get_outputs()]

    def run(images: np.ndarray) -> dict:
        return dict(zip(names, session.run(None, {entry.name: images}), strict=True))

    return run, []


def _open_openvino(path: str) -> tuple[Callable[[np.ndarray], dict], list[str]]:
    import openvino

    core = openvino.Core()
    model = core.read_model(path)
    operators = sorted({operation.get_type_name() for operation in model.get_ops()})
    # on a CPU that has bfloat16, OpenVINO would compute in it by default
    compiled = core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})

    def run(images: np.ndarray) -> dict:
        found = compiled(images)
        return {f"output_{i}": np.array(found[i]) for i in range(len(compiled.outputs))}

    return run, operators


OPENERS = {
    "tf_saved_model": _open_saved_model,
    "litert": _open_litert,
    "onnx": _open_onnx,
    "openvino": _open_openvino,
}


def peak_memory() -> int | None:
    """Return the peak memory of this process.

    Returns:
        int. Bytes, or `None` on systems other than Linux.

    Example:
    >>> peak = peak_memory()
    >>> peak is None or peak > 1e6
    True
    """
    try:
        with open("/proc/self/status") as lines:
            return next(1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
    except (OSError, StopIteration):  # Linux alone has it
        return None


def measure(run: Callable[[np.ndarray], Any], images: np.ndarray, seconds: float = 3.0) -> dict:
    """Measure how long a function takes.

    Args:
        run: callable. The function.
        images: numpy.ndarray. Its argument.
        seconds: float. How long to repeat the call after the first one. It is called at least five
            and at most 999 times more.

    Returns:
        dict. "first_ms", the time of the first call in milliseconds, "ms", the median of the later
        ones, and "calls", their number.

    Example:
    >>> measured = measure(np.sqrt, np.ones(4), seconds=0.01)
    >>> measured["calls"] >= 5, measured["ms"] < 100
    (True, True)
    """
    times = []
    end = None
    while end is None or len(times) < 6 or (time.perf_counter() < end and len(times) < 1000):
        start = time.perf_counter()
        run(images)
        times.append(1000 * (time.perf_counter() - start))
        end = end or time.perf_counter() + seconds
    return {"first_ms": times[0], "ms": statistics.median(times[1:]), "calls": len(times) - 1}


def _main() -> None:
    """Run the file that the command line names, as the module's docstring describes."""
    format, path, source, target = sys.argv[1:]
    with np.load(source) as stored:
        batches = [stored[name] for name in sorted(stored.files)]
    run, operators = _open_file(format, path)
    if target == "measure":
        images = batches[0] if format != "litert" else _litert_input(path, batches[0])
        measured = measure(run, images)
        print(json.dumps({**measured, "peak_bytes": peak_memory()}))
        return
    outputs = {}
    for i, batch in enumerate(batches):
        outputs |= {f"{i}/{name}": array for name, array in run(batch).items()}
    if sys.modules.get("keras") is not None:
        raise RuntimeError("Keras was imported; the file must run without it.")
    np.savez(target, operators=np.array(operators, dtype=str), **outputs)


if __name__ == "__main__":
    _main()
