"""Fine-tuning: first the head on the frozen backbone, then everything with a small rate."""

import csv
import math
from collections.abc import Callable
from numbers import Integral, Real
from pathlib import Path
from typing import Any

import keras

from keras_paca.frozen import restore_trainable_state, trainable_state


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
    """Train a classifier in two phases, keep the best model and resume after interruptions.

    First the last layer learns alone for `head_epochs` at ten times the rate. Then the whole model
    learns for `epochs`, with AdamW under a cosine that warms up over its first tenth. Layers that
    are frozen when this is called stay frozen. After every epoch `output/best.keras` is the model
    with the highest validation accuracy so far, not compiled, and `output/log.csv` has a line more.
    The run goes on from there if it is started again; an epoch that was stopped while it was being
    saved runs, and is logged, again.

    Args:
        model: keras.Model. Classifier whose last layer is the head, a `Dense` layer that gives
            probabilities or logits.
        training: Data set for `fit`, with a length, giving (images, one-hot labels).
        validation: The same for `evaluate`.
        output: str or Path. Folder for the results; made where it is missing.
        head_epochs: int. Epochs of the first phase.
        epochs: int. Epochs of the second phase.
        learning_rate: float. Highest rate of the second phase.
        weight_decay: float. Weight decay of AdamW, not on biases and norms.
        label_smoothing: float. Label smoothing of the cross-entropy.
        verbose: As for `fit`.
        on_phase: Callable. Called with the name of a phase ("head" or "whole"), its epochs done
            before and all its epochs, when that phase begins.

    Returns:
        float. The highest validation accuracy, of `output/best.keras`.

    Raises:
        ValueError: If a number is out of its range, `output` is a file, or the last layer can't
            learn.

    Source: the second phase is PaCa-ViT's recipe (AdamW, cosine, weight decay 0.05, label
    smoothing 0.1), shortened.
    """
    _check_numbers(head_epochs, epochs, learning_rate, weight_decay, label_smoothing)
    head = _check_head(model, head_epochs)
    output = Path(output)
    if output.exists() and not output.is_dir():
        raise ValueError(f"`output` must be a folder. Received a file: {output}")
    output.mkdir(parents=True, exist_ok=True)
    frozen = model.trainable, trainable_state(model)
    phases = (("head", head_epochs, 10 * learning_rate), ("whole", epochs, learning_rate))
    before = 0  # epochs of the phases before
    for phase, count, rate in phases:
        _set_trainable(model, *frozen)
        if phase == "head":
            for layer in model.layers:
                layer.trainable = layer.trainable and layer is head
        if count > 0:
            steps = count * len(training)
            _compile(model, rate, steps, weight_decay, label_smoothing, _gives_logits(head))
            done = _restore(model, output, phase)
            if on_phase is not None:
                on_phase(phase, done, count)
            if done < count:
                model.fit(
                    training,
                    validation_data=validation,
                    initial_epoch=done,
                    epochs=count,
                    callbacks=[  # the best before the state: an epoch that is done is kept
                        _KeepBest(output, phase, frozen),
                        _KeepState(output, phase),
                        _SetEpoch(training, before),
                    ],
                    verbose=verbose,
                )
        before += count
    _set_trainable(model, *frozen)
    return best_accuracy(output)


def _check_numbers(
    head_epochs: Any, epochs: Any, learning_rate: Any, weight_decay: Any, label_smoothing: Any
) -> None:
    """Raise where a number is out of its range, NaN included."""
    for name, value in (("head_epochs", head_epochs), ("epochs", epochs)):
        if isinstance(value, bool) or not isinstance(value, Integral) or value < 0:
            raise ValueError(f"`{name}` must be an integer from 0. Received: {name}={value!r}")
    for name, value, good in (
        ("learning_rate", learning_rate, lambda x: 0 < x < math.inf),
        ("weight_decay", weight_decay, lambda x: 0 <= x < math.inf),
        ("label_smoothing", label_smoothing, lambda x: 0 <= x < 1),
    ):
        if isinstance(value, bool) or not isinstance(value, Real) or not good(value):
            expected = "in [0, 1)" if name == "label_smoothing" else "a finite number above 0"
            expected = "a finite number from 0" if name == "weight_decay" else expected
            raise ValueError(f"`{name}` must be {expected}. Received: {name}={value!r}")


def _check_head(model: keras.Model, head_epochs: int) -> keras.layers.Layer:
    """Return the last layer, which is to learn first."""
    head = model.layers[-1]
    if not head.weights:
        raise ValueError(
            "The last layer of `model` must be its classifier, such as a Dense layer. "
            f"Received: a model that ends in {head!r}"
        )
    if head_epochs and not (model.trainable and head.trainable):
        raise ValueError(
            f"The last layer, {head.name!r}, is frozen and can't learn first. Pass "
            f"`head_epochs=0`. Received: head_epochs={head_epochs}"
        )
    return head


def _gives_logits(head: keras.layers.Layer) -> bool:
    return getattr(head, "activation", None) is keras.activations.linear


def _set_trainable(model: keras.Model, trainable: bool, state: dict[str, list[str]]) -> None:
    """Freeze a model's layers as they were."""
    model.trainable = trainable
    restore_trainable_state(model, **state)


def best_accuracy(output: str | Path) -> float:
    """Return the highest validation accuracy in `output/log.csv`, -1 before the first epoch."""
    log = Path(output) / "log.csv"
    if not log.exists():
        return -1.0
    with log.open(newline="", encoding="utf-8") as lines:
        return max((float(row["val_accuracy"]) for row in csv.DictReader(lines)), default=-1.0)


def epochs_done(output: str | Path, phase: str) -> int:
    """Return how many epochs of a phase, "head" or "whole", are done in a folder of results."""
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
    optimizer.exclude_from_weight_decay(var_names=["bias", "beta", "gamma", "scale", "embedding"])
    model.compile(
        optimizer,
        keras.losses.CategoricalCrossentropy(from_logits, label_smoothing),
        metrics=["accuracy"],
    )


def _states(output: Path, phase: str) -> list[tuple[int, Path]]:
    """Return (epochs done, file of the model's and the optimizer's state), the newest last."""
    found = output.glob(f"{phase}_*.weights.h5")
    return sorted((int(path.name.split(".")[0].rpartition("_")[2]), path) for path in found)


def _restore(model: keras.Model, output: Path, phase: str) -> int:
    """Bring a compiled model to where an earlier run of the phase was; return the epochs done."""
    states = _states(output, phase)
    if not states:
        return 0
    done, path = states[-1]
    model.optimizer.build(model.trainable_variables)
    model.load_weights(path)
    return done


class _KeepState(keras.callbacks.Callback):
    """Save after each epoch all that the next needs.

    Keras's `BackupAndRestore` writes over its file, which a process killed meanwhile leaves
    broken, and deletes it before the phase's result is safe.
    """

    def __init__(self, output: Path, phase: str) -> None:
        super().__init__()
        self.output = output
        self.phase = phase

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Save beside, rename, then delete the state before."""
        partial = self.output / "partial.weights.h5"
        self.model.save_weights(partial)
        partial.replace(self.output / f"{self.phase}_{epoch + 1:04d}.weights.h5")
        for _, older in _states(self.output, self.phase)[:-1]:
            older.unlink()


class _SetEpoch(keras.callbacks.Callback):
    """Tell a data set that draws by its `epoch` which one it is, after a restart too."""

    def __init__(self, data: Any, before: int) -> None:
        super().__init__()
        self.data = data
        self.before = before

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        """Set the epoch, counted over all phases."""
        if hasattr(self.data, "epoch"):
            self.data.epoch = self.before + epoch


class _KeepBest(keras.callbacks.Callback):
    """Save the best model whole, and a line for each epoch; what was best survives a restart."""

    def __init__(self, output: Path, phase: str, frozen: tuple) -> None:
        super().__init__()
        self.output = output
        self.phase = phase
        self.frozen = frozen

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Save where the epoch was better than all before."""
        logs = logs or {}
        if logs["val_accuracy"] > best_accuracy(self.output):
            # A copy, without the optimizer's state and frozen as the model was before the phases;
            # saved beside, then renamed: a run that is killed meanwhile leaves the old one whole.
            best = self.model.__class__.from_config(self.model.get_config())
            best.set_weights(self.model.get_weights())
            _set_trainable(best, *self.frozen)
            partial = self.output / "partial.keras"
            best.save(partial)
            partial.replace(self.output / "best.keras")
        log = self.output / "log.csv"
        row = {"phase": self.phase, "epoch": epoch + 1, **logs}
        new = not log.exists()
        with log.open("a", newline="", encoding="utf-8") as lines:
            writer = csv.DictWriter(lines, sorted(row))
            if new:
                writer.writeheader()
            writer.writerow(row)
