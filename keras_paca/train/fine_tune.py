"""Fine-tuning in two phases: first the head alone, then the whole model at a lower rate."""

import csv
import math
from collections.abc import Callable
from numbers import Integral, Real
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_paca.frozen import restore_trainable_state, set_trainable, trainable_state


def fine_tune(
    model: keras.Model,
    training: Any,
    validation: Any,
    output: str | Path,
    head_epochs: int = 3,
    epochs: int = 15,
    learning_rate: float = 2e-4,
    weight_decay: float = 0.05,
    label_smoothing: float = 0.1,
    verbose: str | int = "auto",
    on_phase: Callable[[str, int, int], None] | None = None,
) -> float:
    """Train a classifier in two phases, keep the best model, and resume after an interruption.

    In the first phase only the head is trained, for `head_epochs` epochs at ten times the learning
    rate. In the second phase the whole model is trained for `epochs` epochs. Both use
    AdamW and a cosine schedule with a warmup over the first tenth of the steps. Layers that are
    frozen when this function is called stay frozen.

    After every epoch, the model with the highest validation accuracy so far is saved as
    `output/best.keras`, not compiled, and a line is added to `output/log.csv`. If `best.keras` was
    moved away, the comparison starts again with the next epoch. A run that was interrupted
    continues after its last complete epoch when this function is called again with the same
    arguments. An epoch that was interrupted while it was being saved is trained and logged again.

    Args:
        model: keras.Model. A classifier that can be copied from its configuration. Its last layer
            must be the head, a `Dense` layer whose outputs are probabilities or logits. A model of
            this library may have several heads, whose losses are added.
        training: keras.utils.PyDataset. This or another data set for `fit`. It must have a length
            and yield batches of (images, one-hot labels), as an `ImageFolder` does.
        validation: keras.utils.PyDataset. This or another data set for `evaluate`, of the same
            kind.
        output: str or Path. Folder for the results. It is created if it doesn't exist.
        head_epochs: int. Number of epochs of the first phase.
        epochs: int. Number of epochs of the second phase.
        learning_rate: float. The highest learning rate of the second phase.
        weight_decay: float. Weight decay of AdamW. Biases, normalizations, layer scales and
            embeddings are excluded from it.
        label_smoothing: float. Label smoothing of the cross-entropy, in [0, 1).
        verbose: str or int. As in `keras.Model.fit`.
        on_phase: Callable or None. Called at the start of each phase with its name ("head" or
            "whole"), the number of its epochs that are already done, and the number of all its
            epochs.

    Returns:
        float. The validation accuracy of `output/best.keras`, the highest one.

    Raises:
        ValueError: If a number is out of its range; if `output` is a file, or holds a run that
            can't be read; if `model` isn't a classifier or can't be copied; if its head is
            frozen or has no weights; or if the data don't yield one-hot labels for its classes.
            Also if the loss becomes NaN or infinite. Then the files of earlier epochs are kept,
            but the weights of `model` can't be used any more.

    Example:
    >>> import tempfile
    >>> from pathlib import Path
    >>> import keras
    >>> from PIL import Image
    >>> from keras_paca.train import ImageFolder, find_images, fine_tune, split_files
    >>> folder, output = Path(tempfile.mkdtemp()), Path(tempfile.mkdtemp())
    >>> for name in ("cat/0.png", "cat/1.png", "dog/0.png", "dog/1.png"):
    ...     (folder / name).parent.mkdir(exist_ok=True)
    ...     Image.new("RGB", (8, 8)).save(folder / name)
    >>> files, classes = find_images(folder)
    >>> training, validation = (
    ...     ImageFolder(part, classes=2, image_size=8, batch_size=2) for part in split_files(files)
    ... )
    >>> model = keras.Sequential([
    ...     keras.Input((8, 8, 3)),
    ...     keras.layers.Flatten(),
    ...     keras.layers.Dense(2, activation="softmax"),
    ... ])
    >>> fine_tune(model, training, validation, output, head_epochs=1, epochs=1, verbose=0)
    0.5
    >>> sorted(path.name for path in output.iterdir())
    ['best.keras', 'head_0001.weights.h5', 'log.csv', 'whole_0001.weights.h5']

    Source: the second phase is PaCa-ViT's recipe (AdamW, cosine, weight decay 0.05, label
    smoothing 0.1), shortened.
    """
    _check_numbers(head_epochs, epochs, learning_rate, weight_decay, label_smoothing)
    classes = _check_classifier(model)
    heads = _check_heads(model, head_epochs)
    _check_copy(model)
    output = Path(output)
    if output.exists() and not output.is_dir():
        raise ValueError(f"`output` must be a folder. Received a file: {output}")
    best_accuracy(output)  # raises if the log can't be read
    for name, data in (("training", training), ("validation", validation)):
        _check_data(name, data, classes)
    output.mkdir(parents=True, exist_ok=True)
    frozen = model.trainable, trainable_state(model)
    phases = (("head", head_epochs, 10 * learning_rate), ("whole", epochs, learning_rate))
    before = 0  # number of epochs of the earlier phases
    try:
        for phase, count, rate in phases:
            _set_trainable(model, *frozen)
            if phase == "head":
                for layer in model.layers:
                    if all(layer is not head for head in heads):
                        set_trainable(layer, False)
            if count > 0:
                steps = count * len(training)
                _compile(model, rate, steps, weight_decay, label_smoothing, _gives_logits(model))
                done = _restore(model, output, phase)
                if on_phase is not None:
                    on_phase(phase, done, count)
                if done < count:
                    model.fit(
                        training,
                        validation_data=validation,
                        initial_epoch=done,
                        epochs=count,
                        callbacks=[
                            _StopOnNaN(output, phase),  # first: nothing of such an epoch is kept
                            # before the state: no epoch counts as done before its model is saved
                            _KeepBest(output, phase, frozen),
                            _KeepState(output, phase),
                            _SetEpoch(training, before),
                        ],
                        verbose=verbose,
                    )
            before += count
    finally:
        _set_trainable(model, *frozen)
    return best_accuracy(output)


def _check_numbers(
    head_epochs: Any, epochs: Any, learning_rate: Any, weight_decay: Any, label_smoothing: Any
) -> None:
    """Raise an error if a number is NaN or out of its range."""
    for name, value in (("head_epochs", head_epochs), ("epochs", epochs)):
        if isinstance(value, bool) or not isinstance(value, Integral) or value < 0:
            raise ValueError(
                f"`{name}` must be an integer of at least 0. Received: {name}={value!r}"
            )
    for name, value, good in (
        ("learning_rate", learning_rate, lambda x: 0 < x < math.inf),
        ("weight_decay", weight_decay, lambda x: 0 <= x < math.inf),
        ("label_smoothing", label_smoothing, lambda x: 0 <= x < 1),
    ):
        if isinstance(value, bool) or not isinstance(value, Real) or not good(value):
            expected = "in [0, 1)" if name == "label_smoothing" else "a finite number above 0"
            expected = "a finite number of at least 0" if name == "weight_decay" else expected
            raise ValueError(f"`{name}` must be {expected}. Received: {name}={value!r}")


def _check_classifier(model: keras.Model) -> int | None:
    """Return the number of classes, or `None` for a model whose outputs aren't known."""
    outputs = getattr(model, "outputs", None)  # a subclassed model has none
    if outputs is None:
        return None
    shapes = [tuple(output.shape) for output in outputs]
    several = len(_heads(model)) > 1 and len(set(shapes)) == 1
    if not (several or len(shapes) == 1) or len(shapes[0]) != 2:
        raise ValueError(
            "`model` must be a classifier, whose outputs are (batch, classes). "
            f"Received: outputs of the shapes {shapes}"
        )
    return shapes[0][1]


def _check_copy(model: keras.Model) -> None:
    """Raise an error if the model can't be copied, as the best model must be."""
    try:
        _copy(model)
    except Exception as error:  # of any kind, depending on the class of the model
        raise ValueError(
            "`model` must be one that can be copied from its configuration, as functional and "
            f"Sequential models can. Received: {model!r}, for which this fails: {error}"
        ) from error


def _copy(model: keras.Model) -> keras.Model:
    copy = model.__class__.from_config(model.get_config())
    copy.set_weights(model.get_weights())
    return copy


def _check_data(name: str, data: Any, classes: int | None) -> None:
    """Raise an error if data aren't batches with one-hot labels for the classes of the model."""
    try:
        # `fit` treats lists and the like as arrays, not as batches.
        batches = 0 if isinstance(data, str | list | tuple | dict) else len(data)
    except TypeError:  # such as for a generator
        batches = 0
    if not batches:
        raise ValueError(
            f"`{name}` must be a data set of one batch or more and with a length, such as "
            f"`ImageFolder`. Received: {name}={data!r}"
        )
    batch = data[0] if isinstance(data, keras.utils.PyDataset) else next(iter(data))
    if not isinstance(batch, tuple | list) or len(batch) < 2:
        raise ValueError(
            f"`{name}` must give batches (images, one-hot labels). "
            f"Received: a batch that is {type(batch).__name__}"
        )
    shape = tuple(np.shape(batch[1]))
    if len(shape) != 2 or classes not in (None, shape[1]):
        raise ValueError(
            f"`{name}` must give one-hot labels (batch, {classes or 'classes'}), for each of the "
            f"model's classes. Received: labels of shape {shape}"
        )


def _heads(model: keras.Model) -> list[keras.layers.Layer]:
    """Return the classifiers of a model of several, and the last layer of any other."""
    names = {*getattr(model, "classifier_keys", {}).values()}
    return [layer for layer in model.layers if layer.name in names] or [model.layers[-1]]


def _check_heads(model: keras.Model, head_epochs: int) -> list[keras.layers.Layer]:
    """Return the head or heads, which are trained first."""
    heads = _heads(model)
    for head in heads:
        if not head.weights:
            raise ValueError(
                "The last layer of `model` must be its classifier, such as a Dense layer. "
                f"Received: a model that ends in {head!r}"
            )
        if head_epochs and not (model.trainable and head.trainable):
            raise ValueError(
                f"The last layer, {head.name!r}, is frozen, so it can't be trained first. Pass "
                f"`head_epochs=0`. Received: head_epochs={head_epochs}"
            )
    return heads


def _gives_logits(model: keras.Model) -> bool:
    outputs = getattr(model, "outputs", None)  # a subclassed model has none
    last = outputs[0]._keras_history.operation if outputs else model.layers[-1]
    return getattr(last, "activation", None) is keras.activations.linear


def _set_trainable(model: keras.Model, trainable: bool, state: dict[str, list[str]]) -> None:
    """Restore which layers of a model are frozen."""
    set_trainable(model, trainable)
    restore_trainable_state(model, **state)


def best_accuracy(output: str | Path) -> float:
    """Return the validation accuracy of `output/best.keras`, as read from `output/log.csv`.

    Args:
        output: str or Path. The folder of results of `fine_tune`.

    Returns:
        float. The accuracy, or -1 if no epoch is done yet.

    Raises:
        ValueError: If the log can't be read.

    Example:
    >>> import tempfile
    >>> from keras_paca.train import best_accuracy
    >>> best_accuracy(tempfile.mkdtemp())  # a folder without results
    -1.0
    """
    lines = _log_lines(Path(output))
    try:
        rows = [(row.get("kept"), float(row["val_accuracy"])) for row in csv.DictReader(lines)]
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{Path(output) / 'log.csv'} must hold a number as val_accuracy in every line. "
            f"Received: {error}. Choose another folder for the results, or delete that file."
        ) from error
    kept = [accuracy for told, accuracy in rows if told == "True"]
    # logs of earlier versions don't say which models were kept
    return kept[-1] if kept else max((accuracy for _, accuracy in rows), default=-1.0)


def _log_lines(output: Path) -> list[str]:
    """Return the lines of the log, without an incomplete one that a killed run may have left."""
    log = output / "log.csv"
    if not log.exists():
        return []
    with log.open(newline="", encoding="utf-8") as lines:
        return [line for line in lines if line.endswith("\n")]


def epochs_done(output: str | Path, phase: str) -> int:
    """Return how many epochs of a phase are done.

    Args:
        output: str or Path. The folder of results of `fine_tune`.
        phase: str. "head" or "whole".

    Returns:
        int. The number of epochs, 0 if the folder holds no results.

    Example:
    >>> import tempfile
    >>> epochs_done(tempfile.mkdtemp(), "head")
    0
    """
    states = _states(Path(output), phase)
    return states[-1][0] if states else 0


def _compile(
    model: keras.Model,
    rate: float,
    steps: int,
    weight_decay: float,
    label_smoothing: float,
    from_logits: bool,
) -> None:
    warmup = max(steps // 10, 1)
    schedule = keras.optimizers.schedules.CosineDecay(
        0.0, max(steps - warmup, 1), warmup_target=rate, warmup_steps=warmup
    )
    optimizer = keras.optimizers.AdamW(schedule, weight_decay=weight_decay)
    names = ["bias", "beta", "gamma", "scale", "offset", "embedding"]
    optimizer.exclude_from_weight_decay(var_names=names)
    model.compile(
        optimizer,
        keras.losses.CategoricalCrossentropy(from_logits, label_smoothing),
        metrics=["accuracy"],
    )


def _states(output: Path, phase: str) -> list[tuple[int, Path]]:
    """Return (epochs done, file with the state of model and optimizer) pairs, the newest last."""
    found = output.glob(f"{phase}_*.weights.h5")
    return sorted((int(path.name.split(".")[0].rpartition("_")[2]), path) for path in found)


def _restore(model: keras.Model, output: Path, phase: str) -> int:
    """Load the state of an earlier run of the phase, and return the number of its epochs."""
    states = _states(output, phase)
    if not states:
        return 0
    done, path = states[-1]
    model.optimizer.build(model.trainable_variables)
    try:
        model.load_weights(path)
    except (KeyError, OSError, RuntimeError, ValueError) as error:
        raise ValueError(
            f"The state to go on from, {path}, can't be loaded into the model: {error}. Delete "
            "that file to begin this phase again, or choose another folder for the results."
        ) from error
    return done


class _StopOnNaN(keras.callbacks.Callback):
    """Raise an error if training diverges.

    Keras's `TerminateOnNaN` would only end the phase. The state would be saved, and the next phase
    would begin.
    """

    def __init__(self, output: Path, phase: str) -> None:
        super().__init__()
        self.output = output
        self.phase = phase
        self.epoch = 0

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        """Store the number of the epoch, which the other methods need for the error."""
        self.epoch = epoch

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        """Check the loss."""
        self._check((logs or {}).get("loss", 0.0))

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Check the validation loss, which alone shows the effect of the last step of an epoch."""
        self._check((logs or {}).get("val_loss", 0.0))

    def _check(self, loss: Any) -> None:
        if math.isfinite(loss):
            return
        best = self.output / "best.keras"
        kept = f"the best model before is kept in {best}" if best.exists() else "no model was kept"
        what = {"head": "the head alone", "whole": "the whole model"}[self.phase]
        raise ValueError(
            f"Training {what} diverged: the loss became {float(loss)} in epoch {self.epoch + 1}, "
            f"and {kept}. Choose a smaller learning rate and start again from a fresh model."
        )


class _KeepState(keras.callbacks.Callback):
    """Save the state of model and optimizer after each epoch, to resume from it.

    Keras's `BackupAndRestore` overwrites its file, which is broken if the process is killed while
    writing, and deletes it before the result of the phase is saved.
    """

    def __init__(self, output: Path, phase: str) -> None:
        super().__init__()
        self.output = output
        self.phase = phase

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Save the state under another name, rename it, then delete the older state."""
        partial = self.output / "partial.weights.h5"
        self.model.save_weights(partial)
        partial.replace(self.output / f"{self.phase}_{epoch + 1:04d}.weights.h5")
        for _, older in _states(self.output, self.phase)[:-1]:
            older.unlink()


class _SetEpoch(keras.callbacks.Callback):
    """Set the `epoch` of a data set that depends on it, also after a restart."""

    def __init__(self, data: Any, before: int) -> None:
        super().__init__()
        self.data = data
        self.before = before

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        """Set the epoch, counted over all phases."""
        if hasattr(self.data, "epoch"):
            self.data.epoch = self.before + epoch


class _KeepBest(keras.callbacks.Callback):
    """Save the best model, and add a line to the log for each epoch, also after a restart."""

    def __init__(self, output: Path, phase: str, frozen: tuple) -> None:
        super().__init__()
        self.output = output
        self.phase = phase
        self.frozen = frozen

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Save the model if the epoch was better than all earlier ones."""
        logs = logs or {}
        path = self.output / "best.keras"
        kept = logs["val_accuracy"] > (best_accuracy(self.output) if path.exists() else -1.0)
        if kept:
            # The copy has no optimizer, and its layers are frozen as they were before the phases.
            # It is saved under another name and renamed, so a killed run leaves the old file whole.
            best = _copy(self.model)
            _set_trainable(best, *self.frozen)
            partial = self.output / "partial.keras"
            best.save(partial)
            partial.replace(path)
        self._log({"phase": self.phase, "epoch": epoch + 1, "kept": kept, **logs})

    def _log(self, row: dict) -> None:
        """Add a line to the log, and remove an incomplete last line."""
        lines = _log_lines(self.output)
        partial = self.output / "partial.csv"
        with partial.open("w", newline="", encoding="utf-8") as file:
            file.writelines(lines)
            columns = next(csv.reader(lines), sorted(row))
            writer = csv.DictWriter(file, columns, extrasaction="ignore")
            if not lines:
                writer.writeheader()
            writer.writerow(row)
        partial.replace(self.output / "log.csv")
