"""Written by `python -m tests.stubs`; see there."""

import collections.abc
import pathlib
import typing
from typing import Any

import keras

import keras_paca

from keras_paca.labels import ade20k_classes as ade20k_classes
from keras_paca.labels import ade20k_palette as ade20k_palette
from keras_paca.segmentation.evaluation import evaluate_segmenter as evaluate_segmenter
from keras_paca.segmentation.evaluation import find_masks as find_masks
from keras_paca.segmentation.evaluation import read_mask as read_mask
from keras_paca.segmentation.heads import FCNHead as FCNHead
from keras_paca.segmentation.heads import MaskTransformerHead as MaskTransformerHead
from keras_paca.segmentation.heads import PaCaSegmentationHead as PaCaSegmentationHead
from keras_paca.segmentation.heads import SegmentationHead as SegmentationHead
from keras_paca.segmentation.heads import SemanticFPNHead as SemanticFPNHead
from keras_paca.segmentation.heads import UPerHead as UPerHead
from keras_paca.segmentation.metrics import MeanIoU as MeanIoU
from keras_paca.segmentation.pictures import head_cluster_maps as head_cluster_maps
from keras_paca.segmentation.pictures import plot_head_clusters as plot_head_clusters
from keras_paca.segmentation.pictures import plot_segmentation as plot_segmentation
from keras_paca.segmentation.predict import segment as segment
from keras_paca.segmentation.segmenter import Segmenter as Segmenter

def PaCaBaseSegmenter(
    head: str | keras_paca.segmentation.heads.base.SegmentationHead = 'paca',
    weights: str | pathlib.Path | None = 'ade20k',
    num_classes: int = 150,
    include_preprocessing: bool = True,
    input_tensor: Any = None,
    input_shape: collections.abc.Sequence[int | None] | None = None,
    name: str = 'paca_base_segmenter',
    *,
    clustering: str = 'conv',
    clusters: int | collections.abc.Sequence[int] | None = None,
    cluster_every: int | collections.abc.Sequence[int | None] | None = None,
    drop_path_rate: float | None = None,
    attention_dropout: float = 0.0,
    dropout: float = 0.0,
    remat: bool = False,
    recompute_activations: bool = True,
    attention: str = 'paca',
    auxiliary: bool = False,
    threshold: float = 0.02,
    convolution: str = 'tokens',
    local_kernel_size: int = 9,
    auxiliary_weight: float = 0.4,
    ignore_class: int = 255,
    class_names: collections.abc.Sequence[str] | None = None,
    evaluation_transform: collections.abc.Mapping[str, typing.Any] | None = None,
    weights_url: str | None = None,
    dtype: Any = None,
) -> Segmenter:
    """Build a segmenter on PaCaBase, with the weights released for ADE20K by default.

    Args:
        head: str. "paca" or "upernet"; or "fpn" or "mask_transformer", for which no weights were
            released.
        weights: str, Path or None. "ade20k" for the released file, which is downloaded once;
            "imagenet" for the backbone's released weights and fresh heads; `None` for random
            values; or the path of an official segmentation checkpoint or of a saved segmenter.
        num_classes: int. Number of classes. If it isn't that of the file, the parts of the head
            that depend on it start fresh.
        include_preprocessing: bool. Whether the model takes RGB in 0..255 and normalises it.
            Otherwise it takes normalised images, of any number of channels.
        input_tensor: KerasTensor. A `keras.Input` to build on.
        input_shape: Sequence of int. (height, width, channels), (None, None, 3) by default. Height
            and width are at least 32 and may be odd; `None` means any.
        name: str. Name of the model.
        clustering: str. "conv", "mlp" or "linear" for assignments computed from each stage's own
            map; "teacher" for those of a ConvMixer beside the backbone.
        clusters: int or Sequence of int. The backbone's clusters per stage. By default those of the
            file, or the official (200, 200, 200, 0), with a teacher 200 in each stage; with
            "imagenet" those of its file.
        cluster_every: int or Sequence of int. Per stage, the blocks that compute an assignment:
            `None` for the first, 1 for all, n for every n-th. A teacher computes one per stage.
        drop_path_rate: float. Rate at which the residual branches of the last block are dropped. By
            default 0.1, for Base with conv clustering and the PaCa head 0.5.
        attention_dropout: float. Rate of dropout on the attention weights.
        dropout: float. Rate of dropout after projections.
        remat: bool. Whether training keeps only the inputs of each block in memory and computes the
            block again in the backward pass: less memory, more time, the same gradients.
        recompute_activations: bool. Whether training computes attention weights and activations
            again in the backward pass, if that pays; see `keras_paca.ops.is_recomputed`.
        attention: str. "paca" for attention to clusters, "castling" for the linear angular
            attention of Castling-ViT in all stages, whose cost is linear in the number of patches,
            too. There are no clusters then, whatever `clusters` is. See
            `keras_paca.layers.LinearAngularAttention` for the arguments below, which are its own.
        auxiliary: bool. Whether castling adds masked softmax attention in training, whose cost
            grows with the square of the number of patches: in the first stage, an image of
            224 x 224 has 3136 and one of 800 x 1280 has 64,000. The attribute of this name can be
            set to `False` after training.
        threshold: float. Weights of that softmax above it are kept, in [0, 1].
        convolution: str. "tokens" for a convolution of castling's values along the patches, row
            after row, as in the official code; "grid" for one over rows and columns.
        local_kernel_size: int. Length of that convolution's filters, odd. With "grid", their side.
        auxiliary_weight: float. Weight of the auxiliary loss.
        ignore_class: int. Id of the pixels that have no class. Negative ids and ids of
            `num_classes` or more are ignored too if the masks come from a data set, with a warning
            if its first batch contains any. In arrays they raise an error, and so do ids that seem
            to count from 1.
        class_names: Sequence of str. The name of each class, which a saved model keeps. By default,
            those of the file if it has as many classes.
        evaluation_transform: dict. How large images are made for the model. By default, that of the
            file.
        weights_url: str. URL of a mirror of the released files. By default, that in the environment
            variable KERAS_PACA_WEIGHTS_URL, or else the address of the authors.
        dtype: str or keras.DTypePolicy. Dtype or policy of every layer.

    Returns:
        keras.Model. A `keras_paca.segmentation.Segmenter`. Its input is (batch, height, width,
        channels); its output is logits (batch, height, width, num_classes).

    Raises:
        ValueError: If an argument or the file doesn't fit, or if no such weights were released.
        FileNotFoundError: If there is no file at `weights`, or none could be downloaded.

    Source: Grainger et al., "PaCa-ViT: Learning Patch-to-Cluster Attention in Vision
    Transformers", CVPR 2023.

    Example:
    >>> from keras_paca import segmentation
    >>> segmenter = segmentation.PaCaBaseSegmenter(weights=None, num_classes=3)
    >>> segmenter.compute_output_shape((1, 64, 96, 3))
    (1, 64, 96, 3)
    """

def PaCaSmallSegmenter(
    head: str | keras_paca.segmentation.heads.base.SegmentationHead = 'paca',
    weights: str | pathlib.Path | None = 'ade20k',
    num_classes: int = 150,
    include_preprocessing: bool = True,
    input_tensor: Any = None,
    input_shape: collections.abc.Sequence[int | None] | None = None,
    name: str = 'paca_small_segmenter',
    *,
    clustering: str = 'conv',
    clusters: int | collections.abc.Sequence[int] | None = None,
    cluster_every: int | collections.abc.Sequence[int | None] | None = None,
    drop_path_rate: float | None = None,
    attention_dropout: float = 0.0,
    dropout: float = 0.0,
    remat: bool = False,
    recompute_activations: bool = True,
    attention: str = 'paca',
    auxiliary: bool = False,
    threshold: float = 0.02,
    convolution: str = 'tokens',
    local_kernel_size: int = 9,
    auxiliary_weight: float = 0.4,
    ignore_class: int = 255,
    class_names: collections.abc.Sequence[str] | None = None,
    evaluation_transform: collections.abc.Mapping[str, typing.Any] | None = None,
    weights_url: str | None = None,
    dtype: Any = None,
) -> Segmenter:
    """Build a segmenter on PaCaSmall, with the weights released for ADE20K by default.

    Args:
        head: str. "paca" or "upernet"; or "fpn" or "mask_transformer", for which no weights were
            released.
        weights: str, Path or None. "ade20k" for the released file, which is downloaded once;
            "imagenet" for the backbone's released weights and fresh heads; `None` for random
            values; or the path of an official segmentation checkpoint or of a saved segmenter.
        num_classes: int. Number of classes. If it isn't that of the file, the parts of the head
            that depend on it start fresh.
        include_preprocessing: bool. Whether the model takes RGB in 0..255 and normalises it.
            Otherwise it takes normalised images, of any number of channels.
        input_tensor: KerasTensor. A `keras.Input` to build on.
        input_shape: Sequence of int. (height, width, channels), (None, None, 3) by default. Height
            and width are at least 32 and may be odd; `None` means any.
        name: str. Name of the model.
        clustering: str. "conv", "mlp" or "linear" for assignments computed from each stage's own
            map; "teacher" for those of a ConvMixer beside the backbone.
        clusters: int or Sequence of int. The backbone's clusters per stage. By default those of the
            file, or the official (200, 200, 200, 0), with a teacher 200 in each stage; with
            "imagenet" those of its file.
        cluster_every: int or Sequence of int. Per stage, the blocks that compute an assignment:
            `None` for the first, 1 for all, n for every n-th. A teacher computes one per stage.
        drop_path_rate: float. Rate at which the residual branches of the last block are dropped. By
            default 0.1, for Base with conv clustering and the PaCa head 0.5.
        attention_dropout: float. Rate of dropout on the attention weights.
        dropout: float. Rate of dropout after projections.
        remat: bool. Whether training keeps only the inputs of each block in memory and computes the
            block again in the backward pass: less memory, more time, the same gradients.
        recompute_activations: bool. Whether training computes attention weights and activations
            again in the backward pass, if that pays; see `keras_paca.ops.is_recomputed`.
        attention: str. "paca" for attention to clusters, "castling" for the linear angular
            attention of Castling-ViT in all stages, whose cost is linear in the number of patches,
            too. There are no clusters then, whatever `clusters` is. See
            `keras_paca.layers.LinearAngularAttention` for the arguments below, which are its own.
        auxiliary: bool. Whether castling adds masked softmax attention in training, whose cost
            grows with the square of the number of patches: in the first stage, an image of
            224 x 224 has 3136 and one of 800 x 1280 has 64,000. The attribute of this name can be
            set to `False` after training.
        threshold: float. Weights of that softmax above it are kept, in [0, 1].
        convolution: str. "tokens" for a convolution of castling's values along the patches, row
            after row, as in the official code; "grid" for one over rows and columns.
        local_kernel_size: int. Length of that convolution's filters, odd. With "grid", their side.
        auxiliary_weight: float. Weight of the auxiliary loss.
        ignore_class: int. Id of the pixels that have no class. Negative ids and ids of
            `num_classes` or more are ignored too if the masks come from a data set, with a warning
            if its first batch contains any. In arrays they raise an error, and so do ids that seem
            to count from 1.
        class_names: Sequence of str. The name of each class, which a saved model keeps. By default,
            those of the file if it has as many classes.
        evaluation_transform: dict. How large images are made for the model. By default, that of the
            file.
        weights_url: str. URL of a mirror of the released files. By default, that in the environment
            variable KERAS_PACA_WEIGHTS_URL, or else the address of the authors.
        dtype: str or keras.DTypePolicy. Dtype or policy of every layer.

    Returns:
        keras.Model. A `keras_paca.segmentation.Segmenter`. Its input is (batch, height, width,
        channels); its output is logits (batch, height, width, num_classes).

    Raises:
        ValueError: If an argument or the file doesn't fit, or if no such weights were released.
        FileNotFoundError: If there is no file at `weights`, or none could be downloaded.

    Source: Grainger et al., "PaCa-ViT: Learning Patch-to-Cluster Attention in Vision
    Transformers", CVPR 2023.

    Example:
    >>> from keras_paca import segmentation
    >>> segmenter = segmentation.PaCaSmallSegmenter(weights=None, num_classes=3)
    >>> segmenter.compute_output_shape((1, 64, 96, 3))
    (1, 64, 96, 3)
    """

def PaCaTinySegmenter(
    head: str | keras_paca.segmentation.heads.base.SegmentationHead = 'paca',
    weights: str | pathlib.Path | None = 'ade20k',
    num_classes: int = 150,
    include_preprocessing: bool = True,
    input_tensor: Any = None,
    input_shape: collections.abc.Sequence[int | None] | None = None,
    name: str = 'paca_tiny_segmenter',
    *,
    clustering: str = 'conv',
    clusters: int | collections.abc.Sequence[int] | None = None,
    cluster_every: int | collections.abc.Sequence[int | None] | None = None,
    drop_path_rate: float | None = None,
    attention_dropout: float = 0.0,
    dropout: float = 0.0,
    remat: bool = False,
    recompute_activations: bool = True,
    attention: str = 'paca',
    auxiliary: bool = False,
    threshold: float = 0.02,
    convolution: str = 'tokens',
    local_kernel_size: int = 9,
    auxiliary_weight: float = 0.4,
    ignore_class: int = 255,
    class_names: collections.abc.Sequence[str] | None = None,
    evaluation_transform: collections.abc.Mapping[str, typing.Any] | None = None,
    weights_url: str | None = None,
    dtype: Any = None,
) -> Segmenter:
    """Build a segmenter on PaCaTiny, with the weights released for ADE20K by default.

    Args:
        head: str. "paca" or "upernet"; or "fpn" or "mask_transformer", for which no weights were
            released.
        weights: str, Path or None. "ade20k" for the released file, which is downloaded once;
            "imagenet" for the backbone's released weights and fresh heads; `None` for random
            values; or the path of an official segmentation checkpoint or of a saved segmenter.
        num_classes: int. Number of classes. If it isn't that of the file, the parts of the head
            that depend on it start fresh.
        include_preprocessing: bool. Whether the model takes RGB in 0..255 and normalises it.
            Otherwise it takes normalised images, of any number of channels.
        input_tensor: KerasTensor. A `keras.Input` to build on.
        input_shape: Sequence of int. (height, width, channels), (None, None, 3) by default. Height
            and width are at least 32 and may be odd; `None` means any.
        name: str. Name of the model.
        clustering: str. "conv", "mlp" or "linear" for assignments computed from each stage's own
            map; "teacher" for those of a ConvMixer beside the backbone.
        clusters: int or Sequence of int. The backbone's clusters per stage. By default those of the
            file, or the official (200, 200, 200, 0), with a teacher 200 in each stage; with
            "imagenet" those of its file.
        cluster_every: int or Sequence of int. Per stage, the blocks that compute an assignment:
            `None` for the first, 1 for all, n for every n-th. A teacher computes one per stage.
        drop_path_rate: float. Rate at which the residual branches of the last block are dropped. By
            default 0.1, for Base with conv clustering and the PaCa head 0.5.
        attention_dropout: float. Rate of dropout on the attention weights.
        dropout: float. Rate of dropout after projections.
        remat: bool. Whether training keeps only the inputs of each block in memory and computes the
            block again in the backward pass: less memory, more time, the same gradients.
        recompute_activations: bool. Whether training computes attention weights and activations
            again in the backward pass, if that pays; see `keras_paca.ops.is_recomputed`.
        attention: str. "paca" for attention to clusters, "castling" for the linear angular
            attention of Castling-ViT in all stages, whose cost is linear in the number of patches,
            too. There are no clusters then, whatever `clusters` is. See
            `keras_paca.layers.LinearAngularAttention` for the arguments below, which are its own.
        auxiliary: bool. Whether castling adds masked softmax attention in training, whose cost
            grows with the square of the number of patches: in the first stage, an image of
            224 x 224 has 3136 and one of 800 x 1280 has 64,000. The attribute of this name can be
            set to `False` after training.
        threshold: float. Weights of that softmax above it are kept, in [0, 1].
        convolution: str. "tokens" for a convolution of castling's values along the patches, row
            after row, as in the official code; "grid" for one over rows and columns.
        local_kernel_size: int. Length of that convolution's filters, odd. With "grid", their side.
        auxiliary_weight: float. Weight of the auxiliary loss.
        ignore_class: int. Id of the pixels that have no class. Negative ids and ids of
            `num_classes` or more are ignored too if the masks come from a data set, with a warning
            if its first batch contains any. In arrays they raise an error, and so do ids that seem
            to count from 1.
        class_names: Sequence of str. The name of each class, which a saved model keeps. By default,
            those of the file if it has as many classes.
        evaluation_transform: dict. How large images are made for the model. By default, that of the
            file.
        weights_url: str. URL of a mirror of the released files. By default, that in the environment
            variable KERAS_PACA_WEIGHTS_URL, or else the address of the authors.
        dtype: str or keras.DTypePolicy. Dtype or policy of every layer.

    Returns:
        keras.Model. A `keras_paca.segmentation.Segmenter`. Its input is (batch, height, width,
        channels); its output is logits (batch, height, width, num_classes).

    Raises:
        ValueError: If an argument or the file doesn't fit, or if no such weights were released.
        FileNotFoundError: If there is no file at `weights`, or none could be downloaded.

    Source: Grainger et al., "PaCa-ViT: Learning Patch-to-Cluster Attention in Vision
    Transformers", CVPR 2023.

    Example:
    >>> from keras_paca import segmentation
    >>> segmenter = segmentation.PaCaTinySegmenter(weights=None, num_classes=3)
    >>> segmenter.compute_output_shape((1, 64, 96, 3))
    (1, 64, 96, 3)
    """

def RapidNetBSegmenter(
    head: str | keras_paca.segmentation.heads.base.SegmentationHead = 'fpn',
    weights: str | pathlib.Path | None = 'ade20k',
    num_classes: int = 150,
    include_preprocessing: bool = True,
    input_tensor: Any = None,
    input_shape: collections.abc.Sequence[int | None] | None = None,
    name: str = 'rapidnet_b_segmenter',
    *,
    drop_path_rate: float = 0.1,
    official_drop_path: bool = False,
    remat: bool = False,
    auxiliary_weight: float = 0.4,
    ignore_class: int = 255,
    ema: bool = False,
    class_names: collections.abc.Sequence[str] | None = None,
    evaluation_transform: collections.abc.Mapping[str, typing.Any] | None = None,
    weights_url: str | None = None,
    dtype: Any = None,
) -> Segmenter:
    """Build a segmenter on RapidNetB, with the weights released for ADE20K by default.

    Args:
        head: str. "fpn"; or "upernet", "paca" or "mask_transformer", for which no weights were
            released.
        weights: str, Path or None. "ade20k" for the released file, which is downloaded once;
            "imagenet" for the backbone's released weights and fresh heads; `None` for random
            values; or the path of an official segmentation checkpoint or of a saved segmenter.
        num_classes: int. Number of classes. If it isn't that of the file, the parts of the head
            that depend on it start fresh.
        include_preprocessing: bool. Whether the model takes RGB in 0..255 and normalises it.
            Otherwise it takes normalised images, of any number of channels.
        input_tensor: KerasTensor. A `keras.Input` to build on.
        input_shape: Sequence of int. (height, width, channels), (None, None, 3) by default. Height
            and width are at least 32 and may be odd; `None` means any.
        name: str. Name of the model.
        drop_path_rate: float. Rate at which the residual branches of the last block are dropped.
            Those of the others grow up to it linearly from 0.
        official_drop_path: bool. Whether the rates are those of the official code. There, only an
            MLDC block goes one step further, so that the last rate is about a fifth of
            `drop_path_rate`.
        remat: bool. Whether training keeps only the inputs of each block in memory and computes the
            block again in the backward pass: less memory, more time, the same gradients.
        auxiliary_weight: float. Weight of the auxiliary loss.
        ignore_class: int. Id of the pixels that have no class. Negative ids and ids of
            `num_classes` or more are ignored too if the masks come from a data set, with a warning
            if its first batch contains any. In arrays they raise an error, and so do ids that seem
            to count from 1.
        ema: bool. Whether to load the exponential moving average of the weights, which the official
            files of classifiers hold beside the weights.
        class_names: Sequence of str. The name of each class, which a saved model keeps. By default,
            those of the file if it has as many classes.
        evaluation_transform: dict. How large images are made for the model. By default, that of the
            file.
        weights_url: str. URL of a mirror of the released files. By default, that in the environment
            variable KERAS_PACA_WEIGHTS_URL, or else the address of the authors.
        dtype: str or keras.DTypePolicy. Dtype or policy of every layer.

    Returns:
        keras.Model. A `keras_paca.segmentation.Segmenter`. Its input is (batch, height, width,
        channels); its output is logits (batch, height, width, num_classes).

    Raises:
        ValueError: If an argument or the file doesn't fit, or if no such weights were released.
        FileNotFoundError: If there is no file at `weights`, or none could be downloaded.

    Source: Munir et al., "RapidNet: Multi-Level Dilated Convolution Based Mobile Backbone", WACV
    2025.

    Example:
    >>> from keras_paca import segmentation
    >>> segmenter = segmentation.RapidNetBSegmenter(weights=None, num_classes=3)
    >>> segmenter.compute_output_shape((1, 64, 96, 3))
    (1, 64, 96, 3)
    """

def RapidNetMSegmenter(
    head: str | keras_paca.segmentation.heads.base.SegmentationHead = 'fpn',
    weights: str | pathlib.Path | None = 'ade20k',
    num_classes: int = 150,
    include_preprocessing: bool = True,
    input_tensor: Any = None,
    input_shape: collections.abc.Sequence[int | None] | None = None,
    name: str = 'rapidnet_m_segmenter',
    *,
    drop_path_rate: float = 0.1,
    official_drop_path: bool = False,
    remat: bool = False,
    auxiliary_weight: float = 0.4,
    ignore_class: int = 255,
    ema: bool = False,
    class_names: collections.abc.Sequence[str] | None = None,
    evaluation_transform: collections.abc.Mapping[str, typing.Any] | None = None,
    weights_url: str | None = None,
    dtype: Any = None,
) -> Segmenter:
    """Build a segmenter on RapidNetM, with the weights released for ADE20K by default.

    Args:
        head: str. "fpn"; or "upernet", "paca" or "mask_transformer", for which no weights were
            released.
        weights: str, Path or None. "ade20k" for the released file, which is downloaded once;
            "imagenet" for the backbone's released weights and fresh heads; `None` for random
            values; or the path of an official segmentation checkpoint or of a saved segmenter.
        num_classes: int. Number of classes. If it isn't that of the file, the parts of the head
            that depend on it start fresh.
        include_preprocessing: bool. Whether the model takes RGB in 0..255 and normalises it.
            Otherwise it takes normalised images, of any number of channels.
        input_tensor: KerasTensor. A `keras.Input` to build on.
        input_shape: Sequence of int. (height, width, channels), (None, None, 3) by default. Height
            and width are at least 32 and may be odd; `None` means any.
        name: str. Name of the model.
        drop_path_rate: float. Rate at which the residual branches of the last block are dropped.
            Those of the others grow up to it linearly from 0.
        official_drop_path: bool. Whether the rates are those of the official code. There, only an
            MLDC block goes one step further, so that the last rate is about a fifth of
            `drop_path_rate`.
        remat: bool. Whether training keeps only the inputs of each block in memory and computes the
            block again in the backward pass: less memory, more time, the same gradients.
        auxiliary_weight: float. Weight of the auxiliary loss.
        ignore_class: int. Id of the pixels that have no class. Negative ids and ids of
            `num_classes` or more are ignored too if the masks come from a data set, with a warning
            if its first batch contains any. In arrays they raise an error, and so do ids that seem
            to count from 1.
        ema: bool. Whether to load the exponential moving average of the weights, which the official
            files of classifiers hold beside the weights.
        class_names: Sequence of str. The name of each class, which a saved model keeps. By default,
            those of the file if it has as many classes.
        evaluation_transform: dict. How large images are made for the model. By default, that of the
            file.
        weights_url: str. URL of a mirror of the released files. By default, that in the environment
            variable KERAS_PACA_WEIGHTS_URL, or else the address of the authors.
        dtype: str or keras.DTypePolicy. Dtype or policy of every layer.

    Returns:
        keras.Model. A `keras_paca.segmentation.Segmenter`. Its input is (batch, height, width,
        channels); its output is logits (batch, height, width, num_classes).

    Raises:
        ValueError: If an argument or the file doesn't fit, or if no such weights were released.
        FileNotFoundError: If there is no file at `weights`, or none could be downloaded.

    Source: Munir et al., "RapidNet: Multi-Level Dilated Convolution Based Mobile Backbone", WACV
    2025.

    Example:
    >>> from keras_paca import segmentation
    >>> segmenter = segmentation.RapidNetMSegmenter(weights=None, num_classes=3)
    >>> segmenter.compute_output_shape((1, 64, 96, 3))
    (1, 64, 96, 3)
    """

def ViTTMBaseSegmenter(
    head: str | keras_paca.segmentation.heads.base.SegmentationHead = 'mask_transformer',
    weights: str | pathlib.Path | None = None,
    num_classes: int = 150,
    include_preprocessing: bool = True,
    input_tensor: Any = None,
    input_shape: collections.abc.Sequence[int | None] | None = None,
    name: str = 'vittm_base_segmenter',
    *,
    memory_patch_size: int | None = None,
    process_patch_size: int | None = None,
    image_size: int | collections.abc.Sequence[int] | None = None,
    normalization: str | None = None,
    read_write_head: str = 'linear',
    latent_size_scale: int = 4,
    fusion: str = 'residual',
    memory_block: str | None = None,
    memory_mlp_ratio: float = 0.5,
    qkv_bias: bool = True,
    qk_norm: bool = False,
    layer_scale: float | None = None,
    drop_path_rate: float | None = None,
    read_write_drop_path_rate: float = 0.0,
    attention_dropout: float = 0.0,
    dropout: float = 0.0,
    position_dropout: float = 0.0,
    head_dropout: float = 0.0,
    remat: bool = False,
    recompute_activations: bool = True,
    auxiliary_weight: float = 0.4,
    ignore_class: int = 255,
    class_names: collections.abc.Sequence[str] | None = None,
    evaluation_transform: collections.abc.Mapping[str, typing.Any] | None = None,
    weights_url: str | None = None,
    dtype: Any = None,
) -> Segmenter:
    """Build a segmenter on ViTTMBase, of which nobody released weights.

    Args:
        head: str. "mask_transformer", as in the official code. Other heads need the levels P2 to P5,
            which a ViTTM doesn't have.
        weights: str, Path or None. `None` for random values; "imagenet" for the backbone's released weights,
            if there are any, and a fresh head; or the path of an official segmentation checkpoint
            or of a saved segmenter.
        num_classes: int. Number of classes. If it isn't that of the file, the parts of the head
            that depend on it start fresh.
        include_preprocessing: bool. Whether the model takes RGB in 0..255 and normalises it.
            Otherwise it takes normalised images, of any number of channels.
        input_tensor: KerasTensor. A `keras.Input` to build on.
        input_shape: Sequence of int. (height, width, channels), (None, None, 3) by default. Height
            and width are at least 32 and may be odd; `None` means any.
        name: str. Name of the model.
        memory_patch_size: int. Side in pixels of the patches of the memory. By default that of the
            file that is loaded, or 28.
        process_patch_size: int. Side in pixels of the patches of the process tokens. By default
            that of the file that is loaded, or 28.
        image_size: int or (int, int). Image size (height, width), both from 32, for which the
            position embeddings are learned; they are resized for images of other sizes. Those of a
            file are resized to it when they are loaded. By default that of the file, or else the
            largest multiple of both patch sizes up to 512: 504 for patches of 28, 512 for 16 and
            32.
        normalization: str. How images are normalized: "symmetric" for the range -1..1, which is the
            default and that of the official segmenters, or "imagenet" for the mean and the
            deviation of ImageNet.
        read_write_head: str. How tokens read and write: "linear" for linear attention,
            "cross_attention", "latent_attention", "latent_cross_attention", or "token_learner" for
            images of one size only.
        latent_size_scale: int. The channels of the heads' queries and keys, or the number of their
            latents, are `hidden_dim // latent_size_scale`. "cross_attention" and "token_learner"
            have none.
        fusion: str. What becomes of what was read or written: "residual" adds it to the tokens,
            "erase" replaces them, "add_erase" mixes both with a gate for each token, for images of
            one size only.
        memory_block: str. What the memory passes through after each block: `None` for nothing,
            "mlp" for a feed-forward network.
        memory_mlp_ratio: float. Width of that network's hidden layer, as a multiple of the
            channels.
        qkv_bias: bool. Whether the transformer blocks' projections to queries, keys and values have
            biases.
        qk_norm: bool. Whether layer normalization is applied to the queries and keys of each head
            of the transformer blocks.
        layer_scale: float. Initial value of learned scales on the transformer blocks' residual
            branches, or `None` for none, unless the file that is loaded has them.
        drop_path_rate: float. Rate at which the residual branches of the last block are dropped.
            Those of the others grow up to it linearly from 0. Small and Base have the paper's by
            default.
        read_write_drop_path_rate: float. Rate at which what was read or written is dropped, in all
            blocks.
        attention_dropout: float. Rate of dropout on the attention weights.
        dropout: float. Rate of dropout after the projections of the blocks.
        position_dropout: float. Rate of dropout after the position embeddings.
        head_dropout: float. Rate of dropout before the classifiers.
        remat: bool. Whether training keeps only the inputs of each transformer block in memory and
            computes the block again in the backward pass: less memory, more time, the same
            gradients.
        recompute_activations: bool. Whether training computes attention weights and activations
            again in the backward pass, if that pays; see `keras_paca.ops.is_recomputed`.
        auxiliary_weight: float. Weight of the auxiliary loss.
        ignore_class: int. Id of the pixels that have no class. Negative ids and ids of
            `num_classes` or more are ignored too if the masks come from a data set, with a warning
            if its first batch contains any. In arrays they raise an error, and so do ids that seem
            to count from 1.
        class_names: Sequence of str. The name of each class, which a saved model keeps. By default,
            those of the file if it has as many classes.
        evaluation_transform: dict. How large images are made for the model. By default, that of the
            file. Otherwise it is sliding windows of 504 or 512 pixels with a step of 480, as in
            the official configurations.
        weights_url: str. URL of a mirror of the released files. By default, that in the environment
            variable KERAS_PACA_WEIGHTS_URL, or else the address of the authors.
        dtype: str or keras.DTypePolicy. Dtype or policy of every layer.

    Returns:
        keras.Model. A `keras_paca.segmentation.Segmenter`. Its input is (batch, height, width,
        channels); its output is logits (batch, height, width, num_classes).

    Raises:
        ValueError: If an argument or the file doesn't fit, or if no such weights were released.
        FileNotFoundError: If there is no file at `weights`, or none could be downloaded.

    Source: Jajal et al., "Token Turing Machines are Efficient Vision Models", WACV 2025. Of the
    official code's options, two aren't available: `pre_norm`, the norm before the blocks of CLIP's
    checkpoints, and `patch_drop_rate`, because tokens without those that are dropped aren't a map.
    Nor are those that fail there: the head "dyna" (DynaMixer), memory blocks "conv", and process
    tokens that are latents or an average of the memory.

    Example:
    >>> from keras_paca import segmentation
    >>> segmenter = segmentation.ViTTMBaseSegmenter(weights=None, num_classes=3)
    >>> segmenter.compute_output_shape((1, 64, 96, 3))
    (1, 64, 96, 3)
    """

def ViTTMSmallSegmenter(
    head: str | keras_paca.segmentation.heads.base.SegmentationHead = 'mask_transformer',
    weights: str | pathlib.Path | None = None,
    num_classes: int = 150,
    include_preprocessing: bool = True,
    input_tensor: Any = None,
    input_shape: collections.abc.Sequence[int | None] | None = None,
    name: str = 'vittm_small_segmenter',
    *,
    memory_patch_size: int | None = None,
    process_patch_size: int | None = None,
    image_size: int | collections.abc.Sequence[int] | None = None,
    normalization: str | None = None,
    read_write_head: str = 'linear',
    latent_size_scale: int = 4,
    fusion: str = 'residual',
    memory_block: str | None = None,
    memory_mlp_ratio: float = 0.5,
    qkv_bias: bool = True,
    qk_norm: bool = False,
    layer_scale: float | None = None,
    drop_path_rate: float | None = None,
    read_write_drop_path_rate: float = 0.0,
    attention_dropout: float = 0.0,
    dropout: float = 0.0,
    position_dropout: float = 0.0,
    head_dropout: float = 0.0,
    remat: bool = False,
    recompute_activations: bool = True,
    auxiliary_weight: float = 0.4,
    ignore_class: int = 255,
    class_names: collections.abc.Sequence[str] | None = None,
    evaluation_transform: collections.abc.Mapping[str, typing.Any] | None = None,
    weights_url: str | None = None,
    dtype: Any = None,
) -> Segmenter:
    """Build a segmenter on ViTTMSmall, of which nobody released weights.

    Args:
        head: str. "mask_transformer", as in the official code. Other heads need the levels P2 to P5,
            which a ViTTM doesn't have.
        weights: str, Path or None. `None` for random values; "imagenet" for the backbone's released weights,
            if there are any, and a fresh head; or the path of an official segmentation checkpoint
            or of a saved segmenter.
        num_classes: int. Number of classes. If it isn't that of the file, the parts of the head
            that depend on it start fresh.
        include_preprocessing: bool. Whether the model takes RGB in 0..255 and normalises it.
            Otherwise it takes normalised images, of any number of channels.
        input_tensor: KerasTensor. A `keras.Input` to build on.
        input_shape: Sequence of int. (height, width, channels), (None, None, 3) by default. Height
            and width are at least 32 and may be odd; `None` means any.
        name: str. Name of the model.
        memory_patch_size: int. Side in pixels of the patches of the memory. By default that of the
            file that is loaded, or 28.
        process_patch_size: int. Side in pixels of the patches of the process tokens. By default
            that of the file that is loaded, or 28.
        image_size: int or (int, int). Image size (height, width), both from 32, for which the
            position embeddings are learned; they are resized for images of other sizes. Those of a
            file are resized to it when they are loaded. By default that of the file, or else the
            largest multiple of both patch sizes up to 512: 504 for patches of 28, 512 for 16 and
            32.
        normalization: str. How images are normalized: "symmetric" for the range -1..1, which is the
            default and that of the official segmenters, or "imagenet" for the mean and the
            deviation of ImageNet.
        read_write_head: str. How tokens read and write: "linear" for linear attention,
            "cross_attention", "latent_attention", "latent_cross_attention", or "token_learner" for
            images of one size only.
        latent_size_scale: int. The channels of the heads' queries and keys, or the number of their
            latents, are `hidden_dim // latent_size_scale`. "cross_attention" and "token_learner"
            have none.
        fusion: str. What becomes of what was read or written: "residual" adds it to the tokens,
            "erase" replaces them, "add_erase" mixes both with a gate for each token, for images of
            one size only.
        memory_block: str. What the memory passes through after each block: `None` for nothing,
            "mlp" for a feed-forward network.
        memory_mlp_ratio: float. Width of that network's hidden layer, as a multiple of the
            channels.
        qkv_bias: bool. Whether the transformer blocks' projections to queries, keys and values have
            biases.
        qk_norm: bool. Whether layer normalization is applied to the queries and keys of each head
            of the transformer blocks.
        layer_scale: float. Initial value of learned scales on the transformer blocks' residual
            branches, or `None` for none, unless the file that is loaded has them.
        drop_path_rate: float. Rate at which the residual branches of the last block are dropped.
            Those of the others grow up to it linearly from 0. Small and Base have the paper's by
            default.
        read_write_drop_path_rate: float. Rate at which what was read or written is dropped, in all
            blocks.
        attention_dropout: float. Rate of dropout on the attention weights.
        dropout: float. Rate of dropout after the projections of the blocks.
        position_dropout: float. Rate of dropout after the position embeddings.
        head_dropout: float. Rate of dropout before the classifiers.
        remat: bool. Whether training keeps only the inputs of each transformer block in memory and
            computes the block again in the backward pass: less memory, more time, the same
            gradients.
        recompute_activations: bool. Whether training computes attention weights and activations
            again in the backward pass, if that pays; see `keras_paca.ops.is_recomputed`.
        auxiliary_weight: float. Weight of the auxiliary loss.
        ignore_class: int. Id of the pixels that have no class. Negative ids and ids of
            `num_classes` or more are ignored too if the masks come from a data set, with a warning
            if its first batch contains any. In arrays they raise an error, and so do ids that seem
            to count from 1.
        class_names: Sequence of str. The name of each class, which a saved model keeps. By default,
            those of the file if it has as many classes.
        evaluation_transform: dict. How large images are made for the model. By default, that of the
            file. Otherwise it is sliding windows of 504 or 512 pixels with a step of 480, as in
            the official configurations.
        weights_url: str. URL of a mirror of the released files. By default, that in the environment
            variable KERAS_PACA_WEIGHTS_URL, or else the address of the authors.
        dtype: str or keras.DTypePolicy. Dtype or policy of every layer.

    Returns:
        keras.Model. A `keras_paca.segmentation.Segmenter`. Its input is (batch, height, width,
        channels); its output is logits (batch, height, width, num_classes).

    Raises:
        ValueError: If an argument or the file doesn't fit, or if no such weights were released.
        FileNotFoundError: If there is no file at `weights`, or none could be downloaded.

    Source: Jajal et al., "Token Turing Machines are Efficient Vision Models", WACV 2025. Of the
    official code's options, two aren't available: `pre_norm`, the norm before the blocks of CLIP's
    checkpoints, and `patch_drop_rate`, because tokens without those that are dropped aren't a map.
    Nor are those that fail there: the head "dyna" (DynaMixer), memory blocks "conv", and process
    tokens that are latents or an average of the memory.

    Example:
    >>> from keras_paca import segmentation
    >>> segmenter = segmentation.ViTTMSmallSegmenter(weights=None, num_classes=3)
    >>> segmenter.compute_output_shape((1, 64, 96, 3))
    (1, 64, 96, 3)
    """
