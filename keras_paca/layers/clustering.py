"""From a map to its cluster assignment: each cluster is a distribution over the patches."""

from typing import Any

import keras

from keras_paca.arguments import check_positive
from keras_paca.layers.activation import gelu
from keras_paca.layers.composite import Composite
from keras_paca.layers.depthwise import DepthwiseConv2D
from keras_paca.layers.folding import fold_projection, take_weights
from keras_paca.layers.initializers import linear, pointwise
from keras_paca.layers.maps import count_patches, flatten_map
from keras_paca.layers.softmax import logits_policy, stable_softmax


def softmax_over_patches(logits: Any) -> Any:
    """Return the assignment (b, h w, clusters) of logits (b, h, w, clusters), at least float32."""
    return stable_softmax(flatten_map(logits), axis=1)


def assignment_spec(map_shape: tuple, clusters: int, compute_dtype: str) -> keras.KerasTensor:
    """Return the symbolic assignment of a map."""
    return keras.KerasTensor(
        (map_shape[0], count_patches(map_shape), clusters),
        dtype=keras.backend.result_type(compute_dtype, "float32"),
    )


class _Clustering(Composite):
    """What the clusterings share: a network of their own to logits, then a softmax over patches."""

    def __init__(self, clusters: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.clusters = check_positive("clusters", clusters)

    def of_projection(self) -> dict[str, Any]:
        """Return the arguments `name` and `dtype` of the layer that makes the logits."""
        return self.inner("projection", logits_policy(self.dtype_policy))

    def compute_logits(self, inputs: Any) -> Any:
        """Return the logits (b, h, w, clusters) of a map (b, h, w, c)."""
        raise NotImplementedError

    def call(self, inputs: Any) -> Any:
        """Return the assignment (b, h x w, clusters) of the map `inputs` (b, h, w, c)."""
        return softmax_over_patches(self.compute_logits(inputs))

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        """Return (batch, height x width, clusters)."""
        return (input_shape[0], count_patches(input_shape), self.clusters)

    def compute_output_spec(self, inputs: Any) -> keras.KerasTensor:
        """Return the symbolic assignment, float32 under a mixed policy."""
        return assignment_spec(inputs.shape, self.clusters, self.compute_dtype)

    def get_config(self) -> dict:
        """Return the arguments of the constructor."""
        return {**super().get_config(), "clusters": self.clusters}


@keras.saving.register_keras_serializable(package="keras_paca")
class ConvClustering(_Clustering):
    """Cluster assignment by convolutions: softmax_patches(W3 GELU(W2 GELU(DWConv_kxk(x)))).

    Args:
        clusters: number of clusters.
        kernel_size: side of the depthwise convolution, odd.

    Input shape: (batch, height, width, channels), float.
    Output shape: (batch, height x width, clusters), float32 or wider; sums to 1 over the patches.

    Raises:
        ValueError: if `clusters` is not positive or `kernel_size` not odd.

    Source: PaCa-ViT (Grainger et al., CVPR 2023), onsite convolutional clustering.
    """

    def __init__(self, clusters: int, kernel_size: int = 7, **kwargs: Any) -> None:
        super().__init__(clusters, **kwargs)
        self.kernel_size = kernel_size
        self.depthwise = DepthwiseConv2D(kernel_size, name="depthwise", dtype=self.dtype_policy)

    def build(self, input_shape: tuple) -> None:
        """Build the three convolutions."""
        self.depthwise.build(input_shape)
        self.pointwise = pointwise(input_shape[-1], **self.inner("pointwise"))
        self.pointwise.build(input_shape)
        self.projection = pointwise(
            self.clusters,
            use_bias=False,
            **self.of_projection(),
        )
        self.projection.build(input_shape)

    def compute_logits(self, inputs: Any) -> Any:
        """Return the logits (b, h, w, clusters) of a map (b, h, w, c)."""
        hidden = gelu(self.depthwise(inputs))
        hidden = gelu(self.pointwise(hidden))
        return self.projection(hidden)

    def get_config(self) -> dict:
        """Return the arguments of the constructor."""
        return {**super().get_config(), "kernel_size": self.kernel_size}


@keras.saving.register_keras_serializable(package="keras_paca")
class MLPClustering(_Clustering):
    """Cluster assignment patch by patch: softmax_patches(W2 GELU(W1 x + b1) + b2).

    Args:
        clusters: number of clusters.
        mlp_ratio: width of the hidden layer over the channels of the input.
        fused: whether b2 is left out, as `keras_paca.fuse` does: it is the same for all patches,
            and so the softmax over them drops it.

    Input shape: (batch, height, width, channels), float.
    Output shape: (batch, height x width, clusters), float32 or wider; sums to 1 over the patches.

    Raises:
        ValueError: if `clusters` is not positive.

    Source: PaCa-ViT (Grainger et al., CVPR 2023), onsite clustering by an MLP.
    """

    def __init__(
        self, clusters: int, mlp_ratio: float = 4.0, fused: bool = False, **kwargs: Any
    ) -> None:
        super().__init__(clusters, **kwargs)
        self.mlp_ratio = mlp_ratio
        self.fused = fused

    def build(self, input_shape: tuple) -> None:
        """Build the two projections."""
        hidden = int(input_shape[-1] * self.mlp_ratio)
        self.hidden_dense = linear(hidden, **self.inner("hidden"))
        self.hidden_dense.build(input_shape)
        self.projection = linear(
            self.clusters,
            use_bias=not self.fused,
            **self.of_projection(),
        )
        self.projection.build((*input_shape[:-1], hidden))

    def compute_logits(self, inputs: Any) -> Any:
        """Return the logits (b, h, w, clusters) of a map (b, h, w, c)."""
        return self.projection(gelu(self.hidden_dense(inputs)))

    def fold(self, source: "MLPClustering") -> None:
        """Take the weights of an unfused layer."""
        take_weights(self.hidden_dense, source.hidden_dense)
        fold_projection(self.projection, source.projection)

    def get_config(self) -> dict:
        """Return the arguments of the constructor."""
        return {**super().get_config(), "mlp_ratio": self.mlp_ratio, "fused": self.fused}


@keras.saving.register_keras_serializable(package="keras_paca")
class LinearClustering(_Clustering):
    """Cluster assignment by one projection: softmax_patches(W x).

    Args:
        clusters: number of clusters.

    Input shape: (batch, height, width, channels), float.
    Output shape: (batch, height x width, clusters), float32 or wider; sums to 1 over the patches.

    Raises:
        ValueError: if `clusters` is not positive.

    Source: the official PaCa-ViT code; not in the paper.
    """

    def build(self, input_shape: tuple) -> None:
        """Build the projection."""
        self.projection = linear(
            self.clusters,
            use_bias=False,
            **self.of_projection(),
        )
        self.projection.build(input_shape)

    def compute_logits(self, inputs: Any) -> Any:
        """Return the logits (b, h, w, clusters) of a map (b, h, w, c)."""
        return self.projection(inputs)
