"""The official evaluation transform of PaCa-ViT, computed with Pillow."""

import math
import operator
import os
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_paca.preprocessing.colours import array_to_rgb, image_to_rgb
from keras_paca.preprocessing.formats import PictureError, import_pillow
from keras_paca.preprocessing.pictures import check_exif_transpose, read_picture, turn_upright
from keras_paca.warn import warn_user

if TYPE_CHECKING:
    from PIL import Image

CROP = 0.9  # the value of the official evaluation


def evaluation_transform(
    image: "str | os.PathLike | Image.Image | np.ndarray",
    image_size: int | tuple[int, int] = 224,
    crop: float = CROP,
    exif_transpose: bool = False,
) -> np.ndarray:
    """Resize an image and cut out its centre, bit for bit as PaCa-ViT's official evaluation does.

    The image is resized with Pillow's antialiased bicubic filter so that its short side becomes
    floor(image_size / crop) and its aspect ratio stays the same. Then the centre is cut out. If
    `image_size` is (H, W) with H != W, the image is resized to the smallest size of its aspect
    ratio that covers (floor(H / crop), floor(W / crop)).

    The official evaluation ignores the EXIF orientation of photographs, and so does this function
    unless `exif_transpose` is true. Like the official evaluation, it also drops transparency: a
    transparent pixel gets the colour that is stored for it.

    16-bit values are scaled to 0..255. Of a 16-bit colour file, Pillow keeps the higher 8 bits. A
    16-bit image whose values all lie below 4096 becomes almost black, which causes a warning.
    Values whose range isn't known (signed or 32-bit integers, floats) are refused.

    Args:
        image: str, os.PathLike, PIL.Image.Image or np.ndarray. Path of an image file, a PIL image
            of any mode, or a uint8 array in 0..255 or a uint16 array in 0..65535, either of them
            (height, width, 3) in RGB or (height, width) in grey.
        image_size: int or tuple of int. Side of the result, or its (height, width).
        crop: float. `image_size` divided by the resized short side, in (0, 1].
        exif_transpose: bool. Whether to rotate a photograph according to its EXIF orientation, as
            `PIL.ImageOps.exif_transpose` does. EXIF data that can't be read are ignored. A TIFF
            file is always rotated, because Pillow rotates it when it loads it. It must be false
            for an array, which has no EXIF data.

    Returns:
        np.ndarray. uint8 (image_size, image_size, 3), RGB in 0..255. The models normalize it
        themselves.

    Raises:
        FileNotFoundError: If there is no file at `image`.
        ImportError: If Pillow isn't installed.
        ValueError: If `image_size`, `crop` or `exif_transpose` is out of its range; if the file
            isn't an image or is damaged; if the range of the values isn't known; if the array has
            another dtype or shape or no pixels; or if the resized image would exceed Pillow's
            limit on decompression bombs (an image of 1 x 10,000 pixels would become
            248 x 2,480,000).

    Example:
    >>> import numpy as np
    >>> from keras_paca.preprocessing import evaluation_transform
    >>> evaluation_transform(np.zeros((480, 640, 3), "uint8")).shape
    (224, 224, 3)

    Source: `transforms_imagenet_eval` of timm 1.0.31 with crop_mode "center" and interpolation
    "bicubic", then `Resize` and `CenterCrop` of torchvision, with a Pillow older than 13. Pillow
    13 resizes the height first if it shrinks by more than twice as many pixels as the width, that
    is, if the image is more than about twice as tall as wide. For such images the result of timm
    differs by some grey levels. Older releases of timm use bilinear interpolation if H != W. timm
    clips a 16-bit grey image at 255.
    """
    image_size, crop = check_size(image_size, crop)
    check_exif_transpose(exif_transpose)
    rgb, note = _to_rgb(image, exif_transpose)
    if note is not None:
        warn_user(note)
    name = str(image) if isinstance(image, str | os.PathLike) else "an image"
    return transform_rgb(rgb, name, image_size, crop)


def _to_rgb(image: Any, exif_transpose: bool) -> "tuple[Image.Image, str | None]":
    """Return an image in RGB, and the text of a warning if there is one."""
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
    """Apply the evaluation transform to an RGB image.

    Args:
        rgb: PIL.Image.Image. The image, of mode "RGB".
        name: str. The name of the image in error messages.
        image_size: tuple of int. (height, width) of the result.
        crop: float. `image_size` divided by the resized short side, in (0, 1].

    Returns:
        np.ndarray. uint8 (height, width, 3).

    Raises:
        ValueError: If the resized image would exceed Pillow's limit.

    Example:
    >>> transform_rgb(import_pillow().new("RGB", (40, 30)), "an image", (16, 16), 0.9).shape
    (16, 16, 3)
    """
    height, width = check_resized_size(rgb, name, image_size, crop)
    # Two steps make sure that the width is resized first. Pillow 13 would resize the height of tall
    # images first, with other rounding than the releases with which PaCa-ViT was evaluated.
    for size in ((width, rgb.height), (width, height)):
        rgb = rgb.resize(size, import_pillow().Resampling.BICUBIC)
    top, left = crop_offset(height, image_size[0]), crop_offset(width, image_size[1])
    return np.array(rgb.crop((left, top, left + image_size[1], top + image_size[0])))


def check_resized_size(
    rgb: "Image.Image", name: str, image_size: tuple[int, int], crop: float
) -> tuple[int, int]:
    """Return the size to which an image is resized, if Pillow allows it.

    Args:
        rgb: PIL.Image.Image. The image.
        name: str. The name of the image in error messages.
        image_size: tuple of int. (height, width) after the crop.
        crop: float. The share of the resized image that the crop keeps.

    Returns:
        tuple of int. The (height, width) before the crop.

    Raises:
        ValueError: If that size exceeds Pillow's limit on decompression bombs.

    Example:
    >>> check_resized_size(import_pillow().new("RGB", (640, 480)), "cat.jpg", (224, 224), 0.9)
    (248, 330)
    """
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

    If `image_size` (H, W) is square, with s = floor(H / crop), the result is
    (s height / min(height, width), s width / min(height, width)), rounded down. Otherwise, with
    r = min(height / floor(H / crop), width / floor(W / crop)), it is (height / r, width / r),
    rounded half to even. The result is never smaller than the crop.

    Args:
        height: int. Height of the image.
        width: int. Width of the image.
        image_size: tuple of int. (H, W), the size after the crop.
        crop: float. The share of the resized image that the crop keeps.

    Returns:
        tuple of int. (height, width).

    Example:
    >>> resized_size(480, 640, image_size=(224, 224), crop=0.9)
    (248, 330)

    Source: torchvision's `_compute_resized_output_size`; timm's `ResizeKeepRatio`.
    """
    target_height, target_width = scale_size(image_size, crop)
    if target_height == target_width:
        short = min(height, width)
        return target_height * height // short, target_width * width // short
    ratio = min(height / target_height, width / target_width)
    return round(height / ratio), round(width / ratio)


def scale_size(image_size: tuple[int, int], crop: float) -> tuple[int, int]:
    """Return (floor(H / crop), floor(W / crop)).

    Args:
        image_size: tuple of int. (H, W), the size after the crop.
        crop: float. The share of the resized image that the crop keeps.

    Returns:
        tuple of int. The size that the resized image must cover.

    Example:
    >>> scale_size((224, 224), 0.9)
    (248, 248)
    """
    return math.floor(image_size[0] / crop), math.floor(image_size[1] / crop)


def crop_offset(resized: Any, size: int) -> Any:
    """Return (resized - size) / 2 rounded half to even, as torchvision's `CenterCrop` does.

    It uses only integer arithmetic, which works for Python integers and for tensors.

    Args:
        resized: int or tensor. The height or width of the resized image.
        size: int. The height or width of the crop.

    Returns:
        int or tensor. The first row or column of the crop.

    Example:
    >>> crop_offset(330, 224)
    53
    """
    rest = resized - size
    return (rest + rest // 2 % 2) // 2


def check_size(image_size: Any, crop: Any) -> tuple[tuple[int, int], float]:
    """Check the arguments `image_size` and `crop`.

    Args:
        image_size: int or tuple of int. The side, or (height, width).
        crop: float. The share that the crop keeps.

    Returns:
        (tuple of int, float). `image_size` as (height, width), and `crop`.

    Raises:
        ValueError: If `image_size` is neither a positive integer nor a pair of them, or if `crop`
            isn't in (0, 1].

    Example:
    >>> check_size(224, 0.9)
    ((224, 224), 0.9)
    """
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
