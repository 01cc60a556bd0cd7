"""What an error says."""

import warnings

import pytest


def refusal(call, error=ValueError):
    """Return the message of the error that a call raises, of one line."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(error) as caught:
            call()
    assert "\n" not in str(caught.value)
    return str(caught.value)
