import hashlib
import importlib
import json
import re

import keras
import numpy as np
import pytest

from keras_paca.preprocessing import decode_predictions, imagenet_classes


def scores(batch=2, seed=0):
    return np.random.default_rng(seed).standard_normal((batch, 1000)).astype("float32")


def test_classes():
    classes = imagenet_classes()
    assert len(classes) == 1000
    assert len({wordnet_id for wordnet_id, _ in classes}) == 1000
    assert all(re.fullmatch(r"n\d{8}", wordnet_id) for wordnet_id, _ in classes)
    assert list(classes) == sorted(classes)
    assert classes[0] == ("n01440764", "tench")
    assert classes[1] == ("n01443537", "goldfish")
    assert classes[134] == ("n02012849", "crane")
    assert classes[517] == ("n03126707", "crane")
    assert classes[638] == ("n03710637", "maillot")
    assert classes[639] == ("n03710721", "maillot")
    assert classes[999] == ("n15075141", "toilet_tissue")
    assert imagenet_classes() is classes


def test_classes_equal_those_of_keras_applications():
    # `CLASS_INDEX_PATH` in keras/src/applications/imagenet_utils.py, with its `file_hash`.
    index = json.dumps({str(i): list(names) for i, names in enumerate(imagenet_classes())})
    assert hashlib.md5(index.encode()).hexdigest() == "c2c37ea517e94d9795004a39431a14cb"


def test_best_first():
    predictions = np.zeros((2, 1000), "float32")
    predictions[0, [999, 0, 517]] = [0.5, 0.3, 0.2]
    predictions[1, 1] = 1
    first, second = decode_predictions(predictions, top=3)
    assert [name for _, name, _ in first] == ["toilet_tissue", "tench", "crane"]
    assert first[0] == ("n15075141", "toilet_tissue", 0.5)
    assert first[1][2] == pytest.approx(0.3)
    assert type(first[0][2]) is float
    # Equal scores in the order of the indices.
    assert [name for _, name, _ in second] == ["goldfish", "tench", "great_white_shark"]


@pytest.mark.parametrize("top", [1, 5, 999, 1000])
def test_top(top):
    predictions = scores()
    for row, best in zip(predictions, decode_predictions(predictions, top), strict=True):
        assert len(best) == top
        np.testing.assert_array_equal([score for *_, score in best], np.sort(row)[::-1][:top])
        ids = [wordnet_id for wordnet_id, _ in imagenet_classes()]
        assert [wordnet_id for wordnet_id, *_ in best] == [
            ids[i] for i in np.argsort(-row, kind="stable")[:top]
        ]


def test_nan_and_infinities():
    predictions = np.zeros((2, 1000))
    predictions[0, :4] = [np.nan, np.inf, -np.inf, 1]
    predictions[1] = np.nan
    first, second = decode_predictions(predictions, top=1000)
    assert [score for *_, score in first[:2]] == [np.inf, 1]
    assert first[998][2] == -np.inf
    assert first[999][1] == "tench"
    assert np.isnan(first[999][2])
    assert tuple(names for *names, _ in map(list, second)) == tuple(map(list, imagenet_classes()))


def test_tensors_of_the_backend():
    predictions = scores()
    expected = decode_predictions(predictions)
    assert decode_predictions(keras.ops.convert_to_tensor(predictions)) == expected
    for dtype in ("float16", "bfloat16"):
        rounded = keras.ops.cast(predictions, dtype)
        widened = keras.ops.convert_to_numpy(keras.ops.cast(rounded, "float32"))
        assert decode_predictions(rounded) == decode_predictions(widened)


@pytest.mark.together
@pytest.mark.parametrize("module", ["tensorflow", "jax.numpy", "torch"])
def test_tensors_of_any_backend(module):
    pytest.importorskip(module.split(".")[0])
    module = importlib.import_module(module)
    predictions = scores()
    make = {"tensorflow": "constant", "jax.numpy": "asarray", "torch": "tensor"}[module.__name__]
    assert decode_predictions(getattr(module, make)(predictions)) == decode_predictions(predictions)


def test_torch_tensor_with_gradients():
    torch = pytest.importorskip("torch")
    predictions = scores()
    tensor = torch.tensor(predictions, requires_grad=True)
    assert decode_predictions(tensor) == decode_predictions(predictions)


def test_integers_lists_and_no_images():
    integers = (np.arange(1000) % 256).astype("uint8")[None]
    assert decode_predictions(integers, 1)[0][0] == (*imagenet_classes()[255], 255.0)
    assert decode_predictions(scores().tolist()) == decode_predictions(scores())
    assert decode_predictions(np.zeros((0, 1000))) == []


@pytest.mark.parametrize("shape", [(1000,), (2, 999), (2, 1001), (2, 1, 1000), ()])
def test_wrong_shape(shape):
    with pytest.raises(ValueError, match=r"\(batch, 1000\).*Received the shape"):
        decode_predictions(np.zeros(shape))


@pytest.mark.parametrize("top", [0, -1, 1001, 2.0, "5", None, True])
def test_wrong_top(top):
    with pytest.raises(ValueError, match="`top` must be an integer from 1 to 1000"):
        decode_predictions(scores(), top=top)
