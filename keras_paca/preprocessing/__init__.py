"""Preparing images for a model, and naming the classes that it predicts."""

from keras_paca.labels import imagenet_classes
from keras_paca.preprocessing.folders import find_images, list_images, split_files
from keras_paca.preprocessing.imagenet import decode_predictions
from keras_paca.preprocessing.layer import EvaluationTransform
from keras_paca.preprocessing.pictures import load_image
from keras_paca.preprocessing.transform import evaluation_transform

__all__ = [
    "EvaluationTransform",
    "decode_predictions",
    "evaluation_transform",
    "find_images",
    "imagenet_classes",
    "list_images",
    "load_image",
    "split_files",
]
