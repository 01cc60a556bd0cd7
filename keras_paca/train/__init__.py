"""Training a classifier on folders of images, evaluating it, and training by castling."""

from keras_paca.preprocessing import find_images, list_images, split_files
from keras_paca.train.castling import CastlingSchedule, finish_castling, mask_densities
from keras_paca.train.evaluation import evaluate_classifier
from keras_paca.train.fine_tune import best_accuracy, fine_tune
from keras_paca.train.image_folder import ImageFolder

__all__ = [
    "CastlingSchedule",
    "ImageFolder",
    "best_accuracy",
    "evaluate_classifier",
    "find_images",
    "fine_tune",
    "finish_castling",
    "list_images",
    "mask_densities",
    "split_files",
]
