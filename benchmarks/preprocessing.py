"""How far the transform inside a model is from that on the host, in grey levels and in logits.

    python benchmarks/preprocessing.py

On scikit-image's photographs, with PaCa-Tiny on the stand-in checkpoint of the parity cases. A
table is printed, in less than a minute.
"""

import sys
from pathlib import Path

import keras
import numpy as np
import skimage.data

sys.path.insert(0, str(Path(__file__).parents[1]))

from keras_paca import evaluation_transform
from keras_paca.preprocessing import EvaluationTransform
from tests.parity import official

NAME = "pacavit_tiny_p2cconv_100_0"


def main():
    """Print a row per photograph."""
    description, checkpoint, _ = official.case(NAME)
    model = official.build(NAME, description, include_preprocessing=True)
    official.load(model, checkpoint)
    transform = EvaluationTransform()
    print(f"backend {keras.backend.backend()}")
    print(f"{'photograph':12} {'size':>11} {'largest':>8} {'differing':>10} {'logits':>9} top-1")
    for name in ("astronaut", "coffee", "cat", "rocket"):
        image = getattr(skimage.data, name)()
        host = evaluation_transform(image)[None].astype("float32")
        layer = keras.ops.convert_to_numpy(transform(image[None]))
        difference = np.abs(host - layer)
        logits = [model.predict(x, verbose=0) for x in (host, layer)]
        error = official.relative_error(logits[1], logits[0])
        same = "same" if logits[0].argmax() == logits[1].argmax() else "other"
        print(
            f"{name:12} {image.shape[0]:5} x {image.shape[1]:3} {difference.max():8.0f} "
            f"{(difference > 0).mean():10.2%} {error:9.1e} {same}"
        )


if __name__ == "__main__":
    main()
