"""Pictures of every kind, some of them written by hand, that show their colours."""

import struct
import zlib

import numpy as np
import tifffile
from PIL import Image

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


def noise(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype="uint8")


def save(path, array, **kwargs):
    Image.fromarray(array).save(path, **kwargs)
    return path
