"""Linear projections, each as one call of the backend."""

from typing import Any

import keras

from keras_paca import ops


@keras.saving.register_keras_serializable(package="keras_paca")
class Dense(keras.layers.Dense):
    """`keras.layers.Dense`, y = x W + b, by `keras_paca.ops.linear`.

    LoRA and quantization work as in `keras.layers.Dense`, and so do the arguments.

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
            type_check: bool. Whether a subclass of this class is refused: its own `call` isn't used
                once it is quantized.
            config: `keras.quantizers.QuantizationConfig`.

        Raises:
            NotImplementedError: If this is a subclass, unless `type_check=False`.
        """
        if type_check and type(self) is not Dense:
            raise NotImplementedError(f"{type(self).__name__} has no `quantize` of its own.")
        super().quantize(mode, type_check=False, config=config)
