"""Other libraries around our backbone. Their warnings are theirs; ours stay errors."""

import keras
import numpy as np
import pytest


@pytest.fixture(autouse=True)
def _their_warnings(recwarn):
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.filterwarnings("error", module="keras_paca")
        yield


@pytest.fixture
def seen(request, record_property):
    """Return a function that notes what was seen of a step, for `benchmarks/plugins.py`."""
    library = {"test_keras_hub": "KerasHub", "test_keras_cv": "KerasCV"}
    record_property("library", library[request.path.stem])
    record_property("backend", keras.backend.backend())
    return lambda step, what="yes": record_property(step, what)


@pytest.fixture(scope="session")
def backbone(small):
    """Return a function that builds a backbone for images of a shape."""

    def build(shape, **options):
        return small(include_top=False, input_shape=shape, **options)

    return build


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
