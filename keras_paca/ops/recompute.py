"""Recomputation: the backward pass computes part of a network again rather than hold its results.

What training recomputes is decided here. `remat=True` recomputes whole blocks. Otherwise
`recompute_activations=True`, the default, recomputes what is cheap for the memory it takes:

| operation                                                  | TensorFlow | JAX | PyTorch |
| ---------------------------------------------------------- | ---------- | --- | ------- |
| "activation": GELU and dropout in the feed-forward network | yes        | yes | yes     |
| "depthwise": the depthwise convolution before it           | yes        | yes | no      |
| "attention": the weights of attention                      | yes        | yes | no      |

On PyTorch the convolution is too slow to be computed again, and the kernel of attention holds no
weights.

Measured by `python benchmarks/ops.py recompute` on two CPU cores, for a training step of PaCa-Small
on 16 images of 224 x 224 in float32, in seconds and peak memory of the process:

| `recompute_activations` | TensorFlow    | JAX           | PyTorch       |
| ----------------------- | ------------- | ------------- | ------------- |
| `True`                  | 3.6 s, 3.6 GB | 7.1 s, 5.0 GB | 3.3 s, 4.7 GB |
| `False`                 | 3.4 s, 5.4 GB | 9.1 s, 7.7 GB | 3.1 s, 4.0 GB |

On PyTorch, the tensors held for the gradient shrink by a sixth (1478 to 1218 MB for 8 images), but
the peak of a process on a CPU grows.

| backend    | form                                                     |
| ---------- | -------------------------------------------------------- |
| TensorFlow | `keras.remat`; outside a graph nothing is recomputed     |
| JAX        | a gradient of our own that depends on the incoming one   |
| PyTorch    | `keras.remat`                                            |

Outside a graph, `keras.remat` on TensorFlow counts the gradients of the weights inside twice. XLA
for CPUs drops the barrier of `jax.checkpoint` and computes both passes at once, so that it saves no
memory.
"""

import collections
import contextlib
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import keras
from keras import ops

_state = threading.local()


def is_recomputed(operation: str) -> bool:
    """Return whether training on this backend recomputes an operation; see the table above.

    Args:
        operation: str. "activation", "depthwise" or "attention".

    Raises:
        ValueError: If there is no such operation.

    Example:
    >>> is_recomputed("activation")
    True
    """
    if operation not in ("activation", "depthwise", "attention"):
        raise ValueError(
            '`operation` must be "activation", "depthwise" or "attention". '
            f"Received: operation={operation!r}"
        )
    return operation == "activation" or keras.backend.backend() != "torch"


def recompute(
    layers: Iterable[keras.layers.Layer], function: Callable[..., Any], *inputs: Any
) -> Any:
    """Return `function(*inputs)`, keeping only `inputs` in memory for the gradient.

    The backward pass calls the function again, with the same variables and the same random
    numbers. What the function assigns to variables, such as moving statistics, is assigned once.
    Inside such a function, `recompute` only calls the function that it is given.

    Args:
        layers: Iterable of keras.layers.Layer. All layers that the function calls, built.
        function: Callable. It takes the tensors `inputs` and returns a tensor or a tuple of them.
        *inputs: Tensor. Tensors of a floating-point dtype.

    Returns:
        What the function returns.

    Example:
    >>> from keras import ops
    >>> float(recompute([], ops.square, ops.array(3.0)))
    9.0
    """
    # `keras.RematScope` fails in TensorFlow's graphs and in JAX's training loop. Here the states of
    # the random generators are passed in as values, like all other variables, so that both passes
    # draw the same numbers; they are advanced outside. (On PyTorch, layers without a seed draw from
    # its own generator, whose state `keras.remat` restores.)
    if getattr(_state, "recomputing", False) or _runs_eagerly_on_tensorflow():
        return function(*inputs)
    variables = [variable for layer in layers for variable in layer.variables]
    draws: dict[int, int] = {}
    assigned: list[Any] = []  # moving statistics; seeds, whose integers have no gradient, are drawn

    def pure(values: list, *inputs: Any) -> tuple[Any, list]:
        with _recomputing(), _CountingScope(zip(variables, values, strict=True)) as scope:
            outputs = function(*inputs)
        draws.update(scope.draws)
        changed = (variable for variable in variables if id(variable) in scope.draws)
        assigned[:] = [v for v in changed if keras.backend.is_float_dtype(v.dtype)]
        return outputs, [scope.get_current_value(variable) for variable in assigned]

    values = [ops.convert_to_tensor(variable) for variable in variables]
    # PyTorch assigns in place, but the backward pass needs the values from before
    values = [
        value if variable.trainable else ops.copy(value)
        for value, variable in zip(values, variables, strict=True)
    ]
    held = _hold_inputs_for_jax if keras.backend.backend() == "jax" else _hold_inputs
    outputs, updates = held(pure)(values, *inputs)
    for variable, update in zip(assigned, updates, strict=True):
        variable.assign(update)
        del draws[id(variable)]
    for variable in variables:
        if id(variable) in draws:  # the state of a `SeedGenerator`
            variable.assign(ops.add(variable, ops.array([0, draws[id(variable)]], variable.dtype)))
    return outputs


def _runs_eagerly_on_tensorflow() -> bool:
    if keras.backend.backend() != "tensorflow":
        return False
    import tensorflow as tf

    return tf.executing_eagerly()


@contextlib.contextmanager
def _recomputing() -> Iterator[None]:
    _state.recomputing = True
    try:
        yield
    finally:
        _state.recomputing = False


class _CountingScope(keras.StatelessScope):
    """Counts how often each variable is assigned to, as a random generator is by each draw."""

    def __init__(self, state_mapping: Iterable[tuple[Any, Any]]) -> None:
        super().__init__(state_mapping)
        self.draws = collections.Counter()

    def add_update(self, update: tuple[Any, Any]) -> None:
        self.draws[id(update[0])] += 1
        super().add_update(update)


def _hold_inputs(pure: Callable[..., Any]) -> Callable[..., Any]:
    def call(values: list, *inputs: Any) -> Any:
        count = len(values)  # `keras.remat` accepts only tensors, not lists of them
        flat = keras.remat(lambda *tensors: pure(list(tensors[:count]), *tensors[count:]))
        return flat(*values, *inputs)

    return call


def _hold_inputs_for_jax(pure: Callable[..., Any]) -> Callable[..., Any]:
    # `jax.checkpoint` saves no memory with XLA for CPUs: the compiler removes its barrier between
    # the two passes and then schedules the recomputation in the forward pass.
    import jax

    def backward(saved: tuple, gradients: Any) -> tuple:
        values, *inputs = saved
        first = jax.tree.leaves(gradients)[0]
        first = first[(0,) * first.ndim]
        zero = jax.numpy.where(first == first, 0.0, jax.numpy.nan)  # depends on `first`
        inputs = [x + zero.astype(x.dtype) for x in inputs]
        return jax.vjp(pure, values, *inputs)[1](gradients)

    held = jax.custom_vjp(pure)
    held.defvjp(lambda values, *inputs: (pure(values, *inputs), (values, *inputs)), backward)
    return held
