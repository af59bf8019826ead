"""Errors meant for people: each says what is wrong, where, and what to do."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class ReproError(Exception):
    """A user's mistake or a missing thing; shown as one message, never as a traceback."""


class LedgerError(ReproError):
    """A `paper.yaml` that does not hold together; the message names file, line and key."""


class SettingError(ReproError):
    """An unknown key or value in a setting; the message lists the valid ones."""


class DataUnavailable(ReproError):
    """Data that could not be had. Claims that need it are `blocked`, the rest goes on."""


class DataCorrupt(ReproError):
    """A file whose bytes are not the stated ones; the message names it and both md5s."""


class RecordDamaged(ReproError):
    """A record that cannot be trusted: reported and recomputed, never averaged."""


def did_you_mean(word: object, known: Iterable[str]) -> str:
    """Return ``; did you mean `x`?`` for the known word that is most like a wrong one; nothing if none is."""
    close = get_close_matches(str(word), list(known), n=1)
    return f"; did you mean `{close[0]}`?" if close else ""


def close_to(claim_id: str, known: Iterable[str]) -> str:
    """Return ``; close to it: …`` with up to three claims' ids like a wrong one; nothing if none is."""
    close = get_close_matches(claim_id, list(known), n=3, cutoff=0.4)
    return f"; close to it: {', '.join(close)}" if close else ""
