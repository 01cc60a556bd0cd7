"""Export the demo's model of handwritten digits, write a real digit as an image, ask Keras.

Run `keras-paca demo` first, then `python examples/deploy/prepare.py`; it needs
`pip install "keras-paca[tensorflow,demo,litert,onnx,openvino]"`.
"""

from pathlib import Path

import keras
import numpy as np
from PIL import Image

import keras_paca
from keras_paca.demo import load_digits

folder = Path("demo")
model = keras.saving.load_model(folder / "digits.keras")
model.class_names = [str(digit) for digit in range(10)]  # which the files pass on
for name in ("digits.tflite", "digits.onnx", "digits.xml", "digits"):  # a folder: a SavedModel
    keras_paca.export(model, folder / name)

_, (images, labels) = load_digits()
image = np.round(images[0]).astype("uint8")  # (64, 64, 3), RGB
Image.fromarray(image).save(folder / "digit.png")
scores = model.predict(image[None].astype("float32"), verbose=0)[0]
print(f"truth {labels[0]}, Keras says {scores.argmax()} with {scores.max():.6f}")
