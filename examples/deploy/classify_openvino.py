"""Classify an image with an OpenVINO file; needs openvino, NumPy and Pillow, and no Keras.

python classify_openvino.py demo/digits.xml demo/digit.png
"""

import sys

import numpy as np
import openvino
from PIL import Image

path, picture = sys.argv[1:]
core = openvino.Core()
model = core.read_model(path)
names = model.get_rt_info(["model_info", "labels"]).astype(str).split()
# in float32, where the processor would have chosen bfloat16
classify = core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})

image = np.asarray(Image.open(picture).convert("RGB"), "float32")
scores = classify(image[None])[0]
best = scores[0].argmax()
print(f"{best} ({names[best]}) with {scores[0][best]:.6f}")
