"""The layers of the papers, one file each; every layer can be used alone in any model."""

from keras_paca.layers.add_erase import AddErase
from keras_paca.layers.angular_attention import LinearAngularAttention
from keras_paca.layers.attention import PatchToClusterAttention
from keras_paca.layers.attentive_dense import AttentiveDenseLayer, DenseTransition
from keras_paca.layers.attentive_norm import (
    AttentiveBatchNormalization,
    AttentiveGroupNormalization,
)
from keras_paca.layers.attentive_residual import AttentiveBottleneck, AttentiveInvertedResidual
from keras_paca.layers.batch_norm import BatchNormalization
from keras_paca.layers.block import PaCaBlock
from keras_paca.layers.class_tokens import ClassTokens, TokenAt, TokensToMap
from keras_paca.layers.clustering import ConvClustering, LinearClustering, MLPClustering
from keras_paca.layers.conv_mlp import ConvMLP
from keras_paca.layers.conv_norm import ConvNorm, DepthwiseNorm
from keras_paca.layers.conv_stem import ConvStem, PlainStem
from keras_paca.layers.cross_attention import CrossAttention
from keras_paca.layers.depthwise import DepthwiseConv2D
from keras_paca.layers.drop_path import DropPath
from keras_paca.layers.embedding import OverlappingStem, OverlappingTransition
from keras_paca.layers.initializers import linear_initializer
from keras_paca.layers.inverted_residual import InvertedResidual
from keras_paca.layers.large_kernel_ffn import LargeKernelFFN
from keras_paca.layers.latent_attention import LatentAttention, LatentCrossAttention
from keras_paca.layers.linear_attention import LinearCrossAttention
from keras_paca.layers.mldc import MLDCBlock, MultiLevelDilatedConv
from keras_paca.layers.mlp import MLP, ResidualMLP
from keras_paca.layers.patch_embedding import PatchEmbedding
from keras_paca.layers.self_attention import AngularSelfAttention
from keras_paca.layers.teacher import ConvMixerTeacher
from keras_paca.layers.token_learner import TokenLearner

__all__ = [
    "MLP",
    "AddErase",
    "AngularSelfAttention",
    "AttentiveBatchNormalization",
    "AttentiveBottleneck",
    "AttentiveDenseLayer",
    "AttentiveGroupNormalization",
    "AttentiveInvertedResidual",
    "BatchNormalization",
    "ClassTokens",
    "ConvClustering",
    "ConvMLP",
    "ConvMixerTeacher",
    "ConvNorm",
    "ConvStem",
    "CrossAttention",
    "DenseTransition",
    "DepthwiseConv2D",
    "DepthwiseNorm",
    "DropPath",
    "InvertedResidual",
    "LargeKernelFFN",
    "LatentAttention",
    "LatentCrossAttention",
    "LinearAngularAttention",
    "LinearClustering",
    "LinearCrossAttention",
    "MLDCBlock",
    "MLPClustering",
    "MultiLevelDilatedConv",
    "OverlappingStem",
    "OverlappingTransition",
    "PaCaBlock",
    "PatchEmbedding",
    "PatchToClusterAttention",
    "PlainStem",
    "ResidualMLP",
    "TokenAt",
    "TokenLearner",
    "TokensToMap",
    "linear_initializer",
]
