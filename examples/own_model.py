"""PaCa layers in a model of one's own: a small network with one cluster attention.

    python examples/own_model.py

A patch embedding, two blocks whose patches attend to twelve learned clusters, and a head; trained
for three epochs on scikit-learn's digits. What a layer takes and returns stands in its docstring.
"""

import keras

from keras_paca.demo import load_digits
from keras_paca.layers import ConvClustering, OverlappingStem, PaCaBlock


def build(clusters: int = 12, channels: int = 48) -> keras.Model:
    """Return a classifier of digits, images (batch, 64, 64, 3) in 0..255."""
    inputs = keras.Input((64, 64, 3))
    x = keras.layers.Rescaling(1 / 127.5, offset=-1)(inputs)
    x = OverlappingStem(channels)(x)  # (b, 16, 16, channels)
    x, assignment = PaCaBlock(num_heads=4, clustering=ConvClustering(clusters))(x)
    x, _ = PaCaBlock(num_heads=4)(x, assignment=assignment)  # (b, 256, clusters) again
    x = keras.layers.GlobalAveragePooling2D(data_format="channels_last")(x)
    return keras.Model(inputs, keras.layers.Dense(10, activation="softmax")(x))


def main() -> None:
    """Train and say how good it is."""
    (images, labels), test = load_digits()
    model = build()
    model.compile(
        keras.optimizers.AdamW(2e-3), "sparse_categorical_crossentropy", metrics=["accuracy"]
    )
    model.fit(images, labels, batch_size=64, epochs=3)
    model.evaluate(*test)


if __name__ == "__main__":
    main()
