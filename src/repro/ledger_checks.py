"""What must hold between the parts of a ledger: names that exist, settings that fit, comparisons that compare."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from typing import Any

from pydantic import ValidationError

from repro.claims import (
    AuditClaim,
    Claim,
    CurveClaim,
    GeneralisationClaim,
    OrderingClaim,
    Scalar,
    ScalingClaim,
    Setting,
    ThresholdClaim,
    Tier,
    ValueClaim,
)
from repro.document import Document, Location
from repro.errors import did_you_mean
from repro.ledger import Deviation, Ledger, Table
from repro.plan import Arm, claim_arms, comparisons, deviation_arms, generalisation_arms, skipped


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


def check(ledger: Ledger, document: Document) -> None:
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
        check_measure(ledger, item, document, at)
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
    for row, setting in table.rows.items():
        for column, other in table.columns.items():
            for key in setting.keys() & other.keys():
                document.fail(f"row `{row}` and column `{column}` both set `{key}`", (*at, "columns", column))
    for key in ("dispersion", "trouble"):
        for row, cells in getattr(table, key).items():
            for column in cells:
                if column not in table.published.get(row, {}):
                    document.fail(f"`{row}`, `{column}` is no published number", (*at, key, row))
    for row in table.controls:
        if row not in table.published:
            document.fail(_suggest(row, list(table.published)), (*at, "controls", row))
    for j, row in enumerate(table.baselines):
        if row not in table.published:
            document.fail(_suggest(row, list(table.published)), (*at, "baselines", j))
    try:
        table.claims()
    except ValidationError as failure:
        first = failure.errors()[0]
        document.fail(f"a cell of it makes no claim: {first['input']!r}: {first['msg']}", at)
    except (LookupError, ValueError, AttributeError):
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


def check_measure(ledger: Ledger, item: Any, document: Document, at: Location) -> None:
    """Check a claim, a table or a deviation against the experiment that it measures with."""
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
        at_index = setting.get(experiment.index, 0) if experiment.index else 0
        if isinstance(at_index, str | bool):
            document.fail(
                f"`{experiment.index}` is a number, not {at_index!r}", (*at, *where, experiment.index or "")
            )
        own = {key: value for key, value in setting.items() if key != experiment.index}
        _check_setting(ledger, measure.experiment, own, document, (*at, *where))

    settings(measure.setting, "measure", "setting")
    for row, setting in getattr(item, "rows", {}).items():
        settings(setting, "rows", row)
    for column, setting in getattr(item, "columns", {}).items():
        settings(setting, "columns", column)
    for key, values in getattr(item, "across", {}).items():
        if not values:
            document.fail("needs a value at least", (*at, "across", key))
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
        guess = ledger.quantities[measure.quantity].guess
        if guess and item.reference_below and item.limit * item.reference_below > guess:
            document.fail(
                f"a model that has learned nothing has a {measure.quantity} of {guess:g}, less than {item.limit:g} × "
                f"{item.reference_below:g}: beside such a reference the limit cannot be exceeded; at most "
                f"{guess / item.limit:.3g} will do",
                (*at, "reference_below"),
            )
    if isinstance(item, Deviation):
        if item.switch not in experiment.setting:
            document.fail(_suggest(item.switch, list(experiment.setting)), (*at, "switch"))
        for value in item.alternatives:
            settings({item.switch: value}, "alternatives")
    _check_arms(ledger, item, document, at)
    controls = getattr(item, "controls", [])
    names = controls if isinstance(controls, list) else [c for row in controls.values() for c in row]
    for control in names:
        if control not in ledger.controls:
            document.fail(_suggest(control, list(ledger.controls)), (*at, "controls"))


def _check_arms(ledger: Ledger, item: Any, document: Document, at: Location) -> None:
    """Check that each mean is of one row of its records, and that no tier makes two arms that are compared one."""
    experiment = ledger.experiments[item.measure.experiment]
    if isinstance(item, Table):
        return
    if experiment.index and isinstance(
        item, ValueClaim | ThresholdClaim | OrderingClaim | AuditClaim | Deviation
    ):
        if isinstance(item, Deviation):
            each = [arm for pair in deviation_arms(ledger, item).values() for arm in pair]
        else:
            each = claim_arms(ledger, item)
        if any(arm.at is None for arm in each):
            document.fail(
                f"its setting must say at which `{experiment.index}`: `{item.measure.experiment}` measures at many",
                (*at, "measure", "setting"),
            )
    for tier, plan in experiment.tiers.items():
        if tier == "smoke" or tier not in item.tiers:
            continue
        pairs: Any = (
            deviation_arms(ledger, item, tier)
            if isinstance(item, Deviation)
            else comparisons(ledger, item, tier)
            if isinstance(item, OrderingClaim)
            else _sized_arms(ledger, item, tier)
            if isinstance(item, GeneralisationClaim)
            else {}
        )
        for name, (one, other) in pairs.items():
            if one == other and not skipped(plan, one.setting):
                which = f" ({name})" if name and isinstance(name, str) else ""
                why = "the tier's `set` overwrites what is compared" if plan.set else "they say the same"
                document.fail(
                    f"at the {tier} tier both sides of the comparison{which} are the same run: {why}", at
                )
        for control in getattr(item, "controls", []):
            # A control that is not there, or whose setting does not fit, is told of elsewhere.
            if control in ledger.controls and set(ledger.controls[control].set) <= set(experiment.setting):
                _check_control(ledger, item, tier, control, document, at)


def _sized_arms(ledger: Ledger, claim: GeneralisationClaim, tier: Tier) -> dict[str, tuple[Arm, Arm]]:
    """Return what must not be the same run: an arm and its reference, and any two arms."""
    arms = generalisation_arms(ledger, claim, tier)
    beside = {
        f"{name or 'the network'}, trained at each size": (own, same)
        for name, (own, same) in arms.items()
        if same
    }
    others = {f"{a or 'the network'}, {b}": (arms[a][0], arms[b][0]) for a, b in combinations(arms, 2)}
    return {**beside, **others}


def _check_control(
    ledger: Ledger, item: Claim, tier: Tier, control: str, document: Document, at: Location
) -> None:
    """Check that a control changes the claim's runs, and leaves what is compared apart: else it cannot fail."""
    change = ledger.controls[control].set
    if claim_arms(ledger, item, tier, change) == claim_arms(ledger, item, tier):
        document.fail(f"at the {tier} tier the control `{control}` changes nothing", (*at, "controls"))
    if isinstance(item, OrderingClaim):
        for name, (one, other) in comparisons(ledger, item, tier, change).items():
            if one == other:
                document.fail(
                    f"at the {tier} tier the control `{control}` makes both sides of the comparison"
                    f"{f' ({name})' if name else ''} one run",
                    (*at, "controls"),
                )


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
