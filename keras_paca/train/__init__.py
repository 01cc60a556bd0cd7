"""Recipes: images in folders, and fine-tuning."""

from keras_paca.train.fine_tune import best_accuracy, fine_tune
from keras_paca.train.image_folder import ImageFolder, find_images, split_files

__all__ = ["ImageFolder", "best_accuracy", "find_images", "fine_tune", "split_files"]
