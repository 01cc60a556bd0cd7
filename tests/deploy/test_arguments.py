"""What is refused before the work begins."""

from pathlib import Path

import keras
import numpy as np
import pytest

from keras_paca.deploy import benchmark, quantization_report
from keras_paca.deploy.arguments import (
    check_folder,
    check_model,
    image_sides,
    input_shape,
    named_path,
)
from tests.marks import slow_but_on_torch

pytestmark = slow_but_on_torch


class Own(keras.Model):
    """A subclassed model."""

    def __init__(self):
        super().__init__()
        self.dense = keras.layers.Dense(2)

    def call(self, x):
        return self.dense(x)


def called(model):
    model(np.zeros((1, 32, 32, 3), "float32"))
    return model


def two_inputs():
    inputs = [keras.Input((32, 32, 3), name=name) for name in ("left", "right")]
    return keras.Model(inputs, keras.layers.Add()(inputs))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: "model.keras", "load_model.*Received: model='model.keras'"),
        (lambda: None, r"must be a keras\.Model\. Received: model=None"),
        (Own, "must be built: call it"),
        (lambda: called(Own()), r"Wrap a subclassed one: keras\.Model\(inputs, model\(inputs\)\)"),
        (lambda: keras.Sequential([keras.layers.Dense(2)]), "must be built: call it"),
        (two_inputs, "must have one input.*2 inputs, 'left', 'right'"),
        (lambda: keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)]), "must take images"),
    ],
)
def test_models(make, message):
    with pytest.raises(ValueError, match=message) as error:
        check_model(make())
    assert "\n" not in str(error.value)


def test_models_that_will_do(small):
    check_model(small())
    check_model(called(keras.Sequential([keras.layers.Dense(2)])))
    inputs = keras.Input((32, 32, 3))
    check_model(keras.Model(inputs, Own()(inputs)))  # as the message says


@pytest.mark.parametrize("size", [64, (64, 64), [64, 64], np.int64(64), np.array([64, 64])])
def test_sizes(size):
    assert image_sides(size) == (64, 64)


WRONG_SIZES = ["64", True, 0, -1, 64.0, (64,), (64, 64, 3), (64, "64"), (64, None), {}]


@pytest.mark.parametrize("size", WRONG_SIZES)
def test_wrong_sizes(size, small):
    for call in (
        image_sides,
        lambda size: input_shape(small(), size),
        lambda size: benchmark(small(), image_size=size),
        lambda size: quantization_report(small(), image_size=size),
    ):
        with pytest.raises(ValueError, match=r"`image_size` must be .*image_size="):
            call(size)


@pytest.mark.parametrize("count", ["1", True, 0, -1, 2.0])
def test_wrong_batches(count, small):
    for call in (input_shape, benchmark):
        with pytest.raises(
            ValueError, match=r"`batch_size` must be a positive integer.*batch_size"
        ):
            call(small(), batch_size=count)


def test_what_the_model_has_is_not_the_user_s_choice(small):
    model = small(input_shape=(64, None, 3))
    assert input_shape(model) == (None, 64, None, 3)
    assert input_shape(model, (64, 96), 2) == (2, 64, 96, 3)
    for call in (input_shape, lambda model, size: quantization_report(model, image_size=size)):
        with pytest.raises(ValueError, match=r"must be the model's own, \(64, None\).*=96"):
            call(model, 96)
    fixed = keras.Sequential([keras.Input((8, 8, 3), batch_size=2), keras.layers.Dense(2)])
    assert input_shape(fixed) == (2, 8, 8, 3)
    with pytest.raises(ValueError, match=r"must be the model's own, 2\. Received: batch_size=1"):
        input_shape(fixed, batch_size=1)


def test_wrong_arguments_of_benchmark_and_report(small):
    with pytest.raises(ValueError, match=r"must be a keras\.Model"):
        benchmark("model.keras")
    with pytest.raises(ValueError, match=r"must be a keras\.Model"):
        quantization_report("model.keras")
    data = np.random.default_rng(0).uniform(0, 255, (2, 64, 64, 3))
    for wrong in (data[0], data[:, :32], data / 255, iter(data)):
        with pytest.raises(ValueError, match="`representative_data` must"):
            benchmark(small(), image_size=64, representative_data=wrong)
    for wrong in (data[0], iter(data)):
        with pytest.raises(ValueError, match="`images` must be an array"):
            quantization_report(small(), wrong, small())


def test_paths(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for wrong in (None, 3, "", ".", "/", b"m.onnx"):
        with pytest.raises(ValueError, match="`path` must be the name of"):
            named_path(wrong)
    assert named_path("m.onnx") == Path("m.onnx")
    check_folder(Path("m.onnx"), [".onnx"])
    Path("file").write_text("")
    for missing in ("no/m.onnx", "~/m.onnx", "file/m.onnx"):  # Keras doesn't expand "~" either
        with pytest.raises(FileNotFoundError, match=f"No such folder: {Path(missing).parent}"):
            check_folder(Path(missing))
    Path("m.bin").mkdir()
    with pytest.raises(IsADirectoryError, match=r"m\.bin is a folder"):
        check_folder(Path("m.xml"), [".xml", ".bin"])
    monkeypatch.setattr("os.access", lambda *arguments: False)  # root may write anywhere
    with pytest.raises(PermissionError, match="can't be written to"):
        check_folder(Path("m.onnx"))
