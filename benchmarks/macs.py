"""Multiply-accumulates and activations of a model, counted from the operations that PyTorch runs.

`variants.py` and `contender.py` import it; it writes nothing.
"""

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

ATTENTION = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
COUNTED = {"addmm", "mm", "bmm", "baddbmm", "convolution", ATTENTION.__name__}


class _Activations(TorchDispatchMode):
    total = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        outputs = function(*args, **(kwargs or {}))
        if function.overloadpacket.__name__ in COUNTED:
            self.total += (outputs[0] if isinstance(outputs, tuple) else outputs).numel()
        return outputs


def _attention_flop(query_shape, key_shape, value_shape, *args, **kwargs):
    return sdpa_flop_count(query_shape, key_shape, value_shape)


def count_costs(run):
    """Return (multiply-accumulates, activations) of a call without gradients.

    Activations are the elements that matrix products and convolutions put out, as timm counts.
    """
    # PyTorch's counter knows the attention of GPUs alone.
    flops = FlopCounterMode(display=False, custom_mapping={ATTENTION: _attention_flop})
    with torch.no_grad(), _Activations() as activations, flops:
        run()
    return flops.get_total_flops() // 2, activations.total
