"""The layers of the papers, one file each; every layer can be used alone in any model."""

from keras_paca.layers.attention import PatchToClusterAttention
from keras_paca.layers.batch_norm import BatchNormalization
from keras_paca.layers.block import PaCaBlock
from keras_paca.layers.clustering import ConvClustering, LinearClustering, MLPClustering
from keras_paca.layers.conv_mlp import ConvMLP
from keras_paca.layers.conv_norm import ConvNorm, DepthwiseNorm
from keras_paca.layers.conv_stem import ConvStem
from keras_paca.layers.depthwise import DepthwiseConv2D
from keras_paca.layers.drop_path import DropPath
from keras_paca.layers.embedding import OverlappingStem, OverlappingTransition
from keras_paca.layers.initializers import linear_initializer
from keras_paca.layers.inverted_residual import InvertedResidual
from keras_paca.layers.large_kernel_ffn import LargeKernelFFN
from keras_paca.layers.mldc import MLDCBlock, MultiLevelDilatedConv
from keras_paca.layers.teacher import ConvMixerTeacher

__all__ = [
    "BatchNormalization",
    "ConvClustering",
    "ConvMLP",
    "ConvMixerTeacher",
    "ConvNorm",
    "ConvStem",
    "DepthwiseConv2D",
    "DepthwiseNorm",
    "DropPath",
    "InvertedResidual",
    "LargeKernelFFN",
    "LinearClustering",
    "MLDCBlock",
    "MLPClustering",
    "MultiLevelDilatedConv",
    "OverlappingStem",
    "OverlappingTransition",
    "PaCaBlock",
    "PatchToClusterAttention",
    "linear_initializer",
]
