"""Reading a ``paper.yaml``: every mistake is reported with its file, line and key."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from difflib import get_close_matches
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from repro.errors import LedgerError
from repro.ledger import CurveClaim, Ledger, OrderingClaim, ScalingClaim, Setting

Location = tuple[str | int, ...]


class _Document:
    """A YAML document as plain values, with the line of every key."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lines: dict[Location, int] = {}
        try:
            text = path.read_text(encoding="utf-8")
            node = yaml.compose(text, Loader=yaml.CSafeLoader)
        except OSError as error:
            raise LedgerError(f"{path}: cannot be read ({error.strerror})") from None
        except yaml.YAMLError as error:
            raise LedgerError(f"{path}: not valid YAML: {error}") from None
        self._walk(node, ())
        self.value = yaml.load(text, Loader=yaml.CSafeLoader)

    def _walk(self, node: yaml.Node | None, at: Location) -> None:
        if isinstance(node, yaml.MappingNode):
            seen: dict[str, int] = {}
            for key, value in node.value:
                name, line = key.value, key.start_mark.line + 1
                here = (*at, name)
                if name in seen:
                    self.fail(f"the key stands twice, first on line {seen[name]}", here, line)
                seen[name] = self.lines[here] = line
                self._walk(value, here)
        elif isinstance(node, yaml.SequenceNode):
            for i, value in enumerate(node.value):
                self.lines[(*at, i)] = value.start_mark.line + 1
                self._walk(value, (*at, i))

    def fail(self, what: str, at: Location, line: int | None = None) -> None:
        """Raise a LedgerError that names file, line and key."""
        shown = tuple(at)
        while line is None and shown:
            line = self.lines.get(shown)
            shown = shown[:-1]
        key = ".".join(str(part) for part in at) or "(top)"
        raise LedgerError(f"{self.path}:{line or 1}: {key}: {what}")


def _without_tags(location: Location, document: _Document) -> Location:
    """Drop the union tags that pydantic puts into a location, such as ``('claims', 3, 'value', 'margin')``."""
    kept: Location = ()
    for part in location:
        if (*kept, part) in document.lines or part == location[-1]:
            kept = (*kept, part)
    return kept


def _explain(error: Any, document: _Document) -> str:
    if error["type"] == "extra_forbidden":
        return "unknown key"
    if error["type"] == "missing":
        return "missing" + (" (every number needs its anchor)" if error["loc"][-1] == "anchor" else "")
    return error["msg"].removeprefix("Value error, ")


@lru_cache(maxsize=64)
def _load(path: Path, stamp: tuple[int, int]) -> Ledger:
    document = _Document(path)
    try:
        ledger = Ledger.model_validate(document.value)
    except ValidationError as failure:
        first = failure.errors()[0]
        document.fail(_explain(first, document), _without_tags(first["loc"], document))
        raise  # not reached
    _check(ledger, document)
    return ledger


def load_ledger(path: Path) -> Ledger:
    """Read and check one ``paper.yaml``.

    Raises:
        LedgerError: with file, line and key, for the first mistake found.
    """
    path = Path(path)
    if not path.is_file():
        raise LedgerError(f"{path}: there is no such ledger; `repro list` shows the papers there are")
    status = path.stat()
    return _load(path, (status.st_mtime_ns, status.st_size))


def _suggest(word: str, known: list[str]) -> str:
    close = get_close_matches(word, known, n=1)
    return f"`{word}` is not one of {', '.join(sorted(known))}" + (
        f"; did you mean `{close[0]}`?" if close else ""
    )


def _places(ledger: Ledger) -> Iterator[tuple[Any, Location]]:
    """Everything that measures something, with its place in the file."""
    for i, table in enumerate(ledger.tables):
        yield table, ("tables", i)
    for i, claim in enumerate(ledger.claims):
        yield claim, ("claims", i)
    for name, deviation in ledger.deviations.items():
        yield deviation, ("deviations", name)


def _check(ledger: Ledger, document: _Document) -> None:
    """Check what holds between the parts."""
    ids = Counter(claim.id for claim in ledger.all_claims())
    for i, claim in enumerate(ledger.claims):
        if ids[claim.id] > 1:
            document.fail(f"the id `{claim.id}` is used {ids[claim.id]} times", ("claims", i, "id"))
    for i, table in enumerate(ledger.tables):
        for row, cells in table.published.items():
            if row not in table.rows:
                document.fail(_suggest(row, list(table.rows)), ("tables", i, "published", row))
            for column in cells:
                for what, known in (("columns", table.columns), ("margins", table.margins)):
                    if column not in known:
                        document.fail(
                            f"column `{column}` is not in `{what}`", ("tables", i, "published", row, column)
                        )
    for name, experiment in ledger.experiments.items():
        at: Location = ("experiments", name)
        for j, quantity in enumerate(experiment.quantities):
            if quantity not in ledger.quantities:
                document.fail(_suggest(quantity, list(ledger.quantities)), (*at, "quantities", j))
        for key in experiment.choices:
            if key not in experiment.setting:
                document.fail(_suggest(key, list(experiment.setting)), (*at, "choices", key))
        for tier, plan in experiment.tiers.items():
            _check_setting(ledger, name, plan.set, document, (*at, "tiers", tier, "set"))
    used: set[str] = set()
    for item, at in _places(ledger):
        _check_measure(ledger, item, document, at)
        used.add(item.measure.quantity)
    for quantity in ledger.quantities:
        if quantity not in used:
            document.fail("no claim uses this quantity", ("quantities", quantity))
    for name, control in ledger.controls.items():
        experiments = {c.measure.experiment for c in ledger.all_claims() if name in c.controls}
        if not experiments:
            document.fail("no claim uses this control", ("controls", name))
        for experiment_name in experiments:
            _check_setting(ledger, experiment_name, control.set, document, ("controls", name, "set"))


def _check_measure(ledger: Ledger, item: Any, document: _Document, at: Location) -> None:
    measure = item.measure
    if measure.experiment not in ledger.experiments:
        document.fail(_suggest(measure.experiment, list(ledger.experiments)), (*at, "measure", "experiment"))
    experiment = ledger.experiments[measure.experiment]
    if measure.quantity not in experiment.quantities:
        document.fail(
            f"experiment `{measure.experiment}` does not produce `{measure.quantity}`, only "
            f"{', '.join(experiment.quantities)}",
            (*at, "measure", "quantity"),
        )

    def settings(setting: Setting, *where: str | int) -> None:
        _check_setting(ledger, measure.experiment, setting, document, (*at, *where))

    settings(measure.setting, "measure", "setting")
    for row, setting in getattr(item, "rows", {}).items():
        settings(setting, "rows", row)
    for column, setting in getattr(item, "columns", {}).items():
        settings(setting, "columns", column)
    for key, values in getattr(item, "across", {}).items():
        for value in values if key != experiment.index else []:
            settings({key: value}, "across", key)
    if isinstance(item, OrderingClaim):
        for j, arm in enumerate([item.greater, *item.than]):
            where = ("greater",) if j == 0 else ("than", j - 1)
            settings({k: v for k, v in arm.items() if k != experiment.index}, *where)
    if isinstance(item, ScalingClaim | CurveClaim) and experiment.index is None:
        document.fail(
            f"a {item.kind} claim needs an experiment with an `index`; `{measure.experiment}` has none",
            (*at, "measure", "experiment"),
        )
    if hasattr(item, "switch"):
        for value in item.alternatives:
            settings({item.switch: value}, "alternatives")
    controls = getattr(item, "controls", [])
    names = controls if isinstance(controls, list) else [c for row in controls.values() for c in row]
    for control in names:
        if control not in ledger.controls:
            document.fail(_suggest(control, list(ledger.controls)), (*at, "controls"))


def _check_setting(
    ledger: Ledger, experiment_name: str, setting: Setting, document: _Document, at: Location
) -> None:
    experiment = ledger.experiments[experiment_name]
    for key, value in setting.items():
        if key not in experiment.setting:
            document.fail(
                f"experiment `{experiment_name}`: " + _suggest(key, list(experiment.setting)), (*at, key)
            )
        if key in experiment.choices and value not in experiment.choices[key]:
            known = [str(choice) for choice in experiment.choices[key]]
            document.fail(f"experiment `{experiment_name}`: " + _suggest(str(value), known), (*at, key))
