"""`PaCaSmall(weights="imagenet")` from a mirror, and how far its logits are from the official ones.

    KERAS_BACKEND=torch python benchmarks/download.py

A local server stands for the mirror, and the checkpoint of the parity case for the released file:
the same keys, shapes and surrounding training state, downloaded, checked, converted and cached. It
takes less than a minute.
"""

import functools
import http.server
import os
import sys
import tempfile
import threading
import time
from importlib.util import find_spec
from pathlib import Path

import keras

sys.path.insert(0, str(Path(__file__).parents[1]))

import keras_paca
from tests.parity import official
from tests.stand_ins import released_tensors, write_released

NAME, FILE = "pacavit_small_p2cconv_100_0", "IMNET_224_pacavit_small_p2cconv_100_0.pth"


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Serve a folder without a line per request."""

    def log_message(self, *arguments):
        """Say nothing."""


def main():
    """Print the backends installed, the error, and the seconds with and without a download."""
    installed = [name for name in ("tensorflow", "jax", "torch") if find_spec(name)]
    print(f"backend {keras.backend.backend()}, installed: {', '.join(installed)}")
    description, _, expected = official.case(NAME)
    with tempfile.TemporaryDirectory() as folder:
        write_released(Path(folder) / FILE, released_tensors("small"))
        server = http.server.ThreadingHTTPServer(
            ("127.0.0.1", 0), functools.partial(Quiet, directory=folder)
        )
        threading.Thread(target=server.serve_forever, daemon=True).start()
        os.environ["KERAS_HOME"] = str(Path(folder) / "home")
        os.environ["KERAS_PACA_WEIGHTS_URL"] = f"http://127.0.0.1:{server.server_port}"
        for what in ("downloaded", "from the cache"):
            start = time.perf_counter()
            model = keras_paca.PaCaSmall(
                weights="imagenet", include_preprocessing=False, classifier_activation=None
            )
            seconds = time.perf_counter() - start
            errors = official.forward_errors(model, description, expected)
            print(f"{what:15} {seconds:5.1f} s, largest error {max(errors.values()):.1e}")
            server.shutdown()


if __name__ == "__main__":
    main()
