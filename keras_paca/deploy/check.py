"""Whether an exported file computes what Keras computes."""

import sys
import tempfile
from importlib import resources
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_paca.deploy.describe import NORMALISED, input_kind
from keras_paca.deploy.float32 import precision_of
from keras_paca.deploy.processes import run
from keras_paca.warn import warn_user

# The largest ||out - keras|| / ||keras|| of an output, by precision of the file; the other
# precisions are of integers.
BOUNDS = {"float32": 1e-5, "float16": 1e-2}
# The largest difference between a model of a 16-bit policy and its float32 copy; a copy that lost
# something differs by more.
COPY_BOUND = 0.1
# For files in integers, the least cosine with Keras's output and the least share of images with the
# same first class, of those on which it leads by more than the rounding.
LEAST_COSINE, LEAST_TOP1 = 0.95, 0.75
# The largest share of detections without a partner: one of the same label, whose box and score
# differ by no more than this many pixels and this score.
MOST_UNMATCHED, PARTNER_PIXELS, PARTNER_SCORE = 0.02, 0.5, 1e-3
CHECK_SIZES = ((224, 224), (193, 257))  # of check images for models of any size


def check_images(model: keras.Model, shape: tuple) -> list[np.ndarray]:
    """Return four photographs and an image of noise for a model, once for each size that it takes.

    Args:
        model: keras.Model. The model. Where it takes normalised images
            (`include_preprocessing=False`), the images are normalised.
        shape: tuple. The shape of the file's input, (batch, height, width, channels), with `None`
            for any. A fixed batch is filled up with more noise.

    Returns:
        list of numpy.ndarray. Images (batch, height, width, channels) in float32, RGB in 0..255 or
        normalised.

    Raises:
        ValueError: If the input isn't an RGB image.

    Example:
    >>> import keras_paca
    >>> model = keras_paca.PaCaViT((8, 8, 8, 8), 1, 1, classes=2)
    >>> [images.shape for images in check_images(model, (None, None, None, 3))]
    [(5, 224, 224, 3), (5, 193, 257, 3)]
    """
    if len(shape) != 4 or shape[3] != 3:
        raise ValueError(
            "The check has photographs for models of RGB images (batch, height, width, 3) alone; "
            f"pass `check_data`, or `check=False`. Received: a model of inputs {shape}"
        )
    with resources.files("keras_paca.deploy").joinpath("photographs.npz").open("rb") as stored:
        photographs = np.load(stored)["photographs"].astype("float32")
    sizes = CHECK_SIZES if None in shape[1:3] else (shape[1:3],)
    sizes = [tuple(a or b for a, b in zip(shape[1:3], size, strict=True)) for size in sizes]
    normalise = _normalise if input_kind(model) == NORMALISED else (lambda images: images)
    batches = []
    for size in dict.fromkeys(sizes):
        images = keras.ops.image.resize(photographs, size, data_format="channels_last")
        count = -(-5 // (shape[0] or 5)) * (shape[0] or 5)
        noise = np.random.default_rng(0).uniform(0, 255, (count - 4, *size, 3))
        images = np.concatenate([keras.ops.convert_to_numpy(images), noise.astype("float32")])
        batches.append(normalise(images))
    return batches


def _normalise(images: np.ndarray) -> np.ndarray:
    mean, deviation = images.mean((0, 1, 2)), images.std((0, 1, 2))
    return (images - mean) / deviation


def keras_outputs(model: keras.Model, images: np.ndarray) -> dict[str, np.ndarray]:
    """Return the outputs of a model by name.

    Args:
        model: keras.Model. The model.
        images: numpy.ndarray. Images (batch, height, width, channels).

    Returns:
        dict of str to numpy.ndarray. The outputs. Those without names are called "output_0",
        "output_1" and so on.

    Example:
    >>> import keras_paca
    >>> model = keras_paca.PaCaViT((8, 8, 8, 8), 1, 1, classes=2)
    >>> outputs = keras_outputs(model, np.zeros((3, 32, 32, 3), "float32"))
    >>> {name: array.shape for name, array in outputs.items()}
    {'output_0': (3, 2)}
    """
    outputs = model.predict(images, batch_size=model.inputs[0].shape[0] or 1, verbose=0)
    if isinstance(outputs, dict):
        return {name: np.asarray(array) for name, array in outputs.items()}
    return {f"output_{i}": np.asarray(a) for i, a in enumerate(keras.tree.flatten(outputs))}


def run_file(
    path: Path, format: str, batches: list[np.ndarray], batch_size: int | None
) -> tuple[list[dict[str, np.ndarray]], list[str]]:
    """Run an exported file in its runtime, in a process without Keras.

    Args:
        path: Path. The file, or the folder of a SavedModel.
        format: str. "tf_saved_model", "litert", "onnx" or "openvino".
        batches: list of numpy.ndarray. Images (n, height, width, channels).
        batch_size: int. Images at a time, `None` for a whole array at a time.

    Returns:
        tuple. For each array of images a dict of the outputs by name, and a list of the names of
        the operators in the file.

    Raises:
        RuntimeError: If the file doesn't run.

    Example:
    >>> import keras_paca
    >>> model = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(4, 3)])
    >>> images = np.zeros((2, 8, 8, 3), "float32")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "model.tflite"
    ...     _ = keras_paca.export(model, path, check=False, verbose=False)
    ...     outputs, operators = run_file(path, "litert", [images], batch_size=1)
    >>> outputs[0]["output_0"].shape, operators
    ((2, 6, 6, 4), ['CONV_2D'])
    """
    parts = [
        (number, batch[start : start + (batch_size or len(batch))])
        for number, batch in enumerate(batches)
        for start in range(0, len(batch), batch_size or len(batch))
    ]
    found: list[dict[str, np.ndarray]] = [{} for _ in parts]
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "images.npz", Path(folder) / "outputs.npz"
        np.savez(source, **{f"{i:05}": part for i, (_, part) in enumerate(parts)})
        call_runtime(format, path, source, target)
        with np.load(target) as stored:
            operators = stored["operators"].tolist()
            for key in stored.files:
                if key == "operators":
                    continue
                number, _, name = key.partition("/")
                found[int(number)][name] = stored[key]
    names = list(found[0])
    joined = [
        {name: np.concatenate([f[name] for f, (n, _) in zip(found, parts, strict=True) if n == i])
         for name in names}
        for i in range(len(batches))
    ]  # fmt: skip
    return joined, operators


def call_runtime(format: str, path: Path, images: Path, target: Any) -> str:
    """Call `runtime.py` in a process of its own.

    Args:
        format: str. "tf_saved_model", "litert", "onnx" or "openvino".
        path: Path. The file, or the folder of a SavedModel.
        images: Path. A file ".npz" of arrays of images.
        target: Path or str. The file ".npz" for the outputs, or "measure".

    Returns:
        str. What it printed.

    Raises:
        RuntimeError: If the file doesn't run.

    Example:
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     images = Path(folder) / "images.npz"
    ...     np.savez(images, np.zeros((1, 8, 8, 3), "float32"))
    ...     call_runtime("litert", Path("none.tflite"), images, "measure")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
        ...
    RuntimeError: none.tflite doesn't run in its own runtime (litert): ...
    """
    script = resources.files("keras_paca.deploy").joinpath("runtime.py")
    try:
        return run([sys.executable, str(script), format, str(path), str(images), str(target)])
    except RuntimeError as error:
        raise RuntimeError(
            f"{path.name} doesn't run in its own runtime ({format}): {error}"
        ) from error


def check_copy(model: keras.Model, copy: keras.Model, batches: list[np.ndarray]) -> None:
    """Check that the float32 copy of a model computes what the model computes.

    Detections can't be compared: a difference in a score gives other boxes.

    Args:
        model: keras.Model. A model of a 16-bit policy.
        copy: keras.Model. Its float32 copy.
        batches: list of numpy.ndarray. Images (n, height, width, channels).

    Raises:
        ValueError: If the copy computes something else.

    Example:
    >>> from keras_paca.deploy.float32 import float32_copy
    >>> dense = keras.layers.Dense(2, dtype="mixed_bfloat16")
    >>> model = keras.Sequential([keras.Input((8, 8, 3)), dense])
    >>> check_copy(model, float32_copy(model), [np.ones((1, 8, 8, 3), "float32")])
    """
    precision = precision_of(model)
    for batch in batches:
        wanted, found = keras_outputs(model, batch), keras_outputs(copy, batch)
        if {"boxes", "scores", "labels"} <= set(wanted):
            return
        for name, array in wanted.items():
            a, b = array.astype("float64"), found[name].astype("float64")
            if not np.isfinite(a).all():
                warn_user(
                    f"The model's outputs hold NaN or infinity in {precision}; the file computes "
                    "in float32."
                )
                return
            # not of logits, which 16 bits lose where a probability is small
            difference = np.linalg.norm(b - a) / max(np.linalg.norm(a), np.finfo("float32").tiny)
            if difference > COPY_BOUND:
                raise ValueError(
                    "The float32 copy of the model, which is exported, computes something else "
                    f"than the model in {precision}: the difference of {name!r} is "
                    f"{difference:.2g}, the bound {COPY_BOUND:g}. Does each layer's `get_config` "
                    "return all arguments?"
                )


def compare(
    wanted: dict[str, np.ndarray], found: dict[str, np.ndarray], precision: str
) -> dict[str, dict[str, float]]:
    """Return how far each output of a file is from Keras's.

    Args:
        wanted: dict of str to numpy.ndarray. Keras's outputs.
        found: dict of str to numpy.ndarray. The file's outputs, under the same names or in the
            same order.
        precision: str. "float32", "float16", "dynamic" or "int8", or the mode in which Keras has
            quantized the model.

    Returns:
        dict of str to dict. For each output its measures: "difference" is ‖out - keras‖ / ‖keras‖,
        for probabilities that of their logarithms, which are the logits up to a constant. Outputs
        of files in integers have "cosine" and "top1" too; the second is the share of the images
        with the same first class, of those on which Keras's first class leads by more than the
        root mean square of the differences. For a detector "detections" has
        "unmatched", the share of detections without a partner.

    Raises:
        ValueError: If the file has another number of outputs.

    Example:
    >>> wanted = {"maps": np.array([[3.0, 4.0]])}
    >>> compare(wanted, {"maps": np.array([[3.0, 4.5]])}, "float32")
    {'maps': {'difference': 0.1}}
    """
    found = _same_names(wanted, found)
    if {"boxes", "scores", "labels"} <= set(wanted):
        return {"detections": {"unmatched": _unmatched(wanted, found)}}
    measures = {}
    for name, array in wanted.items():
        a, b = (_before_softmax(x, array, precision) for x in (array, found[name]))
        measures[name] = {"difference": float(np.linalg.norm(b - a) / np.linalg.norm(a))}
        if precision not in BOUNDS:
            product = np.linalg.norm(a) * np.linalg.norm(b)
            measures[name]["cosine"] = float(np.vdot(a, b) / product) if product else 0.0
            measures[name]["top1"] = _same_first_class(a, b)
    return measures


def _same_first_class(a: np.ndarray, b: np.ndarray) -> float:
    """Return how often the first class is the same, where it leads by more than the rounding.

    The scores of a model without training lie so close that any rounding changes their order.
    """
    if a.shape[-1] == 1:
        return 1.0
    largest = np.partition(a, -2, axis=-1)[..., -2:]
    lead = largest.max(-1) - largest.min(-1)
    clear = lead > np.sqrt(np.mean((b - a) ** 2))
    same = a.argmax(-1) == b.argmax(-1)
    return float(same[clear].mean()) if clear.any() else 1.0


def exceeded(measures: dict[str, dict[str, float]], precision: str) -> list[str]:
    """Return what lies outside its bound.

    Args:
        measures: dict of str to dict. What `compare` returns.
        precision: str. The file's precision, as for `compare`.

    Returns:
        list of str. A sentence part for each measure outside its bound, for an error message.

    Example:
    >>> exceeded({"maps": {"difference": 0.1}}, "float32")
    ["difference of 'maps' is 0.1, the bound 1e-05"]
    """
    most = {"difference": BOUNDS.get(precision, np.inf), "unmatched": MOST_UNMATCHED}
    least = {"cosine": LEAST_COSINE, "top1": LEAST_TOP1}
    words = []
    for name, values in measures.items():
        for measure, value in values.items():
            bound = most.get(measure, least.get(measure))
            good = value <= bound if measure in most else value >= bound  # NaN is never
            if not good:
                words.append(f"{measure} of {name!r} is {value:.2g}, the bound {bound:g}")
    return words


def _same_names(wanted: dict, found: dict) -> dict:
    """Return what was found under the names of what was wanted."""
    if set(wanted) <= set(found):
        return found
    if len(wanted) != len(found):
        raise ValueError(f"The file has outputs {sorted(found)}. Expected: {sorted(wanted)}")
    # formats without names keep the order in which TensorFlow flattens: that of sorted names
    return dict(zip(sorted(wanted), found.values(), strict=True))


def _before_softmax(array: np.ndarray, wanted: np.ndarray, precision: str) -> np.ndarray:
    """Return logits, up to a constant, of what sums to 1 in Keras; anything else as it is."""
    array = array.astype("float64")
    sums = wanted.astype("float64").sum(-1)
    is_softmax = wanted.min() >= 0 and wanted.shape[-1] > 1 and np.abs(sums - 1).max() < 1e-2
    if not is_softmax or precision not in BOUNDS:  # whose small probabilities are 0
        return array
    return centred_logits(array)


def centred_logits(probabilities: np.ndarray) -> np.ndarray:
    """Return the logits of probabilities, up to a constant that a softmax removes.

    Args:
        probabilities: numpy.ndarray. Numbers in 0..1 whose last axis sums to 1.

    Returns:
        numpy.ndarray. Their logarithms less the mean over the last axis, in float64.

    Example:
    >>> centred_logits(np.array([0.5, 0.5]))
    array([0., 0.])
    """
    logits = np.log(np.maximum(probabilities.astype("float64"), np.finfo("float32").tiny))
    return logits - logits.mean(axis=-1, keepdims=True)


def _unmatched(wanted: dict, found: dict) -> float:
    """Return the share of detections, here or there, without a partner of their own."""
    alone = total = 0
    for i in range(len(wanted["boxes"])):
        a, b = (
            {key: each[key][i][each["labels"][i] >= 0] for key in ("boxes", "scores", "labels")}
            for each in (wanted, found)
        )
        near = np.abs(a["boxes"][:, None] - b["boxes"]).max(-1) < PARTNER_PIXELS
        near &= np.abs(a["scores"][:, None] - b["scores"]) < PARTNER_SCORE
        near &= a["labels"][:, None] == b["labels"]
        used: set[int] = set()
        for row in near:
            partner = next((j for j in np.flatnonzero(row) if j not in used), None)
            if partner is not None:
                used.add(int(partner))
        alone += len(a["labels"]) + len(b["labels"]) - 2 * len(used)
        total += len(a["labels"]) + len(b["labels"])
    return alone / max(total, 1)
