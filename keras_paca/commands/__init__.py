"""The commands of `keras-paca`, one module for each, and the functions that they share."""
