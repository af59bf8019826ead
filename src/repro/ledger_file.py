"""Reading a ``paper.yaml``: every mistake is reported with its file, line and key."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from repro.claims import (
    Claim,
    CurveClaim,
    GeneralisationClaim,
    OrderingClaim,
    Scalar,
    ScalingClaim,
    Setting,
    Strict,
)
from repro.errors import LedgerError, did_you_mean
from repro.ledger import Deviation, Ledger, Table

Location = tuple[str | int, ...]


class _Loader(yaml.CSafeLoader):
    """Reads no dates: what looks like one is text, which the models then accept or refuse with its line."""


_Loader.add_constructor("tag:yaml.org,2002:timestamp", lambda _, node: str(node.value))


class Document:
    """A YAML document as plain values, with the line of every key.

    Args:
        path: of the file.
        text: the part of it that is YAML; None for all of it.
        above: lines of the file before that part.
    """

    def __init__(self, path: Path, text: str | None = None, above: int = 0) -> None:
        self.path, self.above = path, above
        self.lines: dict[Location, int] = {}
        try:
            text = path.read_text(encoding="utf-8") if text is None else text
            self._walk(yaml.compose(text, Loader=_Loader), ())
            self.value = yaml.load(text, Loader=_Loader)
        except OSError as error:
            raise LedgerError(f"{path}: cannot be read ({error.strerror})") from None
        except yaml.MarkedYAMLError as error:
            line = f":{above + error.problem_mark.line + 1}" if error.problem_mark else ""
            raise LedgerError(f"{path}{line}: not valid YAML: {error.problem}") from None
        except (yaml.YAMLError, ValueError) as error:
            why = " ".join(str(error).split())
            raise LedgerError(f"{path}: not valid YAML: {why}") from None

    def _walk(self, node: yaml.Node | None, at: Location) -> None:
        if isinstance(node, yaml.MappingNode):
            seen: dict[str, int] = {}
            for key, value in node.value:
                name, line = key.value, key.start_mark.line + 1
                if not isinstance(key, yaml.ScalarNode):
                    self.fail("a key must be a single word", at, line)
                here = (*at, name)
                if name in seen:
                    self.fail(f"the key stands twice, first on line {seen[name]}", here, line)
                seen[name] = self.lines[here] = line
                self._walk(value, here)
        elif isinstance(node, yaml.SequenceNode):
            for i, value in enumerate(node.value):
                self.lines[(*at, i)] = value.start_mark.line + 1
                self._walk(value, (*at, i))

    def fail(self, what: str, at: Location, line: int | None = None) -> NoReturn:
        """Raise a LedgerError that names file, line and key."""
        shown = tuple(at)
        while line is None and shown:
            line = self.lines.get(shown)
            shown = shown[:-1]
        key = ".".join(str(part) for part in at) or "(top)"
        raise LedgerError(f"{self.path}:{self.above + (line or 1)}: {key}: {what}")


def _without_tags(location: Location, document: Document) -> Location:
    """Drop the union tags that pydantic puts into a location, such as ``('claims', 3, 'value', 'margin')``."""
    kept: Location = ()
    for i, part in enumerate(location):
        if (*kept, part) in document.lines or i == len(location) - 1:
            kept = (*kept, part)
    return kept


def _explain(error: Any, document: Document) -> tuple[str, Location]:
    """Return what is wrong, in our words, and where."""
    at = _without_tags(error["loc"], document)
    if error["type"] == "extra_forbidden":
        return "unknown key", at
    if error["type"] == "missing":
        return "missing" + (" (every number needs its anchor)" if at[-1] == "anchor" else ""), at
    if error["type"].startswith("union_tag"):
        return error["msg"], (*at, "kind")
    if at and at[-1] in ("bool", "int", "float", "str") and at not in document.lines:
        return "needs one number, text, true or false", at[:-1]
    return error["msg"].removeprefix("Value error, "), at


Model = TypeVar("Model", bound=BaseModel)


def _validated(model: type[Model], document: Document) -> Model:
    try:
        return model.model_validate(document.value)
    except ValidationError as failure:
        # A misspelt key is unknown, and what it should have been is missing: the first says more.
        errors = sorted(failure.errors(), key=lambda error: error["type"] != "extra_forbidden")
        document.fail(*_explain(errors[0], document))


@lru_cache(maxsize=64)
def _load(path: Path, stamp: tuple[int, int]) -> Ledger:
    document = Document(path)
    ledger = _validated(Ledger, document)
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


class _Beliefs(Strict):
    believe: list[Claim]


def with_beliefs(ledger: Ledger, path: Path, text: str, above: int, anchor: dict[str, str]) -> Ledger:
    """Return a ledger with a reviewer's own claims added: ``believe:`` and a list of claims as in a ledger.

    Args:
        ledger: of the paper they are about.
        path: of the file they stand in.
        text: the YAML; above: lines of the file before it.
        anchor: what their anchor is; they need none of their own.

    Raises:
        LedgerError: with file, line and key, for the first mistake found.
    """
    document = Document(path, text, above)
    listed = document.value.get("believe") if isinstance(document.value, dict) else None
    for claim in listed if isinstance(listed, list) else []:
        if isinstance(claim, dict):
            claim.setdefault("anchor", anchor)
    beliefs = _validated(_Beliefs, document).believe
    taken = {claim.id for claim in ledger.all_claims()}
    for i, claim in enumerate(beliefs):
        if claim.id in taken:
            document.fail(f"the id `{claim.id}` is taken already", ("believe", i, "id"))
        taken.add(claim.id)
        _check_measure(ledger, claim, document, ("believe", i))
    return ledger.model_copy(update={"claims": [*ledger.claims, *beliefs]})


def _suggest(word: str, known: list[str]) -> str:
    return f"`{word}` is not one of {', '.join(sorted(known))}{did_you_mean(word, known)}"


def _places(ledger: Ledger) -> Iterator[tuple[Any, Location]]:
    """Everything that measures something, with its place in the file."""
    for i, table in enumerate(ledger.tables):
        yield table, ("tables", i)
    for i, claim in enumerate(ledger.claims):
        yield claim, ("claims", i)
    for name, deviation in ledger.deviations.items():
        yield deviation, ("deviations", name)


def _check(ledger: Ledger, document: Document) -> None:
    """Check what holds between the parts."""
    for i, table in enumerate(ledger.tables):
        _check_table(table, document, ("tables", i))
    for item, place in _places(ledger):
        if item.anchor.work not in (None, *ledger.works):
            document.fail(_suggest(item.anchor.work, list(ledger.works)), (*place, "anchor", "work"))
    _check_ids(ledger, document)
    for name, experiment in ledger.experiments.items():
        at: Location = ("experiments", name)
        for j, quantity in enumerate(experiment.quantities):
            if quantity not in ledger.quantities:
                document.fail(_suggest(quantity, list(ledger.quantities)), (*at, "quantities", j))
        for key in experiment.choices:
            if key not in experiment.setting:
                document.fail(_suggest(key, list(experiment.setting)), (*at, "choices", key))
        _check_setting(ledger, name, experiment.setting, document, (*at, "setting"))
        for tier, plan in experiment.tiers.items():
            _check_setting(ledger, name, plan.set, document, (*at, "tiers", tier, "set"))
            for j, rule in enumerate(plan.skip):
                for key, values in rule.items():
                    for value in values if isinstance(values, list) else [values]:
                        here = (*at, "tiers", tier, "skip", j)
                        _check_setting(ledger, name, {key: value}, document, here)
    used: set[str] = set()
    for item, at in _places(ledger):
        _check_measure(ledger, item, document, at)
        used.add(item.measure.quantity)
    for quantity, declared in ledger.quantities.items():
        if quantity not in used and not declared.unjudged:
            document.fail("no claim uses this quantity", ("quantities", quantity))
    for name, control in ledger.controls.items():
        experiments = {c.measure.experiment for c in ledger.all_claims() if name in c.controls}
        if not experiments:
            document.fail("no claim uses this control", ("controls", name))
        for experiment_name in experiments:
            _check_setting(ledger, experiment_name, control.set, document, ("controls", name, "set"))
    movable = [*(claim.id for claim in ledger.all_claims()), *(table.id for table in ledger.tables)]
    for name, deviation in ledger.deviations.items():
        for j, moved in enumerate(deviation.moves):
            if moved not in movable:
                document.fail(f"`{moved}` is neither a claim nor a table", ("deviations", name, "moves", j))


def _check_table(table: Table, document: Document, at: Location) -> None:
    """Check that rows and columns are those of the table, and that its cells make claims."""
    for row, cells in table.published.items():
        if row not in table.rows:
            document.fail(_suggest(row, list(table.rows)), (*at, "published", row))
        for column in cells:
            for what, known in (("columns", table.columns), ("margins", table.margins)):
                if column not in known:
                    document.fail(f"column `{column}` is not in `{what}`", (*at, "published", row, column))
    for key in ("dispersion", "trouble"):
        for row, cells in getattr(table, key).items():
            for column in cells:
                if column not in table.published.get(row, {}):
                    document.fail(f"`{row}`, `{column}` is no published number", (*at, key, row))
    for row in table.controls:
        if row not in table.published:
            document.fail(_suggest(row, list(table.published)), (*at, "controls", row))
    try:
        table.claims()
    except ValidationError as failure:
        first = failure.errors()[0]
        document.fail(f"a cell of it makes no claim: {first['input']!r}: {first['msg']}", at)
    except (LookupError, ValueError):
        document.fail("may only speak of {row}, {column} and {value}", (*at, "statement"))


def _check_ids(ledger: Ledger, document: Document) -> None:
    """Check that no two claims have one id, those of the tables' cells included."""
    owners: list[tuple[Location, list[str]]] = [
        *((("tables", i, "id"), [c.id for c in table.claims()]) for i, table in enumerate(ledger.tables)),
        *((("claims", i, "id"), [claim.id]) for i, claim in enumerate(ledger.claims)),
    ]
    first: dict[str, Location] = {}
    for at, ids in owners:
        for claim_id in ids:
            if claim_id in first:
                document.fail(
                    f"the id `{claim_id}` is taken already, on line {document.lines[first[claim_id]]}", at
                )
            first[claim_id] = at


def _check_measure(ledger: Ledger, item: Any, document: Document, at: Location) -> None:
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
        own = {key: value for key, value in setting.items() if key != experiment.index}
        _check_setting(ledger, measure.experiment, own, document, (*at, *where))

    settings(measure.setting, "measure", "setting")
    for row, setting in getattr(item, "rows", {}).items():
        settings(setting, "rows", row)
    for column, setting in getattr(item, "columns", {}).items():
        settings(setting, "columns", column)
    for key, values in getattr(item, "across", {}).items():
        for value in values:
            settings({key: value}, "across", key)
    if isinstance(item, OrderingClaim):
        for j, arm in enumerate([item.greater, *item.than]):
            where = ("greater",) if j == 0 else ("than", j - 1)
            settings(arm, *where)
    if isinstance(item, ScalingClaim | CurveClaim | GeneralisationClaim) and experiment.index is None:
        document.fail(
            f"a {item.kind} claim needs an experiment with an `index`; `{measure.experiment}` has none",
            (*at, "measure", "experiment"),
        )
    if isinstance(item, GeneralisationClaim):
        settings(item.same_size, "same_size")
        for j, arm in enumerate(item.survives):
            settings(arm, "survives", j)
    if isinstance(item, Deviation):
        if item.switch not in experiment.setting:
            document.fail(_suggest(item.switch, list(experiment.setting)), (*at, "switch"))
        for value in item.alternatives:
            settings({item.switch: value}, "alternatives")
    controls = getattr(item, "controls", [])
    names = controls if isinstance(controls, list) else [c for row in controls.values() for c in row]
    for control in names:
        if control not in ledger.controls:
            document.fail(_suggest(control, list(ledger.controls)), (*at, "controls"))


def _check_setting(
    ledger: Ledger, experiment_name: str, setting: Setting, document: Document, at: Location
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
        default = experiment.setting[key]
        if not _same_type(value, default):
            document.fail(
                f"experiment `{experiment_name}`: {value!r} stands where {default!r} does", (*at, key)
            )


def _same_type(value: Scalar, default: Scalar) -> bool:
    """Whether both are text, both true or false, or both numbers, whole ones where the default is."""
    kinds = (float, int) if isinstance(default, float) else (type(default),)
    return type(value) in kinds
