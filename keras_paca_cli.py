"""Where the `keras-paca` command begins: before Keras is imported, which needs its backend."""

import json
import os
import sys
from importlib.util import find_spec
from pathlib import Path

BACKENDS = ("tensorflow", "jax", "torch")  # also the names of their packages


def main() -> int:
    """Choose a backend, run the command and return its exit status."""
    installed = [name for name in BACKENDS if find_spec(name)]
    if not installed:
        print(
            "keras-paca: Keras needs a backend: pip install keras-paca[tensorflow], "
            "keras-paca[jax] or keras-paca[torch]",
            file=sys.stderr,
        )
        return 1
    chosen = os.environ.get("KERAS_BACKEND")
    if chosen is None:
        # Keras writes "tensorflow" into its configuration on first use, installed or not.
        configured = _configured_backend()
        chosen = configured if configured in installed else installed[0]
        os.environ["KERAS_BACKEND"] = chosen
    if chosen not in installed:
        what = "is not installed" if chosen in BACKENDS else "is none of this command's backends"
        print(
            f"keras-paca: KERAS_BACKEND={chosen} {what}; installed: {', '.join(installed)}",
            file=sys.stderr,
        )
        return 1
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    from keras_paca.cli import main as run

    return run()


def _configured_backend() -> str | None:
    """Return the backend in Keras's configuration file, `None` without one."""
    user = os.path.expanduser("~")
    default = os.path.join(user if os.access(user, os.W_OK) else "/tmp", ".keras")
    home = Path(os.environ.get("KERAS_HOME", default))
    try:
        return json.loads((home / "keras.json").read_text(encoding="utf-8")).get("backend")
    except (OSError, ValueError, AttributeError):
        return None


if __name__ == "__main__":
    sys.exit(main())
