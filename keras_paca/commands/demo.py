"""`keras-paca demo`: learn handwritten digits, predict, explain, export."""

import argparse

from keras_paca.demo import run_demo


def run(options: argparse.Namespace) -> int:
    """Run the demo."""
    run_demo(options.output)
    return 0
