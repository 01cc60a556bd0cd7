import json

import keras
import numpy as np
import pytest
from keras import ops
from keras.src import testing
from skimage import data

from keras_paca.preprocessing import evaluation_transform
from keras_paca.preprocessing.layer import EvaluationTransform
from tests.marks import slow_but_on_torch

PHOTOS = {
    "astronaut": data.astronaut,
    "coffee": data.coffee,
    "cat": data.cat,
    "rocket": data.rocket,
}
BACKEND = keras.backend.backend()
on_tensorflow = pytest.mark.skipif(BACKEND != "tensorflow", reason="the TensorFlow backend's own")


def noise(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype="uint8")


def assert_within_3_levels(result, images, image_size=224, crop=0.9):
    """Compare a batch with the host's transform; all but few of its values are equal."""
    result = ops.convert_to_numpy(result)
    assert result.dtype == np.float32
    np.testing.assert_array_equal(result, np.round(result))
    expected = np.stack([evaluation_transform(image, image_size, crop) for image in images])
    assert result.shape == expected.shape
    difference = np.abs(result - expected)
    assert difference.max() <= 3
    assert np.mean(difference > 0) < 5e-3


class EvaluationTransformTest(testing.TestCase):
    def test_layer(self):
        for shape in ((2, 30, 40, 3), (40, 30, 3)):
            for dtype in ("float32", "uint8"):
                self.run_layer_test(
                    EvaluationTransform,
                    init_kwargs={"image_size": 16, "crop": 0.875},
                    input_shape=shape,
                    input_dtype=dtype,
                    expected_output_shape=(*shape[:-3], 16, 16, 3),
                    expected_output_dtype="float32",
                    expected_num_trainable_weights=0,
                    expected_num_non_trainable_weights=0,
                    expected_num_seed_generators=0,
                    expected_num_losses=0,
                    supports_masking=False,
                )


@pytest.mark.parametrize("photo", PHOTOS)
@pytest.mark.parametrize(
    "image_size",
    [
        *(32, 224, (160, 224)),
        *(pytest.param(x, marks=slow_but_on_torch) for x in (96, 225, 384, 512, (448, 384))),
    ],
)
def test_photos(photo, image_size):
    images = PHOTOS[photo]()[None]
    assert_within_3_levels(EvaluationTransform(image_size)(images), images, image_size)


@pytest.mark.parametrize("photo", PHOTOS)
@pytest.mark.parametrize("crop", [0.5, 0.875, 0.95, 1.0])
def test_crops(photo, crop):
    images = PHOTOS[photo]()[None]
    assert_within_3_levels(EvaluationTransform(224, crop)(images), images, crop=crop)


@pytest.mark.parametrize(
    "shape", [(1, 1), (1, 7), (9, 2), (37, 53), (248, 248), (248, 301), (300, 248), (20, 500)]
)
def test_sizes(shape):
    images = noise(2, *shape, 3)
    assert_within_3_levels(EvaluationTransform()(images), images)


def test_sharp_edges_do_not_overshoot():
    images = noise(1, 150, 150, 3) // 128 * 255
    result = ops.convert_to_numpy(EvaluationTransform(224)(images))
    assert (result.min(), result.max()) == (0, 255)
    assert_within_3_levels(result, images)


@pytest.mark.parametrize(
    "dtype", ["uint8", "int32", "int64", "float16", "bfloat16", "float32", "float64"]
)
def test_dtypes(dtype):
    images = noise(1, 60, 80, 3)
    expected = ops.convert_to_numpy(EvaluationTransform(48)(images))
    if keras.backend.backend() != "jax" or dtype not in ("int64", "float64"):  # not in JAX
        result = EvaluationTransform(48)(ops.cast(images, dtype))
        np.testing.assert_array_equal(ops.convert_to_numpy(result), expected)
    if dtype != "bfloat16":
        result = EvaluationTransform(48)(images.astype(dtype))
        np.testing.assert_array_equal(ops.convert_to_numpy(result), expected)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16", "float16", "float64"])
def test_always_float32(policy):
    # Values that float16 would round: multiples of 1/32 above 128.
    images = (noise(1, 60, 80, 3) / 32 + 200).astype("float32")
    expected = ops.convert_to_numpy(EvaluationTransform(48)(images))
    explicit = EvaluationTransform(48, dtype=policy)
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        layers = [EvaluationTransform(48), explicit]
        for layer in layers:
            result = layer(images)
            assert keras.backend.standardize_dtype(result.dtype) == "float32"
            np.testing.assert_array_equal(ops.convert_to_numpy(result), expected)
            assert layer.compute_output_spec(keras.KerasTensor((1, 60, 80, 3))).dtype == "float32"
    finally:
        keras.config.set_dtype_policy(before)


def native(array):
    """Make a tensor that keeps uint16, which Keras doesn't with PyTorch."""
    if BACKEND == "torch":
        import torch

        return torch.from_numpy(array)
    return ops.convert_to_tensor(array)


@pytest.mark.parametrize("shape", [(2, 50, 70, 3), (50, 70, 3)])
def test_16_bits_are_scaled(shape):
    images = noise(*shape)
    expected = ops.convert_to_numpy(EvaluationTransform(32)(images))
    wide = images.astype("uint16") * 257
    for given in (wide, wide.astype(">u2"), native(wide)):
        result = ops.convert_to_numpy(EvaluationTransform(32)(given))
        np.testing.assert_array_equal(result, expected)


def test_16_bits_are_rounded_as_on_the_host():
    values = np.arange(65536, dtype="uint16").reshape(256, 256)
    expected = evaluation_transform(values, 256, 1.0)[..., :1]
    for given in (values[..., None], native(values[..., None])):
        result = ops.convert_to_numpy(EvaluationTransform(256, 1.0)(given))
        np.testing.assert_array_equal(result, expected)


def test_model_with_an_input_of_16_bits():
    images = noise(2, 50, 70, 3)
    inputs = keras.Input((50, 70, 3), dtype="uint16", name="wide")
    if BACKEND == "torch":
        with pytest.raises(ValueError, match="Received: wide of uint16"):
            EvaluationTransform(32)(inputs)
        return
    model = keras.Model(inputs, EvaluationTransform(32)(inputs))
    result = model.predict(images.astype("uint16") * 257, verbose=0)
    assert_within_3_levels(result, images, 32)


@pytest.mark.parametrize("dtype", ["bool", "int8"])
def test_dtypes_that_hold_no_picture(dtype):
    for images in (np.zeros((8, 8, 3), dtype), keras.Input((8, 8, 3), dtype=dtype)):
        with pytest.raises(ValueError, match=f"Received: images of {dtype}"):
            EvaluationTransform(8)(images)


def test_arrays_of_another_range():
    """As on the host, as far as an array tells: the values of a tensor aren't looked at."""
    images = noise(8, 8, 3)
    with pytest.warns(UserWarning, match=r"12 bits, give a uint16 array") as caught:
        EvaluationTransform(8)(images.astype("uint16") * 16)
    assert caught[0].filename == __file__
    with pytest.raises(
        ValueError, match=r"array of int32, of values 0 to .*\.astype\(\"uint16\"\)"
    ):
        EvaluationTransform(8)(images.astype("int32") * 257)
    with pytest.raises(ValueError, match="array of int64, of values -"):
        EvaluationTransform(8)(images.astype("int64") - 300)
    with pytest.warns(UserWarning, match=r"becomes black. .*\(array \* 255\)") as caught:
        EvaluationTransform(8)(images.astype("float32") / 255)
    assert caught[0].filename == __file__
    EvaluationTransform(8)(np.zeros((8, 8, 3), "float32"))


def test_out_of_range_is_clipped():
    images = np.array([-50.0, 20.4, 20.5, 300.0], "float32").reshape(1, 2, 2, 1)
    result = EvaluationTransform(2, 1.0)(images)
    np.testing.assert_array_equal(ops.convert_to_numpy(result).ravel(), [0, 20, 21, 255])


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_one_image_and_any_channels(channels):
    images = noise(2, 50, 70, channels)
    layer = EvaluationTransform((20, 30))
    batch = ops.convert_to_numpy(layer(images))
    assert batch.shape == (2, 20, 30, channels)
    for image, expected in zip(images, batch, strict=True):
        np.testing.assert_array_equal(ops.convert_to_numpy(layer(image)), expected)


def test_global_channels_first():
    images = noise(2, 50, 70, 3)
    expected = ops.convert_to_numpy(EvaluationTransform(32)(images))
    keras.config.set_image_data_format("channels_first")
    try:
        layer = EvaluationTransform(32)
        np.testing.assert_array_equal(ops.convert_to_numpy(layer(images)), expected)
        assert layer.compute_output_shape((None, 50, 70, 3)) == (None, 32, 32, 3)
        inputs = keras.Input((50, 70, 3), dtype="uint8")
        model = keras.Model(inputs, layer(inputs))
        np.testing.assert_array_equal(ops.convert_to_numpy(model(images)), expected)
    finally:
        keras.config.set_image_data_format("channels_last")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ((2, 50, 70, 3), (2, 224, 200, 3)),
        ((None, None, None, 3), (None, 224, 200, 3)),
        ((None, 5, None, None), (None, 224, 200, None)),
        ((None, None, 3), (224, 200, 3)),
        ([50, 70, 1], (224, 200, 1)),
    ],
)
def test_output_shape_and_spec(given, expected):
    layer = EvaluationTransform((224, 200))
    assert layer.compute_output_shape(given) == expected
    for dtype in ("uint8", "float16"):
        spec = layer.compute_output_spec(keras.KerasTensor(tuple(given), dtype=dtype))
        assert (spec.shape, spec.dtype) == (expected, "float32")


def test_model_of_unknown_batch_predicts_and_compiles():
    images = noise(3, 50, 70, 3)
    inputs = keras.Input((50, 70, 3), dtype="uint8")
    model = keras.Sequential([inputs, EvaluationTransform(32)])
    assert model.output_shape == (None, 32, 32, 3)
    assert_within_3_levels(model.predict(images, batch_size=2, verbose=0), images, 32)


def test_saved_model_round_trip(tmp_path):
    images = noise(2, 50, 70, 3)
    inputs = keras.Input((50, 70, 3), dtype="uint8")
    model = keras.Model(inputs, EvaluationTransform((32, 40), 0.8, name="transform")(inputs))
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(
        ops.convert_to_numpy(loaded(images)), ops.convert_to_numpy(model(images))
    )
    assert loaded.get_layer("transform").get_config() == model.get_layer("transform").get_config()


@pytest.mark.parametrize("image_size", [96, (96, 64), np.int64(96)])
def test_config_round_trip(image_size):
    layer = EvaluationTransform(image_size, crop=0.875, name="transform")
    config = json.loads(json.dumps(layer.get_config()))
    again = EvaluationTransform.from_config(config)
    assert again.get_config() == layer.get_config()
    assert (again.image_size, again.crop, again.name) == (layer.image_size, 0.875, "transform")
    assert keras.saving.get_registered_name(EvaluationTransform) == "keras_paca>EvaluationTransform"


@pytest.mark.parametrize("shape", [(50, 70), (1, 2, 50, 70, 3), (1, 0, 70, 3), (50, 0, 3)])
def test_wrong_shapes(shape):
    with pytest.raises(ValueError, match=r"Expected images of the shape.*Received: \("):
        EvaluationTransform()(np.zeros(shape, "uint8"))
    with pytest.raises(ValueError, match="Expected images of the shape"):
        EvaluationTransform().compute_output_shape(shape)


def test_wrong_arguments():
    with pytest.raises(ValueError, match="`image_size` must be"):
        EvaluationTransform(0)
    with pytest.raises(ValueError, match="`crop` must lie in"):
        EvaluationTransform(224, 1.5)


@on_tensorflow
@pytest.mark.parametrize("image_size", [64, (64, 96), (97, 48)])
@pytest.mark.parametrize("known", [(None, None), (45, None), (None, 75)])
def test_tf_function_with_unknown_sizes(image_size, known):
    import tensorflow as tf

    layer = EvaluationTransform(image_size)
    spec = tf.TensorSpec((None, *known, 3), tf.uint8)
    function = tf.function(layer, input_signature=[spec])
    static = function.get_concrete_function().structured_outputs.shape
    assert static.as_list() == [None, *layer.image_size, 3]
    for height in (45, 200, 31):
        for width in (75, 300, 52):
            if (known[0] or height, known[1] or width) == (height, width):
                images = noise(2, height, width, 3)
                result = function(images)
                assert_within_3_levels(result, images, image_size)
                np.testing.assert_array_equal(result, layer(images))


@on_tensorflow
def test_unknown_sizes_are_computed_exactly():
    import tensorflow as tf

    from keras_paca.preprocessing.transform import resized_size

    random = np.random.default_rng(0)
    for image_size in (224, 225, (160, 224), (384, 97), (64, 96)):
        layer = EvaluationTransform(image_size)

        @tf.function(input_signature=[tf.TensorSpec((), "int32")] * 2)
        def size(height, width, layer=layer):
            return layer._resized_size(height, width)

        # Of the second sizes many lie halfway between two integers.
        halfway = [(200, 100 * k) for k in range(1, 60)] + [(100 * k, 200) for k in range(1, 60)]
        for height, width in random.integers(1, 4000, (200, 2)).tolist() + halfway:
            expected = resized_size(height, width, layer.image_size, 0.9)
            assert tuple(map(int, size(height, width))) == expected


@on_tensorflow
def test_tf_data_with_unknown_sizes():
    import tensorflow as tf

    images = [noise(60, 80, 3), noise(300, 41, 3), data.cat()]
    dataset = tf.data.Dataset.from_generator(
        lambda: images, output_signature=tf.TensorSpec((None, None, 3), tf.uint8)
    )
    dataset = dataset.map(EvaluationTransform(96)).batch(3)
    assert dataset.element_spec.shape.as_list() == [None, 96, 96, 3]
    assert_within_3_levels(next(iter(dataset)), images, 96)


@on_tensorflow
def test_model_with_the_layer_is_not_compiled_by_xla():
    model = keras.Sequential([keras.Input((50, 70, 3)), EvaluationTransform(32)])
    with pytest.warns(UserWarning, match="jit_compile"):
        model.compile(jit_compile=True)
    assert model.predict(np.zeros((1, 50, 70, 3)), verbose=0).shape == (1, 32, 32, 3)


@pytest.mark.skipif(BACKEND != "jax", reason="the JAX backend's own")
def test_jax_jit():
    import jax

    images = noise(2, 60, 80, 3)
    layer = EvaluationTransform(48)
    assert_within_3_levels(jax.jit(layer)(images), images, 48)
