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
    head: str | keras_paca.segmentation.heads.SegmentationHead = 'paca',
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
    auxiliary_weight: float = 0.4,
    ignore_class: int = 255,
    class_names: collections.abc.Sequence[str] | None = None,
    evaluation_transform: collections.abc.Mapping[str, typing.Any] | None = None,
    weights_url: str | None = None,
    dtype: Any = None,
) -> Segmenter:
    """Build a segmenter on PaCaBase, with the weights released for ADE20K by default.

    Args:
        head: str. "paca", "upernet", or "fpn" (for which no weights were released).
        weights: str, Path or None. "ade20k" for the released file, which is downloaded once;
            "imagenet" for the backbone's released weights and fresh heads; `None` for random
            values; or the path of an official segmentation checkpoint or of a saved segmenter.
        num_classes: int. Number of classes. If it isn't that of the file, class and cluster logits
            start fresh.
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
    head: str | keras_paca.segmentation.heads.SegmentationHead = 'paca',
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
    auxiliary_weight: float = 0.4,
    ignore_class: int = 255,
    class_names: collections.abc.Sequence[str] | None = None,
    evaluation_transform: collections.abc.Mapping[str, typing.Any] | None = None,
    weights_url: str | None = None,
    dtype: Any = None,
) -> Segmenter:
    """Build a segmenter on PaCaSmall, with the weights released for ADE20K by default.

    Args:
        head: str. "paca", "upernet", or "fpn" (for which no weights were released).
        weights: str, Path or None. "ade20k" for the released file, which is downloaded once;
            "imagenet" for the backbone's released weights and fresh heads; `None` for random
            values; or the path of an official segmentation checkpoint or of a saved segmenter.
        num_classes: int. Number of classes. If it isn't that of the file, class and cluster logits
            start fresh.
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
    head: str | keras_paca.segmentation.heads.SegmentationHead = 'paca',
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
    auxiliary_weight: float = 0.4,
    ignore_class: int = 255,
    class_names: collections.abc.Sequence[str] | None = None,
    evaluation_transform: collections.abc.Mapping[str, typing.Any] | None = None,
    weights_url: str | None = None,
    dtype: Any = None,
) -> Segmenter:
    """Build a segmenter on PaCaTiny, with the weights released for ADE20K by default.

    Args:
        head: str. "paca", "upernet", or "fpn" (for which no weights were released).
        weights: str, Path or None. "ade20k" for the released file, which is downloaded once;
            "imagenet" for the backbone's released weights and fresh heads; `None` for random
            values; or the path of an official segmentation checkpoint or of a saved segmenter.
        num_classes: int. Number of classes. If it isn't that of the file, class and cluster logits
            start fresh.
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
