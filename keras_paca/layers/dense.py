"""Linear projections, each as one call of the backend."""

from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="keras_paca")
class Dense(keras.layers.Dense):
    """`keras.layers.Dense`, y = x W + b, with the bias inside the matrix product on PyTorch.

    Keras's own adds it in a pass of its own over the outputs, which takes up to half as long as
    the product. LoRA and quantization work as in `keras.layers.Dense`, and so do its arguments.

    Input shape: (..., channels). Output shape: (..., units).
    """

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """Project the last axis of `inputs`."""
        if keras.backend.backend() != "torch":
            return super().call(inputs, training=training)
        from torch.nn import functional

        kernel = ops.convert_to_tensor(self.kernel)  # (channels, units)
        bias = None if self.bias is None else ops.convert_to_tensor(self.bias)
        return self.activation(functional.linear(inputs, kernel.T, bias))

    def quantize(
        self, mode: str | None = None, type_check: bool = True, config: Any = None
    ) -> None:
        """Quantize the kernel, as `keras.layers.Dense.quantize` does.

        Raises:
            NotImplementedError: on a subclass, unless `type_check=False`: its `call` isn't used
                any more.
        """
        if type_check and type(self) is not Dense:
            raise NotImplementedError(f"{type(self).__name__} has no `quantize` of its own.")
        super().quantize(mode, type_check=False, config=config)
