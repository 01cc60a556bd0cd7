"""Written by `python -m tests.stubs`; see there."""

import collections.abc
import pathlib
import typing
from typing import Any

import keras

import keras_paca

from keras_paca.backbones.base import Backbone as Backbone
from keras_paca.backbones.paca_vit import PaCaViT as PaCaViT
from keras_paca.backbones.rapidnet import RapidNet as RapidNet
from keras_paca.backbones.variants import variant as variant
from keras_paca.backbones.vittm import ViTTM as ViTTM
from keras_paca.backbones.castling_vit import CastlingViT as CastlingViT
from keras_paca.backbones.resnet_an import ResNetAN as ResNetAN
from keras_paca.backbones.densenet_an import DenseNetAN as DenseNetAN
from keras_paca.backbones.mobilenet_an import MobileNetAN as MobileNetAN

def PaCaBase(
    include_top: bool = True,
    include_preprocessing: bool = True,
    weights: str | pathlib.Path | None = 'imagenet',
    input_tensor: Any = None,
    input_shape: collections.abc.Sequence[int | None] | None = None,
    pooling: str | None = None,
    classes: int = 1000,
    classifier_activation: str | collections.abc.Callable | None = 'softmax',
    name: str = 'paca_base',
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
    class_names: collections.abc.Sequence[str] | None = None,
    evaluation_transform: collections.abc.Mapping[str, typing.Any] | None = None,
    weights_url: str | None = None,
    dtype: Any = None,
) -> keras.Model:
    """Build PaCaBase, with the released ImageNet weights by default.

    The size: `hidden_dims=(96, 192, 384, 512)`, `num_heads=(2, 4, 8, 16)`, `drop_path_rate=0.1`,
    `depths=(3, 3, 18, 3)`; with `clustering='teacher'`: `depths=(3, 3, 16, 3)`, `teacher_depths=(2,
    2, 4, 2)`; with `clustering='conv'`: `drop_path_rate=0.5`.

    Args:
        include_top: bool. Whether the model ends in a classifier.
        include_preprocessing: bool. Whether the model takes RGB in 0..255 and normalises it.
            Otherwise it takes normalised images, of any number of channels.
        weights: str, Path or None. "imagenet" for the released file, which is downloaded once;
            `None` for random values; or the path of an official `.pth`, a `.safetensors`,
            `.weights.h5` or `.keras` file. Of a detection or segmentation checkpoint, only the
            backbone is loaded.
            With `attention="castling"`, for which nobody released weights, it may be the path of a
            PaCa-ViT file. The attention's filters, which it lacks, keep their initial values.
        input_tensor: KerasTensor. A `keras.Input` to build on. With another symbolic tensor, the
            result is a plain `keras.Model` over the whole graph.
        input_shape: Sequence of int. (height, width, channels), (None, None, 3) by default. Height
            and width are at least 32 and may be odd; `None` means any.
        pooling: str. Without the top: `None` for the map (batch, height, width, channels), "avg" or
            "max" for a vector.
        classes: int. Number of classes of the top. If it isn't that of the file, the head keeps its
            initial values.
        classifier_activation: str or Callable. Activation of the top, or `None` for logits.
        name: str. Name of the model.
        clustering: str. "conv", "mlp" or "linear" for assignments computed from each stage's own
            map; "teacher" for those of a ConvMixer beside the backbone.
        clusters: int or Sequence of int. Clusters per stage; 0 is plain attention. By default those
            of the file that is loaded, or (100, 100, 100, 0), with a teacher 100 in each stage. The
            last projections of the clusterings keep their initial values if the file has others.
        cluster_every: int or Sequence of int. Per stage, the blocks that compute an assignment:
            `None` for the first, 1 for all, n for every n-th. A teacher computes one per stage.
        drop_path_rate: float. Rate at which the residual branches of the last block are dropped.
            Those of the others grow up to it linearly from 0. Each size has the paper's by default.
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
        class_names: Sequence of str. The name of each class, which a saved model keeps. By default,
            those of the file if it has as many classes.
        evaluation_transform: dict. How images are prepared for the model, as keyword arguments of
            `keras_paca.evaluation_transform`. By default, that of the file.
        weights_url: str. URL of a mirror of the released files. By default, that in the environment
            variable KERAS_PACA_WEIGHTS_URL, or else the address of the authors.
        dtype: str or keras.DTypePolicy. Dtype or policy of every layer.

    Returns:
        keras.Model. A `keras_paca.PaCaViT`. Its input is (batch, height, width, channels). Its
        output is (batch, classes), or without the top the last map or a vector.

    Raises:
        ValueError: If an argument or the file doesn't fit, or if no such weights were released.
        FileNotFoundError: If there is no file at `weights`, or none could be downloaded.

    Source: Grainger et al., "PaCa-ViT: Learning Patch-to-Cluster Attention in Vision
    Transformers", CVPR 2023.

    Example:
    >>> import keras_paca
    >>> model = keras_paca.PaCaBase(weights=None, classes=10)
    >>> model.compute_output_shape((1, 64, 96, 3))
    (1, 10)
    """

def PaCaSmall(
    include_top: bool = True,
    include_preprocessing: bool = True,
    weights: str | pathlib.Path | None = 'imagenet',
    input_tensor: Any = None,
    input_shape: collections.abc.Sequence[int | None] | None = None,
    pooling: str | None = None,
    classes: int = 1000,
    classifier_activation: str | collections.abc.Callable | None = 'softmax',
    name: str = 'paca_small',
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
    class_names: collections.abc.Sequence[str] | None = None,
    evaluation_transform: collections.abc.Mapping[str, typing.Any] | None = None,
    weights_url: str | None = None,
    dtype: Any = None,
) -> keras.Model:
    """Build PaCaSmall, with the released ImageNet weights by default.

    The size: `hidden_dims=(96, 192, 320, 384)`, `num_heads=(2, 4, 8, 16)`, `drop_path_rate=0.1`,
    `depths=(3, 3, 10, 3)`; with `clustering='teacher'`: `depths=(3, 3, 7, 3)`.

    Args:
        include_top: bool. Whether the model ends in a classifier.
        include_preprocessing: bool. Whether the model takes RGB in 0..255 and normalises it.
            Otherwise it takes normalised images, of any number of channels.
        weights: str, Path or None. "imagenet" for the released file, which is downloaded once;
            `None` for random values; or the path of an official `.pth`, a `.safetensors`,
            `.weights.h5` or `.keras` file. Of a detection or segmentation checkpoint, only the
            backbone is loaded.
            With `attention="castling"`, for which nobody released weights, it may be the path of a
            PaCa-ViT file. The attention's filters, which it lacks, keep their initial values.
        input_tensor: KerasTensor. A `keras.Input` to build on. With another symbolic tensor, the
            result is a plain `keras.Model` over the whole graph.
        input_shape: Sequence of int. (height, width, channels), (None, None, 3) by default. Height
            and width are at least 32 and may be odd; `None` means any.
        pooling: str. Without the top: `None` for the map (batch, height, width, channels), "avg" or
            "max" for a vector.
        classes: int. Number of classes of the top. If it isn't that of the file, the head keeps its
            initial values.
        classifier_activation: str or Callable. Activation of the top, or `None` for logits.
        name: str. Name of the model.
        clustering: str. "conv", "mlp" or "linear" for assignments computed from each stage's own
            map; "teacher" for those of a ConvMixer beside the backbone.
        clusters: int or Sequence of int. Clusters per stage; 0 is plain attention. By default those
            of the file that is loaded, or (100, 100, 100, 0), with a teacher 100 in each stage. The
            last projections of the clusterings keep their initial values if the file has others.
        cluster_every: int or Sequence of int. Per stage, the blocks that compute an assignment:
            `None` for the first, 1 for all, n for every n-th. A teacher computes one per stage.
        drop_path_rate: float. Rate at which the residual branches of the last block are dropped.
            Those of the others grow up to it linearly from 0. Each size has the paper's by default.
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
        class_names: Sequence of str. The name of each class, which a saved model keeps. By default,
            those of the file if it has as many classes.
        evaluation_transform: dict. How images are prepared for the model, as keyword arguments of
            `keras_paca.evaluation_transform`. By default, that of the file.
        weights_url: str. URL of a mirror of the released files. By default, that in the environment
            variable KERAS_PACA_WEIGHTS_URL, or else the address of the authors.
        dtype: str or keras.DTypePolicy. Dtype or policy of every layer.

    Returns:
        keras.Model. A `keras_paca.PaCaViT`. Its input is (batch, height, width, channels). Its
        output is (batch, classes), or without the top the last map or a vector.

    Raises:
        ValueError: If an argument or the file doesn't fit, or if no such weights were released.
        FileNotFoundError: If there is no file at `weights`, or none could be downloaded.

    Source: Grainger et al., "PaCa-ViT: Learning Patch-to-Cluster Attention in Vision
    Transformers", CVPR 2023.

    Example:
    >>> import keras_paca
    >>> model = keras_paca.PaCaSmall(weights=None, classes=10)
    >>> model.compute_output_shape((1, 64, 96, 3))
    (1, 10)
    """

def PaCaTiny(
    include_top: bool = True,
    include_preprocessing: bool = True,
    weights: str | pathlib.Path | None = 'imagenet',
    input_tensor: Any = None,
    input_shape: collections.abc.Sequence[int | None] | None = None,
    pooling: str | None = None,
    classes: int = 1000,
    classifier_activation: str | collections.abc.Callable | None = 'softmax',
    name: str = 'paca_tiny',
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
    class_names: collections.abc.Sequence[str] | None = None,
    evaluation_transform: collections.abc.Mapping[str, typing.Any] | None = None,
    weights_url: str | None = None,
    dtype: Any = None,
) -> keras.Model:
    """Build PaCaTiny, with the released ImageNet weights by default.

    The size: `hidden_dims=(96, 192, 320, 384)`, `num_heads=(2, 4, 8, 16)`, `drop_path_rate=0.1`,
    `depths=(2, 2, 4, 2)`; with `clustering='teacher'`: `depths=(2, 2, 2, 2)`.

    Args:
        include_top: bool. Whether the model ends in a classifier.
        include_preprocessing: bool. Whether the model takes RGB in 0..255 and normalises it.
            Otherwise it takes normalised images, of any number of channels.
        weights: str, Path or None. "imagenet" for the released file, which is downloaded once;
            `None` for random values; or the path of an official `.pth`, a `.safetensors`,
            `.weights.h5` or `.keras` file. Of a detection or segmentation checkpoint, only the
            backbone is loaded.
            With `attention="castling"`, for which nobody released weights, it may be the path of a
            PaCa-ViT file. The attention's filters, which it lacks, keep their initial values.
        input_tensor: KerasTensor. A `keras.Input` to build on. With another symbolic tensor, the
            result is a plain `keras.Model` over the whole graph.
        input_shape: Sequence of int. (height, width, channels), (None, None, 3) by default. Height
            and width are at least 32 and may be odd; `None` means any.
        pooling: str. Without the top: `None` for the map (batch, height, width, channels), "avg" or
            "max" for a vector.
        classes: int. Number of classes of the top. If it isn't that of the file, the head keeps its
            initial values.
        classifier_activation: str or Callable. Activation of the top, or `None` for logits.
        name: str. Name of the model.
        clustering: str. "conv", "mlp" or "linear" for assignments computed from each stage's own
            map; "teacher" for those of a ConvMixer beside the backbone.
        clusters: int or Sequence of int. Clusters per stage; 0 is plain attention. By default those
            of the file that is loaded, or (100, 100, 100, 0), with a teacher 100 in each stage. The
            last projections of the clusterings keep their initial values if the file has others.
        cluster_every: int or Sequence of int. Per stage, the blocks that compute an assignment:
            `None` for the first, 1 for all, n for every n-th. A teacher computes one per stage.
        drop_path_rate: float. Rate at which the residual branches of the last block are dropped.
            Those of the others grow up to it linearly from 0. Each size has the paper's by default.
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
        class_names: Sequence of str. The name of each class, which a saved model keeps. By default,
            those of the file if it has as many classes.
        evaluation_transform: dict. How images are prepared for the model, as keyword arguments of
            `keras_paca.evaluation_transform`. By default, that of the file.
        weights_url: str. URL of a mirror of the released files. By default, that in the environment
            variable KERAS_PACA_WEIGHTS_URL, or else the address of the authors.
        dtype: str or keras.DTypePolicy. Dtype or policy of every layer.

    Returns:
        keras.Model. A `keras_paca.PaCaViT`. Its input is (batch, height, width, channels). Its
        output is (batch, classes), or without the top the last map or a vector.

    Raises:
        ValueError: If an argument or the file doesn't fit, or if no such weights were released.
        FileNotFoundError: If there is no file at `weights`, or none could be downloaded.

    Source: Grainger et al., "PaCa-ViT: Learning Patch-to-Cluster Attention in Vision
    Transformers", CVPR 2023.

    Example:
    >>> import keras_paca
    >>> model = keras_paca.PaCaTiny(weights=None, classes=10)
    >>> model.compute_output_shape((1, 64, 96, 3))
    (1, 10)
    """

def RapidNetB(
    include_top: bool = True,
    include_preprocessing: bool = True,
    weights: str | pathlib.Path | None = 'imagenet',
    input_tensor: Any = None,
    input_shape: collections.abc.Sequence[int | None] | None = None,
    pooling: str | None = None,
    classes: int = 1000,
    classifier_activation: str | collections.abc.Callable | None = 'softmax',
    name: str = 'rapidnet_b',
    *,
    distillation: bool = True,
    drop_path_rate: float = 0.1,
    official_drop_path: bool = False,
    dropout: float = 0.0,
    remat: bool = False,
    ema: bool = False,
    class_names: collections.abc.Sequence[str] | None = None,
    evaluation_transform: collections.abc.Mapping[str, typing.Any] | None = None,
    weights_url: str | None = None,
    dtype: Any = None,
) -> keras.Model:
    """Build RapidNetB, with the released ImageNet weights by default.

    The size: `hidden_dims=(64, 128, 224, 416)`, `depths=((3, 0), (3, 0), (9, 3), (3, 3))`,
    `embedding_dim=768`.

    Args:
        include_top: bool. Whether the model ends in a classifier.
        include_preprocessing: bool. Whether the model takes RGB in 0..255 and normalises it.
            Otherwise it takes normalised images, of any number of channels.
        weights: str, Path or None. "imagenet" for the released file, which is downloaded once;
            `None` for random values; or the path of an official `.pth`, a `.safetensors`,
            `.weights.h5` or `.keras` file. Of a detection or segmentation checkpoint, only the
            backbone is loaded.
        input_tensor: KerasTensor. A `keras.Input` to build on. With another symbolic tensor, the
            result is a plain `keras.Model` over the whole graph.
        input_shape: Sequence of int. (height, width, channels), (None, None, 3) by default. Height
            and width are at least 32 and may be odd; `None` means any.
        pooling: str. Without the top: `None` for the map (batch, height, width, channels), "avg" or
            "max" for a vector.
        classes: int. Number of classes of the top. If it isn't that of the file, the head keeps its
            initial values.
        classifier_activation: str or Callable. Activation of the top, or `None` for logits.
        name: str. Name of the model.
        distillation: bool. Whether there is a second classifier. With `False`, that of a file isn't
            loaded.
        drop_path_rate: float. Rate at which the residual branches of the last block are dropped.
            Those of the others grow up to it linearly from 0.
        official_drop_path: bool. Whether the rates are those of the official code. There, only an
            MLDC block goes one step further, so that the last rate is about a fifth of
            `drop_path_rate`.
        dropout: float. Rate of dropout before the classifiers.
        remat: bool. Whether training keeps only the inputs of each block in memory and computes the
            block again in the backward pass: less memory, more time, the same gradients.
        ema: bool. Whether to load the exponential moving average of the weights, which the official
            files of classifiers hold beside the weights.
        class_names: Sequence of str. The name of each class, which a saved model keeps. By default,
            those of the file if it has as many classes.
        evaluation_transform: dict. How images are prepared for the model, as keyword arguments of
            `keras_paca.evaluation_transform`. By default, that of the file.
        weights_url: str. URL of a mirror of the released files. By default, that in the environment
            variable KERAS_PACA_WEIGHTS_URL, or else the address of the authors.
        dtype: str or keras.DTypePolicy. Dtype or policy of every layer.

    Returns:
        keras.Model. A `keras_paca.RapidNet`. Its input is (batch, height, width, channels). Its
        output is (batch, classes), or without the top the last map or a vector.

    Raises:
        ValueError: If an argument or the file doesn't fit, or if no such weights were released.
        FileNotFoundError: If there is no file at `weights`, or none could be downloaded.

    Source: Munir et al., "RapidNet: Multi-Level Dilated Convolution Based Mobile Backbone", WACV
    2025.

    Example:
    >>> import keras_paca
    >>> model = keras_paca.RapidNetB(weights=None, classes=10)
    >>> model.compute_output_shape((1, 64, 96, 3))
    (1, 10)
    """

def RapidNetM(
    include_top: bool = True,
    include_preprocessing: bool = True,
    weights: str | pathlib.Path | None = 'imagenet',
    input_tensor: Any = None,
    input_shape: collections.abc.Sequence[int | None] | None = None,
    pooling: str | None = None,
    classes: int = 1000,
    classifier_activation: str | collections.abc.Callable | None = 'softmax',
    name: str = 'rapidnet_m',
    *,
    distillation: bool = True,
    drop_path_rate: float = 0.1,
    official_drop_path: bool = False,
    dropout: float = 0.0,
    remat: bool = False,
    ema: bool = False,
    class_names: collections.abc.Sequence[str] | None = None,
    evaluation_transform: collections.abc.Mapping[str, typing.Any] | None = None,
    weights_url: str | None = None,
    dtype: Any = None,
) -> keras.Model:
    """Build RapidNetM, with the released ImageNet weights by default.

    The size: `hidden_dims=(32, 64, 160, 320)`, `depths=((3, 0), (3, 0), (9, 3), (3, 3))`.

    Args:
        include_top: bool. Whether the model ends in a classifier.
        include_preprocessing: bool. Whether the model takes RGB in 0..255 and normalises it.
            Otherwise it takes normalised images, of any number of channels.
        weights: str, Path or None. "imagenet" for the released file, which is downloaded once;
            `None` for random values; or the path of an official `.pth`, a `.safetensors`,
            `.weights.h5` or `.keras` file. Of a detection or segmentation checkpoint, only the
            backbone is loaded.
        input_tensor: KerasTensor. A `keras.Input` to build on. With another symbolic tensor, the
            result is a plain `keras.Model` over the whole graph.
        input_shape: Sequence of int. (height, width, channels), (None, None, 3) by default. Height
            and width are at least 32 and may be odd; `None` means any.
        pooling: str. Without the top: `None` for the map (batch, height, width, channels), "avg" or
            "max" for a vector.
        classes: int. Number of classes of the top. If it isn't that of the file, the head keeps its
            initial values.
        classifier_activation: str or Callable. Activation of the top, or `None` for logits.
        name: str. Name of the model.
        distillation: bool. Whether there is a second classifier. With `False`, that of a file isn't
            loaded.
        drop_path_rate: float. Rate at which the residual branches of the last block are dropped.
            Those of the others grow up to it linearly from 0.
        official_drop_path: bool. Whether the rates are those of the official code. There, only an
            MLDC block goes one step further, so that the last rate is about a fifth of
            `drop_path_rate`.
        dropout: float. Rate of dropout before the classifiers.
        remat: bool. Whether training keeps only the inputs of each block in memory and computes the
            block again in the backward pass: less memory, more time, the same gradients.
        ema: bool. Whether to load the exponential moving average of the weights, which the official
            files of classifiers hold beside the weights.
        class_names: Sequence of str. The name of each class, which a saved model keeps. By default,
            those of the file if it has as many classes.
        evaluation_transform: dict. How images are prepared for the model, as keyword arguments of
            `keras_paca.evaluation_transform`. By default, that of the file.
        weights_url: str. URL of a mirror of the released files. By default, that in the environment
            variable KERAS_PACA_WEIGHTS_URL, or else the address of the authors.
        dtype: str or keras.DTypePolicy. Dtype or policy of every layer.

    Returns:
        keras.Model. A `keras_paca.RapidNet`. Its input is (batch, height, width, channels). Its
        output is (batch, classes), or without the top the last map or a vector.

    Raises:
        ValueError: If an argument or the file doesn't fit, or if no such weights were released.
        FileNotFoundError: If there is no file at `weights`, or none could be downloaded.

    Source: Munir et al., "RapidNet: Multi-Level Dilated Convolution Based Mobile Backbone", WACV
    2025.

    Example:
    >>> import keras_paca
    >>> model = keras_paca.RapidNetM(weights=None, classes=10)
    >>> model.compute_output_shape((1, 64, 96, 3))
    (1, 10)
    """

def RapidNetS(
    include_top: bool = True,
    include_preprocessing: bool = True,
    weights: str | pathlib.Path | None = 'imagenet',
    input_tensor: Any = None,
    input_shape: collections.abc.Sequence[int | None] | None = None,
    pooling: str | None = None,
    classes: int = 1000,
    classifier_activation: str | collections.abc.Callable | None = 'softmax',
    name: str = 'rapidnet_s',
    *,
    distillation: bool = True,
    drop_path_rate: float = 0.1,
    official_drop_path: bool = False,
    dropout: float = 0.0,
    remat: bool = False,
    ema: bool = False,
    class_names: collections.abc.Sequence[str] | None = None,
    evaluation_transform: collections.abc.Mapping[str, typing.Any] | None = None,
    weights_url: str | None = None,
    dtype: Any = None,
) -> keras.Model:
    """Build RapidNetS, with the released ImageNet weights by default.

    The size: `hidden_dims=(32, 64, 112, 224)`, `depths=((3, 0), (3, 0), (9, 3), (3, 3))`.

    Args:
        include_top: bool. Whether the model ends in a classifier.
        include_preprocessing: bool. Whether the model takes RGB in 0..255 and normalises it.
            Otherwise it takes normalised images, of any number of channels.
        weights: str, Path or None. "imagenet" for the released file, which is downloaded once;
            `None` for random values; or the path of an official `.pth`, a `.safetensors`,
            `.weights.h5` or `.keras` file. Of a detection or segmentation checkpoint, only the
            backbone is loaded.
        input_tensor: KerasTensor. A `keras.Input` to build on. With another symbolic tensor, the
            result is a plain `keras.Model` over the whole graph.
        input_shape: Sequence of int. (height, width, channels), (None, None, 3) by default. Height
            and width are at least 32 and may be odd; `None` means any.
        pooling: str. Without the top: `None` for the map (batch, height, width, channels), "avg" or
            "max" for a vector.
        classes: int. Number of classes of the top. If it isn't that of the file, the head keeps its
            initial values.
        classifier_activation: str or Callable. Activation of the top, or `None` for logits.
        name: str. Name of the model.
        distillation: bool. Whether there is a second classifier. With `False`, that of a file isn't
            loaded.
        drop_path_rate: float. Rate at which the residual branches of the last block are dropped.
            Those of the others grow up to it linearly from 0.
        official_drop_path: bool. Whether the rates are those of the official code. There, only an
            MLDC block goes one step further, so that the last rate is about a fifth of
            `drop_path_rate`.
        dropout: float. Rate of dropout before the classifiers.
        remat: bool. Whether training keeps only the inputs of each block in memory and computes the
            block again in the backward pass: less memory, more time, the same gradients.
        ema: bool. Whether to load the exponential moving average of the weights, which the official
            files of classifiers hold beside the weights.
        class_names: Sequence of str. The name of each class, which a saved model keeps. By default,
            those of the file if it has as many classes.
        evaluation_transform: dict. How images are prepared for the model, as keyword arguments of
            `keras_paca.evaluation_transform`. By default, that of the file.
        weights_url: str. URL of a mirror of the released files. By default, that in the environment
            variable KERAS_PACA_WEIGHTS_URL, or else the address of the authors.
        dtype: str or keras.DTypePolicy. Dtype or policy of every layer.

    Returns:
        keras.Model. A `keras_paca.RapidNet`. Its input is (batch, height, width, channels). Its
        output is (batch, classes), or without the top the last map or a vector.

    Raises:
        ValueError: If an argument or the file doesn't fit, or if no such weights were released.
        FileNotFoundError: If there is no file at `weights`, or none could be downloaded.

    Source: Munir et al., "RapidNet: Multi-Level Dilated Convolution Based Mobile Backbone", WACV
    2025.

    Example:
    >>> import keras_paca
    >>> model = keras_paca.RapidNetS(weights=None, classes=10)
    >>> model.compute_output_shape((1, 64, 96, 3))
    (1, 10)
    """

def RapidNetTi(
    include_top: bool = True,
    include_preprocessing: bool = True,
    weights: str | pathlib.Path | None = 'imagenet',
    input_tensor: Any = None,
    input_shape: collections.abc.Sequence[int | None] | None = None,
    pooling: str | None = None,
    classes: int = 1000,
    classifier_activation: str | collections.abc.Callable | None = 'softmax',
    name: str = 'rapidnet_ti',
    *,
    distillation: bool = True,
    drop_path_rate: float = 0.1,
    official_drop_path: bool = False,
    dropout: float = 0.0,
    remat: bool = False,
    ema: bool = False,
    class_names: collections.abc.Sequence[str] | None = None,
    evaluation_transform: collections.abc.Mapping[str, typing.Any] | None = None,
    weights_url: str | None = None,
    dtype: Any = None,
) -> keras.Model:
    """Build RapidNetTi, with the released ImageNet weights by default.

    The size: `hidden_dims=(32, 64, 112, 224)`, `depths=((2, 0), (2, 0), (6, 2), (2, 2))`.

    Args:
        include_top: bool. Whether the model ends in a classifier.
        include_preprocessing: bool. Whether the model takes RGB in 0..255 and normalises it.
            Otherwise it takes normalised images, of any number of channels.
        weights: str, Path or None. "imagenet" for the released file, which is downloaded once;
            `None` for random values; or the path of an official `.pth`, a `.safetensors`,
            `.weights.h5` or `.keras` file. Of a detection or segmentation checkpoint, only the
            backbone is loaded.
        input_tensor: KerasTensor. A `keras.Input` to build on. With another symbolic tensor, the
            result is a plain `keras.Model` over the whole graph.
        input_shape: Sequence of int. (height, width, channels), (None, None, 3) by default. Height
            and width are at least 32 and may be odd; `None` means any.
        pooling: str. Without the top: `None` for the map (batch, height, width, channels), "avg" or
            "max" for a vector.
        classes: int. Number of classes of the top. If it isn't that of the file, the head keeps its
            initial values.
        classifier_activation: str or Callable. Activation of the top, or `None` for logits.
        name: str. Name of the model.
        distillation: bool. Whether there is a second classifier. With `False`, that of a file isn't
            loaded.
        drop_path_rate: float. Rate at which the residual branches of the last block are dropped.
            Those of the others grow up to it linearly from 0.
        official_drop_path: bool. Whether the rates are those of the official code. There, only an
            MLDC block goes one step further, so that the last rate is about a fifth of
            `drop_path_rate`.
        dropout: float. Rate of dropout before the classifiers.
        remat: bool. Whether training keeps only the inputs of each block in memory and computes the
            block again in the backward pass: less memory, more time, the same gradients.
        ema: bool. Whether to load the exponential moving average of the weights, which the official
            files of classifiers hold beside the weights.
        class_names: Sequence of str. The name of each class, which a saved model keeps. By default,
            those of the file if it has as many classes.
        evaluation_transform: dict. How images are prepared for the model, as keyword arguments of
            `keras_paca.evaluation_transform`. By default, that of the file.
        weights_url: str. URL of a mirror of the released files. By default, that in the environment
            variable KERAS_PACA_WEIGHTS_URL, or else the address of the authors.
        dtype: str or keras.DTypePolicy. Dtype or policy of every layer.

    Returns:
        keras.Model. A `keras_paca.RapidNet`. Its input is (batch, height, width, channels). Its
        output is (batch, classes), or without the top the last map or a vector.

    Raises:
        ValueError: If an argument or the file doesn't fit, or if no such weights were released.
        FileNotFoundError: If there is no file at `weights`, or none could be downloaded.

    Source: Munir et al., "RapidNet: Multi-Level Dilated Convolution Based Mobile Backbone", WACV
    2025.

    Example:
    >>> import keras_paca
    >>> model = keras_paca.RapidNetTi(weights=None, classes=10)
    >>> model.compute_output_shape((1, 64, 96, 3))
    (1, 10)
    """

def ViTTMBase(
    include_top: bool = True,
    include_preprocessing: bool = True,
    weights: str | pathlib.Path | None = 'imagenet',
    input_tensor: Any = None,
    input_shape: collections.abc.Sequence[int | None] | None = None,
    pooling: str | None = None,
    classes: int = 1000,
    classifier_activation: str | collections.abc.Callable | None = 'softmax',
    name: str = 'vittm_base',
    *,
    memory_patch_size: int | None = None,
    process_patch_size: int | None = None,
    image_size: int | collections.abc.Sequence[int] | None = None,
    normalization: str = 'imagenet',
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
    class_names: collections.abc.Sequence[str] | None = None,
    evaluation_transform: collections.abc.Mapping[str, typing.Any] | None = None,
    weights_url: str | None = None,
    dtype: Any = None,
) -> keras.Model:
    """Build ViTTMBase, with the released ImageNet weights by default.

    The size: `hidden_dim=768`, `num_heads=12`, `drop_path_rate=0.2`.

    Args:
        include_top: bool. Whether the model ends in a classifier.
        include_preprocessing: bool. Whether the model takes RGB in 0..255 and normalises it.
            Otherwise it takes normalised images, of any number of channels.
        weights: str, Path or None. "imagenet" for the released file, which is downloaded once;
            `None` for random values; or the path of an official `.pth`, a `.safetensors`,
            `.weights.h5` or `.keras` file. Of a detection or segmentation checkpoint, only the
            backbone is loaded.
            The file may also be one of a plain vision transformer, a ViT or DeiT of timm or
            KerasHub. Its blocks are loaded, and its patch projection if the memory's patches
            have the same size. All else keeps its initial values.
        input_tensor: KerasTensor. A `keras.Input` to build on. With another symbolic tensor, the
            result is a plain `keras.Model` over the whole graph.
        input_shape: Sequence of int. (height, width, channels), (None, None, 3) by default. Height
            and width are at least 32 and may be odd; `None` means any.
        pooling: str. Without the top: `None` for the map (batch, height, width, channels), "avg" or
            "max" for a vector.
        classes: int. Number of classes of the top. If it isn't that of the file, the head keeps its
            initial values.
        classifier_activation: str or Callable. Activation of the top, or `None` for logits.
        name: str. Name of the model.
        memory_patch_size: int. Side in pixels of the patches of the memory. By default that of the
            file that is loaded, or 28.
        process_patch_size: int. Side in pixels of the patches of the process tokens. By default
            that of the file that is loaded, or 28.
        image_size: int or (int, int). Image size (height, width), both from 32, for which the
            position embeddings are learned; they are resized for images of other sizes. Those of a
            file are resized to it when they are loaded. By default that of the file that is loaded,
            or 224.
        normalization: str. How images are normalized: "imagenet" for the mean and the deviation of
            ImageNet, "symmetric" for the range -1..1, which the official segmenters take.
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
        class_names: Sequence of str. The name of each class, which a saved model keeps. By default,
            those of the file if it has as many classes.
        evaluation_transform: dict. How images are prepared for the model, as keyword arguments of
            `keras_paca.evaluation_transform`. By default, that of the file.
        weights_url: str. URL of a mirror of the released files. By default, that in the environment
            variable KERAS_PACA_WEIGHTS_URL, or else the address of the authors.
        dtype: str or keras.DTypePolicy. Dtype or policy of every layer.

    Returns:
        keras.Model. A `keras_paca.ViTTM`. Its input is (batch, height, width, channels). Its
        output is (batch, classes), or without the top the last map or a vector.

    Raises:
        ValueError: If an argument or the file doesn't fit, or if no such weights were released.
        FileNotFoundError: If there is no file at `weights`, or none could be downloaded.

    Source: Jajal et al., "Token Turing Machines are Efficient Vision Models", WACV 2025. Of the
    official code's options, two aren't available: `pre_norm`, the norm before the blocks of CLIP's
    checkpoints, and `patch_drop_rate`, because tokens without those that are dropped aren't a map.
    Nor are those that fail there: the head "dyna" (DynaMixer), memory blocks "conv", and process
    tokens that are latents or an average of the memory.

    Example:
    >>> import keras_paca
    >>> model = keras_paca.ViTTMBase(weights=None, classes=10)
    >>> model.compute_output_shape((1, 64, 96, 3))
    (1, 10)
    """

def ViTTMLarge(
    include_top: bool = True,
    include_preprocessing: bool = True,
    weights: str | pathlib.Path | None = 'imagenet',
    input_tensor: Any = None,
    input_shape: collections.abc.Sequence[int | None] | None = None,
    pooling: str | None = None,
    classes: int = 1000,
    classifier_activation: str | collections.abc.Callable | None = 'softmax',
    name: str = 'vittm_large',
    *,
    memory_patch_size: int | None = None,
    process_patch_size: int | None = None,
    image_size: int | collections.abc.Sequence[int] | None = None,
    normalization: str = 'imagenet',
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
    class_names: collections.abc.Sequence[str] | None = None,
    evaluation_transform: collections.abc.Mapping[str, typing.Any] | None = None,
    weights_url: str | None = None,
    dtype: Any = None,
) -> keras.Model:
    """Build ViTTMLarge, with the released ImageNet weights by default.

    The size: `hidden_dim=1024`, `num_heads=16`, `depth=24`, `drop_path_rate=0.2`.

    Args:
        include_top: bool. Whether the model ends in a classifier.
        include_preprocessing: bool. Whether the model takes RGB in 0..255 and normalises it.
            Otherwise it takes normalised images, of any number of channels.
        weights: str, Path or None. "imagenet" for the released file, which is downloaded once;
            `None` for random values; or the path of an official `.pth`, a `.safetensors`,
            `.weights.h5` or `.keras` file. Of a detection or segmentation checkpoint, only the
            backbone is loaded.
            The file may also be one of a plain vision transformer, a ViT or DeiT of timm or
            KerasHub. Its blocks are loaded, and its patch projection if the memory's patches
            have the same size. All else keeps its initial values.
        input_tensor: KerasTensor. A `keras.Input` to build on. With another symbolic tensor, the
            result is a plain `keras.Model` over the whole graph.
        input_shape: Sequence of int. (height, width, channels), (None, None, 3) by default. Height
            and width are at least 32 and may be odd; `None` means any.
        pooling: str. Without the top: `None` for the map (batch, height, width, channels), "avg" or
            "max" for a vector.
        classes: int. Number of classes of the top. If it isn't that of the file, the head keeps its
            initial values.
        classifier_activation: str or Callable. Activation of the top, or `None` for logits.
        name: str. Name of the model.
        memory_patch_size: int. Side in pixels of the patches of the memory. By default that of the
            file that is loaded, or 28.
        process_patch_size: int. Side in pixels of the patches of the process tokens. By default
            that of the file that is loaded, or 28.
        image_size: int or (int, int). Image size (height, width), both from 32, for which the
            position embeddings are learned; they are resized for images of other sizes. Those of a
            file are resized to it when they are loaded. By default that of the file that is loaded,
            or 224.
        normalization: str. How images are normalized: "imagenet" for the mean and the deviation of
            ImageNet, "symmetric" for the range -1..1, which the official segmenters take.
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
        class_names: Sequence of str. The name of each class, which a saved model keeps. By default,
            those of the file if it has as many classes.
        evaluation_transform: dict. How images are prepared for the model, as keyword arguments of
            `keras_paca.evaluation_transform`. By default, that of the file.
        weights_url: str. URL of a mirror of the released files. By default, that in the environment
            variable KERAS_PACA_WEIGHTS_URL, or else the address of the authors.
        dtype: str or keras.DTypePolicy. Dtype or policy of every layer.

    Returns:
        keras.Model. A `keras_paca.ViTTM`. Its input is (batch, height, width, channels). Its
        output is (batch, classes), or without the top the last map or a vector.

    Raises:
        ValueError: If an argument or the file doesn't fit, or if no such weights were released.
        FileNotFoundError: If there is no file at `weights`, or none could be downloaded.

    Source: Jajal et al., "Token Turing Machines are Efficient Vision Models", WACV 2025. Of the
    official code's options, two aren't available: `pre_norm`, the norm before the blocks of CLIP's
    checkpoints, and `patch_drop_rate`, because tokens without those that are dropped aren't a map.
    Nor are those that fail there: the head "dyna" (DynaMixer), memory blocks "conv", and process
    tokens that are latents or an average of the memory.

    Example:
    >>> import keras_paca
    >>> model = keras_paca.ViTTMLarge(weights=None, classes=10)
    >>> model.compute_output_shape((1, 64, 96, 3))
    (1, 10)
    """

def ViTTMSmall(
    include_top: bool = True,
    include_preprocessing: bool = True,
    weights: str | pathlib.Path | None = 'imagenet',
    input_tensor: Any = None,
    input_shape: collections.abc.Sequence[int | None] | None = None,
    pooling: str | None = None,
    classes: int = 1000,
    classifier_activation: str | collections.abc.Callable | None = 'softmax',
    name: str = 'vittm_small',
    *,
    memory_patch_size: int | None = None,
    process_patch_size: int | None = None,
    image_size: int | collections.abc.Sequence[int] | None = None,
    normalization: str = 'imagenet',
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
    class_names: collections.abc.Sequence[str] | None = None,
    evaluation_transform: collections.abc.Mapping[str, typing.Any] | None = None,
    weights_url: str | None = None,
    dtype: Any = None,
) -> keras.Model:
    """Build ViTTMSmall, with the released ImageNet weights by default.

    The size: `hidden_dim=384`, `num_heads=6`, `drop_path_rate=0.1`.

    Args:
        include_top: bool. Whether the model ends in a classifier.
        include_preprocessing: bool. Whether the model takes RGB in 0..255 and normalises it.
            Otherwise it takes normalised images, of any number of channels.
        weights: str, Path or None. "imagenet" for the released file, which is downloaded once;
            `None` for random values; or the path of an official `.pth`, a `.safetensors`,
            `.weights.h5` or `.keras` file. Of a detection or segmentation checkpoint, only the
            backbone is loaded.
            The file may also be one of a plain vision transformer, a ViT or DeiT of timm or
            KerasHub. Its blocks are loaded, and its patch projection if the memory's patches
            have the same size. All else keeps its initial values.
        input_tensor: KerasTensor. A `keras.Input` to build on. With another symbolic tensor, the
            result is a plain `keras.Model` over the whole graph.
        input_shape: Sequence of int. (height, width, channels), (None, None, 3) by default. Height
            and width are at least 32 and may be odd; `None` means any.
        pooling: str. Without the top: `None` for the map (batch, height, width, channels), "avg" or
            "max" for a vector.
        classes: int. Number of classes of the top. If it isn't that of the file, the head keeps its
            initial values.
        classifier_activation: str or Callable. Activation of the top, or `None` for logits.
        name: str. Name of the model.
        memory_patch_size: int. Side in pixels of the patches of the memory. By default that of the
            file that is loaded, or 28.
        process_patch_size: int. Side in pixels of the patches of the process tokens. By default
            that of the file that is loaded, or 28.
        image_size: int or (int, int). Image size (height, width), both from 32, for which the
            position embeddings are learned; they are resized for images of other sizes. Those of a
            file are resized to it when they are loaded. By default that of the file that is loaded,
            or 224.
        normalization: str. How images are normalized: "imagenet" for the mean and the deviation of
            ImageNet, "symmetric" for the range -1..1, which the official segmenters take.
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
        class_names: Sequence of str. The name of each class, which a saved model keeps. By default,
            those of the file if it has as many classes.
        evaluation_transform: dict. How images are prepared for the model, as keyword arguments of
            `keras_paca.evaluation_transform`. By default, that of the file.
        weights_url: str. URL of a mirror of the released files. By default, that in the environment
            variable KERAS_PACA_WEIGHTS_URL, or else the address of the authors.
        dtype: str or keras.DTypePolicy. Dtype or policy of every layer.

    Returns:
        keras.Model. A `keras_paca.ViTTM`. Its input is (batch, height, width, channels). Its
        output is (batch, classes), or without the top the last map or a vector.

    Raises:
        ValueError: If an argument or the file doesn't fit, or if no such weights were released.
        FileNotFoundError: If there is no file at `weights`, or none could be downloaded.

    Source: Jajal et al., "Token Turing Machines are Efficient Vision Models", WACV 2025. Of the
    official code's options, two aren't available: `pre_norm`, the norm before the blocks of CLIP's
    checkpoints, and `patch_drop_rate`, because tokens without those that are dropped aren't a map.
    Nor are those that fail there: the head "dyna" (DynaMixer), memory blocks "conv", and process
    tokens that are latents or an average of the memory.

    Example:
    >>> import keras_paca
    >>> model = keras_paca.ViTTMSmall(weights=None, classes=10)
    >>> model.compute_output_shape((1, 64, 96, 3))
    (1, 10)
    """

def ViTTMTiny(
    include_top: bool = True,
    include_preprocessing: bool = True,
    weights: str | pathlib.Path | None = 'imagenet',
    input_tensor: Any = None,
    input_shape: collections.abc.Sequence[int | None] | None = None,
    pooling: str | None = None,
    classes: int = 1000,
    classifier_activation: str | collections.abc.Callable | None = 'softmax',
    name: str = 'vittm_tiny',
    *,
    memory_patch_size: int | None = None,
    process_patch_size: int | None = None,
    image_size: int | collections.abc.Sequence[int] | None = None,
    normalization: str = 'imagenet',
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
    class_names: collections.abc.Sequence[str] | None = None,
    evaluation_transform: collections.abc.Mapping[str, typing.Any] | None = None,
    weights_url: str | None = None,
    dtype: Any = None,
) -> keras.Model:
    """Build ViTTMTiny, with the released ImageNet weights by default.

    The size: `hidden_dim=192`, `num_heads=3`, `drop_path_rate=0.1`.

    Args:
        include_top: bool. Whether the model ends in a classifier.
        include_preprocessing: bool. Whether the model takes RGB in 0..255 and normalises it.
            Otherwise it takes normalised images, of any number of channels.
        weights: str, Path or None. "imagenet" for the released file, which is downloaded once;
            `None` for random values; or the path of an official `.pth`, a `.safetensors`,
            `.weights.h5` or `.keras` file. Of a detection or segmentation checkpoint, only the
            backbone is loaded.
            The file may also be one of a plain vision transformer, a ViT or DeiT of timm or
            KerasHub. Its blocks are loaded, and its patch projection if the memory's patches
            have the same size. All else keeps its initial values.
        input_tensor: KerasTensor. A `keras.Input` to build on. With another symbolic tensor, the
            result is a plain `keras.Model` over the whole graph.
        input_shape: Sequence of int. (height, width, channels), (None, None, 3) by default. Height
            and width are at least 32 and may be odd; `None` means any.
        pooling: str. Without the top: `None` for the map (batch, height, width, channels), "avg" or
            "max" for a vector.
        classes: int. Number of classes of the top. If it isn't that of the file, the head keeps its
            initial values.
        classifier_activation: str or Callable. Activation of the top, or `None` for logits.
        name: str. Name of the model.
        memory_patch_size: int. Side in pixels of the patches of the memory. By default that of the
            file that is loaded, or 28.
        process_patch_size: int. Side in pixels of the patches of the process tokens. By default
            that of the file that is loaded, or 28.
        image_size: int or (int, int). Image size (height, width), both from 32, for which the
            position embeddings are learned; they are resized for images of other sizes. Those of a
            file are resized to it when they are loaded. By default that of the file that is loaded,
            or 224.
        normalization: str. How images are normalized: "imagenet" for the mean and the deviation of
            ImageNet, "symmetric" for the range -1..1, which the official segmenters take.
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
        class_names: Sequence of str. The name of each class, which a saved model keeps. By default,
            those of the file if it has as many classes.
        evaluation_transform: dict. How images are prepared for the model, as keyword arguments of
            `keras_paca.evaluation_transform`. By default, that of the file.
        weights_url: str. URL of a mirror of the released files. By default, that in the environment
            variable KERAS_PACA_WEIGHTS_URL, or else the address of the authors.
        dtype: str or keras.DTypePolicy. Dtype or policy of every layer.

    Returns:
        keras.Model. A `keras_paca.ViTTM`. Its input is (batch, height, width, channels). Its
        output is (batch, classes), or without the top the last map or a vector.

    Raises:
        ValueError: If an argument or the file doesn't fit, or if no such weights were released.
        FileNotFoundError: If there is no file at `weights`, or none could be downloaded.

    Source: Jajal et al., "Token Turing Machines are Efficient Vision Models", WACV 2025. Of the
    official code's options, two aren't available: `pre_norm`, the norm before the blocks of CLIP's
    checkpoints, and `patch_drop_rate`, because tokens without those that are dropped aren't a map.
    Nor are those that fail there: the head "dyna" (DynaMixer), memory blocks "conv", and process
    tokens that are latents or an average of the memory.

    Example:
    >>> import keras_paca
    >>> model = keras_paca.ViTTMTiny(weights=None, classes=10)
    >>> model.compute_output_shape((1, 64, 96, 3))
    (1, 10)
    """

def CastlingViTBase(
    include_top: bool = True,
    include_preprocessing: bool = True,
    weights: str | pathlib.Path | None = 'imagenet',
    input_tensor: Any = None,
    input_shape: collections.abc.Sequence[int | None] | None = None,
    pooling: str | None = None,
    classes: int = 1000,
    classifier_activation: str | collections.abc.Callable | None = 'softmax',
    name: str = 'castling_vit_base',
    *,
    patch_size: int | None = None,
    image_size: int | collections.abc.Sequence[int] | None = None,
    distillation: bool | None = None,
    normalization: str = 'imagenet',
    auxiliary: bool = True,
    threshold: float = 0.02,
    convolution: str = 'tokens',
    kernel_size: int = 9,
    qkv_bias: bool = True,
    layer_scale: float | None = None,
    drop_path_rate: float = 0.1,
    dropout: float = 0.0,
    remat: bool = False,
    recompute_activations: bool = True,
    class_names: collections.abc.Sequence[str] | None = None,
    evaluation_transform: collections.abc.Mapping[str, typing.Any] | None = None,
    weights_url: str | None = None,
    dtype: Any = None,
) -> keras.Model:
    """Build CastlingViTBase, with random weights or those of a file.

    The size: `hidden_dim=768`, `num_heads=12`.

    Args:
        include_top: bool. Whether the model ends in a classifier.
        include_preprocessing: bool. Whether the model takes RGB in 0..255 and normalises it.
            Otherwise it takes normalised images, of any number of channels.
        weights: str, Path or None. `None` for random values, or the path of an official `.pth`, a
            `.safetensors`, `.weights.h5` or `.keras` file. Of a detection or segmentation checkpoint,
            only the backbone is loaded. "imagenet" raises an error. The authors released the code of
            the attention alone. To start from a DeiT or a ViT, whose weights fit all but the filters of
            the attention, pass the path of its file as `weights`.
            The file may also be one of a ViT or DeiT of timm or KerasHub. All of it is loaded.
            The filters of the attention, which it doesn't have, keep their initial values.
        input_tensor: KerasTensor. A `keras.Input` to build on. With another symbolic tensor, the
            result is a plain `keras.Model` over the whole graph.
        input_shape: Sequence of int. (height, width, channels), (None, None, 3) by default. Height
            and width are at least 32 and may be odd; `None` means any.
        pooling: str. Without the top: `None` for the map (batch, height, width, channels), "avg" or
            "max" for a vector.
        classes: int. Number of classes of the top. If it isn't that of the file, the head keeps its
            initial values.
        classifier_activation: str or Callable. Activation of the top, or `None` for logits.
        name: str. Name of the model.
        patch_size: int. Side of the patches in pixels. By default that of the file that is loaded,
            or 16.
        image_size: int or (int, int). Image size (height, width), both from 32, for which the
            position embeddings are learned; they are resized for images of other sizes. Those of a
            file are resized to it when they are loaded. By default that of the file that is loaded,
            or 224.
        distillation: bool. Whether there is a distillation token, with a second classifier. By
            default as in the file that is loaded, or `False`.
        normalization: str. How images are normalized: "imagenet" for the mean and the deviation of
            ImageNet, as DeiT takes them, or "symmetric" for the range -1..1, as most other ViTs do.
        auxiliary: bool. Whether masked softmax attention is added in training, whose cost grows
            with the square of the number of patches. The attribute of this name can be set to
            `False` after training.
        threshold: float. Weights of that softmax above it are kept, in [0, 1].
        convolution: str. "tokens" for a convolution of the values along the tokens, as in the
            official code, "grid" for one over the rows and columns of the patches.
        kernel_size: int. Length of that convolution's filters, odd. With "grid", their side.
        qkv_bias: bool. Whether the projections to queries, keys and values have biases.
        layer_scale: float. Initial value of learned scales on the residual branches, or `None` for
            none, unless the file that is loaded has them.
        drop_path_rate: float. Rate at which the residual branches of the last block are dropped.
            Those of the others grow up to it linearly from 0.
        dropout: float. Rate of dropout after the projections of the blocks.
        remat: bool. Whether training keeps only the inputs of each block in memory and computes the
            block again in the backward pass: less memory, more time, the same gradients.
        recompute_activations: bool. Whether training computes activations again in the backward
            pass, if that pays; see `keras_paca.ops.is_recomputed`.
        class_names: Sequence of str. The name of each class, which a saved model keeps. By default,
            those of the file if it has as many classes.
        evaluation_transform: dict. How images are prepared for the model, as keyword arguments of
            `keras_paca.evaluation_transform`. By default, that of the file.
        weights_url: str. URL of a mirror of the released files. By default, that in the environment
            variable KERAS_PACA_WEIGHTS_URL, or else the address of the authors.
        dtype: str or keras.DTypePolicy. Dtype or policy of every layer.

    Returns:
        keras.Model. A `keras_paca.CastlingViT`. Its input is (batch, height, width, channels). Its
        output is (batch, classes), or without the top the last map or a vector.

    Raises:
        ValueError: If an argument or the file doesn't fit, or if no such weights were released.
        FileNotFoundError: If there is no file at `weights`, or none could be downloaded.

    Source: You et al., "Castling-ViT: Compressing Self-Attention via Switching Towards
    Linear-Angular Attention at Vision Transformer Inference", CVPR 2023.

    Example:
    >>> import keras_paca
    >>> model = keras_paca.CastlingViTBase(weights=None, classes=10)
    >>> model.compute_output_shape((1, 64, 96, 3))
    (1, 10)
    """

def CastlingViTSmall(
    include_top: bool = True,
    include_preprocessing: bool = True,
    weights: str | pathlib.Path | None = 'imagenet',
    input_tensor: Any = None,
    input_shape: collections.abc.Sequence[int | None] | None = None,
    pooling: str | None = None,
    classes: int = 1000,
    classifier_activation: str | collections.abc.Callable | None = 'softmax',
    name: str = 'castling_vit_small',
    *,
    patch_size: int | None = None,
    image_size: int | collections.abc.Sequence[int] | None = None,
    distillation: bool | None = None,
    normalization: str = 'imagenet',
    auxiliary: bool = True,
    threshold: float = 0.02,
    convolution: str = 'tokens',
    kernel_size: int = 9,
    qkv_bias: bool = True,
    layer_scale: float | None = None,
    drop_path_rate: float = 0.1,
    dropout: float = 0.0,
    remat: bool = False,
    recompute_activations: bool = True,
    class_names: collections.abc.Sequence[str] | None = None,
    evaluation_transform: collections.abc.Mapping[str, typing.Any] | None = None,
    weights_url: str | None = None,
    dtype: Any = None,
) -> keras.Model:
    """Build CastlingViTSmall, with random weights or those of a file.

    The size: `hidden_dim=384`, `num_heads=6`.

    Args:
        include_top: bool. Whether the model ends in a classifier.
        include_preprocessing: bool. Whether the model takes RGB in 0..255 and normalises it.
            Otherwise it takes normalised images, of any number of channels.
        weights: str, Path or None. `None` for random values, or the path of an official `.pth`, a
            `.safetensors`, `.weights.h5` or `.keras` file. Of a detection or segmentation checkpoint,
            only the backbone is loaded. "imagenet" raises an error. The authors released the code of
            the attention alone. To start from a DeiT or a ViT, whose weights fit all but the filters of
            the attention, pass the path of its file as `weights`.
            The file may also be one of a ViT or DeiT of timm or KerasHub. All of it is loaded.
            The filters of the attention, which it doesn't have, keep their initial values.
        input_tensor: KerasTensor. A `keras.Input` to build on. With another symbolic tensor, the
            result is a plain `keras.Model` over the whole graph.
        input_shape: Sequence of int. (height, width, channels), (None, None, 3) by default. Height
            and width are at least 32 and may be odd; `None` means any.
        pooling: str. Without the top: `None` for the map (batch, height, width, channels), "avg" or
            "max" for a vector.
        classes: int. Number of classes of the top. If it isn't that of the file, the head keeps its
            initial values.
        classifier_activation: str or Callable. Activation of the top, or `None` for logits.
        name: str. Name of the model.
        patch_size: int. Side of the patches in pixels. By default that of the file that is loaded,
            or 16.
        image_size: int or (int, int). Image size (height, width), both from 32, for which the
            position embeddings are learned; they are resized for images of other sizes. Those of a
            file are resized to it when they are loaded. By default that of the file that is loaded,
            or 224.
        distillation: bool. Whether there is a distillation token, with a second classifier. By
            default as in the file that is loaded, or `False`.
        normalization: str. How images are normalized: "imagenet" for the mean and the deviation of
            ImageNet, as DeiT takes them, or "symmetric" for the range -1..1, as most other ViTs do.
        auxiliary: bool. Whether masked softmax attention is added in training, whose cost grows
            with the square of the number of patches. The attribute of this name can be set to
            `False` after training.
        threshold: float. Weights of that softmax above it are kept, in [0, 1].
        convolution: str. "tokens" for a convolution of the values along the tokens, as in the
            official code, "grid" for one over the rows and columns of the patches.
        kernel_size: int. Length of that convolution's filters, odd. With "grid", their side.
        qkv_bias: bool. Whether the projections to queries, keys and values have biases.
        layer_scale: float. Initial value of learned scales on the residual branches, or `None` for
            none, unless the file that is loaded has them.
        drop_path_rate: float. Rate at which the residual branches of the last block are dropped.
            Those of the others grow up to it linearly from 0.
        dropout: float. Rate of dropout after the projections of the blocks.
        remat: bool. Whether training keeps only the inputs of each block in memory and computes the
            block again in the backward pass: less memory, more time, the same gradients.
        recompute_activations: bool. Whether training computes activations again in the backward
            pass, if that pays; see `keras_paca.ops.is_recomputed`.
        class_names: Sequence of str. The name of each class, which a saved model keeps. By default,
            those of the file if it has as many classes.
        evaluation_transform: dict. How images are prepared for the model, as keyword arguments of
            `keras_paca.evaluation_transform`. By default, that of the file.
        weights_url: str. URL of a mirror of the released files. By default, that in the environment
            variable KERAS_PACA_WEIGHTS_URL, or else the address of the authors.
        dtype: str or keras.DTypePolicy. Dtype or policy of every layer.

    Returns:
        keras.Model. A `keras_paca.CastlingViT`. Its input is (batch, height, width, channels). Its
        output is (batch, classes), or without the top the last map or a vector.

    Raises:
        ValueError: If an argument or the file doesn't fit, or if no such weights were released.
        FileNotFoundError: If there is no file at `weights`, or none could be downloaded.

    Source: You et al., "Castling-ViT: Compressing Self-Attention via Switching Towards
    Linear-Angular Attention at Vision Transformer Inference", CVPR 2023.

    Example:
    >>> import keras_paca
    >>> model = keras_paca.CastlingViTSmall(weights=None, classes=10)
    >>> model.compute_output_shape((1, 64, 96, 3))
    (1, 10)
    """

def CastlingViTTiny(
    include_top: bool = True,
    include_preprocessing: bool = True,
    weights: str | pathlib.Path | None = 'imagenet',
    input_tensor: Any = None,
    input_shape: collections.abc.Sequence[int | None] | None = None,
    pooling: str | None = None,
    classes: int = 1000,
    classifier_activation: str | collections.abc.Callable | None = 'softmax',
    name: str = 'castling_vit_tiny',
    *,
    patch_size: int | None = None,
    image_size: int | collections.abc.Sequence[int] | None = None,
    distillation: bool | None = None,
    normalization: str = 'imagenet',
    auxiliary: bool = True,
    threshold: float = 0.02,
    convolution: str = 'tokens',
    kernel_size: int = 9,
    qkv_bias: bool = True,
    layer_scale: float | None = None,
    drop_path_rate: float = 0.1,
    dropout: float = 0.0,
    remat: bool = False,
    recompute_activations: bool = True,
    class_names: collections.abc.Sequence[str] | None = None,
    evaluation_transform: collections.abc.Mapping[str, typing.Any] | None = None,
    weights_url: str | None = None,
    dtype: Any = None,
) -> keras.Model:
    """Build CastlingViTTiny, with random weights or those of a file.

    The size: `hidden_dim=192`, `num_heads=3`.

    Args:
        include_top: bool. Whether the model ends in a classifier.
        include_preprocessing: bool. Whether the model takes RGB in 0..255 and normalises it.
            Otherwise it takes normalised images, of any number of channels.
        weights: str, Path or None. `None` for random values, or the path of an official `.pth`, a
            `.safetensors`, `.weights.h5` or `.keras` file. Of a detection or segmentation checkpoint,
            only the backbone is loaded. "imagenet" raises an error. The authors released the code of
            the attention alone. To start from a DeiT or a ViT, whose weights fit all but the filters of
            the attention, pass the path of its file as `weights`.
            The file may also be one of a ViT or DeiT of timm or KerasHub. All of it is loaded.
            The filters of the attention, which it doesn't have, keep their initial values.
        input_tensor: KerasTensor. A `keras.Input` to build on. With another symbolic tensor, the
            result is a plain `keras.Model` over the whole graph.
        input_shape: Sequence of int. (height, width, channels), (None, None, 3) by default. Height
            and width are at least 32 and may be odd; `None` means any.
        pooling: str. Without the top: `None` for the map (batch, height, width, channels), "avg" or
            "max" for a vector.
        classes: int. Number of classes of the top. If it isn't that of the file, the head keeps its
            initial values.
        classifier_activation: str or Callable. Activation of the top, or `None` for logits.
        name: str. Name of the model.
        patch_size: int. Side of the patches in pixels. By default that of the file that is loaded,
            or 16.
        image_size: int or (int, int). Image size (height, width), both from 32, for which the
            position embeddings are learned; they are resized for images of other sizes. Those of a
            file are resized to it when they are loaded. By default that of the file that is loaded,
            or 224.
        distillation: bool. Whether there is a distillation token, with a second classifier. By
            default as in the file that is loaded, or `False`.
        normalization: str. How images are normalized: "imagenet" for the mean and the deviation of
            ImageNet, as DeiT takes them, or "symmetric" for the range -1..1, as most other ViTs do.
        auxiliary: bool. Whether masked softmax attention is added in training, whose cost grows
            with the square of the number of patches. The attribute of this name can be set to
            `False` after training.
        threshold: float. Weights of that softmax above it are kept, in [0, 1].
        convolution: str. "tokens" for a convolution of the values along the tokens, as in the
            official code, "grid" for one over the rows and columns of the patches.
        kernel_size: int. Length of that convolution's filters, odd. With "grid", their side.
        qkv_bias: bool. Whether the projections to queries, keys and values have biases.
        layer_scale: float. Initial value of learned scales on the residual branches, or `None` for
            none, unless the file that is loaded has them.
        drop_path_rate: float. Rate at which the residual branches of the last block are dropped.
            Those of the others grow up to it linearly from 0.
        dropout: float. Rate of dropout after the projections of the blocks.
        remat: bool. Whether training keeps only the inputs of each block in memory and computes the
            block again in the backward pass: less memory, more time, the same gradients.
        recompute_activations: bool. Whether training computes activations again in the backward
            pass, if that pays; see `keras_paca.ops.is_recomputed`.
        class_names: Sequence of str. The name of each class, which a saved model keeps. By default,
            those of the file if it has as many classes.
        evaluation_transform: dict. How images are prepared for the model, as keyword arguments of
            `keras_paca.evaluation_transform`. By default, that of the file.
        weights_url: str. URL of a mirror of the released files. By default, that in the environment
            variable KERAS_PACA_WEIGHTS_URL, or else the address of the authors.
        dtype: str or keras.DTypePolicy. Dtype or policy of every layer.

    Returns:
        keras.Model. A `keras_paca.CastlingViT`. Its input is (batch, height, width, channels). Its
        output is (batch, classes), or without the top the last map or a vector.

    Raises:
        ValueError: If an argument or the file doesn't fit, or if no such weights were released.
        FileNotFoundError: If there is no file at `weights`, or none could be downloaded.

    Source: You et al., "Castling-ViT: Compressing Self-Attention via Switching Towards
    Linear-Angular Attention at Vision Transformer Inference", CVPR 2023.

    Example:
    >>> import keras_paca
    >>> model = keras_paca.CastlingViTTiny(weights=None, classes=10)
    >>> model.compute_output_shape((1, 64, 96, 3))
    (1, 10)
    """

def ResNet50AN(
    include_top: bool = True,
    include_preprocessing: bool = True,
    weights: str | pathlib.Path | None = 'imagenet',
    input_tensor: Any = None,
    input_shape: collections.abc.Sequence[int | None] | None = None,
    pooling: str | None = None,
    classes: int = 1000,
    classifier_activation: str | collections.abc.Callable | None = 'softmax',
    name: str = 'resnet50_an',
    *,
    drop_path_rate: float = 0.0,
    dropout: float = 0.0,
    remat: bool = False,
    class_names: collections.abc.Sequence[str] | None = None,
    evaluation_transform: collections.abc.Mapping[str, typing.Any] | None = None,
    weights_url: str | None = None,
    dtype: Any = None,
) -> keras.Model:
    """Build ResNet50AN, with random weights or those of a file.

    The size: `hidden_dims=(256, 512, 1024, 2048)`, `depths=(3, 4, 6, 3)`.

    Args:
        include_top: bool. Whether the model ends in a classifier.
        include_preprocessing: bool. Whether the model takes RGB in 0..255 and normalises it.
            Otherwise it takes normalised images, of any number of channels.
        weights: str, Path or None. `None` for random values, or the path of an official `.pth`, a
            `.safetensors`, `.weights.h5` or `.keras` file. Of a detection or segmentation checkpoint,
            only the backbone is loaded. "imagenet" raises an error. The authors' files lie on Google
            Drive, under a licence for research alone, and aren't downloaded by name. If that licence
            covers your use, download the file by hand, from a link at
            https://github.com/iVMCL/AOGNet-v2 or https://github.com/iVMCL/iVMCL-Release, and pass its
            path as `weights`.
        input_tensor: KerasTensor. A `keras.Input` to build on. With another symbolic tensor, the
            result is a plain `keras.Model` over the whole graph.
        input_shape: Sequence of int. (height, width, channels), (None, None, 3) by default. Height
            and width are at least 32 and may be odd; `None` means any.
        pooling: str. Without the top: `None` for the map (batch, height, width, channels), "avg" or
            "max" for a vector.
        classes: int. Number of classes of the top. If it isn't that of the file, the head keeps its
            initial values.
        classifier_activation: str or Callable. Activation of the top, or `None` for logits.
        name: str. Name of the model.
        drop_path_rate: float. Rate at which the residual branch of the last block is dropped. Those
            of the others grow up to it linearly from 0.
        dropout: float. Rate of dropout before the classifier.
        remat: bool. Whether training keeps only the inputs of each block in memory and computes the
            block again in the backward pass: less memory, more time, the same gradients.
        class_names: Sequence of str. The name of each class, which a saved model keeps. By default,
            those of the file if it has as many classes.
        evaluation_transform: dict. How images are prepared for the model, as keyword arguments of
            `keras_paca.evaluation_transform`. By default, that of the file.
        weights_url: str. URL of a mirror of the released files. By default, that in the environment
            variable KERAS_PACA_WEIGHTS_URL, or else the address of the authors.
        dtype: str or keras.DTypePolicy. Dtype or policy of every layer.

    Returns:
        keras.Model. A `keras_paca.ResNetAN`. Its input is (batch, height, width, channels). Its
        output is (batch, classes), or without the top the last map or a vector.

    Raises:
        ValueError: If an argument or the file doesn't fit, or if no such weights were released.
        FileNotFoundError: If there is no file at `weights`, or none could be downloaded.

    Source: Li, Sun and Wu, "Attentive Normalization", ECCV 2020.

    Example:
    >>> import keras_paca
    >>> model = keras_paca.ResNet50AN(weights=None, classes=10)
    >>> model.compute_output_shape((1, 64, 96, 3))
    (1, 10)
    """

def ResNet101AN(
    include_top: bool = True,
    include_preprocessing: bool = True,
    weights: str | pathlib.Path | None = 'imagenet',
    input_tensor: Any = None,
    input_shape: collections.abc.Sequence[int | None] | None = None,
    pooling: str | None = None,
    classes: int = 1000,
    classifier_activation: str | collections.abc.Callable | None = 'softmax',
    name: str = 'resnet101_an',
    *,
    drop_path_rate: float = 0.0,
    dropout: float = 0.0,
    remat: bool = False,
    class_names: collections.abc.Sequence[str] | None = None,
    evaluation_transform: collections.abc.Mapping[str, typing.Any] | None = None,
    weights_url: str | None = None,
    dtype: Any = None,
) -> keras.Model:
    """Build ResNet101AN, with random weights or those of a file.

    The size: `hidden_dims=(256, 512, 1024, 2048)`, `depths=(3, 4, 23, 3)`.

    Args:
        include_top: bool. Whether the model ends in a classifier.
        include_preprocessing: bool. Whether the model takes RGB in 0..255 and normalises it.
            Otherwise it takes normalised images, of any number of channels.
        weights: str, Path or None. `None` for random values, or the path of an official `.pth`, a
            `.safetensors`, `.weights.h5` or `.keras` file. Of a detection or segmentation checkpoint,
            only the backbone is loaded. "imagenet" raises an error. The authors' files lie on Google
            Drive, under a licence for research alone, and aren't downloaded by name. If that licence
            covers your use, download the file by hand, from a link at
            https://github.com/iVMCL/AOGNet-v2 or https://github.com/iVMCL/iVMCL-Release, and pass its
            path as `weights`.
        input_tensor: KerasTensor. A `keras.Input` to build on. With another symbolic tensor, the
            result is a plain `keras.Model` over the whole graph.
        input_shape: Sequence of int. (height, width, channels), (None, None, 3) by default. Height
            and width are at least 32 and may be odd; `None` means any.
        pooling: str. Without the top: `None` for the map (batch, height, width, channels), "avg" or
            "max" for a vector.
        classes: int. Number of classes of the top. If it isn't that of the file, the head keeps its
            initial values.
        classifier_activation: str or Callable. Activation of the top, or `None` for logits.
        name: str. Name of the model.
        drop_path_rate: float. Rate at which the residual branch of the last block is dropped. Those
            of the others grow up to it linearly from 0.
        dropout: float. Rate of dropout before the classifier.
        remat: bool. Whether training keeps only the inputs of each block in memory and computes the
            block again in the backward pass: less memory, more time, the same gradients.
        class_names: Sequence of str. The name of each class, which a saved model keeps. By default,
            those of the file if it has as many classes.
        evaluation_transform: dict. How images are prepared for the model, as keyword arguments of
            `keras_paca.evaluation_transform`. By default, that of the file.
        weights_url: str. URL of a mirror of the released files. By default, that in the environment
            variable KERAS_PACA_WEIGHTS_URL, or else the address of the authors.
        dtype: str or keras.DTypePolicy. Dtype or policy of every layer.

    Returns:
        keras.Model. A `keras_paca.ResNetAN`. Its input is (batch, height, width, channels). Its
        output is (batch, classes), or without the top the last map or a vector.

    Raises:
        ValueError: If an argument or the file doesn't fit, or if no such weights were released.
        FileNotFoundError: If there is no file at `weights`, or none could be downloaded.

    Source: Li, Sun and Wu, "Attentive Normalization", ECCV 2020.

    Example:
    >>> import keras_paca
    >>> model = keras_paca.ResNet101AN(weights=None, classes=10)
    >>> model.compute_output_shape((1, 64, 96, 3))
    (1, 10)
    """

def DenseNet121AN(
    include_top: bool = True,
    include_preprocessing: bool = True,
    weights: str | pathlib.Path | None = 'imagenet',
    input_tensor: Any = None,
    input_shape: collections.abc.Sequence[int | None] | None = None,
    pooling: str | None = None,
    classes: int = 1000,
    classifier_activation: str | collections.abc.Callable | None = 'softmax',
    name: str = 'densenet121_an',
    *,
    dropout: float = 0.0,
    remat: bool = False,
    class_names: collections.abc.Sequence[str] | None = None,
    evaluation_transform: collections.abc.Mapping[str, typing.Any] | None = None,
    weights_url: str | None = None,
    dtype: Any = None,
) -> keras.Model:
    """Build DenseNet121AN, with random weights or those of a file.

    The size: `depths=(6, 12, 24, 16)`.

    Args:
        include_top: bool. Whether the model ends in a classifier.
        include_preprocessing: bool. Whether the model takes RGB in 0..255 and normalises it.
            Otherwise it takes normalised images, of any number of channels.
        weights: str, Path or None. `None` for random values, or the path of an official `.pth`, a
            `.safetensors`, `.weights.h5` or `.keras` file. Of a detection or segmentation checkpoint,
            only the backbone is loaded. "imagenet" raises an error. The authors' files lie on Google
            Drive, under a licence for research alone, and aren't downloaded by name. If that licence
            covers your use, download the file by hand, from a link at
            https://github.com/iVMCL/AOGNet-v2 or https://github.com/iVMCL/iVMCL-Release, and pass its
            path as `weights`.
        input_tensor: KerasTensor. A `keras.Input` to build on. With another symbolic tensor, the
            result is a plain `keras.Model` over the whole graph.
        input_shape: Sequence of int. (height, width, channels), (None, None, 3) by default. Height
            and width are at least 32 and may be odd; `None` means any.
        pooling: str. Without the top: `None` for the map (batch, height, width, channels), "avg" or
            "max" for a vector.
        classes: int. Number of classes of the top. If it isn't that of the file, the head keeps its
            initial values.
        classifier_activation: str or Callable. Activation of the top, or `None` for logits.
        name: str. Name of the model.
        dropout: float. Rate of dropout before the classifier.
        remat: bool. Whether training keeps only the inputs of each layer in memory and computes the
            layer again in the backward pass: less memory, more time, the same gradients.
        class_names: Sequence of str. The name of each class, which a saved model keeps. By default,
            those of the file if it has as many classes.
        evaluation_transform: dict. How images are prepared for the model, as keyword arguments of
            `keras_paca.evaluation_transform`. By default, that of the file.
        weights_url: str. URL of a mirror of the released files. By default, that in the environment
            variable KERAS_PACA_WEIGHTS_URL, or else the address of the authors.
        dtype: str or keras.DTypePolicy. Dtype or policy of every layer.

    Returns:
        keras.Model. A `keras_paca.DenseNetAN`. Its input is (batch, height, width, channels). Its
        output is (batch, classes), or without the top the last map or a vector.

    Raises:
        ValueError: If an argument or the file doesn't fit, or if no such weights were released.
        FileNotFoundError: If there is no file at `weights`, or none could be downloaded.

    Source: Li, Sun and Wu, "Attentive Normalization", ECCV 2020.

    Example:
    >>> import keras_paca
    >>> model = keras_paca.DenseNet121AN(weights=None, classes=10)
    >>> model.compute_output_shape((1, 64, 96, 3))
    (1, 10)
    """

def MobileNetV2AN(
    include_top: bool = True,
    include_preprocessing: bool = True,
    weights: str | pathlib.Path | None = 'imagenet',
    input_tensor: Any = None,
    input_shape: collections.abc.Sequence[int | None] | None = None,
    pooling: str | None = None,
    classes: int = 1000,
    classifier_activation: str | collections.abc.Callable | None = 'softmax',
    name: str = 'mobilenetv2_an',
    *,
    drop_path_rate: float = 0.0,
    dropout: float = 0.2,
    remat: bool = False,
    class_names: collections.abc.Sequence[str] | None = None,
    evaluation_transform: collections.abc.Mapping[str, typing.Any] | None = None,
    weights_url: str | None = None,
    dtype: Any = None,
) -> keras.Model:
    """Build MobileNetV2AN, with random weights or those of a file.

    The size: `hidden_dims=(16, 24, 32, 64, 96, 160, 320)`, `depths=(1, 2, 3, 4, 3, 3, 1)`.

    Args:
        include_top: bool. Whether the model ends in a classifier.
        include_preprocessing: bool. Whether the model takes RGB in 0..255 and normalises it.
            Otherwise it takes normalised images, of any number of channels.
        weights: str, Path or None. `None` for random values, or the path of an official `.pth`, a
            `.safetensors`, `.weights.h5` or `.keras` file. Of a detection or segmentation checkpoint,
            only the backbone is loaded. "imagenet" raises an error. The authors' files lie on Google
            Drive, under a licence for research alone, and aren't downloaded by name. If that licence
            covers your use, download the file by hand, from a link at
            https://github.com/iVMCL/AOGNet-v2 or https://github.com/iVMCL/iVMCL-Release, and pass its
            path as `weights`.
        input_tensor: KerasTensor. A `keras.Input` to build on. With another symbolic tensor, the
            result is a plain `keras.Model` over the whole graph.
        input_shape: Sequence of int. (height, width, channels), (None, None, 3) by default. Height
            and width are at least 32 and may be odd; `None` means any.
        pooling: str. Without the top: `None` for the map (batch, height, width, channels), "avg" or
            "max" for a vector.
        classes: int. Number of classes of the top. If it isn't that of the file, the head keeps its
            initial values.
        classifier_activation: str or Callable. Activation of the top, or `None` for logits.
        name: str. Name of the model.
        drop_path_rate: float. Rate at which the residual branch of the last block is dropped. Those
            of the others grow up to it linearly from 0.
        dropout: float. Rate of dropout before the classifier.
        remat: bool. Whether training keeps only the inputs of each block in memory and computes the
            block again in the backward pass: less memory, more time, the same gradients.
        class_names: Sequence of str. The name of each class, which a saved model keeps. By default,
            those of the file if it has as many classes.
        evaluation_transform: dict. How images are prepared for the model, as keyword arguments of
            `keras_paca.evaluation_transform`. By default, that of the file.
        weights_url: str. URL of a mirror of the released files. By default, that in the environment
            variable KERAS_PACA_WEIGHTS_URL, or else the address of the authors.
        dtype: str or keras.DTypePolicy. Dtype or policy of every layer.

    Returns:
        keras.Model. A `keras_paca.MobileNetAN`. Its input is (batch, height, width, channels). Its
        output is (batch, classes), or without the top the last map or a vector.

    Raises:
        ValueError: If an argument or the file doesn't fit, or if no such weights were released.
        FileNotFoundError: If there is no file at `weights`, or none could be downloaded.

    Source: Li, Sun and Wu, "Attentive Normalization", ECCV 2020.

    Example:
    >>> import keras_paca
    >>> model = keras_paca.MobileNetV2AN(weights=None, classes=10)
    >>> model.compute_output_shape((1, 64, 96, 3))
    (1, 10)
    """
