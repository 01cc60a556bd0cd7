"""Information from the headers of TIFF and JPEG 2000 files that Pillow doesn't give."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from PIL import Image

BITS_PER_SAMPLE = 258
PHOTOMETRIC_INTERPRETATION = 262
SAMPLES_PER_PIXEL = 277
PLANAR_CONFIGURATION = 284
SAMPLE_FORMAT = 339

START_OF_CODESTREAM = b"\xff\x4f\xff\x51"  # JPEG 2000: the markers SOC and SIZ
MAX_HEADER = 2**20

UNSIGNED, SIGNED = "unsigned integers", "signed integers"
KINDS = {
    1: UNSIGNED,
    2: SIGNED,
    3: "floats",
    5: "complex integers",
    6: "complex floats",
}
COLOURS = {
    0: "grey",
    1: "grey",
    2: "RGB",
    3: "palette colours",
    5: "CMYK",
    6: "YCbCr",
    8: "CIELAB",
    9: "ICCLAB",
    10: "ITULAB",
    32803: "a camera's raw data",
    34892: "a camera's raw data",
}


@dataclass(frozen=True)
class TiffValues:
    """How a TIFF file stores its values.

    Args:
        bits: int. Bits per channel.
        kind: str. The type of the values, such as "unsigned integers".
        channels: int. Channels per pixel.
        colours: str. The colour space, such as "RGB".
        planar: bool. Whether the channels are stored one after the other.
        white_is_zero: bool. Whether zero means white in a grey image, instead of black.

    Example:
    >>> print(TiffValues(16, UNSIGNED, 3, "RGB", planar=False, white_is_zero=False))
    3 channels of 16-bit unsigned integers, RGB
    """

    bits: int
    kind: str
    channels: int
    colours: str
    planar: bool
    white_is_zero: bool

    def __str__(self) -> str:
        channels = "1 channel" if self.channels == 1 else f"{self.channels} channels"
        return f"{channels} of {self.bits}-bit {self.kind}, {self.colours}"


def tiff_values(image: "Image.Image") -> TiffValues | None:
    """Return how the TIFF file of a PIL image stores its values.

    Args:
        image: PIL.Image.Image. The image, as Pillow opens it.

    Returns:
        TiffValues or None. `None` if the image doesn't come from a TIFF file.

    Example:
    >>> import io
    >>> from PIL import Image
    >>> file = io.BytesIO()
    >>> Image.new("RGB", (4, 3)).save(file, "TIFF")
    >>> print(tiff_values(Image.open(file)))
    3 channels of 8-bit unsigned integers, RGB
    """
    if image.format != "TIFF":
        return None
    return _from_tags(getattr(image, "tag_v2", {}))


def read_tiff_values(stream: BinaryIO) -> TiffValues | None:
    """Return how a TIFF file that Pillow can't open stores its values.

    Args:
        stream: BinaryIO. The open file.

    Returns:
        TiffValues or None. `None` if the tags of the file can't be read.

    Example:
    >>> import io
    >>> from PIL import Image
    >>> file = io.BytesIO()
    >>> Image.new("L", (4, 3)).save(file, "TIFF")
    >>> print(read_tiff_values(file))
    1 channel of 8-bit unsigned integers, grey
    """
    from PIL.TiffImagePlugin import ImageFileDirectory_v2

    stream.seek(0)
    header = stream.read(8)
    try:
        header += stream.read(8) if header[2] == 43 else b""  # BigTIFF
        tags = ImageFileDirectory_v2(header)
        stream.seek(tags.next)
        tags.load(stream)
        return _from_tags(tags) if BITS_PER_SAMPLE in tags else None
    except MemoryError:
        raise
    except Exception:  # the tags may hold anything
        return None


def jpeg2000_precision(image: "Image.Image") -> tuple[int, bool] | None:
    """Return the bits per channel of a JPEG 2000 file, and whether its values are signed.

    Args:
        image: PIL.Image.Image. The image, opened and not loaded yet.

    Returns:
        (int, bool) or None. `None` for other images, and for an image that is already loaded.

    Example:
    >>> import io
    >>> from PIL import Image
    >>> file = io.BytesIO()
    >>> Image.new("L", (4, 3)).save(file, "JPEG2000")
    >>> jpeg2000_precision(Image.open(file))
    (8, False)
    """
    file = getattr(image, "fp", None)
    if image.format != "JPEG2000" or file is None:
        return None
    position = file.tell()
    file.seek(0)
    head = file.read(MAX_HEADER)
    file.seek(position)
    start = head.find(START_OF_CODESTREAM)
    precision = head[start + 42 : start + 43]  # Ssiz, after the sizes of image and tiles
    if start < 0 or not precision:
        return None
    return (precision[0] & 0x7F) + 1, precision[0] >= 0x80


def _from_tags(tags: Mapping) -> TiffValues:
    colours = _numbers(tags, PHOTOMETRIC_INTERPRETATION, 1)[0]
    kind = max(_numbers(tags, SAMPLE_FORMAT, 1))
    return TiffValues(
        bits=max(_numbers(tags, BITS_PER_SAMPLE, 1)),
        kind=KINDS.get(kind, "values of an unknown type"),
        channels=_numbers(tags, SAMPLES_PER_PIXEL, 1)[0],
        colours=COLOURS.get(colours, f"photometric interpretation {colours}"),
        planar=_numbers(tags, PLANAR_CONFIGURATION, 1)[0] == 2,
        white_is_zero=colours == 0,
    )


def _numbers(tags: Mapping, tag: int, default: int) -> tuple:
    """Return the values of a tag as a tuple; Pillow returns a number or a tuple of numbers."""
    value = tags.get(tag, default)
    return value if isinstance(value, tuple) and value else (value,)
