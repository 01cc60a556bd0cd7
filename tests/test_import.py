"""What importing the library does, and does not."""

import json
import os
import subprocess
import sys

import keras


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


# What each part of the package imports of the others, those that import nothing first.
ARROWS = {
    "_version": "",
    "arguments": "",
    "cloning": "",
    "confusion": "",
    "extras": "",
    "forms": "",
    "frozen": "",
    "labels": "",
    "naming": "",
    "ops": "",
    "warn": "",
    "layers": "arguments forms frozen naming ops",
    "weights": "forms warn",
    "preprocessing": "arguments extras labels warn",
    "backbones": "arguments cloning forms frozen labels layers naming ops weights",
    "explain": "arguments extras warn",
    "train": "arguments confusion frozen layers preprocessing warn",
    "segmentation": "arguments backbones confusion explain labels layers ops preprocessing "
    "warn weights",
    "detection": "arguments backbones explain extras labels layers ops preprocessing warn weights",
    "inference": "backbones forms frozen layers ops segmentation weights",
    "conversions": "arguments cloning frozen inference layers warn",
    "deploy": "_version arguments extras inference layers ops warn",
    "hub": "arguments backbones extras forms frozen layers naming",
    "demo": "backbones deploy explain extras",
    "models": "backbones weights",
    "commands": "backbones confusion demo deploy detection explain labels layers models "
    "preprocessing segmentation train warn weights",
    "cli": "commands warn",
}


def test_arrows_point_one_way():
    import ast
    from pathlib import Path

    import keras_paca

    root = Path(keras_paca.__file__).parent
    found = {}
    for path in root.rglob("*.py"):
        part = path.relative_to(root).with_suffix("").parts[0]
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [name.split(".")[1] for name in names if name.startswith("keras_paca.")]
            found.setdefault(part, set()).update(set(names) - {part})
    del found["__init__"]  # gathers the public names of all
    assert found == {part: set(others.split()) for part, others in ARROWS.items()}


def test_public_names():
    import keras_paca

    for name in keras_paca.__all__:
        assert getattr(keras_paca, name) is not None
    for name in keras_paca.layers.__all__:
        assert getattr(keras_paca.layers, name).__doc__ is not None or name == "linear_initializer"
