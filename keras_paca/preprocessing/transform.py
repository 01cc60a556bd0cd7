"""The official evaluation transform of PaCa-ViT, on the host with Pillow."""

import math
import operator
import os
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_paca.preprocessing.colours import array_to_rgb, image_to_rgb
from keras_paca.preprocessing.formats import PictureError, import_pillow
from keras_paca.preprocessing.pictures import check_exif_transpose, read_picture, turn_upright

if TYPE_CHECKING:
    from PIL import Image

CROP = 0.9  # of the official evaluation


def evaluation_transform(
    image: "str | os.PathLike | Image.Image | np.ndarray",
    image_size: int | tuple[int, int] = 224,
    crop: float = CROP,
    exif_transpose: bool = False,
) -> np.ndarray:
    """Resize an image and cut out its centre, bit for bit as PaCa-ViT's official evaluation does.

    The short side is resized to floor(image_size / crop), the long one to keep the aspect ratio,
    with Pillow's antialiased bicubic filter; then the centre is cut out. For image_size (H, W)
    with H != W, the image is resized to the smallest size of its aspect ratio that covers
    (floor(H / crop), floor(W / crop)).

    The official evaluation ignores the EXIF orientation of photographs, and so does this function
    unless `exif_transpose` is true. Like the official evaluation, it also drops transparency: a
    transparent pixel shows the colour that is stored for it.

    Values of 16 bits are scaled to 0..255, except that of a colour file Pillow keeps the higher 8
    bits. A 16-bit picture of values below 4096, which comes out almost black, gives a warning.
    Values without a known range (signed or 32-bit integers, floats) are refused.

    Args:
        image: str, os.PathLike, PIL.Image.Image or np.ndarray. Path of an image file, a PIL image
            of any mode, or a uint8 or uint16 array (height, width, 3) in RGB or (height, width)
            in grey, 0..255 or 0..65535.
        image_size: int or tuple of int. Side of the result, or its (height, width).
        crop: float. `image_size` over the resized short side, 0 < crop <= 1.
        exif_transpose: bool. Whether to turn a photograph upright as its EXIF orientation says,
            as `PIL.ImageOps.exif_transpose` does. EXIF data that can't be read is ignored. A TIFF
            file is turned in either case, because Pillow turns it when it loads it. An array has
            no EXIF data, so that true is refused for it.

    Returns:
        uint8 array (image_size, image_size, 3), RGB, 0..255. Normalizing is the model's part.

    Raises:
        FileNotFoundError: If there is no file at `image`.
        ImportError: If Pillow isn't installed.
        ValueError: If the file isn't a whole image, the values have no known range, the array has
            another dtype or shape or no pixels, or the resized image would exceed Pillow's limit
            on decompression bombs (an image of 1 x 10,000 pixels becomes 248 x 2,480,000).

    Example:
    >>> import numpy as np
    >>> from keras_paca.preprocessing import evaluation_transform
    >>> evaluation_transform(np.zeros((480, 640, 3), "uint8")).shape
    (224, 224, 3)

    Source: `transforms_imagenet_eval` of timm 1.0.31 with crop_mode "center" and interpolation
    "bicubic", then `Resize` and `CenterCrop` of torchvision, on Pillow before 13. Pillow 13
    resizes the height first where it shrinks by more than twice as many pixels as the width (the
    image is more than about twice as tall as wide), and there timm's result differs by some grey
    levels. Older releases of timm resize bilinearly where H != W. A 16-bit grey picture is cut
    off at 255 by timm.
    """
    image_size, crop = check_size(image_size, crop)
    check_exif_transpose(exif_transpose)
    rgb, note = _to_rgb(image, exif_transpose)
    if note is not None:
        warnings.warn(note, stacklevel=2)
    name = str(image) if isinstance(image, str | os.PathLike) else "an image"
    return transform_rgb(rgb, name, image_size, crop)


def _to_rgb(image: Any, exif_transpose: bool) -> "tuple[Image.Image, str | None]":
    """Return an image in RGB, and the text of a warning or None."""
    pillow = import_pillow()
    if isinstance(image, str | os.PathLike):
        return read_picture(image, exif_transpose)
    if isinstance(image, pillow.Image):
        rgb, note = image_to_rgb(image, "the PIL image")
        return (turn_upright(rgb, image) if exif_transpose else rgb), note
    if not isinstance(image, np.ndarray):
        raise ValueError(
            "`image` must be a path, a PIL image or a uint8 or uint16 NumPy array. "
            f"Received: {type(image).__name__}"
        )
    if exif_transpose:
        raise ValueError(
            "`exif_transpose=True` needs a path or a PIL image, because an array has no EXIF data. "
            f"Received: an array of the shape {image.shape}"
        )
    return array_to_rgb(image)


def transform_rgb(
    rgb: "Image.Image", name: str, image_size: tuple[int, int], crop: float
) -> np.ndarray:
    """Return the evaluation transform of an RGB image, which messages call `name`."""
    height, width = check_resized_size(rgb, name, image_size, crop)
    # In two steps: Pillow 13 resizes the height of tall images first, which rounds otherwise than
    # the releases on which PaCa-ViT was evaluated.
    for size in ((width, rgb.height), (width, height)):
        rgb = rgb.resize(size, import_pillow().Resampling.BICUBIC)
    top, left = crop_offset(height, image_size[0]), crop_offset(width, image_size[1])
    return np.array(rgb.crop((left, top, left + image_size[1], top + image_size[0])))


def check_resized_size(
    rgb: "Image.Image", name: str, image_size: tuple[int, int], crop: float
) -> tuple[int, int]:
    """Return `resized_size` of an image, or raise a ValueError where it exceeds Pillow's limit."""
    height, width = resized_size(rgb.height, rgb.width, image_size, crop)
    limit = import_pillow().MAX_IMAGE_PIXELS
    if limit is not None and height * width > 2 * limit:
        raise PictureError(
            f"an image of at most {2 * limit} pixels after the resize",
            name,
            f"of {rgb.height} x {rgb.width} pixels, which would become {height} x {width}",
        )
    return height, width


def resized_size(
    height: int, width: int, image_size: tuple[int, int], crop: float
) -> tuple[int, int]:
    """Return the (height, width) to which an image is resized before the crop.

    Square: s = floor(image_size / crop), (s height / min(height, width), s width / min(...)),
    rounded down. Else r = min(height / floor(H / crop), width / floor(W / crop)), (height / r,
    width / r), rounded half to even. Neither is ever smaller than the crop.

    Source: torchvision's `_compute_resized_output_size`; timm's `ResizeKeepRatio`.
    """
    target_height, target_width = scale_size(image_size, crop)
    if target_height == target_width:
        short = min(height, width)
        return target_height * height // short, target_width * width // short
    ratio = min(height / target_height, width / target_width)
    return round(height / ratio), round(width / ratio)


def scale_size(image_size: tuple[int, int], crop: float) -> tuple[int, int]:
    """Return (floor(H / crop), floor(W / crop))."""
    return math.floor(image_size[0] / crop), math.floor(image_size[1] / crop)


def crop_offset(resized: Any, size: int) -> Any:
    """Return (resized - size) / 2 rounded half to even, as torchvision's `CenterCrop` does.

    Integer arithmetic only, so that it serves Python's integers and tensors alike.
    """
    rest = resized - size
    return (rest + rest // 2 % 2) // 2


def check_size(image_size: Any, crop: Any) -> tuple[tuple[int, int], float]:
    """Return `image_size` as (height, width) and `crop` as a float, or raise a ValueError."""
    pair = image_size if isinstance(image_size, tuple | list) else (image_size, image_size)
    try:
        sides = tuple(operator.index(side) for side in pair)
    except TypeError:
        sides = ()
    if len(sides) != 2 or min(sides) < 1 or any(isinstance(side, bool) for side in pair):
        raise ValueError(
            "`image_size` must be a positive integer or a pair of them, (height, width). "
            f"Received: image_size={image_size!r}"
        )
    try:
        crop_value = math.nan if isinstance(crop, str) else float(crop)
    except (TypeError, ValueError):
        crop_value = math.nan
    if not 0 < crop_value <= 1:
        raise ValueError(f"`crop` must lie in (0, 1]. Received: crop={crop!r}")
    return sides, crop_value
