"""The official evaluation transform of PaCa-ViT as a layer, for models and `tf.data`."""

from typing import Any

import keras
import numpy as np
from keras import ops

from keras_paca.preprocessing.colours import conversion_hint, scale_uint16
from keras_paca.preprocessing.transform import check_size, crop_offset, resized_size, scale_size
from keras_paca.warn import warn_user

UINT16_STEP = 257  # 65535 / 255


@keras.saving.register_keras_serializable(package="keras_paca")
class EvaluationTransform(keras.layers.Layer):
    """Resize images and cut out their centres, as PaCa-ViT's official evaluation does.

    This layer does what `keras_paca.preprocessing.evaluation_transform` does, with differences of
    at most 3 grey levels. It resizes the short side to floor(image_size / crop) with the
    antialiased bicubic filter and cuts out the centre. The width is resized before the height.
    After each of the two steps the values are clipped to 0..255 and rounded to whole grey levels,
    as in Pillow. Otherwise the overshoot at sharp edges would cause differences of 10 levels and
    more. Because of the rounding, the gradient is zero.

    uint16 images are scaled from 0..65535 to 0..255. Images of any other dtype must have values in
    0..255, and values outside are clipped. bool and int8 images are refused, because they can't
    hold these values. Float images in 0..1 become black. The layer gives a warning for a NumPy
    array of such values, but not for a tensor.

    On TensorFlow the height and width may be unknown (in `tf.function` or `tf.data`), but all
    images of a batch must have the same size. XLA on TensorFlow has no kernel for the resize, so a
    model with this layer isn't compiled with XLA there.

    Args:
        image_size: int or tuple of int. Side of the result, or its (height, width).
        crop: float. `image_size` divided by the resized short side, in (0, 1].
        **kwargs: Arguments of `keras.layers.Layer`, such as `name`. The dtype is always float32,
            because float16 and bfloat16 would lose grey levels; `dtype` and the global policy have
            no effect.

    Input shape:
        Images (batch, height, width, channels) or (height, width, channels), RGB in 0..255, or in
        0..65535 as uint16. `keras.config.image_data_format()` has no effect.

    Output shape:
        (batch, image_size, image_size, channels), without the batch axis if the input has none;
        float32, whole numbers in 0..255.

    Raises:
        ValueError: If `image_size` isn't positive or `crop` isn't in (0, 1]; if the images don't
            have 3 or 4 axes, have no pixels, or are bool or int8; or if their size is unknown and
            the backend isn't TensorFlow. With PyTorch, a `keras.Input` of uint16 is refused too,
            because Keras passes its images on as int32.

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
        """Check the values of a NumPy array before Keras converts it to a tensor.

        Args:
            images: Array or tensor. The images.
            *args: Passed to `keras.layers.Layer.__call__`.
            **kwargs: Passed to `keras.layers.Layer.__call__`.

        Returns:
            Tensor. The resized and cropped images.

        Raises:
            ValueError: If integers other than uint16 lie outside 0..255.
        """
        if isinstance(images, np.ndarray) and images.size > 0:
            images = _check_array(images)
        return super().__call__(images, *args, **kwargs)

    def call(self, images: Any) -> Any:
        """Resize and crop images.

        Args:
            images: Tensor (batch, height, width, channels) or (height, width, channels).

        Returns:
            Tensor. The resized and cropped images, float32.
        """
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
        # This does nothing but restore the static size, which TensorFlow may have lost.
        return ops.reshape(images, (batch, crop_height, crop_width, channels))

    def _resized_size(self, height: Any, width: Any) -> tuple:
        """Return `resized_size` of integers, or of tensors with the same arithmetic."""
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
        # `maximum` changes no target, since a target is at least 1. But the target is no constant
        # any more: TensorFlow's graph optimizer would divide by a constant with another rounding.
        targets = [ops.maximum(t, ops.minimum(s, 1.0)) for s, t in zip(sides, targets, strict=True)]
        ratio = ops.minimum(sides[0] / targets[0], sides[1] / targets[1])
        return tuple(ops.cast(ops.round(side / ratio), "int32") for side in sides)

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        """Return the shape of the output.

        Args:
            input_shape: tuple. (batch, height, width, channels) or (height, width, channels).

        Returns:
            tuple. (batch, image_size, image_size, channels), without the batch axis if the input
            has none.

        Raises:
            ValueError: If the input has another number of axes or no pixels.
        """
        shape = tuple(input_shape)
        if len(shape) not in (3, 4) or 0 in shape[-3:]:
            raise ValueError(
                "Expected images of the shape (batch, height, width, channels) or "
                f"(height, width, channels), of at least 1 x 1 pixels. Received: {shape}"
            )
        return (*shape[:-3], *self.image_size, shape[-1])

    def compute_output_spec(self, images: Any) -> keras.KerasTensor:
        """Return the shape and the dtype of the output.

        Args:
            images: keras.KerasTensor. The input.

        Returns:
            keras.KerasTensor. The output, float32.

        Raises:
            ValueError: If the input has another number of axes, no pixels or an unsuitable dtype.
        """
        if _check_dtype(images) == "uint16" and keras.backend.backend() == "torch":
            raise ValueError(
                "Expected an input of another dtype than uint16, because Keras makes int32 of it "
                f"with PyTorch. Received: {images.name} of uint16. Scale the images to uint8 "
                'beforehand, `((images + 128.0) // 257).astype("uint8")`'
            )
        return keras.KerasTensor(self.compute_output_shape(images.shape), dtype="float32")

    def get_config(self) -> dict:
        """Return the arguments of the constructor.

        Returns:
            dict.
        """
        return {**super().get_config(), "image_size": list(self.image_size), "crop": self.crop}


def _check_array(images: np.ndarray) -> np.ndarray:
    """Scale a uint16 array to 0..255, and give a warning for floats in 0..1."""
    if images.dtype.kind == "u" and images.dtype.itemsize == 2:
        images, note = scale_uint16(images, "an array of images")
        if note is not None:
            warn_user(note)
    elif images.dtype.kind in "iu" and not (images.min() >= 0 and images.max() <= 255):
        raise ValueError(
            "Expected images of 0 to 255, or of uint16. "
            f"Received: an array of {images.dtype}, of values {images.min()} to {images.max()}. "
            f"{conversion_hint(images)}"
        )
    elif images.dtype.kind == "f" and images.min() >= 0 and 0 < images.max() <= 1:
        warn_user(
            "Expected images of 0 to 255. Received: an array of floats of "
            f"{images.min():g} to {images.max():g}, which becomes black. {conversion_hint(images)}"
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
        # `keras.ops.image.resize` checks that the size is positive, which fails for a tensor.
        import tensorflow as tf

        images = tf.image.resize(images, tf.stack(new), method="bicubic", antialias=True)
    elif old != new:
        images = ops.image.resize(
            images, new, interpolation="bicubic", antialias=True, data_format="channels_last"
        )
    return ops.clip(ops.floor(images + 0.5), 0, 255)


def _is_known(sizes: tuple) -> bool:
    """Return whether all sizes are Python integers."""
    return all(isinstance(size, int) for size in sizes)
