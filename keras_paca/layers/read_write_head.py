"""What the read and write heads of Token Turing Machines have in common."""

from typing import Any

import keras
from keras.ops import cast

from keras_paca import ops
from keras_paca.layers.base import BaseLayer
from keras_paca.layers.initializers import linear
from keras_paca.layers.policies import exact_dtype


class ReadWriteHead(BaseLayer):
    """Base class of heads through which the tokens of one map read those of another.

    A subclass defines `build`, which begins with that of this class, `read` and `weigh`. Its
    weights serve for one direction alone. A subclass with projections to queries, keys and values
    builds them with `build_projections`.

    Args:
        frozen: Sequence of str. Paths of the sub-layers that don't train.
        thawed: Sequence of str. Paths of the layers inside frozen sub-layers that train.
        name: str. Name of the layer. By default, that of its class.
        dtype: str or DTypePolicy. Dtype or policy of the layer and its sub-layers.
        **kwargs: As for `keras.layers.Layer`.

    Call arguments:
        inputs: Tensor. The map that is read, (batch, height, width, channels), float.
        query: Tensor. The map whose tokens read it, (batch, rows, columns, channels), float.

    Output shape: That of `query`.

    Raises:
        ValueError: If the inputs aren't maps of the same number of channels.

    Example:
    >>> import keras
    >>> from keras_paca.layers import CrossAttention
    >>> head = CrossAttention(num_heads=2)
    >>> isinstance(head, ReadWriteHead)
    True
    >>> memory, process = keras.ops.ones((1, 4, 4, 8)), keras.ops.ones((1, 2, 3, 8))
    >>> tuple(head(memory, process).shape)
    (1, 2, 3, 8)
    >>> tuple(head.reading_weights(memory, process).shape)
    (1, 2, 6, 16)
    """

    num_heads = 1

    def build(self, inputs_shape: tuple, query_shape: tuple) -> None:
        """Check the shapes of the maps; a subclass also builds its sub-layers."""
        shapes = f"Received: inputs of shape {inputs_shape} and a query of shape {query_shape}"
        name = type(self).__name__
        if not len(inputs_shape) == len(query_shape) == 4:
            raise ValueError(f"{name} takes maps (batch, height, width, channels). {shapes}")
        if inputs_shape[-1] != query_shape[-1]:
            raise ValueError(f"{name} takes maps of the same number of channels. {shapes}")

    def build_projections(
        self, inputs_shape: tuple, query_shape: tuple, latent_size: int, norms: bool = True
    ) -> None:
        """Build the projections to queries, keys and values.

        Args:
            inputs_shape: tuple. Shape of the map that is read.
            query_shape: tuple. Shape of the map whose tokens read it.
            latent_size: int. Number of channels of the queries and the keys.
            norms: bool. Whether layer normalization is applied to all three. If so, there is also a
                projection of the output.

        Raises:
            ValueError: If `num_heads` doesn't divide the channels.
        """
        channels = query_shape[-1]
        check_divisible("the channels of the input", channels, self.num_heads)
        sizes = {"query": latent_size, "key": latent_size, "value": channels}
        denses = {name: self.make(linear, name, size) for name, size in sizes.items()}
        made = {
            name: self.make(keras.layers.LayerNormalization, f"{name}_norm", epsilon=1e-5)
            if norms
            else None
            for name in sizes
        }
        for name, size in sizes.items():
            shape = tokens_shape(query_shape if name == "query" else inputs_shape)
            denses[name].build(shape)
            if norms:
                made[name].build((*shape[:2], size))
        self.query_dense, self.key_dense, self.value_dense = denses.values()
        self.query_norm, self.key_norm, self.value_norm = made.values()
        if norms:
            self.output_dense = self.make(linear, "attention_output", channels)
            self.output_dense.build(tokens_shape(query_shape))

    def project(self, tokens: Any, queries: Any) -> tuple[Any, Any]:
        """Return the queries and the keys, by head.

        Args:
            tokens: Tensor. The tokens that are read, (b, m, c).
            queries: Tensor. The tokens that read, (b, n, c).

        Returns:
            tuple of Tensor. (b, heads, n, d) and (b, heads, m, d).
        """
        query, key = self.query_dense(queries), self.key_dense(tokens)
        if self.query_norm is not None:
            query, key = self.query_norm(query), self.key_norm(key)
        return ops.split_heads(query, self.num_heads), ops.split_heads(key, self.num_heads)

    def project_value(self, tokens: Any) -> Any:
        """Return the values, by head.

        Args:
            tokens: Tensor. The tokens that are read, (b, m, c).

        Returns:
            Tensor (b, heads, m, c / heads).
        """
        value = self.value_dense(tokens)
        value = value if self.value_norm is None else self.value_norm(value)
        return ops.split_heads(value, self.num_heads)

    def call(self, inputs: Any, query: Any, training: bool = False) -> Any:
        """Return what the tokens of the map `query` read in the map `inputs`."""
        outputs = self.read(ops.flatten_map(inputs), ops.flatten_map(query), training)
        return ops.unflatten_patches(cast(outputs, self.compute_dtype), like=query)

    def read(self, tokens: Any, queries: Any, training: bool = False) -> Any:
        """Return what each query reads.

        Args:
            tokens: Tensor. The tokens that are read, (b, m, c).
            queries: Tensor. The tokens that read, (b, n, c).
            training: bool. Whether dropout is applied.

        Returns:
            Tensor (b, n, c).
        """
        raise NotImplementedError

    def weigh(self, tokens: Any, queries: Any) -> Any:
        """Return the weight with which each query reads each token, by head.

        Args:
            tokens: Tensor. The tokens that are read, (b, m, c).
            queries: Tensor. The tokens that read, (b, n, c).

        Returns:
            Tensor (b, heads, n, m), float32 or wider.
        """
        raise NotImplementedError

    def reading_weights(self, inputs: Any, query: Any) -> Any:
        """Return the weight with which each token of `query` reads each token of `inputs`.

        Args:
            inputs: Tensor or KerasTensor. The map that is read, (b, height, width, c).
            query: Tensor or KerasTensor. The map whose tokens read it, (b, rows, columns, c).

        Returns:
            Tensor or KerasTensor (b, heads, rows x columns, height x width), float32 or wider.
        """
        return _ReadingWeights(self)(inputs, query)

    def compute_output_shape(self, inputs_shape: tuple, query_shape: tuple) -> tuple:
        """Return `query_shape`."""
        return query_shape


class _ReadingWeights(keras.layers.Layer):
    """The reading weights of a head, as a layer, so that they can be outputs of a model."""

    def __init__(self, head: ReadWriteHead) -> None:
        super().__init__(name=f"{head.name}_weights", dtype=head.dtype_policy)
        self.head = head

    def build(self, inputs_shape: tuple, query_shape: tuple) -> None:
        if not self.head.built:
            self.head.build(inputs_shape, query_shape)

    def call(self, inputs: Any, query: Any) -> Any:
        return self.head.weigh(ops.flatten_map(inputs), ops.flatten_map(query))

    def compute_output_spec(self, inputs: Any, query: Any) -> keras.KerasTensor:
        counts = (ops.count_patches(query.shape), ops.count_patches(inputs.shape))
        dtype = exact_dtype(self.dtype_policy)
        return keras.KerasTensor((query.shape[0], self.head.num_heads, *counts), dtype=dtype)


def check_divisible(name: str, size: int, num_heads: int) -> None:
    """Check that heads divide a number of channels.

    Args:
        name: str. What has the channels, for the message.
        size: int. The number of channels.
        num_heads: int. The number of heads.

    Raises:
        ValueError: If they don't.

    Example:
    >>> check_divisible("the channels of the input", 8, 2)
    """
    if size % num_heads:
        raise ValueError(
            f"`num_heads` must divide {name}. Received: num_heads={num_heads} and {size}"
        )


def tokens_shape(map_shape: tuple) -> tuple:
    """Return the shape (batch, tokens, channels) of the tokens of a map.

    Args:
        map_shape: tuple. (batch, height, width, channels).

    Example:
    >>> tokens_shape((None, 7, 5, 8))
    (None, 35, 8)
    """
    return (map_shape[0], ops.count_patches(map_shape), map_shape[-1])
