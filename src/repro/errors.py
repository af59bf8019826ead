"""Errors meant for people: each says what is wrong, where, and what to do."""

from __future__ import annotations


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
