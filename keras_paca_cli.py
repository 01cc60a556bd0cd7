"""The start of the `keras-paca` command: its options, which are read before Keras is imported.

Importing Keras takes seconds and needs a backend, and `--help` shouldn't.
"""

import argparse
import json
import math
import os
import runpy
import sys
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

BACKENDS = ("tensorflow", "jax", "torch")  # also the names of their packages
CLUSTERINGS = ("conv", "mlp", "linear", "teacher")


def main() -> int:
    """Read the command line of this process, choose a backend and run the command.

    Returns:
        int. The exit status: 0, or 1 after an error, 130 after an interruption.

    Raises:
        SystemExit: If the usage is wrong, with the exit status 2, or help was asked for.
    """
    _replace_what_the_console_lacks()
    options = parse()
    problem = _choose_backend()
    if problem:
        print(f"keras-paca: {problem}", file=sys.stderr)
        return 1
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    from keras_paca.cli import run

    return run(options)


def _replace_what_the_console_lacks() -> None:
    """Print "?" for characters that the console can't show, instead of raising an error."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")


# --- The backend ----------------------------------------------------------------------------


def _choose_backend() -> str | None:
    """Set KERAS_BACKEND if the user hasn't; return what is wrong with it, `None` if nothing is."""
    installed = [name for name in BACKENDS if find_spec(name)]
    if not installed:
        commands = " or ".join(_load_from_module("extras", "install_command")(b) for b in BACKENDS)
        return f"Keras needs a backend: {commands}"
    chosen = os.environ.get("KERAS_BACKEND")
    if chosen is None:
        # Keras writes "tensorflow" into its configuration on first use, installed or not.
        configured = _configured_backend()
        chosen = configured if configured in installed else installed[0]
        os.environ["KERAS_BACKEND"] = chosen
    if chosen not in installed:
        what = "is not installed" if chosen in BACKENDS else "is none of this command's backends"
        return f"KERAS_BACKEND={chosen} {what}; installed: {', '.join(installed)}"
    return None


def _configured_backend() -> str | None:
    """Return the backend in Keras's configuration file, `None` without such a file."""
    user = os.path.expanduser("~")
    default = os.path.join(user if os.access(user, os.W_OK) else "/tmp", ".keras")
    home = Path(os.environ.get("KERAS_HOME", default))
    try:
        return json.loads((home / "keras.json").read_text(encoding="utf-8")).get("backend")
    except (OSError, ValueError, AttributeError):
        return None


def _load_from_module(module: str, name: str) -> Any:
    """Return an object that a module of the package defines, without importing the package."""
    package = Path(find_spec("keras_paca").origin).parent
    return runpy.run_path(str(package / f"{module}.py"))[name]


# --- The options ----------------------------------------------------------------------------


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse a command line.

    Args:
        arguments: sequence of str. The command line without the program's name, by default that of
            this process.

    Returns:
        argparse.Namespace. The options. `command` is the name of the command.

    Raises:
        SystemExit: If the usage is wrong, with the exit status 2, or help was asked for.

    Example:
    >>> options = parse(["predict", "cat.jpg", "--top", "3"])
    >>> options.command, options.images, options.top
    ('predict', ['cat.jpg'], 3)
    """
    return _parser().parse_args(arguments)


def _integer(least: int) -> Callable[[str], int]:
    """Return the type of an option that takes integers of `least` or more."""

    def integer(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = None
        if value is None or value < least:
            raise argparse.ArgumentTypeError(f"must be {least} or more, not {text}")
        return value

    return integer


def _number(words: str, fits: Callable[[float], bool]) -> Callable[[str], float]:
    """Return the type of an option that takes numbers for which `fits` is true, never NaN."""

    def number(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not fits(value):
            raise argparse.ArgumentTypeError(f"must be {words}, not {text}")
        return value

    return number


def _clusters(text: str) -> int | list[int]:
    """Return the integer or the list of integers in "100" or "100,100,100,0"."""
    try:
        numbers = [int(number) for number in text.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) not in (1, 4) or min(numbers) < 0:
        raise argparse.ArgumentTypeError(
            f"must be 0 or more, or that for each stage as 100,100,100,0, not {text}"
        )
    return numbers[0] if len(numbers) == 1 else numbers


def _option(text: str) -> tuple[str, str]:
    """Return the name and the value in "name=value"."""
    name, sign, value = text.partition("=")
    name = name.strip().replace("-", "_")
    if not (sign and name.isidentifier() and value.strip()):
        raise argparse.ArgumentTypeError(
            f"must be NAME=VALUE, such as drop_path_rate=0.2, not {text}"
        )
    return name, value.strip()


def _model_options(weights: str, positional: bool = False) -> argparse.ArgumentParser:
    """Return the options for the model that a command opens; `weights` is the default."""
    model = argparse.ArgumentParser(add_help=False)
    what = "name of a model; tiny, small or base for PaCa-ViT; or a .keras file"
    if positional:
        model.add_argument("model", metavar="MODEL", help=what)
    else:
        model.add_argument("--model", default="tiny", help=f"{what} (tiny)")
    new = model.add_argument_group("for models named by --model, not for files")
    new.add_argument("--weights", metavar="W", help=f"{weights}, none or a file ({weights})")
    new.add_argument(
        "--ema", action="store_true", help="the averaged weights, of families that have both"
    )
    new.add_argument(
        "--option",
        action="append",
        type=_option,
        metavar="NAME=VALUE",
        help="an option of its family, such as drop_path_rate=0.2; several by several --option",
    )
    paca = model.add_argument_group("for PaCa-ViT")
    paca.add_argument(
        "--clustering", choices=CLUSTERINGS, metavar="C", help=f"{', '.join(CLUSTERINGS)} (conv)"
    )
    paca.add_argument(
        "--clusters", type=_clusters, metavar="N,N,N,N", help="per stage, or one N for all"
    )
    paca.add_argument("--blockwise", action="store_true", help="clusters of its own in every block")
    model.set_defaults(default_weights=weights)
    return model


def _image_size(model: argparse.ArgumentParser) -> None:
    model.add_argument(
        "--image-size", type=_integer(32), metavar="N", help="side in pixels (the model's, or 224)"
    )


def _tables(command: argparse.ArgumentParser) -> None:
    form = command.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print JSON")
    form.add_argument("--csv", action="store_true", help="print CSV")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="keras-paca",
        description="Vision backbones for Keras 3, such as PaCa-ViT, RapidNet and ViTTM: try them, "
        "use them, train them, see what they look at.",
        epilog="KERAS_BACKEND=tensorflow, jax or torch chooses the backend.",
    )
    version = _load_from_module("_version", "__version__")
    parser.add_argument("--version", action="version", version=f"keras-paca {version}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_demo(commands)
    _add_predict(commands)
    _add_explain(commands)
    _add_train(commands)
    _add_evaluate(commands)
    _add_export(commands)
    _add_models(commands)
    _add_weights(commands)
    return parser


def _add_demo(commands: Any) -> None:
    demo = commands.add_parser("demo", help="learn handwritten digits, predict, explain, export")
    demo.add_argument("--output", default="demo", metavar="DIR", help="folder for results (demo)")


def _add_predict(commands: Any) -> None:
    predict = commands.add_parser(
        "predict",
        parents=[_model_options("imagenet")],
        help="classify images, or find what is where in them",
        description="Classify images. A segmenter says how much of each image its classes cover, a "
        "detector where its objects are.",
    )
    _image_size(predict)
    predict.add_argument("images", nargs="+", metavar="IMAGE", help="files or folders of images")
    predict.add_argument(
        "--top", type=_integer(1), default=5, metavar="N", help="classes or objects to print (5)"
    )
    predict.add_argument(
        "--output", metavar="DIR", help="folder for pictures of what a segmenter or detector finds"
    )
    _tables(predict)


def _add_explain(commands: Any) -> None:
    explain = commands.add_parser(
        "explain",
        parents=[_model_options("imagenet")],
        help="draw what a model looks at in images",
        description="Draw the clusters of a PaCa-ViT, or what the memory of a ViTTM is read for.",
    )
    _image_size(explain)
    explain.add_argument("images", nargs="+", metavar="IMAGE", help="files or folders of images")
    explain.add_argument(
        "--output", metavar="OUT", help="picture, or folder for several (clusters.png, clusters)"
    )
    explain.add_argument(
        "--top", type=_integer(1), default=6, metavar="N", help="clusters per level (6)"
    )


def _add_train(commands: Any) -> None:
    train = commands.add_parser(
        "train",
        parents=[_model_options("imagenet")],
        help="fine-tune on a folder that has one folder per class",
        description="Fine-tune a classifier: first its head alone, then the whole model. The same "
        "command continues a run that was stopped or, with more --epochs, one that is finished.",
    )
    _image_size(train)
    train.add_argument("folder", metavar="FOLDER", help="has one folder of images per class")
    train.add_argument("--output", default="run", metavar="DIR", help="folder for results (run)")
    train.add_argument(
        "--head-epochs", type=_integer(0), default=3, metavar="N", help="of the head alone (3)"
    )
    train.add_argument(
        "--epochs", type=_integer(1), default=15, metavar="N", help="of the whole model (15)"
    )
    train.add_argument("--batch-size", type=_integer(1), default=32, metavar="N", help="(32)")
    train.add_argument(
        "--learning-rate",
        type=_number("a number above 0", lambda x: 0 < x < math.inf),
        default=2e-4,
        metavar="R",
        help="(2e-4)",
    )
    train.add_argument(
        "--drop-path-rate",
        type=_number("in [0, 1)", lambda x: 0 <= x < 1),
        metavar="R",
        help="(the model's)",
    )
    train.add_argument(
        "--validation-split",
        type=_number("in (0, 1)", lambda x: 0 < x < 1),
        default=0.2,
        metavar="S",
        help="share of the images to validate with (0.2)",
    )
    train.add_argument("--seed", type=_integer(0), default=0, metavar="N", help="(0)")


def _add_evaluate(commands: Any) -> None:
    evaluate = commands.add_parser(
        "evaluate",
        parents=[_model_options("coco")],
        help="measure a classifier, a segmenter or a detector",
        description="Measure a classifier on FOLDER, which has one folder of images per class; a "
        "segmenter on the images of FOLDER and their --masks; or a detector on COCO's "
        "--annotations and --images.",
    )
    _image_size(evaluate)
    evaluate.add_argument("folder", nargs="?", metavar="FOLDER", help="images, by class or not")
    evaluate.add_argument(
        "--masks", metavar="DIR", help="masks of class ids, named like the images of FOLDER"
    )
    evaluate.add_argument(
        "--annotations", metavar="FILE", help="COCO's, such as instances_val2017.json"
    )
    evaluate.add_argument("--images", metavar="DIR", help="folder of the annotations' images")
    evaluate.add_argument("--limit", type=_integer(1), metavar="N", help="N of the images (all)")
    evaluate.add_argument(
        "--output", metavar="FILE", help="JSON file for the detections, or for the confusion matrix"
    )
    evaluate.add_argument(
        "--batch-size", type=_integer(1), metavar="N", help="of a classifier's images (32)"
    )
    evaluate.add_argument(
        "--short-side", type=_integer(32), metavar="N", help="of the resized images (the model's)"
    )
    evaluate.add_argument(
        "--long-side", type=_integer(32), metavar="N", help="its limit (the model's)"
    )
    evaluate.add_argument(
        "--pad-to",
        type=_integer(32),
        metavar="N",
        help="one square for all images, compiled once (each to a multiple of 32)",
    )
    _tables(evaluate)


def _add_export(commands: Any) -> None:
    deployed = _model_options("imagenet", positional=True)
    deployed.add_argument("--batch-size", type=_integer(1), metavar="N", help="(any; LiteRT: 1)")
    export = commands.add_parser(
        "export", parents=[deployed], help="write SavedModel, LiteRT, ONNX, OpenVINO; check it"
    )
    sizes = {"type": _integer(32), "nargs": "+", "metavar": "N"}
    export.add_argument(
        "--image-size", **sizes, help="side, or height and width (any; LiteRT: the model's)"
    )
    export.add_argument("target", metavar="OUT", help="OUT.tflite, OUT.onnx, OUT.xml or a folder")
    export.add_argument(
        "--format", help="tf_saved_model, litert, onnx or openvino (by the suffix of OUT)"
    )
    export.add_argument("--quantize", help="for LiteRT: float16, dynamic or int8")
    export.add_argument(
        "--representative", metavar="DIR", help="folder of images for --quantize int8"
    )
    export.add_argument("--no-check", action="store_true", help="don't run the file")
    export.add_argument("--no-fuse", action="store_true", help="export the model as it is")
    benchmark = commands.add_parser(
        "benchmark", parents=[deployed], help="latency, memory and size in each runtime"
    )
    benchmark.add_argument(
        "--image-size", **sizes, help="side, or height and width (the model's, or 224)"
    )


def _add_models(commands: Any) -> None:
    models = commands.add_parser(
        "models",
        help="list the models that --model names",
        description="List the models with their costs, the accuracy that their authors state, and "
        "their released weights.",
    )
    models.add_argument("pattern", nargs="?", metavar="PATTERN", help="such as 'rapidnet*' (all)")
    _tables(models)


def _add_weights(commands: Any) -> None:
    weights = commands.add_parser("weights", help="list the released weights")
    weights.add_argument(
        "--verify", action="store_true", help="check the downloaded ones against their SHA-256"
    )
    convert = commands.add_parser("convert", help="convert a file of weights")
    convert.add_argument("source", metavar="IN", help=".pth, .safetensors, .weights.h5 or .keras")
    convert.add_argument("target", metavar="OUT", help=".safetensors, .weights.h5 or .keras")
    convert.add_argument(
        "--ema", action="store_true", help="the averaged weights, of a file that has both"
    )


if __name__ == "__main__":
    sys.exit(main())
