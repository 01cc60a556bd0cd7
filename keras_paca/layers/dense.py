"""Linear projections, each as one call of the backend."""

from typing import Any

import keras

from keras_paca import ops


@keras.saving.register_keras_serializable(package="keras_paca")
class Dense(keras.layers.Dense):
    """`keras.layers.Dense`, computed by `keras_paca.ops.linear`: y = x W + b.

    The arguments, LoRA and quantization are those of `keras.layers.Dense`.

    Input shape: (..., channels).
    Output shape: (..., units).

    Example:
    >>> tuple(Dense(4)(keras.ops.ones((2, 3))).shape)
    (2, 4)
    """

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """Project the last axis of `inputs`."""
        outputs = ops.linear(inputs, self.kernel, self.bias)
        return outputs if self.activation is None else self.activation(outputs)

    def quantize(
        self, mode: str | None = None, type_check: bool = True, config: Any = None
    ) -> None:
        """Quantize the kernel, as `keras.layers.Dense.quantize` does.

        Args:
            mode: str. Name of the mode, such as "int8".
            type_check: bool. Whether to raise an error for a subclass of this class, whose own
                `call` isn't used once it is quantized.
            config: keras.quantizers.QuantizationConfig. The quantizers and the block size.

        Raises:
            NotImplementedError: If this is a subclass, unless `type_check=False`.
        """
        if type_check and type(self) is not Dense:
            raise NotImplementedError(f"{type(self).__name__} has no `quantize` of its own.")
        super().quantize(mode, type_check=False, config=config)
