"""Settings typed by a user: parsed after the type of their default, refused with a list of what is valid."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite

from repro.claims import Scalar, Setting
from repro.errors import SettingError, close_to, did_you_mean
from repro.ledger import Experiment, Ledger


def _hint(word: str, known: Sequence[str]) -> str:
    return f"; valid are {', '.join(sorted(known))}{did_you_mean(word, known)}"


def check_experiment(ledger: Ledger, name: str | None) -> None:
    """Refuse an experiment that the ledger does not have.

    Raises:
        SettingError: listing those it has.
    """
    if name is not None and name not in ledger.experiments:
        raise SettingError(
            f"no experiment `{name}` in {ledger.paper.id}" + _hint(name, list(ledger.experiments))
        )


def check_claim(ledger: Ledger, claim_id: str | None) -> None:
    """Refuse a claim that the ledger does not have.

    Raises:
        SettingError: naming the one it is like, if any.
    """
    known = [claim.id for claim in ledger.all_claims()]
    if claim_id is not None and claim_id not in known:
        raise SettingError(f"no claim `{claim_id}` in {ledger.paper.id}{close_to(claim_id, known)}")


def check_deviation(ledger: Ledger, name: str | None) -> None:
    """Refuse a deviation that the ledger does not have.

    Raises:
        SettingError: naming the one it is like, if any.
    """
    if name is not None and name not in ledger.deviations:
        raise SettingError(f"no deviation `{name}` in {ledger.paper.id}{close_to(name, ledger.deviations)}")


def _parse(text: str, default: Scalar) -> Scalar:
    if isinstance(default, bool):
        if text.lower() not in ("true", "false"):
            raise ValueError("give true or false")
        return text.lower() == "true"
    if isinstance(default, int):
        return int(text)
    if isinstance(default, float):
        if not isfinite(float(text)):
            raise ValueError("give a finite number")
        return float(text)
    return text


def _split(pair: str) -> tuple[str, str]:
    key, equals, value = pair.partition("=")
    if not equals or not key:
        raise SettingError(f"--set {pair}: give key=value")
    return key.strip(), value.strip()


def _override(name: str, experiment: Experiment, key: str, text: str) -> Scalar:
    try:
        value = _parse(text, experiment.setting[key])
    except ValueError as error:
        default = experiment.setting[key]
        raise SettingError(
            f"--set {key}={text}: not a value like its default {default!r} in `{name}` ({error})"
        ) from None
    if key in experiment.choices and value not in experiment.choices[key]:
        known = [str(choice) for choice in experiment.choices[key]]
        raise SettingError(f"--set {key}={text}: not valid in `{name}`" + _hint(text, known))
    return value


def check_overrides(ledger: Ledger, experiments: Sequence[str], pairs: Sequence[str]) -> None:
    """Refuse a key that none of the experiments has.

    Raises:
        SettingError: listing the keys there are; or if a key is given twice.
    """
    known = {key for name in experiments for key in ledger.experiments[name].setting}
    seen: set[str] = set()
    for pair in pairs:
        key, _ = _split(pair)
        if key not in known:
            raise SettingError(f"--set {pair}: no setting `{key}`" + _hint(key, sorted(known)))
        if key in seen:
            raise SettingError(f"--set {pair}: `{key}` is set twice; run the command once for each value")
        seen.add(key)


def parse_overrides(ledger: Ledger, experiments: Sequence[str], pairs: Sequence[str]) -> Setting:
    """Return the settings that ``key=value`` pairs stand for, of the keys that the experiments have.

    Raises:
        SettingError: for a value of the wrong type or not among the choices.
    """
    overrides: Setting = {}
    for key, text in map(_split, pairs):
        for name in experiments:
            if key in ledger.experiments[name].setting:
                overrides[key] = _override(name, ledger.experiments[name], key, text)
    return overrides
