"""The embedding of an image's patches in a plain vision transformer."""

import math
from typing import Any

import keras
from keras.ops import cast, convert_to_tensor, expand_dims, shape

from keras_paca import ops
from keras_paca.arguments import check_choice, check_positive
from keras_paca.layers.base import BaseLayer
from keras_paca.layers.initializers import HostUniform, linear_initializer

INITIAL = ("fan_in", "glorot")


@keras.saving.register_keras_serializable(package="keras_paca")
class PatchEmbedding(BaseLayer):
    """Project each square patch of an image, and add a learned position embedding.

    What is left at the bottom and at the right of an image whose sides aren't multiples of the
    patch is cut off, as a convolution of that stride does. The position embedding is learned for
    one grid of patches and resized for other grids, by bicubic interpolation with antialiasing.

    Args:
        filters: int. Number of channels of the output.
        patch_size: int. Side of the patches in pixels.
        grid_size: (int, int). Height and width in patches of the learned position embedding.
        initial: str. The initial values of the projection: "fan_in" for those of PyTorch's
            convolutions, kernel and bias from U(-a, a) with a = 1 / sqrt(fan_in); "glorot" for a
            kernel from Glorot's uniform distribution and a bias of 0.
        **kwargs: As for `keras.layers.Layer`.

    Input shape: (batch, height, width, channels), float.
    Output shape: (batch, height // patch_size, width // patch_size, filters).

    Raises:
        ValueError: If an argument doesn't fit, or an image has no whole patch.

    Source: Dosovitskiy et al., "An Image Is Worth 16x16 Words", ICLR 2021. The resizing is timm's.

    Example:
    >>> tuple(PatchEmbedding(8, 16, grid_size=(2, 2))(keras.ops.ones((1, 32, 70, 3))).shape)
    (1, 2, 4, 8)
    """

    def __init__(
        self,
        filters: int,
        patch_size: int,
        grid_size: tuple[int, int],
        initial: str = "fan_in",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.filters = check_positive("filters", filters)
        self.patch_size = check_positive("patch_size", patch_size)
        self.grid_size = tuple(check_positive("grid_size", side) for side in grid_size)
        if len(self.grid_size) != 2:
            raise ValueError(
                f"`grid_size` must be (height, width) in patches. Received: grid_size={grid_size}"
            )
        self.initial = check_choice("initial", initial, INITIAL)

    def build(self, input_shape: tuple) -> None:
        """Build the projection and the position embedding."""
        self._check(input_shape)
        patch, channels = self.patch_size, input_shape[-1]
        kernel_shape = (patch, patch, channels, self.filters)
        fan_in, fan_out = (patch * patch * count for count in (channels, self.filters))
        limits = {
            "fan_in": (fan_in**-0.5, fan_in**-0.5),
            "glorot": (math.sqrt(6 / (fan_in + fan_out)), 0.0),
        }
        kernel, bias = map(HostUniform, limits[self.initial])
        self.kernel = self.add_weight(name="kernel", shape=kernel_shape, initializer=kernel)
        self.bias = self.add_weight(name="bias", shape=(self.filters,), initializer=bias)
        self.position_embedding = self.add_weight(
            name="position_embedding",
            shape=(*self.grid_size, self.filters),
            initializer=linear_initializer(),
        )

    def call(self, inputs: Any) -> Any:
        """Embed the patches of the images `inputs` (b, h, w, c)."""
        self._check(inputs.shape)
        x = ops.project_patches(inputs, self.kernel, self.bias)  # (b, rows, columns, filters)
        return x + self._positions(x)

    def _positions(self, x: Any) -> Any:
        """Return the position embedding (1, rows, columns, filters) at the size of the map `x`."""
        positions = expand_dims(convert_to_tensor(self.position_embedding), 0)
        if tuple(x.shape[1:3]) != self.grid_size:
            positions = ops.resize_bicubic(ops.to_float32(positions), shape(x)[1:3])
        return cast(positions, x.dtype)

    def _check(self, input_shape: tuple) -> None:
        if any(side is not None and side < self.patch_size for side in input_shape[1:3]):
            raise ValueError(
                f"Images must hold a whole patch of {self.patch_size} x {self.patch_size} pixels. "
                f"Received: images of shape {tuple(input_shape)}"
            )

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        """Return (batch, height // patch_size, width // patch_size, filters)."""
        batch, *sides, _ = input_shape
        grid = (None if side is None else side // self.patch_size for side in sides)
        return (batch, *grid, self.filters)

    def count_products(self, input_shape: tuple) -> int:
        """Return the number of multiply-accumulates of a call."""
        size = math.prod(self.compute_output_shape(input_shape))
        return size * self.patch_size**2 * input_shape[-1]
