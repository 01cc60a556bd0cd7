"""`keras-paca explain`: every kind of model, one picture and several."""

import os

import keras
import pytest

import keras_paca
from keras_paca import cli
from tests.marks import slow_but_on_torch

pytestmark = slow_but_on_torch


@pytest.mark.parametrize("kind", ["classifier", "segmenter", "detector", "features"])
def test_kinds_of_models(kind, run, photograph, model_file, tmp_path):
    target = tmp_path / "maps.png"
    path = photograph("a.png", (50, 80))
    status, out, _ = run("explain", path, "--model", model_file(kind), "--output", target)
    assert status == 0
    assert target.stat().st_size > 5000
    assert "P2: mean cosine between clusters" in out


def test_memory(run, photograph, tmp_path):
    model = keras_paca.ViTTM(8, 2, 2, classes=3, image_size=56, input_shape=(56, 84, 3))
    model.save(tmp_path / "vittm.keras")
    target = tmp_path / "maps.png"
    arguments = ("--model", tmp_path / "vittm.keras", "--output", target)
    status, out, _ = run("explain", photograph("a.png", (50, 80)), *arguments, "--top", 50)
    assert status == 0
    assert target.stat().st_size > 5000
    assert "2 x 3 process tokens read 2 x 3 memory tokens" in out


def test_families_that_have_nothing_to_show(run, photograph, small, tmp_path):
    """One sentence, and before any download where --model is a name."""
    paths = [photograph("photos/a.png"), photograph("photos/b.png", seed=1)]
    depths = ((1, 0), (1, 0), (1, 1), (0, 1))
    keras_paca.RapidNet((8, 8, 8, 8), depths, classes=3).save(tmp_path / "rapidnet.keras")
    small(clusters=0).save(tmp_path / "plain.keras")
    for model in ("rapidnet_ti", tmp_path / "rapidnet.keras", tmp_path / "plain.keras"):
        status, _, err = run("explain", *paths, "--model", model, "--output", tmp_path / "maps")
        assert status == 1
        assert "has no clusters and no memory that could be drawn" in err
        assert len(err.splitlines()) == 1


def test_several_pictures(run, photograph, model_file, tmp_path):
    paths = [photograph("photos/a.png"), photograph("photos/b.png", seed=1)]
    (tmp_path / "photos" / "c.png").write_text("text")
    out = tmp_path / "maps"
    status, _, err = run("explain", paths[0].parent, "--model", model_file(), "--output", out)
    assert status == 1
    assert "c.png" in err
    assert sorted(path.name for path in out.iterdir()) == ["a.png", "b.png"]


@pytest.mark.parametrize("output", ["none/maps.png", "maps.xyz", "."])
def test_the_output_is_checked_before_the_model_is_opened(
    output, run, photograph, monkeypatch, tmp_path
):
    monkeypatch.setattr("keras_paca.commands.explain.open_model", lambda options: 1 / 0)
    path = photograph("a.png")
    status, _, err = run("explain", path, "--output", tmp_path / output)
    assert status == 1
    assert "--output" in err
    status, _, err = run("explain", path, path, "--output", path)
    assert status == 1
    assert "folder" in err


def test_a_model_without_clusters(run, photograph, tmp_path):
    model = keras.Sequential([keras.Input((32, 32, 3)), keras.layers.Flatten()])
    model.save(tmp_path / "own.keras")
    target = tmp_path / "maps.png"
    status, _, err = run(
        "explain", photograph("a.png"), "--model", tmp_path / "own.keras", "--output", target
    )
    assert status == 1
    assert len(err.splitlines()) == 1
    assert not target.exists()


def test_a_picture_too_long_leaves_the_others_theirs(run, photograph, model_file, tmp_path):
    paths = [photograph("long.png", (1, 100_000)), photograph("a.png")]
    out = tmp_path / "maps"
    status, _, err = run("explain", *paths, "--model", model_file(), "--output", out, "--top", 500)
    assert status == 1
    assert "long.png" in err
    assert [path.name for path in out.iterdir()] == ["a.png"]


def test_explain(astronaut, tiny_file, tmp_path, capsys):
    picture = str(tmp_path / "picture.png")
    assert cli.main(["explain", astronaut, "--weights", tiny_file, "--output", picture]) == 0
    assert os.path.getsize(picture) > 10_000
    assert "P2: mean cosine between clusters" in capsys.readouterr().out
