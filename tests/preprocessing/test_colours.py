"""Pictures of every kind show their colours, or are refused in a line."""

import struct

import numpy as np
import pytest
from PIL import Image

from keras_paca.preprocessing import evaluation_transform, load_image
from keras_paca.preprocessing.formats import picture_suffixes
from tests.marks import slow_but_on_torch
from tests.preprocessing.files import (
    ALPHA,
    EXACT,
    GREY,
    HEIGHT,
    RGB,
    WIDTH,
    as_rgb,
    colour16,
    fits,
    grey16,
    netpbm,
    pillow,
    pixels,
    png,
    tiff,
    wide,
)

pytestmark = slow_but_on_torch


# --- Pictures that show their colours -------------------------------------------------------


@pytest.mark.parametrize("name", EXACT)
def test_exact_colours(name, tmp_path):
    """Warnings are errors here: none of these files gives one."""
    write, expected = EXACT[name]
    write(tmp_path / name)
    if expected is None:
        expected = pixels(Image.fromarray(GREY).convert("1")) * 255
    np.testing.assert_array_equal(pixels(load_image(tmp_path / name)), as_rgb(expected))
    with Image.open(tmp_path / name) as image:
        np.testing.assert_array_equal(
            evaluation_transform(image, 32), evaluation_transform(tmp_path / name, 32)
        )


LOSSY = {
    "lab.tif": lambda path: Image.fromarray(RGB).convert("LAB").save(path),
    "ycbcr_in_jpeg.tif": pillow(RGB, compression="jpeg", quality=98),
    "rgb.jpg": pillow(RGB, quality=98),
    "cmyk.jpg": pillow(RGB, "CMYK", quality=98),
    "rgb.avif": pillow(RGB, quality=98),
    "alpha.avif": pillow(np.dstack([RGB, ALPHA]), quality=98),
    "animated.avif": pillow(
        RGB, quality=98, save_all=True, append_images=[Image.new("RGB", (48, 20))]
    ),
}


@pytest.mark.parametrize("name", LOSSY)
def test_colours_of_lossy_formats(name, tmp_path):
    if name.endswith("avif") and ".avif" not in picture_suffixes():
        pytest.skip("this Pillow has no AVIF")
    LOSSY[name](tmp_path / name)
    difference = np.abs(pixels(load_image(tmp_path / name)) - RGB)
    assert difference.mean() < 3


def test_icon_shows_its_largest_image(tmp_path):
    square = np.asarray(Image.fromarray(RGB).resize((64, 64)))
    Image.fromarray(square).save(tmp_path / "a.ico", sizes=[(16, 16), (64, 64)])
    np.testing.assert_array_equal(pixels(load_image(tmp_path / "a.ico")), square)


@pytest.mark.parametrize("mode", ["I;16", "I;16L", "I;16B", "I;16N"])
def test_pillows_modes_of_16_bits(mode):
    order = {"I;16B": ">u2", "I;16N": "=u2"}.get(mode, "<u2")
    image = Image.frombytes(mode, (WIDTH, HEIGHT), wide(GREY).astype(order).tobytes())
    np.testing.assert_array_equal(evaluation_transform(image, 32), evaluation_transform(GREY, 32))


@pytest.mark.parametrize("dtype", ["<u2", ">u2"])
def test_arrays_of_16_bits(dtype):
    for array in (GREY, RGB):
        np.testing.assert_array_equal(
            evaluation_transform(wide(array).astype(dtype), 32), evaluation_transform(array, 32)
        )


def test_16_bits_are_rounded():
    """Not cut off: v / 257, halves never occurring as 257 is odd."""
    values = np.arange(65536, dtype="uint16").reshape(256, 256)
    expected = np.round(values / 65535 * 255)
    image = evaluation_transform(values, 256, 1.0)[..., 0]
    np.testing.assert_array_equal(image, expected)


def test_a_pil_image_is_left_alone(tmp_path):
    """Its transparency too, which Pillow's conversion warns of."""
    EXACT["palette8_transparent.png"][0](tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as image:
        before = dict(image.info)
        evaluation_transform(image, 32)
        assert image.info == before
        assert image.mode == "P"


# --- Pictures that are almost black ---------------------------------------------------------

DARK = ((GREY * 4095.0) / 255).round().astype("uint16")
DARK_COLOURS = np.dstack([DARK] * 3)


@pytest.mark.parametrize(
    ("name", "write", "message"),
    [
        ("a.png", lambda path: png(path, DARK, 16, 0), "of 0 to 4095, .*black.* 12 bits, .* 16"),
        ("a.tif", tiff(DARK, **grey16), "of 0 to 4095, .*black.* 12 bits, .*times 16"),
        ("10.tif", tiff(DARK // 4, **grey16), "of 0 to 1023, .* 10 bits, .*times 64"),
        ("8.tif", tiff(DARK // 16, **grey16), "of 0 to 255, .* 8 bits, .*times 256"),
        ("white.tif", tiff(DARK, photometric="miniswhite"), "of 0 to 4095, .*almost white"),
        ("a.pgm", lambda path: netpbm(path, "P5", 65535, DARK), "of 0 to 4095, .*times 16"),
        ("a.jp2", pillow(DARK), "of 0 to 4095, .*times 16"),
        ("rgb.png", lambda path: png(path, DARK_COLOURS, 16, 2), "colours below 4096.*tifffile"),
        ("rgb.tif", tiff(DARK_COLOURS, **colour16), "colours below 4096.*tifffile"),
        ("rgb.ppm", lambda path: netpbm(path, "P6", 65535, DARK_COLOURS), "colours below 4096"),
    ],
)  # fmt: skip
def test_12_bits_in_16_give_a_warning(name, write, message, tmp_path):
    write(tmp_path / name)
    for call in (load_image, evaluation_transform):
        with pytest.warns(UserWarning, match=rf"{name} holds 16-bit .*{message}") as caught:
            call(tmp_path / name)
        assert len(caught) == 1
        assert caught[0].filename == __file__
        assert "\n" not in str(caught[0].message)


def test_12_bits_in_an_array_give_a_warning():
    for array in (DARK, DARK_COLOURS):
        with pytest.warns(UserWarning, match="the array holds 16-bit values of 0 to 4095"):
            evaluation_transform(array, 32)
    # What the warning advises.
    scaled = evaluation_transform(DARK * np.uint16(16), 32)
    np.testing.assert_allclose(scaled, evaluation_transform(GREY, 32), atol=1.1)


def test_a_black_bitmap_of_five_bits_gives_no_warning(tmp_path):
    header = struct.pack(
        "<2sIIIIiiHHIIiiII", b"BM", 54 + 8, 0, 54, 40, 2, 2, 1, 16, 0, 8, 0, 0, 0, 0
    )
    (tmp_path / "a.bmp").write_bytes(header + bytes(8))
    assert not pixels(load_image(tmp_path / "a.bmp")).any()


@pytest.mark.parametrize("highest", [0, 4096, 65535])
def test_no_warning_for_black_and_for_whole_pictures(highest, tmp_path):
    array = np.full((8, 8), highest, "uint16")
    array[0] = 0
    Image.fromarray(array).save(tmp_path / "a.png")
    load_image(tmp_path / "a.png")
    evaluation_transform(array, 32)


# --- Pictures that are refused --------------------------------------------------------------

UNIT = (GREY / 255).astype("float32")
REFUSED = {
    "int8.tif": (tiff((GREY // 2).astype("int8"), **grey16), "8-bit signed integers"),
    "int16.tif": (tiff(wide(GREY).astype("int16"), **grey16), "16-bit signed integers"),
    "int16_big_endian.tif": (
        tiff(wide(GREY).astype("int16"), byteorder=">", **grey16), "16-bit signed integers",
    ),
    "int32.tif": (tiff(GREY.astype("int32"), **grey16), r'32-bit.*array.astype\("uint8"\)'),
    "uint32.tif": (
        tiff(wide(GREY).astype("uint32") * 65537, **grey16),
        r'32-bit unsigned integers.*0 to 4\.29497e\+09.*view\("uint32"\)',
    ),
    "uint32_big_endian.tif": (
        tiff(GREY.astype("uint32"), byteorder=">", **grey16), "1 channel of 32-bit unsigned",
    ),
    "float16.tif": (tiff(UNIT.astype("float16"), **grey16), "16-bit floats"),
    "float32.tif": (tiff(UNIT, **grey16), r"32-bit floats.*\(array \* 255\)"),
    "float32_big_endian.tif": (tiff(UNIT, byteorder=">", **grey16), "32-bit floats"),
    "float32_255.tif": (tiff(UNIT * 255, **grey16), r"32-bit floats.*array.round\(\)"),
    "float64.tif": (tiff(UNIT.astype("float64"), **grey16), "1 channel of 64-bit floats"),
    "rgb_float.tif": (tiff(as_rgb(UNIT), **colour16), "3 channels of 32-bit floats, RGB"),
    "lab16.tif": (tiff(wide(RGB), photometric="cielab"), "16-bit unsigned integers, CIELAB"),
    "five.tif": (
        tiff(np.stack([wide(GREY)] * 5), planarconfig="separate", **grey16), "5 channels of 16-bit",
    ),
    "rgb16_planar.tif": (
        tiff(wide(RGB).transpose(2, 0, 1), planarconfig="separate", **colour16),
        "channels of 16 bits are stored one after the other",
    ),
    "signed.fits": (lambda path: fits(path, 16, GREY.astype(">i2")), "FITS file of more"),
    "float.fits": (lambda path: fits(path, -32, UNIT.astype(">f4")), "FITS file of more"),
    "pillow_i.tif": (lambda path: Image.fromarray(GREY.astype("int32")).save(path), "32-bit"),
    "pillow_f.tif": (lambda path: Image.fromarray(UNIT).save(path), "32-bit floats"),
    "heic.jpg": (lambda path: path.write_bytes(b"\0\0\0\x18ftypheic" + bytes(20)), "pillow-heif"),
    "a.jxl": (lambda path: path.write_bytes(b"\xff\x0a" + bytes(20)), "pillow-jxl-plugin"),
    "empty.png": (lambda path: path.write_bytes(b""), "an empty file"),
    "words.png": (lambda path: path.write_text("words " * 9), "which is none of them"),
    "bad_header.png": (
        lambda path: path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(30)), "a PNG picture that",
    ),
    "page.svg": (lambda path: path.write_text("<svg></svg>"), "which is none of them"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refused_in_a_line(name, tmp_path):
    write, message = REFUSED[name]
    write(tmp_path / name)
    for call in (load_image, evaluation_transform):
        with pytest.raises(ValueError, match=f"Expected a.*{name}, .*{message}") as error:
            call(tmp_path / name)
        assert "\n" not in str(error.value)
        assert "truncated" not in str(error.value)


@pytest.mark.parametrize("signed", [False, True])
def test_jpeg2000_that_pillow_misreads(signed, tmp_path):
    """Of 16-bit colours Pillow makes black of white; the header tells before it reads them."""
    Image.fromarray(RGB).save(tmp_path / "a.jp2")
    content = bytearray((tmp_path / "a.jp2").read_bytes())
    start = content.index(b"\xff\x4f\xff\x51") + 42
    content[start : start + 9 : 3] = [0x87 if signed else 0x0F] * 3
    (tmp_path / "a.jp2").write_bytes(content)
    message = "signed values" if signed else "16 bits per channel in colour"
    with pytest.raises(ValueError, match=f"a JPEG 2000 file of {message}"):
        load_image(tmp_path / "a.jp2")


@pytest.mark.parametrize("mode", ["I", "F"])
def test_pil_images_without_a_range_are_refused(mode):
    image = Image.new(mode, (8, 8), 100)
    with pytest.raises(ValueError, match=r"the PIL image, of 32-bit .* values of 0 to 255 with"):
        evaluation_transform(image)


def test_pil_image_that_pillow_does_not_convert():
    image = Image.new("LA", (8, 8)).convert("La")
    with pytest.raises(ValueError, match=r"converts to RGB.*the PIL image, of the mode La"):
        evaluation_transform(image)


@pytest.mark.parametrize(
    ("array", "hint"),
    [
        (UNIT, r'0 to 1 with `\(array \* 255\).round\(\).astype\("uint8"\)`'),
        (UNIT.astype("float16") * 255, r'0 to 255 with `array.round\(\).astype\("uint8"\)`'),
        (as_rgb(UNIT * 3) - 1, r"where `low` and `high` are .* \(of this picture: -1 to 2\)"),
        (np.full((4, 4), np.nan), "where `low` and `high`"),
        (GREY.astype("int32"), r'0 to 255 with `array.astype\("uint8"\)`'),
        (wide(GREY).astype("int64"), r'0 to 65535 with `array.astype\("uint16"\)`'),
        (-GREY.astype("int16"), "where `low` and `high` .*-255 to 0"),
        (GREY > 9, r'with `array.astype\("uint8"\) \* 255`'),
        (GREY.astype("complex64"), "Convert it to uint8"),
        (GREY.astype(str), "Convert it to uint8"),
    ],
)
def test_refused_arrays_say_how_to_convert(array, hint):
    with pytest.raises(ValueError, match=rf"Received: dtype {array.dtype}, shape .*{hint}"):
        evaluation_transform(array)


def test_what_the_hints_advise():
    expected = evaluation_transform(GREY, 32)
    low, high = -3.0, 7.0
    array = GREY / 255 * (high - low) + low
    for converted in (
        (UNIT * 255).round().astype("uint8"),
        wide(GREY).astype("int64").astype("uint16"),
        (255 * (array - low) / (high - low)).round().clip(0, 255).astype("uint8"),
    ):
        assert np.abs(evaluation_transform(converted, 32).astype(int) - expected).max() <= 1
