"""The official evaluation transform of PaCa-ViT, on the host with Pillow."""

import math
import operator
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_paca.extras import install_command

if TYPE_CHECKING:
    from PIL import Image


def evaluation_transform(
    image: "str | os.PathLike | Image.Image | np.ndarray",
    image_size: int | tuple[int, int] = 224,
    crop: float = 0.9,
) -> np.ndarray:
    """Resize an image and cut out its centre, bit for bit as PaCa-ViT's official evaluation does.

    The short side is resized to floor(image_size / crop), the long one to keep the aspect ratio,
    with Pillow's antialiased bicubic filter; then the centre is cut out. For image_size (H, W)
    with H != W, the image is resized to the smallest size of its aspect ratio that covers
    (floor(H / crop), floor(W / crop)).

    EXIF orientation is ignored, as in the official evaluation: a photograph that its camera
    stored rotated stays so. `PIL.ImageOps.exif_transpose` turns it beforehand.

    Args:
        image: path of an image file, a PIL image of any mode, or a uint8 array (height, width, 3)
            in RGB or (height, width) in grey, 0..255.
        image_size: side of the result, or its (height, width).
        crop: image_size over the resized short side, 0 < crop <= 1.

    Returns:
        uint8 array (image_size, image_size, 3), RGB, 0..255. Normalizing is the model's part.

    Raises:
        FileNotFoundError: if there is no file at `image`.
        ImportError: if Pillow isn't installed.
        ValueError: if the file isn't a whole image, the array has another dtype or shape or no
            pixels, or the resized image would exceed Pillow's limit on decompression bombs
            (an image of 1 x 10,000 pixels becomes 248 x 2,480,000).

    Source: `transforms_imagenet_eval` of timm 1.0.31 with crop_mode "center" and interpolation
    "bicubic", then `Resize` and `CenterCrop` of torchvision, on Pillow before 13. Pillow 13
    resizes the height first where it shrinks by more than twice as many pixels as the width (the
    image is more than about twice as tall as wide), and there timm's result differs by some grey
    levels. Older releases of timm resize bilinearly where H != W.
    """
    image_size, crop = check_size(image_size, crop)
    pillow = _import_pillow()
    if isinstance(image, str | os.PathLike):
        rgb = load_image(image)
    elif isinstance(image, np.ndarray):
        rgb = pillow.fromarray(_check_array(image)).convert("RGB")
    elif isinstance(image, pillow.Image):
        rgb = _to_rgb(image, "the PIL image")
    else:
        raise ValueError(
            "`image` must be a path, a PIL image or a uint8 NumPy array. "
            f"Received: {type(image).__name__}"
        )
    height, width = resized_size(rgb.height, rgb.width, image_size, crop)
    limit = pillow.MAX_IMAGE_PIXELS
    if limit is not None and height * width > 2 * limit:
        raise ValueError(
            f"Expected an image of at most {2 * limit} pixels after the resize. Received an image "
            f"of {rgb.height} x {rgb.width} pixels, which would become {height} x {width}"
        )
    # In two steps: Pillow 13 resizes the height of tall images first, which rounds otherwise than
    # the releases on which PaCa-ViT was evaluated.
    for size in ((width, rgb.height), (width, height)):
        rgb = rgb.resize(size, pillow.Resampling.BICUBIC)
    top, left = crop_offset(height, image_size[0]), crop_offset(width, image_size[1])
    return np.array(rgb.crop((left, top, left + image_size[1], top + image_size[0])))


def load_image(path: "str | os.PathLike") -> "Image.Image":
    """Open an image file as timm does: decode its first frame and convert it to RGB.

    EXIF orientation is ignored.

    Args:
        path: path of a file in any format that Pillow reads.

    Returns:
        A PIL image of mode "RGB", decoded; the file is closed.

    Raises:
        FileNotFoundError: if there is no file at `path`.
        ImportError: if Pillow isn't installed.
        ValueError: if `path` is a directory, or the file isn't an image, is truncated or larger
            than Pillow's limit on decompression bombs.

    Source: `ImageDataset` of timm, `Image.open(...).convert("RGB")`.
    """
    pillow = _import_pillow()
    path = Path(path)
    if path.is_dir():
        raise ValueError(f"Expected the path of an image file. Received a directory: {path}")
    if not path.exists():
        raise FileNotFoundError(f"Expected the path of an image file. No such file: {path}")
    # Opened here, so that a refusal by the file system stays an OSError.
    with path.open("rb") as stream:
        try:
            image = pillow.open(stream)
        except pillow.UnidentifiedImageError as error:
            raise ValueError(
                "Expected an image file in a format that Pillow reads (JPEG, PNG, ...). "
                f"Received: {path}, which is none of them"
            ) from error
        except (pillow.DecompressionBombError, pillow.DecompressionBombWarning) as error:
            raise ValueError(
                "Expected an image within Pillow's limit on decompression bombs "
                f"(PIL.Image.MAX_IMAGE_PIXELS). Received: {path} ({error})"
            ) from error
        except MemoryError:
            raise
        except Exception as error:
            raise _not_whole(str(path), error) from error
        with image:
            return _to_rgb(image, str(path))


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


def _check_array(array: np.ndarray) -> np.ndarray:
    """Return `array` if it's a uint8 image with pixels, or raise a ValueError."""
    expected = "a uint8 array of the shape (height, width, 3) or (height, width)"
    received = f"Received: dtype {array.dtype}, shape {array.shape}"
    if array.dtype != np.uint8:
        raise ValueError(f"Expected {expected}, values 0..255. {received}")
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[-1] != 3):
        raise ValueError(f"Expected {expected}, one image without a batch axis. {received}")
    if array.size == 0:
        raise ValueError(f"Expected {expected} of at least 1 x 1 pixels. {received}")
    return array


def _to_rgb(image: "Image.Image", name: str) -> "Image.Image":
    """Decode `image` and convert it to RGB; `name` is how an error calls it."""
    if 0 in image.size:
        raise ValueError(
            f"Expected an image of at least 1 x 1 pixels. Received: {name}, "
            f"{image.height} x {image.width}"
        )
    try:
        return image.convert("RGB")
    except MemoryError:
        raise
    except Exception as error:  # each of Pillow's decoders has its own kinds of them
        raise _not_whole(name, error) from error


def _not_whole(name: str, error: Exception) -> ValueError:
    """Return the error for a file that's recognized as an image but can't be decoded."""
    return ValueError(
        f"Expected a whole image that can be decoded. Received: {name}, truncated or damaged "
        f"({type(error).__name__}: {error})"
    )


def _import_pillow() -> Any:
    """Return the module `PIL.Image`."""
    try:
        from PIL import Image
    except ImportError as error:
        raise ImportError(
            f"Reading and resizing images on the host needs Pillow: {install_command('images')}"
        ) from error
    return Image
