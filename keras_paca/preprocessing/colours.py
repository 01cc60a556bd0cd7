"""Converting images of any type to RGB with 8 bits per channel."""

import functools
from typing import TYPE_CHECKING

import numpy as np

from keras_paca.preprocessing.formats import PictureError, import_pillow, unreadable
from keras_paca.preprocessing.headers import (
    SIGNED,
    UNSIGNED,
    TiffValues,
    jpeg2000_precision,
    tiff_values,
)

if TYPE_CHECKING:
    from PIL import Image

UINT16_MAX = 65535
DARK = 4096  # lower values lie in the lowest sixteenth of the range of 16 bits
DEEP_FORMATS = {"PNG", "PPM", "SGI", "TIFF"}  # in which Pillow reads colours of 16 bits
SAVE_AGAIN = "Save it with 8 bits, or give it as a uint8 or uint16 array."


def image_to_rgb(image: "Image.Image", name: str) -> "tuple[Image.Image, str | None]":
    """Convert a PIL image to RGB with 8 bits per channel.

    Args:
        image: PIL.Image.Image. The image, of any mode. It isn't changed.
        name: str. The name of the image in error messages, such as its path.

    Returns:
        (PIL.Image.Image, str or None). The RGB image, and the text of a warning if there is one.

    Raises:
        ValueError: If the image has no pixels, can't be decoded or converted, or holds values
            whose range is unknown or that Pillow reads wrongly.

    Example:
    >>> rgb, note = image_to_rgb(import_pillow().new("L", (2, 2), 128), "an image")
    >>> rgb.getpixel((0, 0)), note
    ((128, 128, 128), None)
    """
    if 0 in image.size:
        raise ValueError(
            f"Expected an image of at least 1 x 1 pixels. Received: {name}, "
            f"{image.height} x {image.width}"
        )
    tiff = tiff_values(image)
    _check_storage(image, tiff, name)
    deep = _has_deep_colours(image)
    try:
        image.load()
    except MemoryError:
        raise
    except Exception as error:  # each of Pillow's decoders raises exceptions of its own
        raise unreadable(name, error, image.info.get("compression")) from error
    _check_range(image, tiff, name)
    if image.mode.startswith("I"):
        return _convert_grey16(image, tiff, name)
    rgb = _convert_mode(image, name)
    return rgb, _dark_colours_note(rgb, name) if deep else None


def array_to_rgb(array: np.ndarray) -> "tuple[Image.Image, str | None]":
    """Convert an array to an RGB image with 8 bits per channel.

    Args:
        array: np.ndarray. uint8 in 0..255 or uint16 in 0..65535, (height, width, 3) in RGB or
            (height, width) in grey.

    Returns:
        (PIL.Image.Image, str or None). The RGB image, and the text of a warning if there is one.

    Raises:
        ValueError: If the array has another dtype or shape, or no pixels.

    Example:
    >>> rgb, note = array_to_rgb(np.full((2, 2), 65535, "uint16"))
    >>> rgb.getpixel((0, 0)), note
    ((255, 255, 255), None)
    """
    expected = "a uint8 or uint16 array of the shape (height, width, 3) or (height, width)"
    received = f"Received: dtype {array.dtype}, shape {array.shape}"
    if array.dtype.kind != "u" or array.dtype.itemsize > 2:
        raise ValueError(f"Expected {expected}. {received}. {conversion_hint(array)}")
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[-1] != 3):
        raise ValueError(f"Expected {expected}, one image without a batch axis. {received}")
    if array.size == 0:
        raise ValueError(f"Expected {expected} of at least 1 x 1 pixels. {received}")
    note = None
    if array.dtype.itemsize == 2:
        array, note = scale_uint16(array, "the array")
    return import_pillow().fromarray(array).convert("RGB"), note


def scale_uint16(
    array: np.ndarray, name: str, low_is: str = "black"
) -> tuple[np.ndarray, str | None]:
    """Scale values in 0..65535 to uint8.

    Args:
        array: np.ndarray. The values, uint16, of any shape.
        name: str. The name of the image in the warning.
        low_is: str. The colour that low values mean, "black" or "white".

    Returns:
        (np.ndarray, str or None). The values in 0..255, uint8, and the text of a warning if all of
        them lie in the lowest sixteenth of the range.

    Example:
    >>> values, note = scale_uint16(np.array([0, 32768, 65535], "uint16"), "the array")
    >>> values.tolist(), note
    ([0, 128, 255], None)
    """
    highest, note = int(array.max()), None
    if 0 < highest < DARK:
        bits = next(bits for bits in (8, 10, 12) if highest < 2**bits)
        note = (
            f"{name} holds 16-bit values of {int(array.min())} to {highest}, the lowest sixteenth "
            f"of 0 to {UINT16_MAX}, and comes out almost {low_is}. For data of {bits} bits, give a "
            f"uint16 array of its values times {2 ** (16 - bits)}."
        )
    return _table(UINT16_MAX)[array], note


def conversion_hint(array: np.ndarray) -> str:
    """Suggest how to convert an array whose range isn't known to uint8 or uint16.

    Args:
        array: np.ndarray. The values, of any dtype except uint8 and uint16.

    Returns:
        str. A sentence for an error message.

    Example:
    >>> conversion_hint(np.array([0, 200]))
    'Convert values of 0 to 255 with `array.astype("uint8")`.'
    """
    kind = array.dtype.kind
    if kind not in "biuf" or array.size == 0:
        return "Convert it to uint8."
    low, high = array.min(), array.max()
    if kind == "b":
        return 'Convert it with `array.astype("uint8") * 255`.'
    if kind == "f" and low >= 0 and high <= 1:
        return 'Convert values of 0 to 1 with `(array * 255).round().astype("uint8")`.'
    if low >= 0 and high <= 255:
        rounded = "array.round()" if kind == "f" else "array"
        return f'Convert values of 0 to 255 with `{rounded}.astype("uint8")`.'
    if kind != "f" and low >= 0 and high <= UINT16_MAX:
        return f'Convert values of 0 to {UINT16_MAX} with `array.astype("uint16")`.'
    return (
        "Convert it with `(255 * (array - low) / (high - low)).round().clip(0, 255)"
        '.astype("uint8")`, where `low` and `high` are the range of your data '
        f"(of this picture: {low:g} to {high:g})."
    )


def _check_storage(image: "Image.Image", tiff: TiffValues | None, name: str) -> None:
    """Refuse files whose values Pillow reads wrongly."""
    expected = "a picture of 8 or 16 unsigned bits per channel"
    if image.format == "FITS" and image.mode != "L":
        raise PictureError(expected, name, f"a FITS file of more than 8 bits. {SAVE_AGAIN}")
    bits, signed = jpeg2000_precision(image) or (8, False)
    if signed:
        raise PictureError(expected, name, f"a JPEG 2000 file of signed values. {SAVE_AGAIN}")
    # Pillow rounds white up to 256 here, which wraps to black.
    if bits > 8 and not image.mode.startswith("I"):
        raise PictureError(
            "a picture that Pillow reads correctly",
            name,
            f"a JPEG 2000 file of {bits} bits per channel in colour. {SAVE_AGAIN}",
        )
    if tiff is None:
        return
    if tiff.kind == SIGNED and image.mode not in ("I", "F"):
        raise PictureError(
            expected, name, f"a TIFF file of {tiff.bits}-bit {tiff.kind}. {SAVE_AGAIN}"
        )
    # Pillow reads each byte as a value here. libtiff reads compressed files correctly.
    if tiff.planar and tiff.bits > 8 and image.info.get("compression") == "raw":
        raise PictureError(
            "a picture that Pillow reads correctly",
            name,
            f"a TIFF file whose channels of {tiff.bits} bits are stored one after the other, "
            "uncompressed. Interleave the channels, or give them as a uint8 or uint16 array.",
        )


def _check_range(image: "Image.Image", tiff: TiffValues | None, name: str) -> None:
    """Refuse an image of values whose range is unknown."""
    # Pillow reads 16-bit PGM files into 32-bit integers, and before version 12 PNG files too.
    if image.mode != "F" and (image.mode != "I" or image.format in ("PNG", "PPM")):
        return
    kind = "32-bit floats" if image.mode == "F" else "32-bit integers"
    array, source = np.asarray(image), "numpy.asarray(image)"
    if tiff is not None:
        kind = f"{tiff.bits}-bit {tiff.kind}"
        if tiff.kind == UNSIGNED:  # which Pillow reads as signed
            array, source = array.view("uint32"), f'{source}.view("uint32")'
    raise PictureError(
        "a picture of 8 or 16 unsigned bits per channel",
        name,
        f"of {kind}, whose range is unknown. {conversion_hint(array)} "
        f"Here `array` is `{source}`, `image` being the picture that Pillow opens.",
    )


def _convert_grey16(
    image: "Image.Image", tiff: TiffValues | None, name: str
) -> "tuple[Image.Image, str | None]":
    """Convert a grey image of more than 8 bits to RGB, scaled by the range of its type."""
    array = np.asarray(image)
    white_is_zero = tiff is not None and tiff.white_is_zero
    if tiff is not None and tiff.bits < 16:
        grey, note = _table(2**tiff.bits - 1)[array], None
    else:
        grey, note = scale_uint16(array, name, "white" if white_is_zero else "black")
    if white_is_zero:  # Pillow inverts 8 bits, but not 16
        grey = 255 - grey
    return import_pillow().fromarray(grey).convert("RGB"), note


@functools.cache
def _table(most: int) -> np.ndarray:
    """Return round(255 v / most) for v = 0, ..., 65535, at most 255."""
    values = np.arange(UINT16_MAX + 1).clip(0, most)
    return ((255 * values + most // 2) // most).astype("uint8")


def _convert_mode(image: "Image.Image", name: str) -> "Image.Image":
    """Convert an image of 8 bits or less per channel to RGB."""
    if "transparency" in image.info:
        # Pillow warns of palettes with several opacities, and fails on some broken ones.
        image = image.copy()
        del image.info["transparency"]
    try:
        return image.convert("RGB")
    except MemoryError:
        raise
    except Exception as error:
        raise PictureError(
            "an image that Pillow converts to RGB", name, f"of the mode {image.mode} ({error})"
        ) from error


def _has_deep_colours(image: "Image.Image") -> bool:
    """Return whether a file that isn't loaded yet holds 16 bits, of which Pillow keeps 8."""
    if image.format not in DEEP_FORMATS or image.mode not in ("L", "LA", "RGB", "RGBA", "RGBX"):
        return False
    for codec, _, _, arguments in getattr(image, "tile", None) or ():
        arguments = arguments if isinstance(arguments, tuple) else (arguments,)
        largest = arguments[1] if codec.startswith("ppm") else 0
        if codec == "SGI16" or ";16" in str(arguments[:1]) or largest > 255:
            return True
    return False


def _dark_colours_note(rgb: "Image.Image", name: str) -> str | None:
    """Return the text of a warning for 16-bit colours in the lowest sixteenth of their range."""
    if max(high for _, high in rgb.getextrema()) > DARK >> 8:
        return None
    return (
        f"{name} holds 16-bit colours below {DARK}, the lowest sixteenth of 0 to {UINT16_MAX}, and "
        "comes out almost black. For data of 12 bits, read it with a package that keeps 16 bits, "
        "such as tifffile or OpenCV, and give a uint16 array of its values times 16."
    )
