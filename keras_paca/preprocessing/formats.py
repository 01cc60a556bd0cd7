"""The picture formats that the installed Pillow reads, and why it doesn't read others."""

from typing import Any, BinaryIO

from keras_paca.extras import install_command
from keras_paca.preprocessing.headers import read_tiff_values

# What Pillow registers beside pictures: it only identifies most of them, and runs Ghostscript for
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
# How the files start that Pillow may need a package for: their bytes 4 to 12, or the first two.
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

# Those of TIFF files that Pillow may be built without, as it calls them.
OPTIONAL_COMPRESSIONS = {"lzma", "tiff_lzma", "webp", "zstd"}


class PictureError(ValueError):
    """A picture that can't be read, or whose values have no known range.

    Args:
        expected: str. What was expected.
        name: str. How the message calls the picture, such as its path.
        reason: str. What is wrong with it, without its name.
    """

    def __init__(self, expected: str, name: str, reason: str) -> None:
        super().__init__(expected, name, reason)  # all of them, so that the error can be pickled
        self.reason = reason

    def __str__(self) -> str:
        return "Expected {}. Received: {}, {}".format(*self.args)


def import_pillow() -> Any:
    """Return the module `PIL.Image`."""
    try:
        from PIL import Image
    except ImportError as error:
        raise ImportError(
            f"Reading and resizing images on the host needs Pillow: {install_command('images')}"
        ) from error
    return Image


def picture_suffixes() -> frozenset[str]:
    """Return the suffixes of the picture files that the installed Pillow reads, in lower case."""
    pillow = import_pillow()
    return frozenset(
        suffix.lower()
        for suffix, name in pillow.registered_extensions().items()
        # An MPO file of a stereo camera is opened as a JPEG file.
        if (name in pillow.OPEN or name == "MPO") and name not in NOT_PICTURES
    )


def why_unidentified(stream: BinaryIO) -> str | None:
    """Return what a file is that Pillow can't open, or None where it's of no format of Pillow's."""
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
        except Exception:  # of a file shorter than what the format looks at
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
    """Return the error for a file that's recognized as an image but can't be decoded."""
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
