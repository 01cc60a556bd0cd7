"""`keras-paca weights`: list the released weights, or check those that were downloaded."""

import argparse

from keras_paca.weights import released_files, verify_cache


def run(options: argparse.Namespace) -> int:
    """List the released files, or verify the cached ones; raise an error if one has changed.

    Args:
        options: argparse.Namespace. The options of the command.

    Returns:
        int. The exit status, 0.

    Raises:
        OSError: If a file in the cache can't be read.
        ValueError: If `--verify` finds a file that has changed.

    Example:
    >>> from keras_paca_cli import parse
    >>> run(parse(["weights"]))  # doctest: +ELLIPSIS
    classification ...
    Licence: ...
    0
    """
    if options.verify:
        _verify()
    else:
        _list()
    return 0


def _verify() -> None:
    found = verify_cache()
    for file, checksum, state in found:
        print(f"{file.file}  {state}  SHA-256 {checksum or 'unknown'}")
    if not found:
        print("no released file in the cache")
    if any(state == "changed" for _, _, state in found):
        raise ValueError("A file in the cache has changed. Delete it; the next use renews it.")


def _list() -> None:
    for file in released_files():
        measured = ", ".join(f"{name} {value}" for name, value in file.accuracy.items())
        print(f"{file.task:14} {file.variant:60} {file.head:9} {measured:26} {file.file}")
        if file.note:
            print(f"{'':14} {file.note}")
    for folder, licence in dict.fromkeys((file.folder, file.licence) for file in released_files()):
        print(f"From {folder}FILE\nLicence: {licence}")
