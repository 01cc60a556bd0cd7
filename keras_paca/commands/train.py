"""`keras-paca train`: fine-tune a classifier on a folder with one subfolder per class."""

import argparse
import contextlib
import json
import shlex
import sys
import tempfile
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras

from keras_paca.backbones import Backbone
from keras_paca.backbones.loading import load_weights
from keras_paca.commands.opening import ALIASES, build_model, is_file, named_model, own_options
from keras_paca.commands.pictures import DEFAULT_CROP, DEFAULT_SIDE
from keras_paca.layers.policies import quantized_layers
from keras_paca.train import ImageFolder, best_accuracy, find_images, fine_tune, split_files
from keras_paca.train.fine_tune import epochs_done
from keras_paca.warn import FreshWeightsWarning
from keras_paca.weights import open_checkpoint, read_keras_config
from keras_paca.weights.keras_file import read_keras_class
from keras_paca.weights.loader import keras_keys

LARGEST_SEED = 2**32 - 1  # that Keras accepts
SETTINGS = (  # options that must be the same when a run is continued
    *("model", "clustering", "clusters", "blockwise", "option", "ema", "weights", "image_size"),
    *("head_epochs", "batch_size", "learning_rate", "drop_path_rate", "validation_split", "seed"),
)


def run(options: argparse.Namespace) -> int:
    """Train a classifier, or continue a run that was stopped or needs more epochs.

    Args:
        options: argparse.Namespace. The options of the command.

    Returns:
        int. The exit status, 0.

    Raises:
        OSError: If a file can't be read or written.
        ValueError: If an option, the model or the images aren't suitable, or if the output folder
            holds a run with other settings.

    Example:
    >>> from keras_paca_cli import parse
    >>> run(parse(["train", "flowers", "--output", "flowers/run"]))  # doctest: +ELLIPSIS
    Traceback (most recent call last):
        ...
    ValueError: --output must not lie in FOLDER, flowers, whose folders are the classes. ...
    """
    output, folder = Path(options.output), Path(options.folder)
    config = _read_config(Path(options.model)) if is_file(options) else None
    _check_options(options)
    _check_output(output, folder, [options.model, options.weights])
    _check_class_names(folder)
    image_size = options.image_size or _image_size_in(config or {})
    crop = ((config or {}).get("evaluation_transform") or {}).get("crop", DEFAULT_CROP)
    files, classes = find_images(
        folder, image_size=image_size, progress=_progress("images checked")
    )
    settings = {name: str(getattr(options, name)) for name in SETTINGS}
    settings |= {name: _resolved(settings[name]) for name in ("model", "weights")}
    settings |= {"folder": str(folder.resolve()), "classes": classes}
    settings |= {"images": len(files), "image_size": image_size}
    _check_same_run(output / "settings.json", settings)
    done = {phase: epochs_done(output, phase) for phase in ("head", "whole")}
    if done["whole"] >= options.epochs:
        return _say_finished(output, done["whole"])
    training, validation = split_files(files, options.validation_split, options.seed)
    print(f"{len(training)} images for training, {len(validation)} for validation: {classes}")

    keras.utils.set_random_seed(options.seed)
    information = {
        "class_names": classes,
        "evaluation_transform": {"image_size": image_size, "crop": crop},
    }
    if config is not None:
        model = _open_classifier(options, config, information)
    else:
        model = build_model(options, "classification", classes=len(classes), **information)
    output.mkdir(parents=True, exist_ok=True)

    def begin(phase: str, done: int, count: int) -> None:
        # written only now, so that a run that can't begin leaves no settings behind
        (output / "settings.json").write_text(json.dumps(settings, indent=2), encoding="utf-8")
        (output / "classes.txt").write_text("\n".join(classes) + "\n", encoding="utf-8")
        _say_phase(phase, done, count)

    common = {
        "classes": len(classes),
        "image_size": image_size,
        "batch_size": options.batch_size,
        "seed": options.seed,
    }
    try:
        fine_tune(
            model,
            ImageFolder(training, training=True, **common),
            ImageFolder(validation, crop=crop, **common),
            output,
            head_epochs=options.head_epochs,
            epochs=options.epochs,
            learning_rate=options.learning_rate,
            on_phase=begin,
        )
    except KeyboardInterrupt:
        _say_how_to_go_on(output)
        raise
    _say_best(output)
    return 0


# --- What can be refused before the images are read -------------------------------------------


def _check_options(options: argparse.Namespace) -> None:
    """Refuse options with which no model can be trained."""
    if options.seed > LARGEST_SEED:
        raise ValueError(
            f"--seed must be from 0 to {LARGEST_SEED}. Received: --seed {options.seed}"
        )
    weights = options.weights
    if weights not in (None, "imagenet", "none") and not Path(weights).exists():
        raise FileNotFoundError(
            f"--weights must be imagenet, none or a file. There is no file at {weights!r}"
        )
    if is_file(options):
        return
    model = named_model(options)
    if model.task.name != "classification":
        raise ValueError(
            "--model must name a classifier, to train it on images of classes. "
            f"Received: {model.name}"
        )
    own_options(options, model)  # raises an error about those that the model doesn't have


def _check_output(output: Path, folder: Path, sources: Sequence[str | None]) -> None:
    """Refuse an output that can't be written, or that would overwrite the images or the model."""
    if output.exists() and not output.is_dir():
        raise ValueError(f"--output must be a folder. Received a file: {output}")
    if folder.resolve() in output.resolve().parents:
        raise ValueError(
            f"--output must not lie in FOLDER, {folder}, whose folders are the classes. "
            f"Received: --output {output}"
        )
    best = output / "best.keras"
    for source in sources:
        if source is not None and best.exists() and Path(source).exists() and best.samefile(source):
            raise ValueError(
                f"The results would overwrite {source}, which is trained from. Choose another "
                f"--output. Received: --output {output}"
            )
    made = [path for path in (output, *output.parents) if not path.exists()]
    try:  # permissions alone don't show whether writing works
        output.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=output):
            pass
    except OSError as error:
        raise ValueError(
            f"--output must be a folder that can be made and written. "
            f"Received: --output {output} ({error.strerror})"
        ) from error
    finally:
        for path in made:
            with contextlib.suppress(OSError):  # it wasn't created, or another process uses it
                path.rmdir()


def _check_class_names(folder: Path) -> None:
    """Refuse folders whose names can't be written to a text file."""
    for path in folder.iterdir() if folder.is_dir() else ():
        try:
            path.name.encode()
        except UnicodeEncodeError:
            if path.is_dir():
                raise ValueError(
                    "The folders of FOLDER must have names of valid UTF-8, as they name the "
                    f"classes. Received: {path.name!r} in {folder}"
                ) from None


# --- The run ----------------------------------------------------------------------------------


def _resolved(value: str) -> str:
    """Return the absolute path of a file, or the name of the model that another text stands for."""
    return str(Path(value).resolve()) if Path(value).is_file() else ALIASES.get(value, value)


def _check_same_run(path: Path, settings: dict[str, Any]) -> None:
    """Refuse to continue a run with other settings, apart from the number of epochs."""
    if not path.exists():
        return
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        kept = None
    if not isinstance(kept, dict):
        raise ValueError(f"{path} can't be read. Choose another --output, or delete that folder.")
    for name in ("model", "weights"):  # earlier versions kept these as they were typed
        kept[name] = _resolved(str(kept.get(name)))
    differ = [name for name in settings if name in kept and kept[name] != settings[name]]
    if differ:
        told = {name: f"--{name.replace('_', '-')}" for name in SETTINGS}
        told |= {"folder": "FOLDER", "classes": "the classes", "images": "the number of images"}
        changes = [f"{told[n]} was {kept.get(n)} and is {settings[n]} now" for n in differ]
        raise ValueError(
            f"{path.parent} holds a run with other settings: {'; '.join(changes)}. Choose another "
            "--output, or the same settings to go on with it; --epochs alone may be larger."
        )


def _say_finished(output: Path, epochs: int) -> int:
    """Print that the run is finished, and where its model is."""
    best = output / "best.keras"
    if not best.exists():
        raise FileNotFoundError(
            f"The run in {output} is finished, after {epochs} epochs, but {best} isn't there. "
            "Choose another --output to train again."
        )
    print(
        f"already finished, after {epochs} epochs; nothing was trained. Pass more --epochs to "
        "continue"
    )
    _say_best(output)
    return 0


def _say_phase(phase: str, done: int, count: int) -> None:
    number, what = {"head": (1, "the head alone"), "whole": (2, "the whole model")}[phase]
    how = f"{count} epochs"
    if done >= count:
        how = f"already done, {done} epochs"
    elif done:
        how = f"going on after epoch {done} of {count}"
    print(f"phase {number} of 2, {what}: {how}", flush=True)


def _say_best(output: Path) -> None:
    best = output / "best.keras"
    if not best.exists():
        raise ValueError(
            f"No model was kept in {output}: no epoch had a validation accuracy that is a number."
        )
    print(f"best validation accuracy {best_accuracy(output):.2%}, model in {best}")


def _say_how_to_go_on(output: Path) -> None:
    done = {phase: epochs_done(output, phase) for phase in ("head", "whole")}
    kept = f"{sum(done.values())} epochs are kept in {output}" if any(done.values()) else ""
    command = shlex.join(["keras-paca", *sys.argv[1:]])
    print(
        f"\nstopped; {kept or 'no epoch was finished'}. To go on, run the same command again:\n"
        f"{command}",
        file=sys.stderr,
    )


def _progress(what: str) -> Callable[[int, int], None]:
    """Return a function that prints the progress now and then if there are many images."""

    def progress(done: int, count: int) -> None:
        if count >= 2000 and (done % 1000 == 0 or done == count):
            print(f"{done} of {count} {what}", file=sys.stderr)

    return progress


# --- A model that was trained before ----------------------------------------------------------


def _read_config(path: Path) -> dict[str, Any]:
    """Return the configuration of the model in a file, which must be of one of our families."""
    if not path.exists():
        raise FileNotFoundError(f"No such model: {path}")
    config = read_keras_config(path)
    if _family_of(path) is None:
        raise ValueError(
            "--model must be the file of a classifier or backbone of this library, to train it on "
            f"images of classes. Received: {path}"
        )
    return config


def _family_of(path: Path) -> type[Backbone] | None:
    """Return the family of the model in a file, `None` if it is another model."""
    cls = keras.saving.get_registered_object(read_keras_class(path))
    return cls if isinstance(cls, type) and issubclass(cls, Backbone) else None


def _image_size_in(config: dict[str, Any]) -> int | list[int]:
    """Return the side of a model's images, or their [height, width] where these differ."""
    sides = list(config.get("input_shape") or (None,))[:2]
    if None in sides:
        sides = (config.get("evaluation_transform") or {}).get("image_size") or [DEFAULT_SIDE]
    return sides[0] if len(set(sides)) == 1 else list(sides)


def _open_classifier(
    options: argparse.Namespace, config: dict[str, Any], information: dict[str, Any]
) -> Backbone:
    """Return the model of a file as a classifier for the classes of the folder.

    If the file names the same classes, its heads are kept. Otherwise they are initialized anew.
    """
    path = Path(options.model)
    family = _family_of(path)
    classes = information["class_names"]
    same = config.get("class_names") == classes and config["include_top"]
    changes = {
        **information,
        "include_top": True,
        "include_preprocessing": True,
        "input_shape": (None, None, 3),
        "pooling": None,
        "classes": len(classes),
        "classifier_activation": "softmax",
    }
    if options.drop_path_rate is not None:
        if "drop_path_rate" not in config:
            raise ValueError(f"{family.__name__} has no --drop-path-rate. Received: {path}")
        changes["drop_path_rate"] = options.drop_path_rate
    model = family.from_config({**config, **changes})
    if quantized_layers(model):
        raise ValueError(f"A quantized model can't be trained. Received: {path}")
    checkpoint = open_checkpoint(path)
    heads = [model.get_layer(name) for name in family.classifier_keys.values()]
    frozen = [head.name for head in heads if not (model.trainable and head.trainable)]
    if options.head_epochs and frozen:
        raise ValueError(
            f"The classifier of {path}, {frozen[0]!r}, is frozen, so it can't be trained first. "
            f"Pass --head-epochs 0. Received: --head-epochs {options.head_epochs}"
        )
    fresh = [head.get_weights() for head in heads]
    tensors = dict(checkpoint.tensors)
    if not config["include_top"]:
        inside = {layer.name for layer in family.from_config(config).layers}
        tensors |= {
            key: keras.ops.convert_to_numpy(variable)
            for key, variable in keras_keys(model).items()
            if key.partition("/")[0] not in inside
        }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FreshWeightsWarning)  # a message below says it
        load_weights(model, type(checkpoint)(str(path), False, tensors))
    if not same:
        for head, weights in zip(heads, fresh, strict=True):
            head.set_weights(weights)
        print(f"{path}: the head starts fresh, for these classes")
    return model
