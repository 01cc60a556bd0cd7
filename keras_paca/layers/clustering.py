"""Assignment of patches to clusters: each cluster is a distribution over the patches of a map."""

from typing import Any

import keras

from keras_paca import ops
from keras_paca.arguments import check_positive
from keras_paca.layers.base import BaseLayer
from keras_paca.layers.depthwise import DepthwiseConv2D
from keras_paca.layers.initializers import linear, pointwise
from keras_paca.layers.policies import exact_dtype, logits_policy


def softmax_over_patches(logits: Any) -> Any:
    """Return the assignment of patches to clusters: the softmax of logits over the patches.

    Args:
        logits: Tensor. Shape (b, h, w, clusters).

    Returns:
        Tensor (b, h x w, clusters), float32 or wider.

    Example:
    >>> softmax_over_patches(keras.ops.zeros((1, 1, 4, 1))).flatten().tolist()
    [0.25, 0.25, 0.25, 0.25]
    """
    return ops.stable_softmax(ops.flatten_map(logits), axis=1)


def assignment_spec(map_shape: tuple, clusters: int, policy: Any) -> keras.KerasTensor:
    """Return the symbolic assignment of a map, which is float32 under a mixed policy.

    Args:
        map_shape: tuple. (batch, height, width, channels).
        clusters: int. Number of clusters.
        policy: DTypePolicy. The policy of the layer that computes it.

    Example:
    >>> policy = keras.dtype_policies.get("mixed_float16")
    >>> spec = assignment_spec((None, 5, 7, 8), clusters=3, policy=policy)
    >>> spec.shape, spec.dtype
    ((None, 35, 3), 'float32')
    """
    shape = (map_shape[0], ops.count_patches(map_shape), clusters)
    return keras.KerasTensor(shape, dtype=exact_dtype(policy))


class Clustering(BaseLayer):
    """Base class of the clustering layers: a network that computes logits, then a softmax.

    The network computes one logit per cluster for each patch, and the softmax is taken over the
    patches. Subclasses create the network in `build` and apply it in `compute_logits`.

    Args:
        clusters: int. Number of clusters.
        **kwargs: As for `keras.layers.Layer`.

    Example:
    >>> class FirstChannels(Clustering):
    ...     def compute_logits(self, inputs):
    ...         return inputs[..., : self.clusters]
    >>> tuple(FirstChannels(3)(keras.ops.ones((1, 5, 7, 8))).shape)
    (1, 35, 3)
    """

    def __init__(self, clusters: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.clusters = check_positive("clusters", clusters)

    def make_projection(self, cls: Any, use_bias: bool = False) -> keras.layers.Layer:
        """Create the last layer, which computes the logits."""
        dtype = logits_policy(self.dtype_policy)
        return self.make(cls, "projection", self.clusters, use_bias=use_bias, dtype=dtype)

    def compute_logits(self, inputs: Any) -> Any:
        """Return the logits (b, h, w, clusters) of a map (b, h, w, c)."""
        raise NotImplementedError

    def call(self, inputs: Any) -> Any:
        """Return the assignment (b, h x w, clusters) of the map `inputs` (b, h, w, c)."""
        return softmax_over_patches(self.compute_logits(inputs))

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        """Return (batch, height x width, clusters)."""
        return (input_shape[0], ops.count_patches(input_shape), self.clusters)

    def compute_output_spec(self, inputs: Any) -> keras.KerasTensor:
        """Return the symbolic assignment."""
        return assignment_spec(inputs.shape, self.clusters, self.dtype_policy)


@keras.saving.register_keras_serializable(package="keras_paca")
class ConvClustering(Clustering):
    """Cluster assignment by convolutions: softmax_patches(W3 GELU(W2 GELU(DWConv_kxk(x)))).

    Args:
        clusters: int. Number of clusters.
        kernel_size: int. Side of the depthwise convolution's kernel, odd.
        **kwargs: As for `keras.layers.Layer`.

    Input shape: (batch, height, width, channels), float.
    Output shape: (batch, height x width, clusters), float32 or wider. Each cluster sums to 1 over
    the patches.

    Raises:
        ValueError: If `clusters` is not positive or `kernel_size` is not odd.

    Source: PaCa-ViT (Grainger et al., CVPR 2023), onsite convolutional clustering.

    Example:
    >>> tuple(ConvClustering(3)(keras.ops.ones((1, 5, 7, 8))).shape)
    (1, 35, 3)
    """

    def __init__(self, clusters: int, kernel_size: int = 7, **kwargs: Any) -> None:
        super().__init__(clusters, **kwargs)
        self.kernel_size = kernel_size
        self.depthwise = self.make(DepthwiseConv2D, "depthwise", kernel_size)

    def build(self, input_shape: tuple) -> None:
        """Build the three convolutions."""
        self.depthwise.build(input_shape)
        self.pointwise = self.make(pointwise, "pointwise", input_shape[-1])
        self.pointwise.build(input_shape)
        self.projection = self.make_projection(pointwise)
        self.projection.build(input_shape)

    def compute_logits(self, inputs: Any) -> Any:
        """Return the logits (b, h, w, clusters) of a map (b, h, w, c)."""
        hidden = ops.gelu(self.depthwise(inputs))
        hidden = ops.gelu(self.pointwise(hidden))
        return self.projection(hidden)


@keras.saving.register_keras_serializable(package="keras_paca")
class MLPClustering(Clustering):
    """Cluster assignment patch by patch: softmax_patches(W2 GELU(W1 x + b1) + b2).

    Args:
        clusters: int. Number of clusters.
        mlp_ratio: float. Width of the hidden layer, as a multiple of the channels.
        **kwargs: As for `keras.layers.Layer`.

    Input shape: (batch, height, width, channels), float.
    Output shape: (batch, height x width, clusters), float32 or wider. Each cluster sums to 1 over
    the patches.

    Raises:
        ValueError: If `clusters` is not positive.

    Source: PaCa-ViT (Grainger et al., CVPR 2023), onsite clustering by an MLP.

    Example:
    >>> tuple(MLPClustering(3)(keras.ops.ones((1, 5, 7, 8))).shape)
    (1, 35, 3)
    """

    def __init__(self, clusters: int, mlp_ratio: float = 4.0, **kwargs: Any) -> None:
        super().__init__(clusters, **kwargs)
        self.mlp_ratio = mlp_ratio

    def build(self, input_shape: tuple) -> None:
        """Build the two projections."""
        hidden = int(input_shape[-1] * self.mlp_ratio)
        self.hidden_dense = self.make(linear, "hidden", hidden)
        self.hidden_dense.build(input_shape)
        self.projection = self.make_projection(linear, use_bias=True)
        self.projection.build((*input_shape[:-1], hidden))

    def compute_logits(self, inputs: Any) -> Any:
        """Return the logits (b, h, w, clusters) of a map (b, h, w, c)."""
        return self.projection(ops.gelu(self.hidden_dense(inputs)))


@keras.saving.register_keras_serializable(package="keras_paca")
class LinearClustering(Clustering):
    """Cluster assignment by one projection: softmax_patches(W x).

    Args:
        clusters: int. Number of clusters.
        **kwargs: As for `keras.layers.Layer`.

    Input shape: (batch, height, width, channels), float.
    Output shape: (batch, height x width, clusters), float32 or wider. Each cluster sums to 1 over
    the patches.

    Raises:
        ValueError: If `clusters` is not positive.

    Source: the official PaCa-ViT code; it is not in the paper.

    Example:
    >>> tuple(LinearClustering(3)(keras.ops.ones((1, 5, 7, 8))).shape)
    (1, 35, 3)
    """

    def build(self, input_shape: tuple) -> None:
        """Build the projection."""
        self.projection = self.make_projection(linear)
        self.projection.build(input_shape)

    def compute_logits(self, inputs: Any) -> Any:
        """Return the logits (b, h, w, clusters) of a map (b, h, w, c)."""
        return self.projection(inputs)
