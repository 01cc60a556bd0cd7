"""The picture formats that the installed Pillow reads, and why it doesn't read others."""

from typing import Any, BinaryIO

from keras_paca.extras import install_command
from keras_paca.preprocessing.headers import read_tiff_values

# Formats that Pillow registers, although it only identifies most of them, and needs Ghostscript for
# EPS.
NOT_PICTURES = {"BUFR", "EPS", "GRIB", "HDF5", "IPTC", "MPEG", "PDF", "WMF"}

HEIF_READER = "Pillow reads it with the package pillow-heif, after register_heif_opener()"
READERS = {
    ".avif": "Pillow reads it from version 11.3 on",
    ".heic": HEIF_READER,
    ".heif": HEIF_READER,
    ".hif": HEIF_READER,
    ".jxl": "Pillow reads it with the package pillow-jxl-plugin",
    ".webp": "Pillow reads it where it was built with WebP",
}
# The formats for which Pillow may need a package, by the bytes 4 to 12 of a file or its first two.
BRANDS = {
    b"ftypavif": ("AVIF", ".avif"),
    b"ftypavis": ("AVIF", ".avif"),
    b"ftypheic": ("HEIF", ".heic"),
    b"ftypheix": ("HEIF", ".heic"),
    b"ftyphevc": ("HEIF", ".heic"),
    b"ftypmif1": ("HEIF", ".heic"),
    b"ftypmsf1": ("HEIF", ".heic"),
    b"JXL \r\n\x87\n": ("JPEG XL", ".jxl"),
    b"\xff\x0a": ("JPEG XL", ".jxl"),
}

# Pillow's names of the compressions of TIFF files that it may have been built without.
OPTIONAL_COMPRESSIONS = {"lzma", "tiff_lzma", "webp", "zstd"}


class PictureError(ValueError):
    """A picture can't be read, or the range of its values isn't known.

    Args:
        expected: str. What was expected.
        name: str. The name of the picture in the message, such as its path.
        reason: str. What is wrong with the picture, without its name.

    Example:
    >>> print(PictureError("a whole image", "cat.png", "truncated"))
    Expected a whole image. Received: cat.png, truncated
    """

    def __init__(self, expected: str, name: str, reason: str) -> None:
        super().__init__(expected, name, reason)  # all of them, so that the error can be pickled
        self.reason = reason

    def __str__(self) -> str:
        return "Expected {}. Received: {}, {}".format(*self.args)


def import_pillow() -> Any:
    """Import `PIL.Image`.

    Returns:
        The module.

    Raises:
        ImportError: If Pillow isn't installed. The message says how to install it.

    Example:
    >>> import_pillow().new("RGB", (4, 3)).size
    (4, 3)
    """
    try:
        from PIL import Image
    except ImportError as error:
        raise ImportError(
            f"Reading and resizing images on the host needs Pillow: {install_command('images')}"
        ) from error
    return Image


def picture_suffixes() -> frozenset[str]:
    """Return the suffixes of the picture files that the installed Pillow reads.

    Returns:
        frozenset of str. The suffixes in lower case, with their dots.

    Raises:
        ImportError: If Pillow isn't installed.

    Example:
    >>> ".png" in picture_suffixes(), ".pdf" in picture_suffixes()
    (True, False)
    """
    pillow = import_pillow()
    return frozenset(
        suffix.lower()
        for suffix, name in pillow.registered_extensions().items()
        # An MPO file of a stereo camera is opened as a JPEG file.
        if (name in pillow.OPEN or name == "MPO") and name not in NOT_PICTURES
    )


def why_unidentified(stream: BinaryIO) -> str | None:
    """Say what kind of file it is that Pillow can't open.

    Args:
        stream: BinaryIO. The open file.

    Returns:
        str or None. A description for an error message; `None` if it is in no format that Pillow
        knows.

    Example:
    >>> import io
    >>> why_unidentified(io.BytesIO(b""))
    'an empty file'
    """
    stream.seek(0)
    start = stream.read(16)
    if not start:
        return "an empty file"
    brand = start[:2] if start[:2] in BRANDS else start[4:12]
    if brand in BRANDS:
        kind, suffix = BRANDS[brand]
        return f"a {kind} picture: {READERS[suffix]}"
    for kind, (factory, accepts) in list(import_pillow().OPEN.items()):
        try:
            answer = accepts(start) if accepts is not None else False
        except Exception:  # the file is shorter than the bytes that the format checks
            answer = False
        if isinstance(answer, str):
            return f"a {kind} picture: {answer}"
        if answer:
            try:
                stream.seek(0)
                factory(stream, "")
            except Exception as error:
                tiff = read_tiff_values(stream) if kind == "TIFF" else None
                what = "" if tiff is None else f" ({tiff})"
                cause = f"{type(error).__name__}: {error}"
                return f"a {kind} picture{what} that Pillow can't open ({cause})"
    return None


def unreadable(name: str, error: Exception, compression: str | None = None) -> PictureError:
    """Return the error for a file that is recognized as an image but can't be decoded.

    Args:
        name: str. The name of the picture in the message.
        error: Exception. What Pillow raised.
        compression: str or None. Pillow's name of the compression of a TIFF file.

    Returns:
        PictureError. The error, to be raised.

    Example:
    >>> print(unreadable("cat.jpg", OSError("broken data stream")).reason)
    truncated or damaged (OSError: broken data stream)
    """
    pillow = import_pillow()
    if isinstance(error, pillow.DecompressionBombError | pillow.DecompressionBombWarning):
        return PictureError(
            "an image within Pillow's limit on decompression bombs (PIL.Image.MAX_IMAGE_PIXELS)",
            name,
            f"too large: {error}",
        )
    reason = "truncated or damaged"
    if compression in OPTIONAL_COMPRESSIONS:
        reason += f", or this Pillow was built without its compression, {compression}"
    return PictureError(
        "a whole image that can be decoded", name, f"{reason} ({type(error).__name__}: {error})"
    )
