"""TODO docstring."""

import math
import subprocess
import sys
import warnings

import numpy as np
import pytest
from PIL import Image
from skimage import data

from keras_paca.preprocessing import evaluation_transform, load_image
from keras_paca.preprocessing.transform import check_size, crop_offset, resized_size
from tests.marks import slow_but_on_torch
from tests.preprocessing.files import noise, save
from tests.reference.transform import PILLOW_WEIGHT_BITS, evaluation_transform_float64

pytestmark = slow_but_on_torch


PHOTOS = {
    "astronaut": data.astronaut,
    "coffee": data.coffee,
    "cat": data.cat,
    "rocket": data.rocket,
}


@pytest.mark.parametrize("photo", PHOTOS)
@pytest.mark.parametrize("image_size", [64, 224, 225, 384, (160, 224)])
def test_agrees_with_float64(photo, image_size):
    array = PHOTOS[photo]()
    result = evaluation_transform(array, image_size)
    # The weights in Pillow's fixed point: equal. In float64: a sum that lies on a half may be
    # rounded otherwise in the first pass, and again in the second.
    fixed = evaluation_transform_float64(array, image_size, 0.9, PILLOW_WEIGHT_BITS)
    np.testing.assert_array_equal(result, fixed)
    exact = evaluation_transform_float64(array, image_size, 0.9)
    difference = np.abs(result.astype(int) - exact)
    assert difference.max() <= 2
    assert np.mean(difference > 0) < 1e-3


# (700, 150): Pillow 13 on its own would resize the height first.
@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1), (37, 53), (700, 150), (7, 640)])
@pytest.mark.parametrize(
    ("image_size", "crop"), [(32, 0.9), (33, 1.0), (50, 0.875), ((48, 31), 0.9), ((9, 64), 0.5)]
)
def test_equals_fixed_point_on_noise(shape, image_size, crop):
    array = noise(*shape, 3)
    result = evaluation_transform(array, image_size, crop)
    assert result.dtype == np.uint8
    np.testing.assert_array_equal(
        result, evaluation_transform_float64(array, image_size, crop, PILLOW_WEIGHT_BITS)
    )


# Computed with timm 1.0.31 and torchvision 0.28.
@pytest.mark.parametrize(
    ("old", "image_size", "crop", "resized", "offsets"),
    [
        ((375, 500), 224, 0.9, (248, 330), (12, 53)),
        ((500, 375), 224, 0.9, (330, 248), (53, 12)),
        ((333, 500), 224, 0.9, (248, 372), (12, 74)),
        ((247, 999), 224, 0.9, (248, 1003), (12, 390)),
        ((1, 50), 224, 0.9, (248, 12400), (12, 6088)),
        ((10, 10), 225, 0.9, (250, 250), (12, 12)),
        ((100, 101), 225, 0.95, (236, 238), (6, 6)),
        ((100, 103), 225, 0.875, (257, 264), (16, 20)),
        ((300, 451), 384, 0.9, (426, 640), (21, 128)),
        ((512, 512), (160, 224), 0.9, (248, 248), (44, 12)),
        ((375, 500), (160, 224), 0.9, (186, 248), (13, 12)),
        ((500, 375), (160, 224), 0.9, (331, 248), (86, 12)),
        ((247, 999), (225, 97), 0.9, (250, 1011), (12, 457)),
    ],
)
def test_sizes_and_offsets(old, image_size, crop, resized, offsets):
    sides, crop = check_size(image_size, crop)
    assert resized_size(*old, sides, crop) == resized
    assert tuple(crop_offset(r, s) for r, s in zip(resized, sides, strict=True)) == offsets


def test_integer_arithmetic_equals_rounding():
    random = np.random.default_rng(0)
    for old in random.integers(1, 5000, (3000, 2)).tolist():
        size = int(random.integers(1, 1200))
        short = math.floor(size / 0.9)
        long = int(short * max(old) / min(old))
        resized = (short, long) if old[0] <= old[1] else (long, short)
        assert resized_size(*old, (size, size), 0.9) == resized
        for side in resized:
            assert side >= size
            assert crop_offset(side, size) == round((side - size) / 2.0)


@pytest.mark.parametrize("crop", [1.0, 0.95, 0.9, 0.5])
def test_never_smaller_than_the_crop(crop):
    random = np.random.default_rng(1)
    for height, width, *size in random.integers(1, 700, (3000, 4)).tolist():
        resized = resized_size(height, width, tuple(size), crop)
        assert resized[0] >= size[0]
        assert resized[1] >= size[1]


def test_path_pil_and_array_agree(tmp_path):
    array = data.cat()
    path = save(tmp_path / "cat.png", array)
    expected = evaluation_transform(array)
    assert expected.shape == (224, 224, 3)
    for image in (
        path,
        str(path),
        Image.fromarray(array),
        np.asfortranarray(array),
        load_image(path),
    ):
        np.testing.assert_array_equal(evaluation_transform(image), expected)


def test_result_is_writable_and_input_untouched():
    array = noise(300, 300, 3)
    before = array.copy()
    evaluation_transform(array)[:] = 0
    np.testing.assert_array_equal(array, before)


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK", "LA", "1"])
def test_converts_modes_as_pillow_does(mode, tmp_path):
    """And as timm does: see `test_pictures` for what timm cuts off."""
    image = Image.fromarray(noise(60, 50, 3)).convert(mode)
    path = tmp_path / "image.tif"
    image.save(path)
    expected = evaluation_transform(np.asarray(Image.open(path).convert("RGB")), 32)
    np.testing.assert_array_equal(evaluation_transform(path, 32), expected)
    np.testing.assert_array_equal(evaluation_transform(image, 32), expected)


def test_grey_array_repeats_its_channel():
    grey = noise(70, 90)
    expected = evaluation_transform(np.stack([grey] * 3, axis=-1), 48)
    np.testing.assert_array_equal(evaluation_transform(grey, 48), expected)


def test_exif_orientation_is_ignored(tmp_path):
    array = noise(60, 40, 3)
    exif = Image.Exif()
    exif[0x0112] = 6  # rotated by a quarter turn
    path = save(tmp_path / "turned.png", array, exif=exif)
    assert load_image(path).size == (40, 60)
    np.testing.assert_array_equal(evaluation_transform(path, 32), evaluation_transform(array, 32))


@pytest.mark.parametrize("kind", ["jpg", "png", "tif", "bmp"])
@pytest.mark.parametrize("share", [0.3, 0.9])
def test_truncated_file(tmp_path, kind, share):
    path = save(tmp_path / f"half.{kind}", noise(100, 100, 3))
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(ValueError, match=rf"Expected a(n| whole) image.*half\.{kind}"):
        evaluation_transform(path)


def test_truncated_pil_image(tmp_path):
    path = save(tmp_path / "half.jpg", noise(100, 100, 3))
    path.write_bytes(path.read_bytes()[:2000])
    with Image.open(path) as image, pytest.raises(ValueError, match="truncated or damaged"):
        evaluation_transform(image)


def test_decompression_bomb(tmp_path, monkeypatch):
    path = save(tmp_path / "bomb.png", noise(40, 40, 3))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(ValueError, match=r"decompression bombs.*bomb\.png"):
        load_image(path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ValueError, match=r"decompression bombs.*bomb\.png"):
            load_image(path)
    with pytest.warns(Image.DecompressionBombWarning):
        assert load_image(path).size == (40, 40)


def test_long_image_is_no_bomb_after_the_resize(monkeypatch, tmp_path):
    with pytest.raises(ValueError, match=r"1 x 10000 pixels, which would become 248 x 2480000"):
        evaluation_transform(noise(1, 10000, 3))
    path = save(tmp_path / "line.png", noise(1, 10000, 3))
    with pytest.raises(ValueError, match=r"line\.png, of 1 x 10000 pixels"):
        evaluation_transform(path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    assert evaluation_transform(noise(1, 300, 3), 64).shape == (64, 64, 3)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((30, 30, 3), "float32"), r"uint8.*Received: dtype float32, shape \(30, 30, 3\)"),
        (np.zeros((30, 30, 3), "int64"), "Received: dtype int64"),
        (np.zeros((30, 30, 3), "bool"), "Received: dtype bool"),
        (np.zeros((30, 30, 4), "uint8"), r"Received.*\(30, 30, 4\)"),
        (np.zeros((30, 30, 1), "uint8"), r"Received.*\(30, 30, 1\)"),
        (np.zeros((3, 30, 30), "uint8"), r"Received.*\(3, 30, 30\)"),
        (np.zeros((1, 30, 30, 3), "uint8"), r"without a batch axis.*\(1, 30, 30, 3\)"),
        (np.zeros(30, "uint8"), r"Received.*\(30,\)"),
        (np.zeros((0, 30, 3), "uint8"), r"at least 1 x 1.*\(0, 30, 3\)"),
        (np.zeros((30, 0), "uint8"), r"at least 1 x 1.*\(30, 0\)"),
        ([[1, 2], [3, 4]], "path, a PIL image or a uint8 or uint16 NumPy array. Received: list"),
        (np.zeros((30, 30, 4), "uint16"), r"Received.*uint16.*\(30, 30, 4\)"),
        (np.zeros((1, 30, 30, 3), "uint16"), r"without a batch axis.*\(1, 30, 30, 3\)"),
        (np.zeros((0, 30), "uint16"), r"at least 1 x 1.*\(0, 30\)"),
        (None, "Received: NoneType"),
        (Image.new("RGB", (0, 5)), "at least 1 x 1 pixels. Received: the PIL image, 5 x 0"),
    ],
)
def test_wrong_images(array, message):
    with pytest.raises(ValueError, match=message):
        evaluation_transform(array)


@pytest.mark.parametrize(
    "image_size", [0, -1, 224.0, "224", None, True, (224,), (224, 0), (1, 2, 3), (224, True)]
)
def test_wrong_image_size(image_size):
    with pytest.raises(ValueError, match="`image_size` must be a positive integer or a pair"):
        evaluation_transform(noise(8, 8, 3), image_size)


@pytest.mark.parametrize("crop", [0, -0.9, 1.01, math.nan, math.inf, None, "0.9", (0.9,)])
def test_wrong_crop(crop):
    with pytest.raises(ValueError, match=r"`crop` must lie in \(0, 1\]"):
        evaluation_transform(noise(8, 8, 3), 8, crop)


def test_numpy_integers_and_lists_as_sizes():
    array = noise(40, 40, 3)
    expected = evaluation_transform(array, 32)
    for image_size in (np.int64(32), [32, 32], (np.int32(32), 32)):
        np.testing.assert_array_equal(evaluation_transform(array, image_size), expected)


def test_without_pillow():
    script = """
import sys
sys.modules["PIL"] = None
import numpy as np
from keras_paca.preprocessing import evaluation_transform, load_image
for call in (lambda: evaluation_transform(np.zeros((8, 8, 3), "uint8")), lambda: load_image("a")):
    try:
        call()
    except ImportError as error:
        print(error)
"""
    result = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert result.stdout.count("[images]") == 2
