"""The examples run as they stand."""

import json
import runpy
from pathlib import Path

import keras
import numpy as np
import pytest

from keras_paca import demo
from tests.marks import slow_but_on_torch

EXAMPLES = Path(__file__).parents[1] / "examples"


def run_notebook(name):
    """Run the cells of a notebook, in the folder of the test; return the names that they bind."""
    notebook = json.loads((EXAMPLES / f"{name}.ipynb").read_text(encoding="utf-8"))
    names = {}
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            exec(compile("".join(cell["source"]), cell["id"], "exec"), names)
    return names


# --- What `make test` can afford --------------------------------------------------------------


@pytest.fixture
def few_images(monkeypatch):
    """Learning is `test_demo`'s matter; here a step or two will do."""
    (images, labels), (test_images, test_labels) = demo.load_digits()
    few = (images[:64], labels[:64]), (test_images[:32], test_labels[:32])
    monkeypatch.setattr(demo, "load_digits", lambda: few)
    fit = keras.Model.fit
    monkeypatch.setattr(
        keras.Model, "fit", lambda *args, **kwargs: fit(*args, **{**kwargs, "epochs": 1})
    )


@slow_but_on_torch
@pytest.mark.usefixtures("few_images")
def test_quickstart_notebook(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert run_notebook("quickstart")["again"].output_shape == (None, 10)


@slow_but_on_torch
@pytest.mark.usefixtures("few_images")
def test_own_model(capsys):
    runpy.run_path(str(EXAMPLES / "own_model.py"), run_name="__main__")
    assert "accuracy" in capsys.readouterr().out


@slow_but_on_torch
def test_scenes(monkeypatch):
    """What the notebooks learn from: everything in them is known, and nothing in two of them."""
    monkeypatch.syspath_prepend(EXAMPLES)
    import scenes

    made = scenes.make_scenes("train", 20, seed=5)
    assert made["images"].min() >= 0
    assert made["images"].max() <= 255
    for name, array in scenes.make_scenes("train", 20, seed=5).items():
        np.testing.assert_array_equal(array, made[name])
    for boxes, labels, instances, classes in zip(
        *(made[name] for name in ("boxes", "labels", "instances", "classes")), strict=True
    ):
        assert labels[0] >= 0
        for number in np.flatnonzero(labels >= 0):
            rows, columns = np.nonzero(instances == number + 1)
            found = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
            np.testing.assert_array_equal(found, boxes[number])
            assert (classes[instances == number + 1] == labels[number] + 1).all()
        assert not classes[instances == 0].any()
        assert not boxes[labels < 0].any()
    train, test = (digits.reshape(-1, 64) for digits, _ in map(scenes.digits, ("train", "test")))
    assert len(train) + len(test) == 1797
    assert not {row.tobytes() for row in train} & {row.tobytes() for row in test}
    assert not set(scenes.PHOTOGRAPHS["train"]) & set(scenes.PHOTOGRAPHS["test"])


# --- As they stand, with what their last cells assert -----------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("name", ["quickstart", "segment", "detect"])
def test_notebook(name, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(EXAMPLES)
    names = run_notebook(name)
    if name == "quickstart":
        assert names["after"] > 0.85
