"""Reading image files as PIL images in RGB."""

import io
import os
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
from keras_paca.warn import warn_user

if TYPE_CHECKING:
    from PIL import Image

ORIENTATION = 0x0112  # a tag of EXIF
SIDEWAYS = (5, 6, 7, 8)  # the orientations that exchange height and width
APP1, START_OF_SCAN = 0xE1, 0xDA  # markers of JPEG; EXIF data are in APP1


def load_image(path: "str | os.PathLike", exif_transpose: bool = False) -> "Image.Image":
    """Open an image file, decode its first frame and convert it to RGB.

    The result is the same as in timm, `Image.open(path).convert("RGB")`, with one exception: the
    values of a 16-bit grey image are scaled to 0..255, while Pillow would clip them at 255. Of a
    16-bit colour image, Pillow keeps the higher 8 bits. A 16-bit image whose values all lie below
    4096 becomes almost black, which causes a warning.

    Transparency is dropped, as in timm: a transparent pixel gets the colour that is stored for it.
    To put the image on a background, call `PIL.Image.alpha_composite` first.

    Args:
        path: str or os.PathLike. Path of a file in any format that Pillow reads.
        exif_transpose: bool. Whether to rotate a photograph according to its EXIF orientation, as
            `PIL.ImageOps.exif_transpose` does. EXIF data that can't be read are ignored. A TIFF
            file is always rotated, because Pillow rotates it when it loads it.

    Returns:
        PIL.Image.Image. The decoded image, of mode "RGB". The file is closed.

    Raises:
        FileNotFoundError: If there is no file at `path`.
        ImportError: If Pillow isn't installed.
        ValueError: If `path` is a directory; if the file isn't an image, is truncated or exceeds
            Pillow's limit on decompression bombs; or if it holds values whose range isn't known
            (signed or 32-bit integers, floats) or that Pillow reads wrongly.

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
        warn_user(note)
    return image


def read_picture(
    path: "str | os.PathLike", exif_transpose: bool = False
) -> "tuple[Image.Image, str | None]":
    """Do what `load_image` does, but return the text of a warning instead of giving it.

    Args:
        path: str or os.PathLike. Path of the file.
        exif_transpose: bool. Whether to rotate a photograph according to its EXIF orientation.

    Returns:
        (PIL.Image.Image, str or None). The RGB image, and the text of a warning if there is one.

    Raises:
        FileNotFoundError: If there is no file at `path`.
        ImportError: If Pillow isn't installed.
        ValueError: As for `load_image`.

    Example:
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "example.png"
    >>> import_pillow().new("L", (4, 3)).save(path)
    >>> image, note = read_picture(path)
    >>> image.mode, image.size, note
    ('RGB', (4, 3), None)
    """
    import_pillow()
    path = Path(path)
    if path.is_dir():
        raise ValueError(f"Expected the path of an image file. Received a directory: {path}")
    if not path.exists():
        raise FileNotFoundError(f"Expected the path of an image file. No such file: {path}")
    # The file is opened here, so that an error of the file system stays an OSError.
    with path.open("rb") as stream, _open(stream, str(path)) as image:
        rgb, note = image_to_rgb(image, str(path))
        return (turn_upright(rgb, image) if exif_transpose else rgb), note


def check_exif_transpose(exif_transpose: Any) -> None:
    """Check that `exif_transpose` is a boolean.

    Args:
        exif_transpose: Any. The argument of that name.

    Raises:
        ValueError: If it isn't a boolean.

    Example:
    >>> check_exif_transpose(True)
    >>> check_exif_transpose("yes")
    Traceback (most recent call last):
        ...
    ValueError: `exif_transpose` must be True or False. Received: exif_transpose='yes'
    """
    if not isinstance(exif_transpose, bool | np.bool_):
        raise ValueError(
            f"`exif_transpose` must be True or False. Received: exif_transpose={exif_transpose!r}"
        )


def picture_sizes(
    path: "str | os.PathLike", expected: tuple[int, int]
) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return the size of a picture as it is stored, and after its EXIF orientation is applied.

    No pixels are read. No EXIF data are read if the stored size is the expected one.

    Args:
        path: str or os.PathLike. The file.
        expected: tuple of int. The (height, width) that the picture should have.

    Returns:
        (tuple of int, tuple of int). The (height, width) as stored and the (height, width) of the
        upright picture.

    Raises:
        OSError: If there is no such file.
        ValueError: If the picture can't be read.

    Example:
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "example.png"
    >>> import_pillow().new("RGB", (4, 3)).save(path)
    >>> picture_sizes(path, expected=(3, 4))
    ((3, 4), (3, 4))
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
    """Rotate an image according to the EXIF orientation of the image that it was converted from.

    Args:
        rgb: PIL.Image.Image. The image to rotate.
        source: PIL.Image.Image. The loaded image from which `rgb` was converted.

    Returns:
        PIL.Image.Image. The upright image.

    Example:
    >>> pillow, file = import_pillow(), io.BytesIO()
    >>> exif = pillow.Exif()
    >>> exif[ORIENTATION] = 6
    >>> pillow.new("RGB", (4, 3)).save(file, "JPEG", exif=exif)
    >>> source = pillow.open(file)
    >>> source.size, turn_upright(source, source).size
    ((4, 3), (3, 4))
    """
    if source.format == "TIFF":  # Pillow turned it when it loaded it
        return rgb
    try:
        orientation = source.getexif().get(ORIENTATION)
    except MemoryError:
        raise
    except Exception:  # the EXIF data can't be read, for one of many reasons
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
    """Open a JPEG file whose EXIF data keep Pillow from opening it; return None for others."""
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
