"""The commands of `keras-paca`, one file each, and what they share."""
