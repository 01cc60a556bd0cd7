"""What makes a trained model ready for use."""

from keras_paca.deploy.fuse import fuse

__all__ = ["fuse"]
