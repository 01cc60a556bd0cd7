"""`keras-paca weights`: list the released weights, or check those that were downloaded."""

import argparse

from keras_paca.backbones.registry import families
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
    PaCaViT, from https://...
    Licence: code MIT; ...
    classification ...
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
    titles = {family.family: family.__name__ for family in families()}
    printed = ""
    for file in released_files():
        title = titles.get(file.family, file.family)
        about = f"{title}, from {file.address or file.folder}\nLicence: {file.licence}"
        if about != printed:
            print(f"\n{about}" if printed else about)
            printed = about
        measured = ", ".join(f"{name} {value}" for name, value in file.accuracy.items())
        print(f"{file.task:14} {file.variant:60} {file.head:11} {measured:28} {file.file}")
        if file.note:
            print(f"{'':14} {file.note}")
