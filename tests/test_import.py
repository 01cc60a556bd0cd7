"""What importing the library does, and does not."""

import json
import os
import subprocess
import sys

import keras
import pytest


def _run(code):
    environment = {**os.environ, "KERAS_BACKEND": keras.backend.backend()}
    result = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    return json.loads(result.stdout.splitlines()[-1])


def test_imports_nothing_beside_keras_and_its_backend():
    """Neither a backend that Keras did not load, nor what only some commands need."""
    loaded = _run(
        "import sys, json, keras; before = set(sys.modules); import keras_paca; "
        "print(json.dumps(sorted({name.split('.')[0] for name in set(sys.modules) - before})))"
    )
    heavy = {"tensorflow", "jax", "torch", "PIL", "matplotlib", "sklearn", "skimage", "scipy"}
    heavy |= {"pycocotools"}
    assert not heavy & set(loaded)


def test_no_file_of_the_package_imports_a_backend_at_the_top():
    import ast
    from pathlib import Path

    import keras_paca

    for path in Path(keras_paca.__file__).parent.rglob("*.py"):
        for node in ast.parse(path.read_text()).body:
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module]
            assert not any(name.split(".")[0] in ("tensorflow", "jax", "torch") for name in names)


@pytest.mark.parametrize(
    ("package", "forbidden"),
    [
        ("layers", ("backbones", "weights", "explain", "train", "preprocessing")),
        ("weights", ("backbones", "layers", "explain", "train", "preprocessing")),
        ("preprocessing", ("backbones", "layers", "explain", "train", "weights")),
        ("explain", ("backbones", "layers", "weights", "train")),
        ("train", ("backbones", "layers", "weights", "explain")),
        ("deploy", ("backbones", "weights", "explain", "train", "preprocessing")),
        ("backbones", ("explain", "train", "preprocessing")),
    ],
)
def test_arrows_point_one_way(package, forbidden):
    from pathlib import Path

    import keras_paca

    for path in (Path(keras_paca.__file__).parent / package).rglob("*.py"):
        text = path.read_text()
        for other in forbidden:
            assert f"keras_paca.{other}" not in text, (path, other)
            assert f"keras_paca import {other}" not in text, (path, other)


def test_public_names():
    import keras_paca

    for name in keras_paca.__all__:
        assert getattr(keras_paca, name) is not None
    for name in keras_paca.layers.__all__:
        assert getattr(keras_paca.layers, name).__doc__ is not None or name == "linear_initializer"
