"""The layers of the papers, one file each; every layer can be used alone in any model."""

from keras_paca.layers.attention import PatchToClusterAttention
from keras_paca.layers.batch_norm import BatchNormalization
from keras_paca.layers.block import PaCaBlock
from keras_paca.layers.clustering import ConvClustering, LinearClustering, MLPClustering
from keras_paca.layers.conv_mlp import ConvMLP
from keras_paca.layers.depthwise import DepthwiseConv2D
from keras_paca.layers.drop_path import DropPath
from keras_paca.layers.embedding import OverlappingStem, OverlappingTransition
from keras_paca.layers.initializers import linear_initializer
from keras_paca.layers.teacher import ConvMixerTeacher

__all__ = [
    "BatchNormalization",
    "ConvClustering",
    "ConvMLP",
    "ConvMixerTeacher",
    "DepthwiseConv2D",
    "DropPath",
    "LinearClustering",
    "MLPClustering",
    "OverlappingStem",
    "OverlappingTransition",
    "PaCaBlock",
    "PatchToClusterAttention",
    "linear_initializer",
]
