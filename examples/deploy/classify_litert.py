"""Classify an image with a LiteRT file; needs ai-edge-litert, NumPy and Pillow, and no Keras.

python classify_litert.py demo/digits.tflite demo/digit.png
"""

import sys

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from PIL import Image

path, picture = sys.argv[1:]
interpreter = Interpreter(path, num_threads=2)
classify = interpreter.get_signature_runner()
((name, entry),) = classify.get_input_details().items()
_, height, width, _ = entry["shape"]

image = Image.open(picture).convert("RGB").resize((width, height), Image.Resampling.BICUBIC)
(scores,) = classify(**{name: np.asarray(image, "float32")[None]}).values()
print(f"{scores[0].argmax()} with {scores[0].max():.6f}")
