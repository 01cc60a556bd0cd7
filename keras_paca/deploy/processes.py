"""Processes of their own, for modules of this library on another backend and for other commands."""

import contextlib
import os
import subprocess
import sys
from importlib.util import find_spec
from typing import Any

import keras

from keras_paca.deploy.failures import sentence

BACKEND_NAMES = {"tensorflow": "TensorFlow", "jax": "JAX", "torch": "PyTorch"}


def run_on(backend: str, module: str, *arguments: str) -> str:
    """Run a module of this library in a process with another backend.

    Args:
        backend: str. "tensorflow", "jax" or "torch".
        module: str. Name of the module, which is run as a script.
        *arguments: str. Its command line.

    Returns:
        str. What it writes to its standard output.

    Raises:
        RuntimeError: If it fails. The message is a sentence of what it wrote to its standard
            error; all of that is in `__cause__`.

    Example:
    >>> run_on("jax", "keras_paca_cli", "--version").strip()  # doctest: +ELLIPSIS
    'keras-paca ...'
    """
    environment = {
        **os.environ,
        "KERAS_BACKEND": backend,
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        "TF_CPP_MIN_LOG_LEVEL": "2",
    }
    return run([sys.executable, "-m", module, *arguments], environment)


def run(command: list[str], environment: dict[str, str] | None = None) -> str:
    """Run a command in a process of its own.

    Args:
        command: list of str. The command and its arguments.
        environment: dict of str to str. Its environment variables, by default this process's.

    Returns:
        str. What it writes to its standard output.

    Raises:
        RuntimeError: If it fails. The message is a sentence of what it wrote to its standard
            error; all of that is in `__cause__`.

    Example:
    >>> run([sys.executable, "-c", "print(6 * 7)"]).strip()
    '42'
    """
    answer = subprocess.run(command, env=environment, capture_output=True, text=True)
    if answer.returncode < 0:
        raise RuntimeError(
            f"The process was ended by signal {-answer.returncode}, as where memory runs out"
        ) from RuntimeError(answer.stderr)
    if answer.returncode:
        raise RuntimeError(sentence(answer.stderr)) from RuntimeError(answer.stderr)
    return answer.stdout


def modules_of(model: keras.Model) -> list[str]:
    """Return the modules that another process must import to load a model.

    Args:
        model: keras.Model. The model.

    Returns:
        list of str. The modules of all classes and functions in it that aren't Keras's, sorted.

    Raises:
        ValueError: If the model can't be saved, or another process can't import one of them.

    Example:
    >>> modules_of(keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(4, 3)]))
    []
    """
    modules: dict[str, set[str]] = {}

    def walk(node: Any) -> None:
        if isinstance(node, dict):
            registered = keras.saving.get_registered_object(node.get("registered_name") or "")
            module = node.get("module") or getattr(registered, "__module__", None)
            if module and node.get("class_name"):
                modules.setdefault(module, set()).add(node["class_name"])
            for value in node.values():
                walk(value)
        elif isinstance(node, (list, tuple)):
            for value in node:
                walk(value)

    try:
        walk(keras.saving.serialize_keras_object(model))
    except Exception as error:  # of every kind: it is the user's `get_config` that fails
        raise ValueError(
            "The file is written in another process, with TensorFlow as backend, and the model "
            f"can't be saved for it: {sentence(error)}"
        ) from error
    modules = {name: kinds for name, kinds in modules.items() if name.split(".")[0] != "keras"}
    lost = {name: kinds for name, kinds in modules.items() if not _importable(name)}
    if lost:
        kinds = ", ".join(
            f"{module}.{kind}" for module, each in lost.items() for kind in sorted(each)
        )
        raise ValueError(
            "The file is written in another process, with TensorFlow as backend, which can't "
            f"import {kinds}. Move the classes to a module that can be imported."
        )
    return sorted(modules)


def _importable(module: str) -> bool:
    if module == "__main__":
        return False
    with contextlib.suppress(ImportError, ValueError):
        return find_spec(module) is not None
    return False
