"""Classify an image with a LiteRT file; needs ai-edge-litert, NumPy and Pillow, and no Keras.

python classify_litert.py demo/digits.tflite demo/digit.png
"""

import sys
import zipfile

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from PIL import Image

path, picture = sys.argv[1:]
interpreter = Interpreter(path, num_threads=2)
classify = interpreter.get_signature_runner()
((name, entry),) = classify.get_input_details().items()
_, height, width, _ = entry["shape"]

with zipfile.ZipFile(path) as archive:  # it follows the model in the same file
    names = archive.read("labels.txt").decode().splitlines()

image = Image.open(picture).convert("RGB").resize((width, height), Image.Resampling.BICUBIC)
(scores,) = classify(**{name: np.asarray(image, "float32")[None]}).values()
best = scores[0].argmax()
print(f"{best} ({names[best]}) with {scores[0][best]:.6f}")
