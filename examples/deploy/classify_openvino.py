"""Classify an image with an OpenVINO file; needs openvino, NumPy and Pillow, and no Keras.

python classify_openvino.py demo/digits.xml demo/digit.png
"""

import sys

import numpy as np
import openvino
from PIL import Image

path, picture = sys.argv[1:]
core = openvino.Core()
# in float32, where the processor would have chosen bfloat16
classify = core.compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})

image = np.asarray(Image.open(picture).convert("RGB"), "float32")
scores = classify(image[None])[0]
print(f"{scores[0].argmax()} with {scores[0].max():.6f}")
