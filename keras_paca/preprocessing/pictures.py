"""Image files to PIL images in RGB."""

import io
import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from keras_paca.preprocessing.colours import image_to_rgb
from keras_paca.preprocessing.formats import (
    PictureError,
    import_pillow,
    unreadable,
    why_unidentified,
)

if TYPE_CHECKING:
    from PIL import Image

ORIENTATION = 0x0112  # a tag of EXIF
SIDEWAYS = (5, 6, 7, 8)  # the orientations that exchange height and width
APP1, START_OF_SCAN = 0xE1, 0xDA  # markers of JPEG; EXIF data are in APP1


def load_image(path: "str | os.PathLike", exif_transpose: bool = False) -> "Image.Image":
    """Open an image file, decode its first frame and convert it to RGB.

    The result is that of timm, `Image.open(path).convert("RGB")`, with one exception: a 16-bit
    grey picture is scaled to 0..255, where Pillow would cut it off at 255. Of a 16-bit colour
    picture Pillow keeps the higher 8 bits. A 16-bit picture of values below 4096, which comes out
    almost black, gives a warning.

    Transparency is dropped, as by timm: a transparent pixel shows the colour that is stored for
    it. To lay the picture on a background, use `PIL.Image.alpha_composite` before.

    Args:
        path: str or os.PathLike. Path of a file in any format that Pillow reads.
        exif_transpose: bool. Whether to turn a photograph upright as its EXIF orientation says,
            as `PIL.ImageOps.exif_transpose` does. EXIF data that can't be read is ignored. A TIFF
            file is turned in either case, because Pillow turns it when it loads it.

    Returns:
        A PIL image of mode "RGB", decoded; the file is closed.

    Raises:
        FileNotFoundError: If there is no file at `path`.
        ImportError: If Pillow isn't installed.
        ValueError: If `path` is a directory, or the file isn't an image, is truncated, is larger
            than Pillow's limit on decompression bombs, or holds values without a known range
            (signed or 32-bit integers, floats) or in a form that Pillow reads wrongly.

    Example:
    >>> import os, tempfile
    >>> from PIL import Image
    >>> from keras_paca.preprocessing import load_image
    >>> path = os.path.join(tempfile.mkdtemp(), "grey.png")
    >>> Image.new("L", (4, 3), 128).save(path)
    >>> load_image(path).getpixel((0, 0))
    (128, 128, 128)
    """
    check_exif_transpose(exif_transpose)
    image, note = read_picture(path, exif_transpose)
    if note is not None:
        warnings.warn(note, stacklevel=2)
    return image


def read_picture(
    path: "str | os.PathLike", exif_transpose: bool = False
) -> "tuple[Image.Image, str | None]":
    """Do what `load_image` does, but return the text of its warning, or None, beside the image."""
    import_pillow()
    path = Path(path)
    if path.is_dir():
        raise ValueError(f"Expected the path of an image file. Received a directory: {path}")
    if not path.exists():
        raise FileNotFoundError(f"Expected the path of an image file. No such file: {path}")
    # Opened here, so that a refusal by the file system stays an OSError.
    with path.open("rb") as stream, _open(stream, str(path)) as image:
        rgb, note = image_to_rgb(image, str(path))
        return (turn_upright(rgb, image) if exif_transpose else rgb), note


def check_exif_transpose(exif_transpose: Any) -> None:
    """Raise a ValueError if `exif_transpose` isn't a boolean."""
    if not isinstance(exif_transpose, bool | np.bool_):
        raise ValueError(
            f"`exif_transpose` must be True or False. Received: exif_transpose={exif_transpose!r}"
        )


def picture_sizes(
    path: "str | os.PathLike", expected: tuple[int, int]
) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return a picture's (height, width) as stored and turned upright.

    No pixels are read, and no EXIF data where the stored size is the expected one.

    Args:
        path: str or os.PathLike. The file.
        expected: tuple of int. The size that is hoped for.

    Raises:
        OSError: If there is no such file.
        ValueError: If it can't be read.
    """
    try:
        with import_pillow().open(path) as image:
            size = (image.height, image.width)
            turned = size != expected and image.getexif().get(ORIENTATION) in SIDEWAYS
    except Exception:  # `load_image` reads more kinds of files, and says why it can't read others
        image = load_image(path)
        return (image.height, image.width), (image.height, image.width)
    return size, size[::-1] if turned else size


def turn_upright(rgb: "Image.Image", source: "Image.Image") -> "Image.Image":
    """Turn an image as the EXIF data of `source` say, the loaded image that it was made from."""
    if source.format == "TIFF":  # Pillow turned it when it loaded it
        return rgb
    try:
        orientation = source.getexif().get(ORIENTATION)
    except MemoryError:
        raise
    except Exception:  # EXIF data that can't be read, in as many ways as there are
        return rgb
    transpose = import_pillow().Transpose
    turns = {
        2: transpose.FLIP_LEFT_RIGHT,
        3: transpose.ROTATE_180,
        4: transpose.FLIP_TOP_BOTTOM,
        5: transpose.TRANSPOSE,
        6: transpose.ROTATE_270,
        7: transpose.TRANSVERSE,
        8: transpose.ROTATE_90,
    }
    return rgb.transpose(turns[orientation]) if orientation in turns else rgb


def _open(stream: BinaryIO, name: str) -> "Image.Image":
    pillow = import_pillow()
    try:
        return pillow.open(stream)
    except MemoryError:
        raise
    except Exception as error:
        if isinstance(error, pillow.DecompressionBombError | pillow.DecompressionBombWarning):
            raise unreadable(name, error) from error
        image = _open_without_exif(stream)
        if image is not None:
            return image
        raise PictureError(
            "an image file in a format that Pillow reads (JPEG, PNG, ...)",
            name,
            why_unidentified(stream) or "which is none of them",
        ) from error


def _open_without_exif(stream: BinaryIO) -> "Image.Image | None":
    """Open a JPEG file that Pillow can't open because of its EXIF data, else return None."""
    stream.seek(0)
    kept, start = stream.read(2), 2
    if kept != b"\xff\xd8":
        return None
    data = kept + stream.read()
    while data[start : start + 1] == b"\xff" and start + 4 <= len(data):
        end = start + 2 + int.from_bytes(data[start + 2 : start + 4])
        if data[start + 1] == START_OF_SCAN or end > len(data):
            break
        kept += b"" if data[start + 1] == APP1 else data[start:end]
        start = end
    if len(kept) == start:
        return None
    try:
        return import_pillow().open(io.BytesIO(kept + data[start:]))
    except MemoryError:
        raise
    except Exception:  # it isn't the EXIF data
        return None
