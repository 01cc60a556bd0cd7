"""Classify an image with a SavedModel; needs TensorFlow and Pillow.

python classify_saved_model.py demo/digits demo/digit.png
"""

import sys
from pathlib import Path

import numpy as np
import tensorflow as tf
from PIL import Image

path, picture = sys.argv[1:]
model = tf.saved_model.load(path)  # in a name of its own: its variables must outlive the call
names = (Path(path) / "assets.extra" / "labels.txt").read_text(encoding="utf-8").splitlines()

image = np.asarray(Image.open(picture).convert("RGB"), "float32")
scores = model.serve(tf.constant(image[None])).numpy()
best = scores[0].argmax()
print(f"{best} ({names[best]}) with {scores[0][best]:.6f}")
