"""The stub files that show editors the signatures which are put together at run time.

    KERAS_BACKEND=torch python -m tests.stubs

writes them: keras_paca/PACKAGE/__init__.pyi for each package that offers such functions.
`tests/test_stubs.py` checks that they are current.
"""

import ast
import importlib
import inspect
import re
from pathlib import Path

import keras_paca

PACKAGES = ("backbones", "segmentation", "detection")
HEAD = '''"""Written by `python -m tests.stubs`; see there."""

import collections.abc
import pathlib
import typing
from typing import Any

import keras

import keras_paca

'''


def stub(package):
    """Return the path and the text of a package's stub."""
    module = importlib.import_module(f"keras_paca.{package}")
    path = Path(keras_paca.__file__).parent / package / "__init__.pyi"
    imports, functions = [], []
    for node in ast.parse(Path(module.__file__).read_text(encoding="utf-8")).body:
        if not isinstance(node, ast.ImportFrom):
            continue
        for alias in node.names:
            value = getattr(module, alias.name)
            if inspect.isfunction(value) and value.__name__ != value.__code__.co_name:
                functions.append(_function(alias.name, value))
            else:
                imports.append(f"from {node.module} import {alias.name} as {alias.name}\n")
    return path, HEAD + "".join(imports) + "".join(functions)


def _function(name, value):
    parameters = []
    for parameter in inspect.signature(value).parameters.values():
        if parameter.kind is parameter.KEYWORD_ONLY and "*" not in parameters:
            parameters.append("*")
        parameters.append(str(parameter))
    returns = value.__annotations__["return"]
    lines = "".join(f"    {each},\n" for each in parameters)
    doc = inspect.cleandoc(value.__doc__).replace("\n", "\n    ").replace("    \n", "\n")
    doc = re.sub(r"\\", r"\\\\", doc)
    answer = returns.__name__ if returns.__module__.startswith("keras_paca") else "keras.Model"
    return f'\ndef {name}(\n{lines}) -> {answer}:\n    """{doc}\n    """\n'


if __name__ == "__main__":
    for each in PACKAGES:
        target, text = stub(each)
        target.write_text(text, encoding="utf-8")
