"""`keras-paca predict`: every kind of model, many pictures, text, JSON and CSV."""

import csv
import io
import json
import shutil
import tracemalloc

import keras
import numpy as np
import pytest
from PIL import Image, ImageOps

from keras_paca import PaCaTiny, cli, evaluation_transform, preprocessing
from tests.marks import slow_but_on_torch

pytestmark = slow_but_on_torch
KINDS = ("classifier", "segmenter", "detector")


def test_names_and_size_are_in_the_file(run, photograph, model_file, tmp_path):
    """A model that was moved to another folder answers as before."""
    path = photograph("a.png")
    model = model_file()
    first = run("predict", path, "--model", model)
    (tmp_path / "elsewhere").mkdir()
    moved = shutil.move(model, tmp_path / "elsewhere")
    assert run("predict", path, "--model", moved) == first
    status, out, _ = first
    assert status == 0
    scores = keras.saving.load_model(moved).predict(
        evaluation_transform(path, 48)[None].astype("float32"), verbose=0
    )[0]
    expected = [f"  {scores[i]:7.2%}  {['ant', 'bee', 'cat'][i]}" for i in np.argsort(-scores)]
    assert out.splitlines() == [str(path), *expected]


def test_names_beside_serve_models_without_names(run, photograph, model_file, tmp_path):
    model = model_file(class_names=None)
    path = photograph("a.png")
    assert "class 2" in run("predict", path, "--model", model)[1]
    (tmp_path / "classes.txt").write_text("ant\nbee\ncat\n")
    (tmp_path / "settings.json").write_text('{"somebody": "else"}')
    assert "bee" in run("predict", path, "--model", model)[1]
    (tmp_path / "classes.txt").write_text("ant\nbee\n")
    assert "class 2" in run("predict", path, "--model", model)[1]


@pytest.mark.parametrize("activation", [None, "linear", "sigmoid", "softmax"])
def test_logits_become_probabilities(activation, run, photograph, model_file):
    model = model_file(classifier_activation=activation)
    status, out, _ = run("predict", photograph("a.png"), "--model", model, "--json")
    values = [each["probability"] for each in json.loads(out)[0]["classes"]]
    assert status == 0
    assert all(0 <= value <= 1 for value in values)
    if activation != "sigmoid":
        assert sum(values) == pytest.approx(1)


@pytest.mark.parametrize("around", ["linear", "softmax"])
def test_a_model_of_others(around, run, photograph, small, tmp_path):
    """Scores of which nothing is known are printed as they are, not as shares."""
    layers = [keras.Input((48, 48, 3)), small(include_top=False, pooling="avg")]
    head = keras.layers.Dense(3, activation=around, bias_initializer="ones")
    keras.Sequential([*layers, head]).save(tmp_path / "own.keras")
    path = photograph("a.png")
    _, out, _ = run("predict", path, "--model", tmp_path / "own.keras")
    assert ("%" in out) == (around == "softmax")
    assert "class 0" in out


@pytest.mark.parametrize("kind", KINDS)
def test_forms(kind, run, photograph, model_file, tmp_path):
    """Text, JSON and CSV say the same."""
    model, paths = model_file(kind), [photograph("a.png"), photograph("b.jpg", (90, 50), 1)]
    status, text, _ = run("predict", *paths, "--model", model, "--top", "2")
    assert status == 0
    found = json.loads(run("predict", *paths, "--model", model, "--json", "--top", "2")[1])
    assert [each["file"] for each in found] == [str(path) for path in paths]
    name = "objects" if kind == "detector" else "classes"
    rows = run("predict", *paths, "--model", model, "--csv", "--top", "2")[1]
    rows = list(csv.DictReader(io.StringIO(rows)))
    flat = [(each["file"], thing) for each in found for thing in each[name]]
    assert len(flat) == len(rows) == len(text.splitlines()) - 2
    measure = {"classifier": "probability", "segmenter": "share", "detector": "score"}[kind]
    for row, (path, thing) in zip(rows, flat, strict=True):
        assert (row["file"], row["name"]) == (path, thing["name"])
        assert float(row[measure]) == pytest.approx(thing[measure])
        assert f"{thing[measure]:.2%}  {thing['name']}" in text
    if kind == "detector":
        assert {"left", "top", "right", "bottom"} < set(rows[0])
        width = {str(paths[0]): 60, str(paths[1]): 50}
        sides = [(float(r["left"]), float(r["right"]), width[r["file"]]) for r in rows]
        assert all(0 <= left <= right <= end for left, right, end in sides), sides


@pytest.mark.parametrize("kind", KINDS[1:])
def test_pictures_of_what_is_found(kind, run, photograph, model_file, tmp_path):
    """Two pictures of one name in two folders become two files."""
    paths = [photograph("one/a.png"), photograph("two/a.png", seed=1)]
    out = tmp_path / "found"
    assert run("predict", *paths, "--model", model_file(kind), "--output", out)[0] == 0
    assert sorted(path.name for path in out.iterdir()) == ["a.png", "a_2.png"]
    status, _, err = run("predict", paths[0], "--model", model_file(), "--output", out)
    assert status == 1
    assert "segmenter or a detector" in err


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [(64, 64), (64, 96)])
def test_models_of_one_size(kind, size, run, photograph, model_file):
    model = model_file(kind, input_shape=(*size, 3))
    for picture in (photograph("wide.png", (30, 200)), photograph("tall.png", (200, 30))):
        assert run("predict", picture, "--model", model)[0] == 0
    if kind == "classifier":
        status, _, err = run("predict", picture, "--model", model, "--image-size", "48")
        assert status == 1
        assert f"{size[0]} x {size[1]}" in err


@pytest.mark.parametrize("kind", KINDS)
def test_models_that_do_not_normalise(kind, run, photograph, model_file):
    """They get normalised images, and answer as those that normalise by themselves."""
    path = photograph("a.png", (64, 64))
    answers = [
        json.loads(run("predict", path, "--json", "--model", model_file(
            kind, f"{raw}.keras", include_preprocessing=raw))[1])[0]
        for raw in (True, False)
    ]  # fmt: skip
    first, second = (each[[*each][1]] for each in answers)
    for a, b in zip(first, second, strict=True):
        assert a.pop("name") == b.pop("name")
        assert a == pytest.approx(b, rel=1e-3, abs=0.2)


@pytest.mark.parametrize("kind", ["features", "vector", "two inputs", "grey"])
def test_models_that_can_not_answer(kind, run, photograph, small, model_file, tmp_path):
    path = tmp_path / "model.keras"
    if kind == "two inputs":
        inputs = [keras.Input((8, 8, 3)), keras.Input((8, 8, 3))]
        keras.Model(inputs, keras.layers.Add()(inputs)).save(path)
    elif kind == "grey":
        small(include_preprocessing=False, input_shape=(None, None, 1)).save(path)
    else:
        small(include_top=False, pooling="avg" if kind == "vector" else None).save(path)
    status, out, err = run("predict", photograph("a.png"), "--model", path)
    assert (status, out) == (1, "")
    assert len(err.splitlines()) == 1
    assert str(path) in err


def test_broken_pictures_among_others(run, photograph, model_file, tmp_path):
    """Answers for the others, a line for each of those, status 1."""
    paths = [photograph(f"{i}.jpg", seed=i) for i in range(3)]
    with paths[0].open("r+b") as stream:
        stream.truncate(300)
    paths.append(tmp_path / "none.jpg")
    for form in ((), ("--json",), ("--csv",)):
        status, out, err = run("predict", *paths, "--model", model_file(), *form)
        assert status == 1
        assert len(err.splitlines()) == 2
        assert str(paths[0]) in err
        assert str(paths[3]) in err
        for path in paths[1:3]:
            assert str(path) in out
        if form == ("--json",):
            broken = [each["file"] for each in json.loads(out) if "error" in each]
            assert broken == [str(paths[0]), str(paths[3])]


def test_no_model_is_opened_for_pictures_that_can_not_be_read(run, tmp_path, monkeypatch):
    monkeypatch.setattr("keras_paca.commands.predict.open_model", lambda options: 1 / 0)
    (tmp_path / "text.jpg").write_text("text")
    status, out, err = run("predict", tmp_path / "text.jpg", tmp_path / "none.jpg")
    assert (status, out, len(err.splitlines())) == (1, "", 2)


def test_folders(run, photograph, model_file, tmp_path):
    for name in ("photos/a.png", "photos/deep/b.JPG", "photos/.hidden/c.png"):
        photograph(name)
    (tmp_path / "empty").mkdir()
    status, out, err = run(
        "predict", tmp_path / "photos", tmp_path / "empty", "--model", model_file(), "--top", "1"
    )
    assert status == 1
    assert [line for line in out.splitlines() if not line.startswith(" ")] == [
        str(tmp_path / "photos" / "a.png"), str(tmp_path / "photos" / "deep" / "b.JPG"),
    ]  # fmt: skip
    assert "empty" in err


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_photographs_are_seen_upright(orientation, run, photograph, model_file, tmp_path):
    exif = Image.Exif()
    exif[274] = orientation
    turned = photograph("turned.png", exif=exif)
    ImageOps.exif_transpose(Image.open(turned)).save(tmp_path / "upright.png")
    answers = [
        run("predict", path, "--model", model_file())[1].splitlines()[1:]
        for path in (turned, tmp_path / "upright.png")
    ]
    assert answers[0] == answers[1]


@pytest.mark.parametrize(
    "option", [("--clusters", "9"), ("--clustering", "mlp"), ("--blockwise",), ("--weights", "x")]
)
def test_options_of_new_models_are_refused_beside_a_file(option, run, photograph, model_file):
    status, _, err = run("predict", photograph("a.png"), "--model", model_file(), *option)
    assert status == 1
    assert option[0] in err


def test_a_file_of_weights_is_no_model(run, photograph):
    status, _, err = run("predict", photograph("a.png"), "--model", "tiny.pth")
    assert status == 1
    assert "--weights" in err


@pytest.mark.filterwarnings("default:constrained_layout")
@pytest.mark.parametrize("kind", KINDS)
def test_a_picture_that_cannot_be_used_leaves_the_others_their_answers(
    kind, run, photograph, model_file, tmp_path
):
    """Nor one too long and narrow for the model, or for drawing."""
    good = [photograph("a.png"), photograph("b.png", seed=1)]
    long = photograph("long.png", (1, 100_000))
    short = tmp_path / "short.png"
    short.write_bytes(b"\0\1")
    cut = tmp_path / "cut.jpg"
    cut.write_bytes(b"\xff\xd8\xff\xe1\x00\x04ab\xff")
    paths = [short, good[0], long, cut, good[1]]
    drawn = [] if kind == "classifier" else ["--output", tmp_path / "drawn"]
    status, out, err = run("predict", *paths, "--model", model_file(kind), "--json", *drawn)
    answers = {each["file"]: each for each in json.loads(out)}
    assert list(answers) == [str(path) for path in paths]
    for path in (short, cut):
        assert str(path) in err
        assert "error" in answers[str(path)]
    for path in good:
        assert "error" not in answers[str(path)]
    assert "error" in answers[str(long)] or kind == "segmenter"
    assert status == 1


def test_json_of_nothing_but_broken_pictures(run, tmp_path):
    (tmp_path / "a.png").write_bytes(b"\0")
    status, out, err = run("predict", tmp_path / "a.png", tmp_path / "none.png", "--json")
    assert status == 1
    assert ["error" in each for each in json.loads(out)] == [True, True]
    assert len(err.splitlines()) == 2


def test_one_logit_is_the_probability_of_one_class(run, photograph, model_file):
    model = model_file(classes=1, class_names=["dog"], classifier_activation=None)
    loaded = keras.saving.load_model(model)
    path = photograph("a.png")
    logit = loaded.predict(evaluation_transform(path, 48)[None].astype("float32"), verbose=0)[0, 0]
    _, out, _ = run("predict", path, "--model", model, "--json")
    (found,) = json.loads(out)[0]["classes"]
    assert found["probability"] == pytest.approx(1 / (1 + np.exp(-logit)), rel=1e-4)


def test_scores_that_are_no_numbers(run, photograph, model_file):
    path = model_file()
    model = keras.saving.load_model(path)
    model.layers[-1].bias.assign([np.nan, 0, 0])
    model.save(path)
    status, out, err = run("predict", photograph("a.png"), "--model", path, "--json")
    assert status == 1
    assert "NaN or infinite" in err
    assert "error" in json.loads(out)[0]


@pytest.mark.parametrize("kind", KINDS)
def test_the_size_of_a_model_of_one_size(kind, run, photograph, model_file):
    model = model_file(kind, input_shape=(64, 64, 3))
    for command in ("predict", "explain"):
        status, _, err = run(command, photograph("a.png"), "--model", model, "--image-size", "96")
        assert status == 1
        assert "--image-size must be that of the model, 64 x 64" in err


@pytest.mark.parametrize(
    ("content", "words"), [(None, "a folder"), (b"PK\x03\x04", "not whole"), (b"text", "not whole")]
)
def test_models_that_are_no_files_of_keras(content, words, run, photograph, tmp_path):
    model = tmp_path / "model.keras"
    model.mkdir() if content is None else model.write_bytes(content)
    status, _, err = run("predict", photograph("a.png"), "--model", model)
    assert status == 1
    assert words in err


def test_names_beside_in_another_encoding(run, photograph, model_file, tmp_path):
    model = model_file(class_names=None)
    (tmp_path / "classes.txt").write_bytes("caf\xe9\n".encode("latin-1"))
    status, _, err = run("predict", photograph("a.png"), "--model", model)
    assert status == 1
    assert "classes.txt must be a text file in UTF-8" in err


def test_one_picture_is_in_memory_at_a_time(run, photograph, model_file):
    paths = [photograph(f"{i}.png", (1000, 1000), i) for i in range(8)]
    model = model_file()
    tracemalloc.start()
    assert run("predict", *paths, "--model", model)[0] == 0
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert 3e6 < peak < 6 * 3e6  # of 3 MB each


def test_pictures_are_not_overwritten(run, photograph, model_file, tmp_path):
    model, path = model_file("segmenter"), photograph("photos/a.png")
    before = path.read_bytes()
    for command in ("predict", "explain"):
        assert run(command, path.parent, "--model", model, "--output", path.parent)[0] == 0
    assert path.read_bytes() == before
    assert len(list(path.parent.iterdir())) > 1
    status, _, err = run("explain", path, "--model", model, "--output", path)
    assert status == 1
    assert "--output must not be the picture itself" in err
    assert path.read_bytes() == before


def test_a_detector_that_pads_to_a_square_takes_larger_sizes(run, photograph, model_file):
    sides = {"short_side": 64, "long_side": 96, "pad_to": 96}
    model = model_file("detector", evaluation_transform=sides)
    path = photograph("a.png", (50, 125))
    assert run("predict", path, "--model", model, "--image-size", "128")[0] == 0


def test_predict(astronaut, tiny_file, capsys):
    """What is printed is what the transform, the model and the class names give."""
    assert cli.main(["predict", astronaut, astronaut, "--weights", tiny_file, "--top", "3"]) == 0
    lines = capsys.readouterr().out.splitlines()
    image = preprocessing.evaluation_transform(astronaut)[None]
    scores = PaCaTiny(weights=tiny_file).predict(image, verbose=0)
    (best,) = preprocessing.decode_predictions(scores, top=3)
    printed = [astronaut, *(f"  {score:7.2%}  {name}" for _, name, score in best)]
    assert lines == printed * 2


def test_model_file_with_classes_of_its_own(small, astronaut, tmp_path, capsys):
    small(classes=3, input_shape=(64, 64, 3)).save(tmp_path / "own.keras")
    assert cli.main(["predict", astronaut, "--model", str(tmp_path / "own.keras")]) == 0
    assert "class 2" in capsys.readouterr().out
    (tmp_path / "classes.txt").write_text("ant\nbee\ncat\n")
    (tmp_path / "settings.json").write_text('{"somebody": "else"}')
    assert cli.main(["predict", astronaut, "--model", str(tmp_path / "own.keras")]) == 0
    assert "bee" in capsys.readouterr().out
