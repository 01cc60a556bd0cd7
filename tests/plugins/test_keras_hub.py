"""KerasHub's models around our backbone: build, fit, predict, save and load."""

import inspect

import keras
import numpy as np
import pytest

import keras_paca
from keras_paca import PaCaViT, detection, segmentation
from keras_paca.frozen import layers_inside
from keras_paca.inference import can_fuse
from keras_paca.layers.auxiliary import angular_layers
from tests.inference.compare import randomise
from tests.marks import slow_but_on_torch
from tests.plugins.conftest import (
    ATTENTIVE,
    check,
    check_segmenter,
    sides,
    small_attentive,
    small_castling,
    small_rapidnet,
    small_vittm,
)

pytestmark = pytest.mark.plugins


@pytest.fixture(scope="module")
def hub():
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import keras_hub
    return keras_hub


def boxes(images):
    """Return an object per image, in "yxyx"."""
    corners = np.tile([8.0, 8.0, 48.0, 56.0], (len(images), 1, 1)).astype("float32")
    return {"boxes": corners, "labels": np.ones((len(images), 1), "int32")}


def test_retinanet(shape, hub, backbone, images, round_trip, seen):
    seen("consumer", "RetinaNetObjectDetector")
    pyramid = hub.models.RetinaNetBackbone(
        image_encoder=backbone(shape), min_level=3, max_level=5, use_p5=False, image_shape=shape
    )
    model = hub.models.RetinaNetObjectDetector(pyramid, num_classes=3, preprocessor=None)
    model.compile(optimizer=keras.optimizers.Adam(1e-4), box_loss="auto")
    x = images(*sides(shape))
    check(model, x, boxes(x), round_trip, seen)


@pytest.mark.slow
def test_deeplab(shape, hub, backbone, images, round_trip, seen):
    seen("consumer", "DeepLabV3ImageSegmenter")
    pyramid = hub.models.DeepLabV3Backbone(
        image_encoder=backbone(shape),
        spatial_pyramid_pooling_key="P5",
        low_level_feature_key="P2",
        upsampling_size=8,
        dilation_rates=[6, 12, 18],
        image_shape=shape,
    )
    model = hub.models.DeepLabV3ImageSegmenter(pyramid, num_classes=4)
    model.compile("adam", keras.losses.CategoricalCrossentropy(from_logits=True))
    check_segmenter(model, images(*sides(shape)), round_trip, seen)


@pytest.mark.slow
def test_segformer(shape, hub, backbone, images, round_trip, seen):
    seen("consumer", "SegFormerImageSegmenter")
    if None in shape:
        pytest.skip("KerasHub's SegFormer resizes to the height and width of its input's shape")
    pyramid = hub.models.SegFormerBackbone(
        image_encoder=backbone(shape).as_segformer_encoder(), projection_filters=16
    )
    model = hub.models.SegFormerImageSegmenter(pyramid, num_classes=4)
    model.compile("adam", keras.losses.CategoricalCrossentropy(from_logits=True))
    check_segmenter(model, images(*sides(shape)), round_trip, seen)


@pytest.mark.slow
def test_dfine(shape, hub, backbone, images, round_trip, seen):
    seen("consumer", "DFineObjectDetector")
    side = tuple(side or 64 for side in shape[:2])
    labels = [{"boxes": np.array([[0.5, 0.5, 0.6, 0.6]]), "labels": np.array([1])}] * 2
    pyramid = hub.models.DFineBackbone(
        backbone=backbone(shape).as_dict_encoder(),
        out_features=["P4", "P5"],
        decoder_in_channels=[32, 32],
        encoder_hidden_dim=32,
        num_denoising=4,
        num_labels=3,
        hidden_dim=32,
        learn_initial_query=False,
        num_queries=8,
        anchor_image_size=side,
        feat_strides=[16, 32],
        num_feature_levels=2,
        encoder_in_channels=[32, 40],
        encode_proj_layers=[1],
        num_attention_heads=4,
        encoder_ffn_dim=32,
        num_encoder_layers=1,
        hidden_expansion=0.34,
        depth_multiplier=0.5,
        eval_idx=-1,
        num_decoder_layers=2,
        decoder_attention_heads=4,
        decoder_ffn_dim=32,
        decoder_n_points=[2, 2],
        lqe_hidden_dim=16,
        num_lqe_layers=2,
        labels=labels,
        seed=0,
        image_shape=shape,
    )
    model = hub.models.DFineObjectDetector(pyramid, num_classes=3, bounding_box_format="yxyx")
    x = images(*sides(shape))
    check(model, x, boxes(x), round_trip, seen)


@pytest.mark.slow
def test_image_classifier(shape, hub, backbone, images, round_trip, seen):
    seen("consumer", "ImageClassifier")
    model = hub.models.ImageClassifier(backbone=backbone(shape), num_classes=3)
    x = images(*sides(shape))
    assert model.predict(x, verbose=0).shape == (2, 3)
    check(model, x, np.array([0, 2]), round_trip, seen)


@pytest.mark.slow
def test_their_backbone_in_our_models(hub, images, round_trip):
    """A ResNet of KerasHub has P2 to P5 as ours."""

    def resnet():
        return hub.models.ResNetBackbone(
            input_conv_filters=[64],
            input_conv_kernel_sizes=[7],
            stackwise_num_filters=[64, 16, 16, 16],
            stackwise_num_blocks=[1, 1, 1, 1],
            stackwise_num_strides=[1, 2, 2, 2],
            block_type="basic_block",
            image_shape=(64, 64, 3),
        )

    x = images(2, 64, 64, 3)
    model = segmentation.Segmenter(resnet(), "fpn", num_classes=4)
    check_segmenter_of_ours(model, x)
    round_trip(model, x)
    model = detection.MaskRCNN(resnet(), num_classes=3, channels=16, proposals=20, max_detections=5)
    model.compile()
    objects = {
        "boxes": np.tile([8.0, 8.0, 48.0, 56.0], (2, 1, 1)).astype("float32"),
        "labels": np.ones((2, 1), "int32"),
        "masks": np.ones((2, 1, 64, 64), "uint8"),
    }
    assert np.isfinite(model.fit(x, objects, verbose=0).history["loss"][0])
    round_trip(model, x)


def check_segmenter_of_ours(model, x):
    model.compile()
    masks = np.random.default_rng(0).integers(0, 4, x.shape[:3])
    assert np.isfinite(model.fit(x, masks, verbose=0).history["loss"][0])
    assert model.predict(x, verbose=0).shape == (*x.shape[:3], 4)


# --- keras_paca.hub ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def ours(hub):
    """`keras_paca.hub`, imported on demand."""
    import keras_paca.hub

    return keras_paca.hub


@pytest.fixture(scope="module")
def classifier(ours, small):
    model = small(drop_path_rate=0.1)
    return model, ours.PaCaImageClassifier.from_model(model, image_size=(48, 64))


def test_computes_what_the_model_computes(classifier, images):
    """Normalised once: raw images in, the model's own probabilities out."""
    model, hub_model = classifier
    raw = images(2, 48, 64, 3).astype("uint8")
    wanted = model.predict(raw, verbose=0)
    np.testing.assert_allclose(hub_model.predict(raw, verbose=0), wanted, atol=1e-5)
    # and not by accident: without normalisation it says something else
    hub_model.preprocessor, kept = None, hub_model.preprocessor
    try:
        assert np.abs(hub_model.predict(raw, verbose=0) - wanted).max() > 1e-3
    finally:
        hub_model.preprocessor = kept
    assert not hub_model.backbone.get_config().get("include_preprocessing")
    assert all(layer.name != "preprocessing" for layer in hub_model.backbone.layers)


def test_of_a_fused_model(ours, small, images):
    model = small()
    draw = np.random.default_rng(0)
    for weight in model.weights:  # a stem without biases would hide another normalisation
        weight.assign(weight + 0.3 * draw.standard_normal(weight.shape).astype("float32"))
    hub_model = ours.PaCaImageClassifier.from_model(keras_paca.fuse(model), image_size=(48, 64))
    raw = images(2, 48, 64, 3).astype("uint8")
    wanted = model.predict(raw, verbose=0)
    np.testing.assert_allclose(hub_model.predict(raw, verbose=0), wanted, atol=1e-5)


def test_kerashub_models_fuse(classifier, images):
    _, model = classifier
    raw = images(2, 48, 64, 3).astype("uint8")
    for each in (model, model.backbone):
        assert can_fuse(each)
        fused = keras_paca.fuse(each)
        assert type(fused) is type(each)
        assert fused.count_params() < each.count_params()
    x = images(1, 64, 64, 3) / 100
    found, wanted = (y.predict(x, verbose=0) for y in (fused, model.backbone))
    np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=1e-4)
    assert keras_paca.fuse(model).predict(raw, verbose=0).shape == (2, model.num_classes)


@slow_but_on_torch
def test_preset(classifier, hub, ours, images, tmp_path):
    _, model = classifier
    raw = images(2, 60, 50, 3).astype("uint8")
    model.save_to_preset(tmp_path / "preset")
    folder = str(tmp_path / "preset")
    again = hub.models.ImageClassifier.from_preset(folder)
    assert type(again) is ours.PaCaImageClassifier
    np.testing.assert_array_equal(again.predict(raw, verbose=0), model.predict(raw, verbose=0))
    other = hub.models.ImageClassifier.from_preset(folder, num_classes=7, activation="softmax")
    assert other.predict(raw, verbose=0).shape == (2, 7)
    np.testing.assert_array_equal(other.backbone.get_weights()[0], model.backbone.get_weights()[0])
    backbone = hub.models.Backbone.from_preset(folder, image_shape=(96, 160, 3), dtype="bfloat16")
    assert backbone.output_shape == (None, 3, 5, 40)
    assert backbone.get_layer("stage1_block1").compute_dtype == "bfloat16"
    converter = hub.layers.ImageConverter.from_preset(folder)
    assert type(converter) is ours.PaCaImageConverter
    assert converter.image_size == (48, 64)


@slow_but_on_torch
def test_fit_on_raw_images(ours, small, images, round_trip):
    model = ours.PaCaImageClassifier.from_model(
        small(classifier_activation=None), image_size=(48, 48)
    )
    raw = images(2, 48, 48, 3).astype("uint8")
    assert np.isfinite(model.fit(raw, np.array([0, 2]), verbose=0).history["loss"][0])
    round_trip(model, keras.ops.cast(raw, "float32"))


@slow_but_on_torch
def test_what_a_file_keeps(ours, small, images, tmp_path):
    """Names, what is frozen, and what isn't decayed, as of `PaCaViT`."""
    source = small(class_names=list("abcde"), classifier_activation=None)
    source.get_layer("stem").trainable = False
    source.get_layer("predictions").trainable = False
    layers_inside(source)["stage1_block1/attention/query"].trainable = False
    model = ours.PaCaImageClassifier.from_model(source, image_size=(48, 48))
    optimizer = keras.optimizers.AdamW(1e-3, weight_decay=0.1)
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma"])
    model.compile(optimizer, keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    raw = images(2, 48, 48, 3)
    model.fit(raw, np.array([0, 2]), verbose=0)
    model.save(tmp_path / "model.keras")
    model.save_to_preset(str(tmp_path / "preset"))
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    preset = ours.PaCaImageClassifier.from_preset(str(tmp_path / "preset"))
    shapes = sorted(w.path.split("/", 1)[1] for w in model.trainable_weights)
    assert len(shapes) == len(source.trainable_weights)
    for again in (loaded, preset):
        assert again.class_names == list("abcde")
        assert sorted(w.path.split("/", 1)[1] for w in again.trainable_weights) == shapes
    for each in (model, loaded):
        each.fit(raw, np.array([1, 3]), shuffle=False, verbose=0)
    for a, b in zip(model.get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)
    other = ours.PaCaImageClassifier.from_preset(str(tmp_path / "preset"), num_classes=7)
    assert other.class_names is None


@slow_but_on_torch
def test_lora(ours, small, images):
    config = small().get_config()
    names = ("hidden_dims", "depths", "num_heads", "clusters", "kernel_size")
    backbone = ours.PaCaBackbone(**{name: config[name] for name in names})
    backbone.enable_lora(2)
    blocks = sum(config["depths"])
    # query and value: two factors, and the bias, which Keras's LoRA leaves free
    assert len(backbone.trainable_variables) == 2 * 3 * blocks
    model = ours.PaCaImageClassifier(backbone=backbone, num_classes=3)
    x = images(2, 64, 64, 3) / 255
    before = {v.path: keras.ops.convert_to_numpy(v) for v in backbone.variables}
    model.fit(x, np.array([0, 2]), verbose=0)
    model.fit(x, np.array([0, 2]), verbose=0)
    changed = {
        v.path
        for v in backbone.variables
        if "seed" not in v.path and np.any(keras.ops.convert_to_numpy(v) != before[v.path])
    }
    assert changed
    assert all("lora" in path or path.endswith(("query/bias", "value/bias")) for path in changed)
    assert any("lora" in path for path in changed)


@pytest.mark.slow
@slow_but_on_torch
@pytest.mark.filterwarnings("ignore:Layer .* does not have a `quantize` method")
@pytest.mark.parametrize("mode", ["int8", pytest.param("int4", marks=pytest.mark.slow)])
def test_quantized(mode, hub, ours, small, images, tmp_path):
    model = ours.PaCaImageClassifier.from_model(small(), image_size=(48, 64))
    x = images(2, 48, 64, 3) / 255
    before = keras.ops.convert_to_numpy(model(x))
    model.quantize(mode)
    wanted = keras.ops.convert_to_numpy(model(x))
    assert 0 < np.abs(wanted - before).max() < 0.05
    model.save(tmp_path / "model.keras")
    model.save_to_preset(tmp_path / "preset")
    for again in (
        keras.saving.load_model(tmp_path / "model.keras"),
        hub.models.ImageClassifier.from_preset(str(tmp_path / "preset")),
    ):
        dense = [x for x in again._flatten_layers() if isinstance(x, keras.layers.Dense)]
        assert [layer.quantization_mode for layer in dense] == [mode] * 37
        np.testing.assert_array_equal(keras.ops.convert_to_numpy(again(x)), wanted)
    quantized = small()
    quantized.quantize(mode)
    with pytest.raises(ValueError, match="quantized"):
        ours.PaCaImageClassifier.from_model(quantized)


@pytest.mark.slow
def test_detector_preset(hub, ours, small, images, tmp_path):
    """A KerasHub detector with our backbone inside, from a preset, on raw images."""
    config = small().get_config()
    names = ("hidden_dims", "depths", "num_heads", "clusters", "kernel_size")
    encoder = ours.PaCaBackbone(**{name: config[name] for name in names})
    pyramid = hub.models.RetinaNetBackbone(
        image_encoder=encoder, min_level=3, max_level=5, use_p5=False, image_shape=(64, 64, 3)
    )
    converter = hub.layers.RetinaNetImageConverter(image_size=(64, 64), scale=1 / 255)
    model = hub.models.RetinaNetObjectDetector(
        pyramid,
        num_classes=3,
        preprocessor=hub.models.RetinaNetObjectDetectorPreprocessor(converter),
    )
    model.save_to_preset(tmp_path / "preset")
    again = hub.models.ObjectDetector.from_preset(str(tmp_path / "preset"))
    raw = images(1, 64, 64, 3).astype("uint8")
    wanted, found = (m.predict(raw, verbose=0) for m in (model, again))
    for name in wanted:
        np.testing.assert_allclose(found[name], wanted[name], atol=1e-4)


# --- Families with layers before their classifiers --------------------------------------------

FAMILIES = {
    "RapidNet": (small_rapidnet, (48, 64)),
    "ViTTM": (small_vittm, (56, 84)),
    "CastlingViT": (small_castling, (64, 48)),
    **{name: (small_attentive(name), (48, 64)) for name in ATTENTIVE},
}
FROZEN = {  # a layer between backbone and classifier, where there is one
    "RapidNet": "projection",
    "ViTTM": "memory_pool_norm",
    "MobileNetAN": "projection",
    "CastlingViT": "norm",
}


MARKS = {"MobileNetAN": slow_but_on_torch} | dict.fromkeys(
    ("ResNetAN", "DenseNetAN"), pytest.mark.slow
)


@pytest.fixture(params=[pytest.param(name, marks=MARKS.get(name, [])) for name in FAMILIES])
def family(request, ours):
    """Return the name of a family, what builds a small model, its classifier, a size of images."""
    build, size = FAMILIES[request.param]
    cls = getattr(ours, f"{request.param}ImageClassifier")
    return request.param, lambda **options: randomise(build(**options)), cls, size


def test_family_computes_what_its_model_computes(family, hub, ours, images, tmp_path):
    """Raw images in, the mean of the classifiers or that of ViTTM's memory out."""
    name, build, cls, size = family
    model = build(class_names=list("abcde"))
    hub_model = cls.from_model(model, image_size=size)
    raw = images(2, *size, 3).astype("uint8")
    wanted = model.predict(raw, verbose=0)
    np.testing.assert_allclose(hub_model.predict(raw, verbose=0), wanted, atol=1e-5)
    fused = cls.from_model(keras_paca.fuse(model), image_size=size)
    np.testing.assert_allclose(fused.predict(raw, verbose=0), wanted, atol=1e-5)
    hub_model.save_to_preset(tmp_path / "preset")
    folder = str(tmp_path / "preset")
    again = hub.models.ImageClassifier.from_preset(folder)
    assert type(again) is cls
    assert again.class_names == list("abcde")
    raw = images(2, 60, 50, 3).astype("uint8")
    np.testing.assert_array_equal(again.predict(raw, verbose=0), hub_model.predict(raw, verbose=0))
    other = hub.models.ImageClassifier.from_preset(folder, num_classes=7)
    assert other.predict(raw, verbose=0).shape == (2, 7)
    backbone = hub.models.Backbone.from_preset(folder, image_shape=(112, 84, 3), dtype="bfloat16")
    assert type(backbone) is getattr(ours, f"{name}Backbone")
    sizes = {"DenseNetAN": (3, 2), "CastlingViT": (2 + 7 * 5, 16)}
    assert backbone.output_shape[1:3] == sizes.get(name, (4, 3))
    assert backbone.compute_dtype == "bfloat16"
    converter = hub.layers.ImageConverter.from_preset(folder)
    assert (type(converter), converter.image_size) == (
        type(again.preprocessor.image_converter),
        size,
    )


@slow_but_on_torch
@pytest.mark.parametrize("name", ["ViTTM", "CastlingViT"])
def test_another_normalisation_of_a_family(name, ours, images):
    build, size = FAMILIES[name]
    model = randomise(build(normalization="symmetric"))
    hub_model = getattr(ours, f"{name}ImageClassifier").from_model(model, image_size=size)
    raw = images(2, *size, 3).astype("uint8")
    wanted = model.predict(raw, verbose=0)
    np.testing.assert_allclose(hub_model.predict(raw, verbose=0), wanted, atol=1e-5)


@slow_but_on_torch
def test_what_a_file_of_a_family_keeps(family, images, round_trip):
    """Also frozen layers between backbone and classifier, and the fused form."""
    _, build, cls, size = family
    source = build(classifier_activation=None)
    if family[0] not in FROZEN:
        pytest.skip("no layer between backbone and classifier")
    frozen = FROZEN[family[0]]
    source.get_layer(frozen).trainable = False
    model = cls.from_model(source, image_size=size)
    part = "backbone" if family[0] == "CastlingViT" else "pooler"
    layer = getattr(model, part).get_layer(frozen)
    assert not layer.trainable
    raw = images(2, *size, 3)
    before = layer.get_weights()[0]
    assert np.isfinite(model.fit(raw, np.array([0, 2]), verbose=0).history["loss"][0])
    np.testing.assert_array_equal(layer.get_weights()[0], before)
    again = round_trip(model, raw)
    assert not getattr(again, part).get_layer(frozen).trainable
    fused = keras_paca.fuse(model)
    assert type(fused) is cls
    wanted = model.predict(raw, verbose=0)
    np.testing.assert_allclose(fused.predict(raw, verbose=0), wanted, rtol=1e-3, atol=1e-4)


@slow_but_on_torch
def test_lora_of_vittm(ours, images):
    backbone = ours.ViTTMBackbone(16, 2, 2, image_size=56)
    backbone.enable_lora(2)
    trained = {v.path.split("/", 1)[1] for v in backbone.trainable_variables}
    lora = [v for v in backbone.trainable_variables if "lora" in v.path]
    # in each block two factors for query and value of the attention, and for those of two heads
    # whose queries and keys have other channels
    assert len(lora) == 2 * (2 * 2 + 2 * 2 * 2)
    assert all("lora" in path or path.endswith(("query/bias", "value/bias")) for path in trained)


@slow_but_on_torch
@pytest.mark.parametrize("kind", ["CastlingViT", "PaCa"])
def test_the_end_of_the_auxiliary(kind, ours, small, images, round_trip):
    """In the backbone, in a classifier around it, and in its file."""
    model = small(attention="castling", auxiliary=True) if kind == "PaCa" else small_castling()
    classifier = getattr(ours, f"{kind}ImageClassifier").from_model(model, image_size=(64, 64))
    assert classifier.backbone.auxiliary
    for layer in angular_layers(classifier):
        layer.threshold = 0.5
    assert classifier.backbone.get_config()["threshold"] == 0.5
    keras_paca.train.finish_castling(classifier, force=True)
    again = round_trip(classifier, images(2, 64, 64, 3))
    for each in (classifier, again):
        assert not each.backbone.auxiliary
        assert each.backbone.get_config()["auxiliary"] is False


@slow_but_on_torch
def test_lora_of_rapidnet(ours, images, tmp_path):
    def backbone():
        depths = ((1, 0), (1, 0), (1, 1), (0, 1))
        return ours.RapidNetBackbone((8, 8, 16, 16), depths, image_shape=(64, 64, 3))

    trained = backbone()
    trained.enable_lora(2)
    factors = [v.path for v in trained.trainable_variables if "lora" in v.path]
    # two factors for both convolutions of the stem, three between the stages, two of each local
    # block and six of each MLDC block
    assert len(factors) == 2 * (2 + 3 + 3 * 2 + 2 * 6)
    model = ours.RapidNetImageClassifier(backbone=trained, num_classes=3)
    model.fit(images(2, 64, 64, 3) / 255, np.array([0, 2]), verbose=0)
    trained.save_lora_weights(tmp_path / "lora.lora.h5")
    again = backbone()
    again.load_lora_weights(tmp_path / "lora.lora.h5")
    found, expected = (
        {v.path.split("/", 1)[1]: keras.ops.convert_to_numpy(v) for v in each.variables}
        for each in (again, trained)
    )
    assert all(np.array_equal(found[key], expected[key]) for key in found if "lora" in key)


@slow_but_on_torch
@pytest.mark.filterwarnings("ignore:Layer .* does not have a `quantize` method")
def test_quantized_family(family, images, tmp_path):
    _, build, cls, size = family
    model = cls.from_model(build(), image_size=size)
    raw = images(2, *size, 3)
    before = model.predict(raw, verbose=0)
    model.quantize("int8")
    wanted = model.predict(raw, verbose=0)
    assert 0 < np.abs(wanted - before).max() < 0.1
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert again.output_dense.quantization_mode == "int8"
    np.testing.assert_array_equal(again.predict(raw, verbose=0), wanted)


def test_wrong_input_of_a_family(family, ours, small):
    _, build, cls, _ = family
    with pytest.raises(ValueError, match=f"`from_model` takes a `{family[0]}` with"):
        cls.from_model(small())
    with pytest.raises(ValueError, match=f"`from_model` takes a `{family[0]}` with"):
        cls.from_model(build(include_top=False))
    backbone = cls.backbone_cls.from_config(cls.from_model(build()).backbone.get_config())
    if family[0] in FROZEN:
        with pytest.raises(ValueError, match='`pooling` must be "avg"'):
            cls(backbone, 2, pooling="max")
    assert str(inspect.signature(ours.ViTTMBackbone)).startswith("(hidden_dim: int, num_heads")
    assert "\n    hidden_dim: int. Channels of all tokens." in ours.ViTTMBackbone.__doc__


def test_bad_input(ours, small):
    with pytest.raises(ValueError, match="include_top"):
        ours.PaCaImageClassifier.from_model(small(include_top=False))
    with pytest.raises(ValueError, match="include_top"):
        ours.PaCaImageClassifier.from_model(keras.Sequential([keras.layers.Dense(2)]))
    with pytest.raises(ValueError, match="classes, pooling"):
        ours.PaCaBackbone((16, 24, 32, 40), (1, 1, 1, 1), (1, 2, 2, 4), classes=3, pooling="avg")


def test_views_need_a_pyramid(hub):
    from keras_paca.backbones.views import SegFormerEncoder

    with pytest.raises(ValueError, match="pyramid_outputs"):
        SegFormerEncoder(keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(2, 1)]))
    assert issubclass(PaCaViT, keras.Model)
