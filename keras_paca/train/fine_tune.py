"""Fine-tuning: first the head on the frozen backbone, then everything with a small rate."""

import csv
from pathlib import Path
from typing import Any

import keras


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
) -> float:
    """Train a classifier in two phases, keep the best model and resume after interruptions.

    First the last layer learns alone for `head_epochs` at ten times the rate; then the whole model
    for `epochs`, with AdamW under a cosine that warms up over its first tenth. After every epoch
    `output/best.keras` is the model with the highest validation accuracy so far, not compiled,
    `output/log.csv` has a line more, and the run goes on from there if it is started again; an
    epoch that was stopped while it was being saved runs, and is logged, again.

    Args:
        model: classifier whose last layer is the head, with probabilities as outputs.
        training: data set for `fit`, with a length, giving (images, one-hot labels).
        validation: the same for `evaluate`.
        output: folder for the results; made where it is missing.
        head_epochs: epochs of the first phase.
        epochs: epochs of the second phase.
        learning_rate: highest rate of the second phase.
        weight_decay: of AdamW, not on biases and norms.
        label_smoothing: of the cross-entropy.
        verbose: as for `fit`.

    Returns:
        The highest validation accuracy, of `output/best.keras`.

    Source: the second phase is PaCa-ViT's recipe (AdamW, cosine, weight decay 0.05, label
    smoothing 0.1), shortened.
    """
    output = Path(output)
    output.mkdir(parents=True, exist_ok=True)
    phases = (("head", head_epochs, 10 * learning_rate), ("whole", epochs, learning_rate))
    before = 0  # epochs of the phases before
    for phase, count, rate in phases:
        for layer in model.layers[:-1]:
            layer.trainable = phase == "whole"
        if count > 0:
            _compile(model, rate, count * len(training), weight_decay, label_smoothing)
            done = _restore(model, output, phase)
            if done < count:
                model.fit(
                    training,
                    validation_data=validation,
                    initial_epoch=done,
                    epochs=count,
                    callbacks=[  # the best before the state: an epoch that is done is kept
                        _KeepBest(output, phase),
                        _KeepState(output, phase),
                        _SetEpoch(training, before),
                    ],
                    verbose=verbose,
                )
        before += count
    return best_accuracy(output)


def best_accuracy(output: str | Path) -> float:
    """Return the highest validation accuracy in `output/log.csv`, -1 before the first epoch."""
    log = Path(output) / "log.csv"
    if not log.exists():
        return -1.0
    with log.open(newline="", encoding="utf-8") as lines:
        return max((float(row["val_accuracy"]) for row in csv.DictReader(lines)), default=-1.0)


def _compile(
    model: keras.Model, rate: float, steps: int, weight_decay: float, label_smoothing: float
) -> None:
    warmup = max(steps // 10, 1)
    schedule = keras.optimizers.schedules.CosineDecay(
        0.0, max(steps - warmup, 1), warmup_target=rate, warmup_steps=warmup
    )
    optimizer = keras.optimizers.AdamW(schedule, weight_decay=weight_decay)
    optimizer.exclude_from_weight_decay(var_names=["bias", "beta", "gamma", "scale", "embedding"])
    model.compile(
        optimizer,
        keras.losses.CategoricalCrossentropy(label_smoothing=label_smoothing),
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

    def __init__(self, output: Path, phase: str) -> None:
        super().__init__()
        self.output = output
        self.phase = phase

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Save where the epoch was better than all before."""
        logs = logs or {}
        if logs["val_accuracy"] > best_accuracy(self.output):
            # A copy, without the optimizer's state and with all layers free to train; saved beside,
            # then renamed: a run that is killed meanwhile leaves the old one whole.
            best = self.model.__class__.from_config(self.model.get_config())
            best.set_weights(self.model.get_weights())
            for layer in best._flatten_layers(include_self=False):
                layer.trainable = True
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
