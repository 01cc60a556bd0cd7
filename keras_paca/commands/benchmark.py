"""`keras-paca benchmark`: latency, memory and size of a model in each runtime."""

import argparse

from keras_paca.commands.deployed import default_size, image_size, in_words_of_options
from keras_paca.commands.models import check_images, open_model
from keras_paca.deploy import benchmark


def run(options: argparse.Namespace) -> int:
    """Measure the model and print a table."""
    size = image_size(options)
    model = open_model(options)
    check_images(model, options)
    with in_words_of_options():
        benchmark(model, image_size=size or default_size(model), batch_size=options.batch_size)
    return 0
