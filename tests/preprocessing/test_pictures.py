"""Pictures of every kind: each shows its colours, or a line says what it is."""

import pickle
import struct
import warnings
import zlib

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageOps

from keras_paca.preprocessing import evaluation_transform, load_image
from keras_paca.preprocessing.formats import PictureError, picture_suffixes
from tests.marks import slow_but_on_torch

pytestmark = slow_but_on_torch
HEIGHT, WIDTH = 20, 48
GREY = np.linspace(0, 255, HEIGHT * WIDTH).round().reshape(HEIGHT, WIDTH).astype("uint8")
RGB = np.stack([GREY, GREY[::-1], np.roll(GREY, 20, axis=1)], axis=-1)
ALPHA = np.where(np.arange(WIDTH) < 9, 0, 255).astype("uint8") + np.zeros_like(GREY)


def wide(array):
    """The same picture in 16 bits."""
    return array.astype("uint16") * 257


def pixels(image):
    return np.asarray(image).astype(int)


def as_rgb(array):
    return np.broadcast_to(array[..., None], (*array.shape, 3)) if array.ndim == 2 else array


# --- Files written by hand, of kinds that Pillow doesn't write ------------------------------


def png(path, array, bits, colour, *chunks):
    """Write a PNG file of any bit depth and colour type."""

    def chunk(name, content):
        check = zlib.crc32(name + content)
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", check)

    rows = array.reshape(len(array), -1, 1)
    if bits < 8:
        binary = (rows >> np.arange(bits - 1, -1, -1)) & 1
        packed = np.packbits(binary.astype("uint8").reshape(len(array), -1), axis=1)
    else:
        packed = rows.astype(">u2" if bits == 16 else "u1")
    data = b"".join(b"\0" + row.tobytes() for row in packed)
    header = struct.pack(">IIBBBBB", array.shape[1], array.shape[0], bits, colour, 0, 0, 0)
    parts = [(b"IHDR", header), *chunks, (b"IDAT", zlib.compress(data)), (b"IEND", b"")]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts))


def palette(levels):
    return (b"PLTE", bytes(np.repeat(levels, 3).astype("uint8")))


def tiff12(path):
    """Write a TIFF file of 12 bits."""
    values = (GREY.astype(int) * 4095 + 127) // 255
    bits = (values[..., None] >> np.arange(11, -1, -1)) & 1
    data = np.packbits(bits.reshape(HEIGHT, -1).astype("uint8"), axis=1).tobytes()
    tags = {
        256: WIDTH, 257: HEIGHT, 258: 12, 259: 1, 262: 1, 273: 8 + 2 + 12 * 9 + 4,
        277: 1, 278: HEIGHT, 279: len(data),
    }  # fmt: skip
    entries = b"".join(struct.pack("<HHIHH", tag, 3, 1, tags[tag], 0) for tag in sorted(tags))
    header = b"II*\0" + struct.pack("<IH", 8, len(tags))
    path.write_bytes(header + entries + struct.pack("<I", 0) + data)


def fits(path, bits, array):
    cards = {"SIMPLE": "T", "BITPIX": bits, "NAXIS": 2, "NAXIS1": WIDTH, "NAXIS2": HEIGHT}
    header = "".join(f"{key:8}= {value:>20}".ljust(80) for key, value in cards.items())
    data = array[::-1].tobytes()
    path.write_bytes(
        (header + "END").ljust(2880).encode() + data.ljust(-(-len(data) // 2880) * 2880, b"\0")
    )


def netpbm(path, magic, largest, array):
    header = f"{magic}\n{WIDTH} {HEIGHT}\n{largest}\n".encode()
    path.write_bytes(header + array.astype(">u2" if largest > 255 else "u1").tobytes())


def tiff(array, **options):
    return lambda path: tifffile.imwrite(path, array, **options)


def pillow(array, mode=None, **options):
    return lambda path: Image.fromarray(array).convert(mode).save(path, **options)


# --- Pictures that show their colours -------------------------------------------------------

grey16, colour16 = {"photometric": "minisblack"}, {"photometric": "rgb"}
INVERTED = np.arange(256)[::-1]
EXACT = {
    "grey16.tif": (tiff(wide(GREY), **grey16), GREY),
    "grey16_big_endian.tif": (tiff(wide(GREY), byteorder=">", **grey16), GREY),
    "grey16_zipped.tif": (tiff(wide(GREY), compression="zlib", **grey16), GREY),
    "grey16_zipped_big_endian.tif": (
        tiff(wide(GREY), compression="zlib", byteorder=">", **grey16), GREY,
    ),
    "grey16_white_is_zero.tif": (tiff(wide(255 - GREY), photometric="miniswhite"), GREY),
    "grey16_white_is_zero_zipped.tif": (
        tiff(wide(255 - GREY), photometric="miniswhite", compression="zlib"), GREY,
    ),
    "grey16_pages.tif": (tiff(np.stack([wide(GREY), 0 * wide(GREY)]), **grey16), GREY),
    "grey16_of_pillow.tif": (pillow(wide(GREY)), GREY),
    "grey12.tif": (tiff12, GREY),
    "grey8_white_is_zero.tif": (tiff(255 - GREY, photometric="miniswhite"), GREY),
    "bits.tif": (tiff(GREY > 127, photometric="minisblack"), (GREY > 127) * 255),
    "fax.tif": (pillow(GREY, "1", compression="group4"), None),
    "rgb16.tif": (tiff(wide(RGB), **colour16), RGB),
    "rgb16_big_endian.tif": (tiff(wide(RGB), byteorder=">", **colour16), RGB),
    "rgb16_planar_zipped.tif": (
        tiff(wide(RGB).transpose(2, 0, 1), planarconfig="separate", compression="zlib", **colour16),
        RGB,
    ),
    "rgb8_planar.tif": (tiff(RGB.transpose(2, 0, 1), planarconfig="separate", **colour16), RGB),
    "rgba16.tif": (tiff(np.dstack([wide(RGB), wide(ALPHA)]), extrasamples=[2], **colour16), RGB),
    "cmyk8.tif": (tiff(np.dstack([255 - RGB, 0 * GREY]), photometric="separated"), RGB),
    "cmyk16.tif": (
        tiff(wide(np.dstack([255 - RGB, 0 * GREY])), photometric="separated"), RGB,
    ),
    "palette.tif": (
        tiff(255 - GREY, photometric="palette", colormap=np.stack([wide(INVERTED)] * 3)),
        GREY,
    ),
    "big.tif": (tiff(RGB, bigtiff=True, **colour16), RGB),
    "grey16.png": (lambda path: png(path, wide(GREY), 16, 0), GREY),
    "grey16_transparent.png": (
        lambda path: png(path, wide(GREY), 16, 0, (b"tRNS", b"\1\1")), GREY,
    ),
    "grey8_transparent.png": (lambda path: png(path, GREY, 8, 0, (b"tRNS", b"\0\7")), GREY),
    "grey_alpha16.png": (lambda path: png(path, wide(np.dstack([GREY, ALPHA])), 16, 4), GREY),
    "rgb16.png": (lambda path: png(path, wide(RGB), 16, 2), RGB),
    "rgb16_transparent.png": (
        lambda path: png(path, wide(RGB), 16, 2, (b"tRNS", struct.pack(">HHH", 0, 257, 514))), RGB,
    ),
    "rgba8.png": (lambda path: png(path, np.dstack([RGB, ALPHA]), 8, 6), RGB),
    "rgba16.png": (lambda path: png(path, wide(np.dstack([RGB, ALPHA])), 16, 6), RGB),
    "palette8.png": (lambda path: png(path, 255 - GREY, 8, 3, palette(INVERTED)), GREY),
    "palette8_one_transparent.png": (
        lambda path: png(
            path, 255 - GREY, 8, 3, palette(INVERTED), (b"tRNS", b"\xff\xff\0")
        ),
        GREY,
    ),
    "palette8_transparent.png": (
        lambda path: png(
            path, 255 - GREY, 8, 3, palette(INVERTED), (b"tRNS", bytes(range(256)))
        ),
        GREY,
    ),
    "grey16.pgm": (lambda path: netpbm(path, "P5", 65535, wide(GREY)), GREY),
    "grey12.pgm": (lambda path: netpbm(path, "P5", 4095, (GREY * 4095.0 / 255).round()), GREY),
    "rgb16.ppm": (lambda path: netpbm(path, "P6", 65535, wide(RGB)), RGB),
    "rgb12.ppm": (lambda path: netpbm(path, "P6", 4095, (RGB * 4095.0 / 255).round()), RGB),
    "grey16.jp2": (pillow(wide(GREY)), GREY),
    "rgb8.jp2": (pillow(RGB), RGB),
    "rgb.bmp": (pillow(RGB), RGB),
    "palette.gif": (pillow(GREY, "P"), GREY),
    "transparent.gif": (pillow(GREY, "P", transparency=3), GREY),
    "animated.gif": (pillow(GREY, save_all=True, append_images=[Image.new("L", (48, 20))]), GREY),
    "alpha.webp": (
        pillow(np.dstack([RGB, np.maximum(ALPHA, 1)]), lossless=True, exact=True), RGB,
    ),
    "animated.webp": (
        pillow(RGB, lossless=True, save_all=True, append_images=[Image.new("RGB", (48, 20))]), RGB,
    ),
    "rgb.tga": (pillow(RGB), RGB),
    "rgb.sgi": (pillow(RGB), RGB),
    "rgb.pcx": (pillow(RGB), RGB),
    "grey.fits": (lambda path: fits(path, 8, GREY), GREY),
}  # fmt: skip
for bits in (1, 2, 4):
    level = GREY >> (8 - bits)
    shown = level.astype(int) * 255 // (2**bits - 1)
    for name, chunks in {"": [], "_transparent": [(b"tRNS", bytes([5, 9]))]}.items():
        EXACT[f"palette{bits}{name}.png"] = (
            lambda path, bits=bits, level=level, chunks=chunks: png(
                path, 2**bits - 1 - level, bits, 3,
                palette(np.arange(2**bits)[::-1] * 255 // (2**bits - 1)), *chunks,
            ),
            shown,
        )  # fmt: skip
    EXACT[f"grey{bits}.png"] = (
        lambda path, bits=bits, level=level: png(path, level, bits, 0), shown,
    )  # fmt: skip


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


def test_truncated_tiff_of_a_compression_that_pillow_may_lack(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.tile(RGB, (9, 9, 1)), compression="zlib")
    content = path.read_bytes()
    path.write_bytes(content.replace(struct.pack("<HHIHH", 259, 3, 1, 8, 0),
                                     struct.pack("<HHIHH", 259, 3, 1, 50000, 0)))  # fmt: skip
    with pytest.raises(ValueError, match=r"truncated or damaged, or .* compression, zstd"):
        load_image(path)


def test_error_can_be_pickled():
    """As by the processes of a data loader."""
    error = pickle.loads(pickle.dumps(PictureError("a cat", "dog.png", "a dog")))
    assert str(error) == "Expected a cat. Received: dog.png, a dog"
    assert error.reason == "a dog"


def test_suffixes():
    suffixes = picture_suffixes()
    assert {".jpg", ".jpeg", ".jfif", ".png", ".gif", ".bmp", ".tif", ".tiff", ".mpo"} <= suffixes
    assert not {".pdf", ".eps", ".ps", ".mpg", ".h5", ".wmf", ".txt", ".palm"} & suffixes


# --- Orientation ----------------------------------------------------------------------------

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
