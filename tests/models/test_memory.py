"""Freed memory goes back to the system."""

import sys

import psutil
import pytest
import torch

from workbench.models.memory import give_back


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's own")
def test_freed_pieces_go_back() -> None:
    """Pieces under 32 MiB with a small one behind each, which keep the heap from shrinking."""
    process, kept, big = psutil.Process(), [], []
    for _ in range(64):
        big.append(torch.ones(2 << 20))  # 8 MiB
        kept.append(torch.ones(64))
    give_back()
    full = process.memory_info().rss
    big.clear()
    give_back()
    assert full - process.memory_info().rss > 400 << 20  # of 512 MiB
    assert float(torch.stack(kept).sum()) == 64 * 64, "what is in use stays"
