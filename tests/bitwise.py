"""Equality to the bit and the type, for nested states."""

import torch


def same(a, b):
    """Equality that tells True from 1, -0.0 from 0.0, a tuple from a list, and takes NaN as NaN."""
    if type(a) is not type(b):
        return False
    if isinstance(a, torch.Tensor):
        if a.dtype != b.dtype or a.shape != b.shape:
            return False
        # Not contiguous(): it keeps the odd strides of a tensor of one element.
        raw = [t.detach().cpu().clone(memory_format=torch.contiguous_format) for t in (a, b)]
        return torch.equal(*(t.reshape(-1).view(torch.uint8) for t in raw))
    if isinstance(a, dict):
        return list(map(repr, a)) == list(map(repr, b)) and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return repr(a) == repr(b)
