"""Whose turn it is on this machine: runs go beside each other, but nothing beside one that measures time."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

if sys.platform != "win32":
    import fcntl

# By the user's number: a user need not have a name.
FILE = Path(tempfile.gettempdir()) / f"literature-reproduction-{getattr(os, 'getuid', int)()}.lock"


@contextmanager
def turn(alone: bool, waiting: Callable[[], None]) -> Iterator[None]:
    """Hold the machine together with others, or alone, until the context ends.

    It knows of this project's runs by the same user, in any folder; on Windows of none. Someone else's program beside a
    measurement is for the reader of the time to know.

    Args:
        alone: whether nothing may run beside it.
        waiting: called once if others are in the way, before waiting for them.
    """
    if sys.platform == "win32":
        yield
        return
    kind = fcntl.LOCK_EX if alone else fcntl.LOCK_SH
    with FILE.open("a") as file:  # the lock ends with the file, also of a killed run
        try:
            fcntl.flock(file, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            waiting()
            fcntl.flock(file, kind)
        yield
