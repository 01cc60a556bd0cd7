"""The main job: a small PaCa-ViT learns digits, predicts, explains itself, exports and reloads."""

import time
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_paca.backbones import PaCaViT
from keras_paca.deploy import export
from keras_paca.explain import cluster_maps, cluster_statistics, plot_cluster_maps
from keras_paca.explain.pictures import new_figure
from keras_paca.extras import install_command

SIDE, EPOCHS, BATCH = 64, 8, 64
ACCURACY, COSINE, WINNERS = 0.97, 0.9, 5  # at least, at most, at least
TEST = 325  # of 1,797 images; the others fill whole batches, so that one step is compiled
SETTINGS = {
    "hidden_dims": (32, 64, 96, 128),
    "depths": (1, 1, 2, 1),
    "num_heads": (1, 2, 3, 4),
    "clusters": (16, 16, 16, 0),
    "drop_path_rate": 0.05,
    "classes": 10,
    "input_shape": (SIDE, SIDE, 3),
    "name": "paca_digits",
}


def run_demo(output: str | Path, verbose: str | int = "auto") -> dict[str, Any]:
    """Train a small PaCa-ViT on scikit-learn's handwritten digits and show what it can do.

    The model predicts, draws its clusters, is saved and loaded again, and is exported to LiteRT.
    Where TensorFlow or LiteRT's runtime is missing, the demo leaves out the LiteRT file and prints
    how to install what is missing.

    Args:
        output: str or Path. Folder for `digits.keras`, `digits.tflite` and `clusters.png`. It is
            created where it doesn't exist.
        verbose: str or int. How `fit` reports its progress, "auto", 0, 1 or 2.

    Returns:
        dict. "accuracy" on the test images (float), "seconds" of training (float), "clusters" (what
        `cluster_statistics` returns) and "difference" from the trained model, a dict: "keras" is
        the largest difference of a probability after loading `digits.keras`, "litert" the
        relative difference that `keras_paca.export` found, `None` without a LiteRT file.

    Raises:
        ImportError: If scikit-learn or Matplotlib, which the extra `demo` brings, is missing.
        ValueError: If `output` is a file, or the LiteRT file doesn't compute what the model
            computes.
        RuntimeError: If the model's accuracy is too low, its clusters are too similar, the loaded
            model predicts something else, or the model can't be converted to LiteRT.

    Example:
    >>> import tempfile
    >>> with tempfile.NamedTemporaryFile() as file:
    ...     run_demo(file.name)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
        ...
    ValueError: `output` must be a folder. Received a file: ...
    """
    output = Path(output)
    if output.exists() and not output.is_dir():
        raise ValueError(f"`output` must be a folder. Received a file: {output}")
    output.mkdir(parents=True, exist_ok=True)
    new_figure(1, 1)  # says at once what is missing for the picture at the end
    keras.utils.set_random_seed(0)
    (train_images, train_labels), (test_images, test_labels) = load_digits()
    print(
        f"{len(train_images)} images to learn from, {len(test_images)} to test, "
        f"{SIDE} x {SIDE} pixels; backend {keras.backend.backend()}"
    )

    model = PaCaViT(**SETTINGS)
    steps = EPOCHS * -(-len(train_images) // BATCH)
    warmup = steps // 10
    rate = keras.optimizers.schedules.CosineDecay(
        0.0, steps - warmup, warmup_target=2e-3, warmup_steps=warmup
    )
    model.compile(
        keras.optimizers.AdamW(rate, weight_decay=0.05),
        "sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    start = time.perf_counter()
    model.fit(
        train_images, train_labels, batch_size=BATCH, epochs=EPOCHS, shuffle=True, verbose=verbose
    )
    seconds = time.perf_counter() - start
    _, accuracy = model.evaluate(test_images, test_labels, batch_size=TEST, verbose=0)
    print(f"trained {model.count_params():,} parameters in {seconds:.0f} s")
    print(f"test accuracy {accuracy:.2%}")

    scores = model.predict(test_images, batch_size=TEST, verbose=0)
    found = ", ".join(str(digit) for digit in scores[:10].argmax(axis=-1))
    print(f"predicted {found}")
    print(f"truth     {', '.join(str(digit) for digit in test_labels[:10])}")

    maps = cluster_maps(model, test_images[:BATCH], batch_size=BATCH)
    statistics = cluster_statistics(maps)
    for level, values in statistics.items():
        print(
            f"{level}: mean cosine between clusters {values['cosine']:.2f}, "
            f"{values['winners']:.1f} of {maps[level].shape[-1]} win patches"
        )
    picture = output / "clusters.png"
    plot_cluster_maps(test_images[0], {k: v[:1] for k, v in maps.items()}, path=picture)
    print(f"cluster maps in {picture}")

    difference = {"keras": _reload_keras(model, test_images, scores, output / "digits.keras")}
    difference["litert"] = _export_litert(model, test_images[:BATCH], output / "digits.tflite")
    _check(float(accuracy), statistics)
    return {
        "accuracy": float(accuracy),
        "seconds": seconds,
        "clusters": statistics,
        "difference": difference,
    }


def load_digits() -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """Return scikit-learn's 1,797 handwritten digits, enlarged from 8 x 8 to 64 x 64.

    Returns:
        tuple. (training images, labels) and (test images, labels). Images are RGB in 0..255, an
        array (n, 64, 64, 3) of float32; labels are integers from 0 to 9.

    Raises:
        ImportError: If scikit-learn, which the extra `demo` brings, is missing.

    Example:
    >>> (images, labels), (test_images, test_labels) = load_digits()
    >>> images.shape, test_images.shape
    ((1472, 64, 64, 3), (325, 64, 64, 3))
    """
    try:
        from sklearn.datasets import load_digits as load
    except ImportError as error:
        raise ImportError(f"The demo needs scikit-learn: {install_command('demo')}") from error
    digits = load()
    images = digits.images[..., None].astype("float32") * (255 / 16)
    images = keras.ops.image.resize(
        images, (SIDE, SIDE), interpolation="bicubic", data_format="channels_last"
    )
    images = np.clip(keras.ops.convert_to_numpy(images), 0, 255).repeat(3, axis=-1)
    order = np.random.default_rng(0).permutation(len(images))
    test, train = order[:TEST], order[TEST:]
    labels = digits.target
    return (images[train], labels[train]), (images[test], labels[test])


def _check(accuracy: float, statistics: dict[str, dict[str, float]]) -> None:
    if accuracy < ACCURACY:
        raise RuntimeError(f"test accuracy {accuracy:.2%} is below {ACCURACY:.0%}")
    for level, values in statistics.items():
        if values["cosine"] > COSINE or values["winners"] < WINNERS:
            raise RuntimeError(f"the clusters of {level} are too much alike: {values}")


def _reload_keras(model: Any, images: np.ndarray, scores: np.ndarray, path: Path) -> float:
    """Save, reload, and return the largest difference."""
    model.save(path)
    found = keras.saving.load_model(path).predict(images, batch_size=TEST, verbose=0)
    difference = float(np.abs(found - scores).max())
    if difference > 1e-4:
        raise RuntimeError(f"{path} disagrees with the trained model by {difference:.1e}")
    print(f"{path} agrees with the trained model to {difference:.0e}")
    return difference


def _export_litert(model: Any, images: np.ndarray, path: Path) -> float | None:
    """Export to LiteRT, check the file in its own runtime, and return the relative difference.

    Returns `None`, after saying what is missing, where the file can't be written or run.
    """
    try:
        exported = export(model, path, check_data=images, verbose=False)
    except ImportError as error:
        print(f"no LiteRT file: {error}")
        return None
    (measures,) = exported.measures.values()
    print(f"{path} agrees with the trained model to {measures['difference']:.0e}")
    return measures["difference"]
