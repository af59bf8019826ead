"""Freed memory stays, and can be given back."""

from __future__ import annotations

import subprocess
import sys

import pytest

from repro.heap import give_back, keep_freed

SIZE = 64 * 2**20
PAGES = SIZE // 4096
FAULTS = f"""
import resource, sys, torch
from repro.heap import keep_freed
if sys.argv[1] == "keep":
    keep_freed()
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):  # until the heap is as large as it gets
    torch.ones({SIZE}, dtype=torch.uint8)
before = faults()
for _ in range(5):
    torch.ones({SIZE}, dtype=torch.uint8)
print(faults() - before)
"""


def test_a_step_does_not_fetch_its_pages_anew() -> None:
    """In processes of their own: what is kept is kept for good."""
    if not keep_freed():
        pytest.skip("this system's C library cannot be asked")
    kept, given = (
        int(
            subprocess.run(
                [sys.executable, "-c", FAULTS, how], capture_output=True, text=True, check=True
            ).stdout
        )
        for how in ("keep", "not")
    )
    assert kept < PAGES / 10
    assert given > PAGES * 4  # unless pages are larger than four kilobytes


def test_giving_back_is_always_allowed() -> None:
    give_back()
    give_back()
