"""The `keras-paca` command: a thin face on the library."""

import argparse
import contextlib
import logging
import os
import re
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from keras_paca_cli import parse


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line and return its exit status: 0, 1 after an error, 2 for wrong usage."""
    return run(parse(arguments))


def run(options: argparse.Namespace) -> int:
    """Run the command that was parsed and return its exit status."""
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _show_warning
            return COMMANDS[options.command](options) or 0
    except KeyboardInterrupt:
        print("keras-paca: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # such as `keras-paca weights | head`, which has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (ImportError, MemoryError, OSError, RuntimeError, ValueError) as error:
        if os.environ.get("KERAS_PACA_TRACEBACK"):
            raise
        print(f"keras-paca: {' '.join(str(error).split())}", file=sys.stderr)
        return 1


def _show_warning(message: Any, category: type, *place: Any, **more: Any) -> None:
    """Print a warning as an error is printed; those of programmers' mistakes are not for users."""
    if issubclass(category, UserWarning):
        print(f"keras-paca: warning: {' '.join(str(message).split())}", file=sys.stderr)


# --- Commands -------------------------------------------------------------------------------


def _command(name: str) -> Callable[[argparse.Namespace], int]:
    """Return the command in a file of its own, which is imported when it runs."""

    def run_command(options: argparse.Namespace) -> int:
        from importlib import import_module

        return import_module(f"keras_paca.commands.{name}").run(options)

    return run_command


def _demo(options: argparse.Namespace) -> None:
    from keras_paca.demo import run_demo

    run_demo(options.output)


def _export(options: argparse.Namespace) -> None:
    from keras_paca.commands.models import open_model
    from keras_paca.deploy import export
    from keras_paca.deploy.arguments import check_model
    from keras_paca.deploy.exports import check_quantization, check_target
    from keras_paca.deploy.formats import check_installed
    from keras_paca.preprocessing import list_images

    with _words_of_options():  # before the model, which may be a download
        _, format = check_target(options.target, options.format)
        check_quantization(format, options.quantize, options.representative)
        size = _image_size(options)
        files = list_images(options.representative) if options.representative is not None else []
        check_installed(format, check=not options.no_check)
    model = open_model(options)
    with _words_of_options():
        check_model(model)
        if format == "litert":  # others may be of any size
            size = size or _own_size(model)
        export(
            model,
            options.target,
            options.format,
            image_size=size,
            batch_size=options.batch_size,
            quantize=options.quantize,
            representative_data=_representative_data(model, files, size),
            check=not options.no_check,
            fuse=not options.no_fuse,
        )


def _representative_data(model: Any, files: Sequence[Path], size: Any) -> Any:
    """Return up to a hundred of the images, at the file's size."""
    if not files:
        return None
    import numpy as np

    from keras_paca.commands.models import normalise
    from keras_paca.deploy.arguments import input_shape
    from keras_paca.preprocessing import evaluation_transform

    size = input_shape(model, size)[1:3]
    if None in size:
        raise ValueError("--representative needs --image-size for a model of any size.")
    files = files[:: -(-len(files) // 100)]
    images = [evaluation_transform(file, size, exif_transpose=True) for file in files]
    return normalise(model, np.stack(images))


def _image_size(options: argparse.Namespace) -> tuple[int, int] | None:
    size = options.image_size
    if size is None:
        return None
    if len(size) > 2:
        raise ValueError(f"--image-size takes a side, or height and width. Received: {size}")
    return (size[0], size[-1])


def _own_size(model: Any) -> Any:
    """Return the size that a model of any size is evaluated at, where it says one."""
    from keras_paca.commands.models import transform_of

    is_any = tuple(model.inputs[0].shape[1:3]) == (None, None)
    return transform_of(model).get("image_size") if is_any else None


def _benchmark(options: argparse.Namespace) -> None:
    from keras_paca.commands.models import check_images, open_model
    from keras_paca.deploy import benchmark

    size = _image_size(options)
    model = open_model(options)
    check_images(model, options)
    with _words_of_options():
        benchmark(model, image_size=size or _own_size(model), batch_size=options.batch_size)


@contextlib.contextmanager
def _words_of_options() -> Iterator[None]:
    """Put errors of the library, which name its arguments, in the words of the options."""
    typed = {
        "path": "OUT",
        "model": "MODEL",
        "format": "--format",
        "image_size": "--image-size",
        "batch_size": "--batch-size",
        "quantize": "--quantize",
        "representative_data": "--representative",
    }
    names = "|".join(typed)
    try:
        yield
    except ValueError as error:
        words = str(error).replace("`check_data`, or `check=False`", "--no-check")
        words = re.sub(rf"`({names})`", lambda found: typed[found[1]], words)
        words = re.sub(rf"\b({names})=None", lambda found: f"no {typed[found[1]]}", words)
        words = re.sub(
            rf"\b({names})=(['\"]?)(.*?)\2(?=[\s,.;]|$)",
            lambda found: f"{typed[found[1]]} {found[3]}",
            words,
        )
        raise ValueError(words) from error


def _weights(options: argparse.Namespace) -> None:
    from keras_paca.weights import released_files, verify_cache

    if options.verify:
        found = verify_cache()
        for file, checksum, state in found:
            print(f"{file.file}  {state}  SHA-256 {checksum or 'unknown'}")
        if not found:
            print("no released file in the cache")
        if any(state == "changed" for _, _, state in found):
            raise ValueError("A file in the cache has changed. Delete it; the next use renews it.")
        return
    for file in released_files():
        measured = ", ".join(f"{name} {value}" for name, value in file.accuracy.items())
        print(f"{file.task:14} {file.variant:60} {file.head:9} {measured:26} {file.file}")
        if file.note:
            print(f"{'':14} {file.note}")
    print(f"From {released_files()[0].url.rpartition('/')[0]}/FILE")
    print(f"Licence: {released_files()[0].licence}")


def _convert(options: argparse.Namespace) -> None:
    from keras_paca.backbones.paca_vit import convert

    convert(options.source, options.target)
    print(f"{options.source} -> {options.target}")


COMMANDS = {
    "demo": _demo,
    "predict": _command("predict"),
    "explain": _command("explain"),
    "train": _command("train"),
    "evaluate": _command("evaluate"),
    "export": _export,
    "benchmark": _benchmark,
    "weights": _weights,
    "convert": _convert,
}
