"""Pictures of what a segmenter found, and maps of its head's clusters."""

import keras
import numpy as np
import pytest
import skimage.data

from keras_paca import cluster_maps, segmentation
from tests.marks import slow_but_on_torch


@slow_but_on_torch
def test_pictures(segmenter, tmp_path):
    model = segmenter()
    image = skimage.data.astronaut()[::8, ::8].astype("float32")[None]
    logits = model.predict(image, verbose=0)
    masks = np.full((1, 64, 64), 255)
    for options in ({}, {"masks": masks, "palette": {0: (9, 9, 9), 1: (0, 0, 9), 2: (9, 0, 0)}}):
        segmentation.plot_segmentation(image, logits, path=tmp_path / "classes.png", **options)
        assert (tmp_path / "classes.png").stat().st_size > 1000
    ids, kept = logits.argmax(axis=-1), (tmp_path / "classes.png").read_bytes()
    segmentation.plot_segmentation(image, ids, path=tmp_path / "ids.png", **options)
    assert (tmp_path / "ids.png").read_bytes() == kept
    maps = segmentation.head_cluster_maps(model, image)
    assert maps.shape == (1, 16, 16, 3)
    np.testing.assert_allclose(maps.sum(axis=(1, 2)), 1, rtol=1e-5)
    segmentation.plot_head_clusters(image[0], maps, top=3, path=tmp_path / "clusters.png")
    assert (tmp_path / "clusters.png").stat().st_size > 1000
    assert set(cluster_maps(model, image)) == {"P2", "P3", "P4"}
    with pytest.raises(ValueError, match="PaCaSegmentationHead"):
        segmentation.head_cluster_maps(segmenter("fpn"), image)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"masks": np.zeros((1, 24, 32))}, "`masks` must have the shape"),
        ({"masks": np.zeros((1, 16, 12))}, "`masks` must have the shape"),
        ({"logits": np.zeros((1, 24, 32, 3))}, "`logits` must have the shape"),
        ({"logits": np.zeros((1, 32, 24), "float32")}, "`logits` must have the shape"),
        ({"logits": np.full((1, 32, 24), 3), "num_classes": 3}, "ids less than 3"),
        ({"palette": {0: (0, 0, 0), 2: (9, 9, 9)}}, "none for class 1"),
        ({"images": np.zeros((1, 32, 24, 3), "float32") + 0.5}, r"RGB in 0\.\.255"),
        ({"path": "nowhere/a.png"}, "No such folder: nowhere"),
        ({"path": "a.xyz"}, "must be a file that ends in"),
    ],
)
def test_pictures_that_are_refused(change, words):
    given = {"images": np.zeros((1, 32, 24, 3), "uint8"), "logits": np.zeros((1, 32, 24, 3))}
    with pytest.raises((ValueError, FileNotFoundError), match=words):
        segmentation.plot_segmentation(**{**given, **change})


def test_pictures_of_many_classes():
    image = np.full((1, 4, 200, 3), 200, "uint8")
    ids = np.arange(200)[None, None].repeat(4, axis=1)
    picture = segmentation.plot_segmentation(image, ids, alpha=1.0)
    drawn = picture.axes[1].images[0].get_array()
    palette = segmentation.ade20k_palette()
    assert drawn[0, 3].tolist() == palette[3] == drawn[0, 153].tolist()


@pytest.fixture(scope="module")
def with_clusters(small):
    return segmentation.Segmenter(small(include_top=False), "paca", num_classes=3)


@slow_but_on_torch
def test_images_as_predict_takes_them(with_clusters, images):
    x = images(2, 32, 48, 3).round()
    expected = segmentation.head_cluster_maps(with_clusters, x)
    assert expected.shape == (2, 8, 12, 3)
    assert expected.dtype == np.float32
    np.testing.assert_allclose(expected.sum(axis=(1, 2)), 1, rtol=1e-5)
    for given in ({"image": x}, [x], x.astype("uint8"), keras.ops.convert_to_tensor(x)):
        found = segmentation.head_cluster_maps(with_clusters, given, batch_size=1)
        np.testing.assert_allclose(found, expected, rtol=1e-4)


@slow_but_on_torch
def test_follows_weights(with_clusters, images):
    x = images(1, 32, 32, 3)
    before = segmentation.head_cluster_maps(with_clusters, x)
    for weight in with_clusters.decode_head.weights:
        weight.assign(weight * 1.5)
    assert (segmentation.head_cluster_maps(with_clusters, x) != before).any()


@slow_but_on_torch
def test_in_16_bits(small, images):
    model = small(include_top=False, dtype="mixed_bfloat16")
    with_clusters = segmentation.Segmenter(model, "paca", num_classes=3)
    maps = segmentation.head_cluster_maps(with_clusters, images(1, 32, 32, 3))
    assert maps.dtype == np.float32
    np.testing.assert_allclose(maps.sum(axis=(1, 2)), 1, rtol=1e-5)


@slow_but_on_torch
def test_what_is_refused(with_clusters, small, images):
    x = images(2, 32, 32, 3)
    with pytest.raises(ValueError, match=r"one image needs a batch axis: image\[None\]"):
        segmentation.head_cluster_maps(with_clusters, x[0])
    with pytest.raises(ValueError, match=r"`images` must .* Received: None"):
        segmentation.head_cluster_maps(with_clusters, None)
    with pytest.raises(ValueError, match="fit the model's input"):
        segmentation.head_cluster_maps(with_clusters, x[..., :1])
    with pytest.raises(ValueError, match="`batch_size` must be a positive integer"):
        segmentation.head_cluster_maps(with_clusters, x, batch_size=0)
    fpn = segmentation.Segmenter(small(include_top=False), "fpn", num_classes=3)
    for wrong, received in (
        (fpn, "a Segmenter with <SemanticFPNHead"),
        (small(), "<PaCaViT"),
        ("with_clusters.keras", "'with_clusters.keras'"),
        (None, "None"),
    ):
        with pytest.raises(ValueError, match=f"with a PaCaSegmentationHead. Received: {received}"):
            segmentation.head_cluster_maps(wrong, x)
