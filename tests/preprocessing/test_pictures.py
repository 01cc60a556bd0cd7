"""Pictures that are read, and turned upright."""

import warnings

import numpy as np
import pytest
from PIL import Image, ImageOps

from keras_paca.preprocessing import evaluation_transform, load_image
from keras_paca.preprocessing.formats import picture_suffixes
from tests.marks import slow_but_on_torch
from tests.preprocessing.files import noise, pixels, save, wide

pytestmark = slow_but_on_torch


CORNERS = np.zeros((24, 40, 3), "uint8")  # no two of the eight orientations look alike


CORNERS[:12, :20] = 255, 0, 0


CORNERS[:12, 20:] = 0, 255, 0


CORNERS[12:, :20] = 0, 0, 255


UPRIGHT = {
    1: CORNERS,
    2: CORNERS[:, ::-1],
    3: CORNERS[::-1, ::-1],
    4: CORNERS[::-1],
    5: CORNERS.transpose(1, 0, 2),
    6: CORNERS.transpose(1, 0, 2)[:, ::-1],
    7: CORNERS[::-1, ::-1].transpose(1, 0, 2),
    8: CORNERS.transpose(1, 0, 2)[::-1],
}


SUFFIXES = {
    "jpg": {"quality": 95, "subsampling": 0},
    "png": {},
    "tif": {},
    "zipped.tif": {"compression": "tiff_deflate"},
    "webp": {"lossless": True},
    "avif": {"quality": 95},
}


def save_turned(path, orientation, **options):
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(CORNERS).save(path, exif=exif, **options)
    return path


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_turned_upright(suffix, orientation, tmp_path):
    if suffix == "avif" and ".avif" not in picture_suffixes():
        pytest.skip("this Pillow has no AVIF")
    path = save_turned(tmp_path / f"a.{suffix}", orientation, **SUFFIXES[suffix])
    upright = load_image(path, exif_transpose=True)
    assert upright.size == UPRIGHT[orientation].shape[1::-1]
    assert np.abs(pixels(upright) - UPRIGHT[orientation]).mean() < 6
    expected = evaluation_transform(upright, 32)
    np.testing.assert_array_equal(evaluation_transform(path, 32, exif_transpose=True), expected)
    with Image.open(path) as image:
        np.testing.assert_array_equal(
            evaluation_transform(image, 32, exif_transpose=True), expected
        )
        stored = pixels(image.convert("RGB"))  # a TIFF file is turned by Pillow
    np.testing.assert_array_equal(pixels(load_image(path)), stored)
    if not suffix.endswith("tif"):
        assert np.abs(stored - CORNERS).mean() < 6


@pytest.mark.parametrize("orientation", [0, 9, 255, "6", "upside down", 6.0, (6, 6)])
def test_unknown_orientations_turn_nothing(orientation):
    image = Image.fromarray(CORNERS)
    image.getexif()[0x0112] = orientation
    expected = evaluation_transform(CORNERS, 32)
    if orientation == 6.0:  # equal to the integer
        expected = evaluation_transform(UPRIGHT[6].copy(), 32)
    np.testing.assert_array_equal(evaluation_transform(image, 32, exif_transpose=True), expected)


def test_copy_and_original_stay_as_they_are(tmp_path):
    with Image.open(save_turned(tmp_path / "a.png", 6)) as image:
        evaluation_transform(image, 32, exif_transpose=True)
        assert image.size == (40, 24)
        assert image.getexif()[0x0112] == 6
        np.testing.assert_array_equal(
            evaluation_transform(image.copy(), 32, exif_transpose=True),
            evaluation_transform(ImageOps.exif_transpose(image), 32),
        )


def test_16_bits_are_turned_too(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(wide(CORNERS[..., 0])).save(tmp_path / "a.png", exif=exif)
    upright = load_image(tmp_path / "a.png", exif_transpose=True)
    np.testing.assert_array_equal(pixels(upright)[..., 0], UPRIGHT[6][..., 0])


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("suffix", ["jpg", "png", "webp"])
def test_broken_exif_does_not_break_the_picture(suffix, strict, tmp_path):
    """Whether Pillow's warnings of it are errors or not."""
    whole = save_turned(tmp_path / f"whole.{suffix}", 6, **SUFFIXES[suffix])
    with Image.open(whole) as image:
        block = image.getexif().tobytes()
    random = np.random.default_rng(0)
    for trial in range(60):
        broken = bytearray(block)
        if trial % 3 == 0:
            broken = broken[: random.integers(len(block))]
        elif trial % 3 == 1:
            broken[random.integers(6, len(block))] = random.integers(256)
        else:
            broken = bytearray(b"Exif\0\0" + random.bytes(trial))
        path = tmp_path / f"broken.{suffix}"
        Image.fromarray(CORNERS).save(path, exif=bytes(broken), **SUFFIXES[suffix])
        for turn in (False, True):
            with warnings.catch_warnings():
                warnings.simplefilter("error" if strict else "ignore")
                size = load_image(path, exif_transpose=turn).size
            assert size == (40, 24) or (turn and size == (24, 40))


def test_truncated_jpeg_with_exif_stays_an_error(tmp_path):
    path = save_turned(tmp_path / "a.jpg", 6)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ValueError, match=r"Expected a.*a\.jpg"):
        load_image(path)


def test_exif_transpose_of_an_array_is_refused():
    with pytest.raises(ValueError, match=r"needs a path or a PIL image.*no EXIF data"):
        evaluation_transform(CORNERS, exif_transpose=True)


@pytest.mark.parametrize("value", ["false", 1, None])
def test_exif_transpose_is_a_boolean(value, tmp_path):
    path = save_turned(tmp_path / "a.png", 6)
    for call in (load_image, evaluation_transform):
        with pytest.raises(ValueError, match="`exif_transpose` must be True or False"):
            call(path, exif_transpose=value)


pytestmark = slow_but_on_torch


def test_first_frame(tmp_path):
    frames = [Image.fromarray(noise(20, 20, 3, seed=seed)) for seed in range(2)]
    path = tmp_path / "two.tif"
    frames[0].save(path, save_all=True, append_images=frames[1:])
    np.testing.assert_array_equal(np.asarray(load_image(path)), np.asarray(frames[0]))


def test_load_image_closes_the_file(tmp_path):
    path = save(tmp_path / "a.png", noise(8, 8, 3))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        image = load_image(path)
    assert (image.mode, image.size) == ("RGB", (8, 8))
    path.unlink()
    image.load()


def test_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"Expected the path.*nowhere\.jpg"):
        evaluation_transform(tmp_path / "nowhere.jpg")


def test_directory(tmp_path):
    with pytest.raises(ValueError, match=r"Expected the path of an image file.*directory"):
        evaluation_transform(tmp_path)


@pytest.mark.parametrize("content", [b"", b"these are words\n"])
def test_text_file(tmp_path, content):
    path = tmp_path / "words.jpg"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"Expected an image file.*words\.jpg"):
        evaluation_transform(path)
