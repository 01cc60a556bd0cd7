"""The examples run as they stand."""

import json
import runpy
from pathlib import Path

import keras
import pytest

from keras_paca import demo
from tests.marks import slow_but_on_torch

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.fixture(autouse=True)
def _few_images(monkeypatch):
    """Learning is `test_demo`'s matter; here a step or two will do."""
    (images, labels), (test_images, test_labels) = demo.load_digits()
    few = (images[:64], labels[:64]), (test_images[:32], test_labels[:32])
    monkeypatch.setattr(demo, "load_digits", lambda: few)
    fit = keras.Model.fit
    monkeypatch.setattr(
        keras.Model, "fit", lambda *args, **kwargs: fit(*args, **{**kwargs, "epochs": 1})
    )


@slow_but_on_torch
def test_quickstart_notebook():
    notebook = json.loads((EXAMPLES / "quickstart.ipynb").read_text())
    names = {}
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            exec(compile("".join(cell["source"]), cell["id"], "exec"), names)
    assert names["again"].output_shape == (None, 10)


@slow_but_on_torch
def test_own_model(capsys):
    runpy.run_path(str(EXAMPLES / "own_model.py"), run_name="__main__")
    assert "accuracy" in capsys.readouterr().out
