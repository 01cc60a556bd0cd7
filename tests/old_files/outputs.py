"""What the files are compared by, for the script that wrote them and the test that loads them."""

from pathlib import Path

import keras
import numpy as np

FOLDER = Path(__file__).parent


def prepare(array: np.ndarray) -> np.ndarray:
    """Return images, which are stored in a smaller type, as a model takes them."""
    return array.astype("float32")


def compute(model: keras.Model, images: np.ndarray) -> dict[str, np.ndarray]:
    """Return the outputs that a model predicts, by name.

    Args:
        model: keras.Model. The model.
        images: float32 array. A batch.

    Returns:
        dict. The outputs; of a `Segmenter` with an auxiliary head also its logits.
    """
    # Most kinds share their operations, which need compiling once then; a detector has many.
    model.run_eagerly = not hasattr(model, "box_head")
    outputs = model.predict(images, verbose=0)
    outputs = outputs if isinstance(outputs, dict) else {"outputs": outputs}
    if getattr(model, "auxiliary_head", None) is not None:
        auxiliary = keras.Model(model.inputs[0], model.output["auxiliary"])(images)
        outputs = {**outputs, "auxiliary": keras.ops.convert_to_numpy(auxiliary)}
    return outputs
