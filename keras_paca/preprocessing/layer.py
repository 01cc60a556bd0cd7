"""The official evaluation transform of PaCa-ViT, inside a model or a `tf.data` pipeline."""

import warnings
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_paca.preprocessing.colours import conversion_hint, scale_uint16
from keras_paca.preprocessing.transform import check_size, crop_offset, resized_size, scale_size

UINT16_STEP = 257  # 65535 / 255


@keras.saving.register_keras_serializable(package="keras_paca")
class EvaluationTransform(keras.layers.Layer):
    """Resize images and cut out their centres, as PaCa-ViT's official evaluation does.

    The layer of `keras_paca.preprocessing.evaluation_transform`, within 3 grey levels of it:
    resize the short side to floor(image_size / crop) with the antialiased bicubic filter, then
    cut out the centre. The width is resized before the height, and after each the values are
    clipped to 0..255 and rounded to whole grey levels, as by Pillow: left out, overshoot at sharp
    edges would grow to differences of 10 levels and more. So the gradient is zero.

    uint16 images are scaled from 0..65535. Images of any other dtype have values of 0..255, and
    what lies outside is clipped; bool and int8 can't hold them and are refused. Whether float
    images were scaled to 0..1 by mistake, which leaves them black, a tensor doesn't tell; an array
    does, and gives a warning.

    On TensorFlow the sizes may be unknown (in `tf.function`, `tf.data`), all images of a batch
    being of one size; XLA has no kernel for the resize there, so a model with this layer isn't
    compiled with it.

    Args:
        image_size: int or tuple of int. Side of the result, or its (height, width).
        crop: float. `image_size` over the resized short side, 0 < crop <= 1.
        **kwargs: Passed on to `keras.layers.Layer`. The dtype is always float32, whatever is
            passed and whatever the global policy: float16 and bfloat16 would lose grey levels.

    Input shape:
        Images (batch, height, width, channels) or (height, width, channels), RGB in 0..255, or in
        0..65535 as uint16, whatever `keras.config.image_data_format()` says.

    Output shape:
        (batch, image_size, image_size, channels), without the batch if the input has none;
        float32, whole numbers in 0..255.

    Raises:
        ValueError: If `image_size` isn't positive, `crop` not in (0, 1], the images aren't of
            rank 3 or 4 or have no pixels, or are of bool or int8, or their size is unknown outside
            TensorFlow. With PyTorch, Keras hands uint16 images of a model over as int32, so that
            a `keras.Input` of uint16 is refused there.

    Example:
    >>> import numpy as np
    >>> from keras_paca.preprocessing import EvaluationTransform
    >>> tuple(EvaluationTransform(64)(np.zeros((2, 80, 100, 3), "uint8")).shape)
    (2, 64, 64, 3)

    Source: as for `keras_paca.preprocessing.evaluation_transform`.
    """

    def __init__(
        self, image_size: int | tuple[int, int] = 224, crop: float = 0.9, **kwargs: Any
    ) -> None:
        super().__init__(**{**kwargs, "dtype": "float32"})
        self.image_size, self.crop = check_size(image_size, crop)
        # The antialiased resize of TensorFlow is `ScaleAndTranslate`, which XLA lacks.
        self.supports_jit = keras.backend.backend() != "tensorflow"

    def __call__(self, images: Any, *args: Any, **kwargs: Any) -> Any:
        """Check the values of an array before Keras makes a tensor of it."""
        if isinstance(images, np.ndarray) and images.size > 0:
            images = _check_array(images)
        return super().__call__(images, *args, **kwargs)

    def call(self, images: Any) -> Any:
        """Return the resized and cropped `images`."""
        self.compute_output_shape(images.shape)
        dtype = _check_dtype(images)
        images = ops.cast(images, "float32")
        if dtype == "uint16":
            images = ops.floor((images + UINT16_STEP // 2) / UINT16_STEP)
        if len(images.shape) == 3:
            return self._transform(images[None])[0]
        return self._transform(images)

    def _transform(self, images: Any) -> Any:
        batch, height, width, channels = ops.shape(images)
        new_height, new_width = self._resized_size(height, width)
        images = _resize(images, (height, width), (height, new_width))
        images = _resize(images, (height, new_width), (new_height, new_width))
        crop_height, crop_width = self.image_size
        top, left = crop_offset(new_height, crop_height), crop_offset(new_width, crop_width)
        images = images[:, top : top + crop_height, left : left + crop_width, :]
        # A no-op that gives the static size back where TensorFlow has lost it.
        return ops.reshape(images, (batch, crop_height, crop_width, channels))

    def _resized_size(self, height: Any, width: Any) -> tuple:
        """Return `resized_size` of integers, or of tensors by the same arithmetic."""
        if _is_known((height, width)):
            return resized_size(height, width, self.image_size, self.crop)
        if keras.backend.backend() != "tensorflow":
            raise ValueError(
                "Expected images whose height and width are known; unknown ones are possible with "
                f"the TensorFlow backend alone. Received: height={height}, width={width}"
            )
        targets = scale_size(self.image_size, self.crop)
        if targets[0] == targets[1]:
            sides = ops.cast(height, "int64"), ops.cast(width, "int64")
            short = ops.minimum(*sides)
            return tuple(ops.cast(targets[0] * side // short, "int32") for side in sides)
        sides = ops.cast(height, "float64"), ops.cast(width, "float64")
        # A side is at least 1, and so is a target: the latter is unchanged, but no constant, which
        # TensorFlow's graph optimizer would divide by with another rounding.
        targets = [ops.maximum(t, ops.minimum(s, 1.0)) for s, t in zip(sides, targets, strict=True)]
        ratio = ops.minimum(sides[0] / targets[0], sides[1] / targets[1])
        return tuple(ops.cast(ops.round(side / ratio), "int32") for side in sides)

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        """Return (batch, image_size, image_size, channels), or that without the batch."""
        shape = tuple(input_shape)
        if len(shape) not in (3, 4) or 0 in shape[-3:]:
            raise ValueError(
                "Expected images of the shape (batch, height, width, channels) or "
                f"(height, width, channels), of at least 1 x 1 pixels. Received: {shape}"
            )
        return (*shape[:-3], *self.image_size, shape[-1])

    def compute_output_spec(self, images: Any) -> keras.KerasTensor:
        """Return the shape and the dtype of the output, float32."""
        if _check_dtype(images) == "uint16" and keras.backend.backend() == "torch":
            raise ValueError(
                "Expected an input of another dtype than uint16, because Keras makes int32 of it "
                f"with PyTorch. Received: {images.name} of uint16. Scale the images to uint8 "
                'beforehand, `((images + 128.0) // 257).astype("uint8")`'
            )
        return keras.KerasTensor(self.compute_output_shape(images.shape), dtype="float32")

    def get_config(self) -> dict:
        """Return the arguments of the constructor."""
        return {**super().get_config(), "image_size": list(self.image_size), "crop": self.crop}


def _check_array(images: np.ndarray) -> np.ndarray:
    """Return an array of 0..255: uint16 scaled, and a warning for floats of 0..1."""
    if images.dtype.kind == "u" and images.dtype.itemsize == 2:
        images, note = scale_uint16(images, "an array of images")
        if note is not None:
            warnings.warn(note, stacklevel=3)
    elif images.dtype.kind in "iu" and not (images.min() >= 0 and images.max() <= 255):
        raise ValueError(
            "Expected images of 0 to 255, or of uint16. "
            f"Received: an array of {images.dtype}, of values {images.min()} to {images.max()}. "
            f"{conversion_hint(images)}"
        )
    elif images.dtype.kind == "f" and images.min() >= 0 and 0 < images.max() <= 1:
        warnings.warn(
            "Expected images of 0 to 255. Received: an array of floats of "
            f"{images.min():g} to {images.max():g}, which becomes black. {conversion_hint(images)}",
            stacklevel=3,
        )
    return images


def _check_dtype(images: Any) -> str:
    """Return the name of the dtype of images, or raise a ValueError if it can't hold 0..255."""
    dtype = keras.backend.standardize_dtype(images.dtype)
    if dtype in ("bool", "int8"):
        raise ValueError(
            f"Expected images of 0 to 255, such as uint8 or float32. Received: images of {dtype}"
        )
    return dtype


def _resize(images: Any, old: tuple, new: tuple) -> Any:
    """Resize to whole grey levels, halves rounded up: clip(floor(resize(x) + 1/2), 0, 255)."""
    if not _is_known((*old, *new)):
        # `keras.ops.image.resize` asks whether the size is positive, which a tensor can't say.
        import tensorflow as tf

        images = tf.image.resize(images, tf.stack(new), method="bicubic", antialias=True)
    elif old != new:
        images = ops.image.resize(
            images, new, interpolation="bicubic", antialias=True, data_format="channels_last"
        )
    return ops.clip(ops.floor(images + 0.5), 0, 255)


def _is_known(sizes: tuple) -> bool:
    """Return whether all of `sizes` are Python's integers."""
    return all(isinstance(size, int) for size in sizes)
