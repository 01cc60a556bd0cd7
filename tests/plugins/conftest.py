"""Other libraries around our backbone. Their warnings are theirs; ours stay errors."""

import keras
import numpy as np
import pytest

import keras_paca
from keras_paca.warn import KerasPaCaWarning
from tests.marks import slow_but_on_torch

SHAPES = {"fixed": (64, 64, 3), "not_square": (64, 96, 3), "unknown": (None, None, 3)}


@pytest.fixture(autouse=True)
def _their_warnings(recwarn):
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.filterwarnings("error", module="keras_paca")
        warnings.filterwarnings("error", category=KerasPaCaWarning)
        yield


@pytest.fixture
def seen(request, record_property):
    """Return a function that notes what was seen of a step, for `benchmarks/plugins.py`."""
    library = {"test_keras_hub": "KerasHub", "test_keras_cv": "KerasCV"}
    record_property("library", library[request.path.stem])
    record_property("backend", keras.backend.backend())
    return lambda step, what="yes": record_property(step, what)


# A size that is known is the easier case; PyTorch, the fastest, has them all in `make test`.
@pytest.fixture(
    params=["unknown", *(pytest.param(s, marks=slow_but_on_torch) for s in ("fixed", "not_square"))]
)
def shape(request):
    request.getfixturevalue("seen")("size", request.param)
    return SHAPES[request.param]


@pytest.fixture(params=["PaCaViT", pytest.param("RapidNet", marks=slow_but_on_torch)])
def backbone(request, small):
    """Return a function that builds a backbone of a family for images of a shape."""
    request.getfixturevalue("seen")("family", request.param)
    build = {"PaCaViT": small, "RapidNet": settled_rapidnet}[request.param]
    return lambda shape, **options: build(include_top=False, input_shape=shape, **options)


def settled_rapidnet(input_shape, **options):
    """Return a small RapidNet whose batch norms know the statistics of images.

    With new ones, a detector's predictions after a single step are infinite.
    """
    model = small_rapidnet(input_shape=input_shape, **options)
    images = np.random.default_rng(0).uniform(0, 255, sides(input_shape)).astype("float32")
    for _ in range(40):
        model(images, training=True)
    return model


def small_rapidnet(**options):
    """Return a small RapidNet of any options, with the channels of the small PaCaViT."""
    return keras_paca.RapidNet(
        **{
            "hidden_dims": (16, 24, 32, 40),
            "depths": ((1, 0), (1, 0), (1, 1), (0, 1)),
            "embedding_dim": 32,
            "classes": 5,
            **options,
        }
    )


def small_vittm(**options):
    """Return a small ViTTM of any options."""
    return keras_paca.ViTTM(
        **{"hidden_dim": 16, "num_heads": 2, "depth": 2, "classes": 5, "image_size": 56, **options}
    )


ATTENTIVE = {  # arguments of small networks with attentive normalization
    "ResNetAN": {"hidden_dims": (16, 24, 32, 40), "depths": 1},
    "MobileNetAN": {
        **{"hidden_dims": (8, 16, 24, 24, 32, 32, 40), "depths": 1},
        **{"expansion": 2, "embedding_dim": 32},
    },
    "DenseNetAN": {"depths": 1, "growth_rate": 8},
}


def small_attentive(name):
    """Return a function that builds a small network of a family, of any options."""
    family, given = getattr(keras_paca, name), {"mixtures": 3, "classes": 5, **ATTENTIVE[name]}
    return lambda **options: family(**{**given, **options})


def small_castling(**options):
    """Return a small CastlingViT of any options, with a distillation token."""
    given = {"hidden_dim": 16, "num_heads": 2, "depth": 2, "classes": 5, "image_size": 64}
    return keras_paca.CastlingViT(**given | {"distillation": True, "drop_path_rate": 0.0} | options)


@pytest.fixture(scope="session")
def round_trip(tmp_path_factory):
    """Return a function that saves and loads a model, and compares what both predict."""

    def check(model, images, tolerance=1e-4):
        path = tmp_path_factory.mktemp("plugins") / "model.keras"
        model.save(path)
        again = keras.saving.load_model(path)
        assert type(again) is type(model)
        wanted, found = (
            keras.tree.flatten(each(images, training=False)) for each in (model, again)
        )
        assert len(wanted) == len(found) > 0
        for a, b in zip(wanted, found, strict=True):
            a, b = keras.ops.convert_to_numpy(a), keras.ops.convert_to_numpy(b)
            assert np.isfinite(a).all()
            np.testing.assert_allclose(a, b, atol=tolerance)
        return again

    return check


def assert_finite(predictions):
    """Check every number of what a model predicts."""
    for array in keras.tree.flatten(predictions):
        assert np.isfinite(np.asarray(array, "float64")).all()


def sides(shape):
    return (2, *(side or 64 for side in shape[:2]), 3)


def check(model, x, truth, round_trip, seen):
    """Check a compiled model through all steps, and return what it predicts."""
    seen("build")
    assert np.isfinite(model.fit(x, truth, verbose=0).history["loss"][0])
    seen("fit")
    found = model.predict(x, verbose=0)
    assert_finite(found)
    seen("predict")
    round_trip(model, x)
    seen("save and load")
    return found


def check_segmenter(model, x, round_trip, seen):
    """Check a compiled segmenter of four classes."""
    masks = keras.utils.to_categorical(np.random.default_rng(0).integers(0, 4, x.shape[:3]), 4)
    assert check(model, x, masks, round_trip, seen).shape == (*x.shape[:3], 4)
