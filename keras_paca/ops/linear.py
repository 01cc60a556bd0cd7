"""Linear projection of the last axis.

| backend    | form                              |
| ---------- | --------------------------------- |
| TensorFlow | a matrix product, then the bias   |
| JAX        | a matrix product, then the bias   |
| PyTorch    | `torch.nn.functional.linear`      |

The compilers of TensorFlow and JAX join the two. On PyTorch, a separate addition is one more pass
over the outputs.

Measured by `python benchmarks/ops.py linear` on two CPU cores, for (8, 3136, 96) to 384 units in
float32, in ms for the outputs / with the gradients:

| form                            | TensorFlow | JAX      | PyTorch |
| ------------------------------- | ---------- | -------- | ------- |
| a matrix product, then the bias | 8.6 / 33   | 33 / 118 | 28 / 91 |
| `torch.nn.functional.linear`    |            |          | 19 / 82 |
"""

from typing import Any

import keras
from keras import ops


def linear(inputs: Any, kernel: Any, bias: Any = None) -> Any:
    """Project the last axis: y = x W + b.

    Args:
        inputs: Tensor. Shape (..., channels).
        kernel: Tensor or keras.Variable. Shape (channels, units).
        bias: Tensor, keras.Variable or None. Shape (units,).

    Returns:
        Tensor (..., units).

    Example:
    >>> from keras import ops
    >>> tuple(linear(ops.ones((2, 3)), ops.ones((3, 4))).shape)
    (2, 4)
    """
    if keras.backend.backend() == "torch":
        from torch.nn import functional

        kernel = ops.convert_to_tensor(kernel)
        bias = None if bias is None else ops.convert_to_tensor(bias)
        return functional.linear(inputs, kernel.T, bias)
    outputs = ops.matmul(inputs, kernel)
    return outputs if bias is None else ops.add(outputs, bias)
