"""What users see of errors in converters and in other processes."""

import os
import sys

import pytest

from keras_paca.deploy.failures import quiet, sentence
from tests.marks import slow_but_on_torch

pytestmark = slow_but_on_torch


LITERT = """Could not translate MLIR to FlatBuffer.<unknown>:0: error: loc(callsite(fused["Beta:", \
"functional_1/beta (1)/Beta"] at fused["StatefulPartitionedCall:"])): 'tf.Beta' op is neither a \
custom op nor a flex op
<unknown>:0: note: loc(fused["StatefulPartitionedCall:"]): called from
<unknown>:0: error: failed while converting: 'main':
Some ops in the model are custom ops, See instructions to implement custom ops"""


OPENVINO = """Check 'false' failed at src/frontends/common_translators/src/report.cpp:151:
FrontEnd API failed with OpConversionFailure:
Model wasn't fully converted.
Summary:
-- No conversion rule found for operations: Beta
To facilitate the conversion of unsupported operations, refer to the documentation"""


KERAS = """Exception encountered when calling Two.call().

\x1b[1mNo kernel.\x1b[0m

Arguments received by Two.call():"""


PYTHON = """I0000 00:00:1795641118.782346 9267 port.cc:153] oneDNN custom operations are on
Traceback (most recent call last):
  File "write.py", line 3, in main
    convert()
    ^^^^^^^^^
onnxruntime.capi.InvalidGraph: [ONNXRuntimeError] : 10 : Load model failed
"""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (LITERT, "'tf.Beta' op is neither a custom op nor a flex op Some ops in the model are"),
        (OPENVINO, "Model wasn't fully converted. No conversion rule found for operations: Beta"),
        (KERAS, "No kernel."),
        (PYTHON, "[ONNXRuntimeError] : 10 : Load model failed"),
        ("one\ntwo", "one two"),
        (ValueError(), "ValueError"),
    ],
)
def test_sentences(text, expected):
    assert sentence(text).startswith(expected)
    assert "\n" not in sentence(text)


def test_long_ones_are_cut():
    assert len(sentence("x" * 3000)) == 250
    assert sentence("a " * 100 + "\n" + "b" * 300) == " ".join("a" * 100)


def test_standard_error_is_kept_away(capfd):
    with quiet():
        os.write(2, b"a converter's dump\n")
    print("ours", file=sys.stderr)
    with pytest.raises(KeyError), quiet():
        raise KeyError("passed on")
    os.write(2, b"later\n")
    assert capfd.readouterr().err == "ours\nlater\n"
