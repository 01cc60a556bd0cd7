"""Written by `python -m tests.stubs`; see there."""

import collections.abc
import pathlib
import typing
from typing import Any

import keras

import keras_paca

from keras_paca.detection.coco_files import COCODataset as COCODataset
from keras_paca.detection.coco_files import read_coco as read_coco
from keras_paca.detection.coco_metrics import COCOMetrics as COCOMetrics
from keras_paca.detection.coco_metrics import coco_metrics as coco_metrics
from keras_paca.detection.coco_metrics import evaluate_detections as evaluate_detections
from keras_paca.detection.evaluation import evaluate_coco as evaluate_coco
from keras_paca.detection.feature_pyramid import FeaturePyramid as FeaturePyramid
from keras_paca.detection.heads import AttentiveBoxHead as AttentiveBoxHead
from keras_paca.detection.heads import BoxHead as BoxHead
from keras_paca.detection.heads import MaskHead as MaskHead
from keras_paca.detection.mask_rcnn import MaskRCNN as MaskRCNN
from keras_paca.detection.paste import paste_masks as paste_masks
from keras_paca.detection.pictures import plot_detections as plot_detections
from keras_paca.detection.predict import detect as detect
from keras_paca.detection.proposals import RegionProposalNetwork as RegionProposalNetwork
from keras_paca.detection.roi_align import roi_align as roi_align
from keras_paca.labels import coco_classes as coco_classes

def PaCaBaseMaskRCNN(
    weights: str | pathlib.Path | None = 'coco',
    num_classes: int = 80,
    bounding_box_format: str = 'xyxy',
    include_preprocessing: bool = True,
    input_tensor: Any = None,
    input_shape: collections.abc.Sequence[int | None] | None = None,
    name: str = 'paca_base_mask_rcnn',
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
    max_detections: int = 100,
    score_threshold: float = 0.05,
    iou_threshold: float = 0.5,
    proposals: int = 1000,
    candidates: int = 1000,
    box_head: str = 'dense',
    seed: int | None = None,
    class_names: collections.abc.Sequence[str] | None = None,
    evaluation_transform: collections.abc.Mapping[str, typing.Any] | None = None,
    weights_url: str | None = None,
    dtype: Any = None,
) -> MaskRCNN:
    """Build a Mask R-CNN on PaCaBase, with the weights released for COCO by default.

    Args:
        weights: str, Path or None. "coco" for the released file, which is downloaded once;
            "imagenet" for the backbone's released weights and fresh heads; `None` for random
            values; or the path of an official detection checkpoint or of a saved detector.
        num_classes: int. Number of classes. If it isn't that of the file, the class, box and mask
            outputs start fresh.
        bounding_box_format: str. Format of the boxes in the targets and the outputs, as in
            `keras.utils.bounding_boxes`: "xyxy" (pixels), "yxyx", "xywh", "center_xywh",
            "rel_xyxy" and others.
        include_preprocessing: bool. Whether the model takes RGB in 0..255 and normalises it.
            Otherwise it takes normalised images, of any number of channels.
        input_tensor: KerasTensor. A `keras.Input` to build on.
        input_shape: Sequence of int. (height, width, channels), (None, None, 3) by default. Height
            and width are at least 32 and may be odd; `None` means any.
        name: str. Name of the model.
        clustering: str. "conv", "mlp" or "linear" for assignments computed from each stage's own
            map; "teacher" for those of a ConvMixer beside the backbone.
        clusters: int or Sequence of int. The backbone's clusters per stage. By default those of the
            file, or (100, 100, 100, 0), with a teacher 100 in each stage.
        cluster_every: int or Sequence of int. Per stage, the blocks that compute an assignment:
            `None` for the first, 1 for all, n for every n-th. A teacher computes one per stage.
        drop_path_rate: float. Rate at which the residual branches of the last block are dropped, by
            default 0.1.
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
        max_detections: int. Number of boxes per image in the output.
        score_threshold: float. A detection's probability must be above this, in [0, 1].
        iou_threshold: float. Intersection over union above which non-maximum suppression removes
            the less probable one of two boxes of the same class, in [0, 1].
        proposals: int. Number of proposals per image that the box head receives.
        candidates: int. Number of boxes per level before the proposals are selected. Training uses
            twice as many.
        box_head: str. "dense" for a `BoxHead` of two hidden layers, or "an" for an
            `AttentiveBoxHead`, which has four convolutions with attentive group normalization and
            one hidden layer. `channels` must be divisible by 32 then.
        seed: int. Seed of the random samples of boxes in training.
        class_names: Sequence of str. The name of each class, which a saved model keeps. By default,
            those of the file if it has as many classes.
        evaluation_transform: dict. How large images are made for the model. By default, that of the
            file.
        weights_url: str. URL of a mirror of the released files. By default, that in the environment
            variable KERAS_PACA_WEIGHTS_URL, or else the address of the authors.
        dtype: str or keras.DTypePolicy. Dtype or policy of every layer.

    Returns:
        keras.Model. A `keras_paca.detection.MaskRCNN`. Its input is (batch, height, width,
        channels).

    Raises:
        ValueError: If an argument or the file doesn't fit, or if no such weights were released.
        FileNotFoundError: If there is no file at `weights`, or none could be downloaded.

    Source: Grainger et al., "PaCa-ViT: Learning Patch-to-Cluster Attention in Vision
    Transformers", CVPR 2023.

    Example:
    >>> from keras_paca import detection
    >>> detector = detection.PaCaBaseMaskRCNN(weights=None, num_classes=3)
    >>> detector.compute_output_shape((1, 64, 96, 3))["boxes"]
    (1, 100, 4)
    """

def PaCaSmallMaskRCNN(
    weights: str | pathlib.Path | None = 'coco',
    num_classes: int = 80,
    bounding_box_format: str = 'xyxy',
    include_preprocessing: bool = True,
    input_tensor: Any = None,
    input_shape: collections.abc.Sequence[int | None] | None = None,
    name: str = 'paca_small_mask_rcnn',
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
    max_detections: int = 100,
    score_threshold: float = 0.05,
    iou_threshold: float = 0.5,
    proposals: int = 1000,
    candidates: int = 1000,
    box_head: str = 'dense',
    seed: int | None = None,
    class_names: collections.abc.Sequence[str] | None = None,
    evaluation_transform: collections.abc.Mapping[str, typing.Any] | None = None,
    weights_url: str | None = None,
    dtype: Any = None,
) -> MaskRCNN:
    """Build a Mask R-CNN on PaCaSmall, with the weights released for COCO by default.

    Args:
        weights: str, Path or None. "coco" for the released file, which is downloaded once;
            "imagenet" for the backbone's released weights and fresh heads; `None` for random
            values; or the path of an official detection checkpoint or of a saved detector.
        num_classes: int. Number of classes. If it isn't that of the file, the class, box and mask
            outputs start fresh.
        bounding_box_format: str. Format of the boxes in the targets and the outputs, as in
            `keras.utils.bounding_boxes`: "xyxy" (pixels), "yxyx", "xywh", "center_xywh",
            "rel_xyxy" and others.
        include_preprocessing: bool. Whether the model takes RGB in 0..255 and normalises it.
            Otherwise it takes normalised images, of any number of channels.
        input_tensor: KerasTensor. A `keras.Input` to build on.
        input_shape: Sequence of int. (height, width, channels), (None, None, 3) by default. Height
            and width are at least 32 and may be odd; `None` means any.
        name: str. Name of the model.
        clustering: str. "conv", "mlp" or "linear" for assignments computed from each stage's own
            map; "teacher" for those of a ConvMixer beside the backbone.
        clusters: int or Sequence of int. The backbone's clusters per stage. By default those of the
            file, or (100, 100, 100, 0), with a teacher 100 in each stage.
        cluster_every: int or Sequence of int. Per stage, the blocks that compute an assignment:
            `None` for the first, 1 for all, n for every n-th. A teacher computes one per stage.
        drop_path_rate: float. Rate at which the residual branches of the last block are dropped, by
            default 0.1.
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
        max_detections: int. Number of boxes per image in the output.
        score_threshold: float. A detection's probability must be above this, in [0, 1].
        iou_threshold: float. Intersection over union above which non-maximum suppression removes
            the less probable one of two boxes of the same class, in [0, 1].
        proposals: int. Number of proposals per image that the box head receives.
        candidates: int. Number of boxes per level before the proposals are selected. Training uses
            twice as many.
        box_head: str. "dense" for a `BoxHead` of two hidden layers, or "an" for an
            `AttentiveBoxHead`, which has four convolutions with attentive group normalization and
            one hidden layer. `channels` must be divisible by 32 then.
        seed: int. Seed of the random samples of boxes in training.
        class_names: Sequence of str. The name of each class, which a saved model keeps. By default,
            those of the file if it has as many classes.
        evaluation_transform: dict. How large images are made for the model. By default, that of the
            file.
        weights_url: str. URL of a mirror of the released files. By default, that in the environment
            variable KERAS_PACA_WEIGHTS_URL, or else the address of the authors.
        dtype: str or keras.DTypePolicy. Dtype or policy of every layer.

    Returns:
        keras.Model. A `keras_paca.detection.MaskRCNN`. Its input is (batch, height, width,
        channels).

    Raises:
        ValueError: If an argument or the file doesn't fit, or if no such weights were released.
        FileNotFoundError: If there is no file at `weights`, or none could be downloaded.

    Source: Grainger et al., "PaCa-ViT: Learning Patch-to-Cluster Attention in Vision
    Transformers", CVPR 2023.

    Example:
    >>> from keras_paca import detection
    >>> detector = detection.PaCaSmallMaskRCNN(weights=None, num_classes=3)
    >>> detector.compute_output_shape((1, 64, 96, 3))["boxes"]
    (1, 100, 4)
    """

def PaCaTinyMaskRCNN(
    weights: str | pathlib.Path | None = 'coco',
    num_classes: int = 80,
    bounding_box_format: str = 'xyxy',
    include_preprocessing: bool = True,
    input_tensor: Any = None,
    input_shape: collections.abc.Sequence[int | None] | None = None,
    name: str = 'paca_tiny_mask_rcnn',
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
    max_detections: int = 100,
    score_threshold: float = 0.05,
    iou_threshold: float = 0.5,
    proposals: int = 1000,
    candidates: int = 1000,
    box_head: str = 'dense',
    seed: int | None = None,
    class_names: collections.abc.Sequence[str] | None = None,
    evaluation_transform: collections.abc.Mapping[str, typing.Any] | None = None,
    weights_url: str | None = None,
    dtype: Any = None,
) -> MaskRCNN:
    """Build a Mask R-CNN on PaCaTiny, with the weights released for COCO by default.

    Args:
        weights: str, Path or None. "coco" for the released file, which is downloaded once;
            "imagenet" for the backbone's released weights and fresh heads; `None` for random
            values; or the path of an official detection checkpoint or of a saved detector.
        num_classes: int. Number of classes. If it isn't that of the file, the class, box and mask
            outputs start fresh.
        bounding_box_format: str. Format of the boxes in the targets and the outputs, as in
            `keras.utils.bounding_boxes`: "xyxy" (pixels), "yxyx", "xywh", "center_xywh",
            "rel_xyxy" and others.
        include_preprocessing: bool. Whether the model takes RGB in 0..255 and normalises it.
            Otherwise it takes normalised images, of any number of channels.
        input_tensor: KerasTensor. A `keras.Input` to build on.
        input_shape: Sequence of int. (height, width, channels), (None, None, 3) by default. Height
            and width are at least 32 and may be odd; `None` means any.
        name: str. Name of the model.
        clustering: str. "conv", "mlp" or "linear" for assignments computed from each stage's own
            map; "teacher" for those of a ConvMixer beside the backbone.
        clusters: int or Sequence of int. The backbone's clusters per stage. By default those of the
            file, or (100, 100, 100, 0), with a teacher 100 in each stage.
        cluster_every: int or Sequence of int. Per stage, the blocks that compute an assignment:
            `None` for the first, 1 for all, n for every n-th. A teacher computes one per stage.
        drop_path_rate: float. Rate at which the residual branches of the last block are dropped, by
            default 0.1.
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
        max_detections: int. Number of boxes per image in the output.
        score_threshold: float. A detection's probability must be above this, in [0, 1].
        iou_threshold: float. Intersection over union above which non-maximum suppression removes
            the less probable one of two boxes of the same class, in [0, 1].
        proposals: int. Number of proposals per image that the box head receives.
        candidates: int. Number of boxes per level before the proposals are selected. Training uses
            twice as many.
        box_head: str. "dense" for a `BoxHead` of two hidden layers, or "an" for an
            `AttentiveBoxHead`, which has four convolutions with attentive group normalization and
            one hidden layer. `channels` must be divisible by 32 then.
        seed: int. Seed of the random samples of boxes in training.
        class_names: Sequence of str. The name of each class, which a saved model keeps. By default,
            those of the file if it has as many classes.
        evaluation_transform: dict. How large images are made for the model. By default, that of the
            file.
        weights_url: str. URL of a mirror of the released files. By default, that in the environment
            variable KERAS_PACA_WEIGHTS_URL, or else the address of the authors.
        dtype: str or keras.DTypePolicy. Dtype or policy of every layer.

    Returns:
        keras.Model. A `keras_paca.detection.MaskRCNN`. Its input is (batch, height, width,
        channels).

    Raises:
        ValueError: If an argument or the file doesn't fit, or if no such weights were released.
        FileNotFoundError: If there is no file at `weights`, or none could be downloaded.

    Source: Grainger et al., "PaCa-ViT: Learning Patch-to-Cluster Attention in Vision
    Transformers", CVPR 2023.

    Example:
    >>> from keras_paca import detection
    >>> detector = detection.PaCaTinyMaskRCNN(weights=None, num_classes=3)
    >>> detector.compute_output_shape((1, 64, 96, 3))["boxes"]
    (1, 100, 4)
    """

def RapidNetBMaskRCNN(
    weights: str | pathlib.Path | None = 'coco',
    num_classes: int = 80,
    bounding_box_format: str = 'xyxy',
    include_preprocessing: bool = True,
    input_tensor: Any = None,
    input_shape: collections.abc.Sequence[int | None] | None = None,
    name: str = 'rapidnet_b_mask_rcnn',
    *,
    drop_path_rate: float = 0.1,
    official_drop_path: bool = False,
    remat: bool = False,
    max_detections: int = 100,
    score_threshold: float = 0.05,
    iou_threshold: float = 0.5,
    proposals: int = 1000,
    candidates: int = 1000,
    box_head: str = 'dense',
    seed: int | None = None,
    ema: bool = False,
    class_names: collections.abc.Sequence[str] | None = None,
    evaluation_transform: collections.abc.Mapping[str, typing.Any] | None = None,
    weights_url: str | None = None,
    dtype: Any = None,
) -> MaskRCNN:
    """Build a Mask R-CNN on RapidNetB, with the weights released for COCO by default.

    Args:
        weights: str, Path or None. "coco" for the released file, which is downloaded once;
            "imagenet" for the backbone's released weights and fresh heads; `None` for random
            values; or the path of an official detection checkpoint or of a saved detector.
        num_classes: int. Number of classes. If it isn't that of the file, the class, box and mask
            outputs start fresh.
        bounding_box_format: str. Format of the boxes in the targets and the outputs, as in
            `keras.utils.bounding_boxes`: "xyxy" (pixels), "yxyx", "xywh", "center_xywh",
            "rel_xyxy" and others.
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
        max_detections: int. Number of boxes per image in the output.
        score_threshold: float. A detection's probability must be above this, in [0, 1].
        iou_threshold: float. Intersection over union above which non-maximum suppression removes
            the less probable one of two boxes of the same class, in [0, 1].
        proposals: int. Number of proposals per image that the box head receives.
        candidates: int. Number of boxes per level before the proposals are selected. Training uses
            twice as many.
        box_head: str. "dense" for a `BoxHead` of two hidden layers, or "an" for an
            `AttentiveBoxHead`, which has four convolutions with attentive group normalization and
            one hidden layer. `channels` must be divisible by 32 then.
        seed: int. Seed of the random samples of boxes in training.
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
        keras.Model. A `keras_paca.detection.MaskRCNN`. Its input is (batch, height, width,
        channels).

    Raises:
        ValueError: If an argument or the file doesn't fit, or if no such weights were released.
        FileNotFoundError: If there is no file at `weights`, or none could be downloaded.

    Source: Munir et al., "RapidNet: Multi-Level Dilated Convolution Based Mobile Backbone", WACV
    2025.

    Example:
    >>> from keras_paca import detection
    >>> detector = detection.RapidNetBMaskRCNN(weights=None, num_classes=3)
    >>> detector.compute_output_shape((1, 64, 96, 3))["boxes"]
    (1, 100, 4)
    """

def RapidNetMMaskRCNN(
    weights: str | pathlib.Path | None = 'coco',
    num_classes: int = 80,
    bounding_box_format: str = 'xyxy',
    include_preprocessing: bool = True,
    input_tensor: Any = None,
    input_shape: collections.abc.Sequence[int | None] | None = None,
    name: str = 'rapidnet_m_mask_rcnn',
    *,
    drop_path_rate: float = 0.1,
    official_drop_path: bool = False,
    remat: bool = False,
    max_detections: int = 100,
    score_threshold: float = 0.05,
    iou_threshold: float = 0.5,
    proposals: int = 1000,
    candidates: int = 1000,
    box_head: str = 'dense',
    seed: int | None = None,
    ema: bool = False,
    class_names: collections.abc.Sequence[str] | None = None,
    evaluation_transform: collections.abc.Mapping[str, typing.Any] | None = None,
    weights_url: str | None = None,
    dtype: Any = None,
) -> MaskRCNN:
    """Build a Mask R-CNN on RapidNetM, with the weights released for COCO by default.

    Args:
        weights: str, Path or None. "coco" for the released file, which is downloaded once;
            "imagenet" for the backbone's released weights and fresh heads; `None` for random
            values; or the path of an official detection checkpoint or of a saved detector.
        num_classes: int. Number of classes. If it isn't that of the file, the class, box and mask
            outputs start fresh.
        bounding_box_format: str. Format of the boxes in the targets and the outputs, as in
            `keras.utils.bounding_boxes`: "xyxy" (pixels), "yxyx", "xywh", "center_xywh",
            "rel_xyxy" and others.
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
        max_detections: int. Number of boxes per image in the output.
        score_threshold: float. A detection's probability must be above this, in [0, 1].
        iou_threshold: float. Intersection over union above which non-maximum suppression removes
            the less probable one of two boxes of the same class, in [0, 1].
        proposals: int. Number of proposals per image that the box head receives.
        candidates: int. Number of boxes per level before the proposals are selected. Training uses
            twice as many.
        box_head: str. "dense" for a `BoxHead` of two hidden layers, or "an" for an
            `AttentiveBoxHead`, which has four convolutions with attentive group normalization and
            one hidden layer. `channels` must be divisible by 32 then.
        seed: int. Seed of the random samples of boxes in training.
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
        keras.Model. A `keras_paca.detection.MaskRCNN`. Its input is (batch, height, width,
        channels).

    Raises:
        ValueError: If an argument or the file doesn't fit, or if no such weights were released.
        FileNotFoundError: If there is no file at `weights`, or none could be downloaded.

    Source: Munir et al., "RapidNet: Multi-Level Dilated Convolution Based Mobile Backbone", WACV
    2025.

    Example:
    >>> from keras_paca import detection
    >>> detector = detection.RapidNetMMaskRCNN(weights=None, num_classes=3)
    >>> detector.compute_output_shape((1, 64, 96, 3))["boxes"]
    (1, 100, 4)
    """
