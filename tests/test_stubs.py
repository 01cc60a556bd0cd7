"""Editors see the signatures that are put together at run time."""

import ast
import inspect

import pytest

import keras_paca
from tests.stubs import PACKAGES, stub


@pytest.mark.parametrize("package", PACKAGES)
def test_stubs_are_current(package):
    """Else run `KERAS_BACKEND=torch python -m tests.stubs`."""
    path, text = stub(package)
    assert path.read_text(encoding="utf-8") == text


def test_a_stub_shows_the_whole_signature():
    path, _ = stub("backbones")
    functions = {
        node.name: node
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.FunctionDef)
    }
    assert {"PaCaTiny", "PaCaSmall", "PaCaBase"} < set(functions)
    arguments = functions["PaCaSmall"].args
    names = [each.arg for each in (*arguments.args, *arguments.kwonlyargs)]
    assert names == list(inspect.signature(keras_paca.PaCaSmall).parameters)
    assert "released ImageNet weights" in ast.get_docstring(functions["PaCaSmall"])
