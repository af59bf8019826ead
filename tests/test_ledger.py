"""Every mistake in a `paper.yaml` is refused with file, line and key."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest

from repro import claims, ledger
from repro.errors import LedgerError, ReproError
from repro.ledger_file import load_ledger
from repro.plan import claim_arms, comparisons, jobs

VALUE_V1 = "    published: {value: 80.0}\n"

# name: (text in the toy's ledger, what replaces it, the line's beginning, the key, more words of the message)
MISTAKES: dict[str, tuple[str, str, str, str, list[str]]] = {
    "text where a size is": (
        "    bound: 70.0\n",
        "    bound: 70.0\n    direction: above\n  - id: H2\n    kind: threshold\n    statement: It costs little.\n"
        "    anchor: {place: page 2, evidence: paper}\n"
        "    measure: {experiment: growth, quantity: cost, setting: {size: ten}}\n    bound: 2.0\n",
        "    measure: {experiment: growth, quantity: cost, setting: {size: ten}}",
        "claims.3.measure.setting.size",
        ["`size` is a number", "ten"],
    ),
    "no size where there are many": (
        "    bound: 70.0\n",
        "    bound: 70.0\n    direction: above\n  - id: H2\n    kind: threshold\n    statement: It costs little.\n"
        "    anchor: {place: page 2, evidence: paper}\n"
        "    measure: {experiment: growth, quantity: cost, setting: {power: 2.0}}\n    bound: 2.0\n",
        "    measure: {experiment: growth, quantity: cost, setting: {power: 2.0}}",
        "claims.3.measure.setting",
        ["must say at which `size`"],
    ),
    "a bound that is no number": (
        "    bound: 70.0\n",
        "    bound: .nan\n",
        "    bound: .nan",
        "claims.2.bound",
        ["finite"],
    ),
    "a bound without end": (
        "    bound: 70.0\n",
        "    bound: -.inf\n",
        "    bound: -.inf",
        "claims.2.bound",
        ["finite"],
    ),
    "nothing to go across": (
        "    across: {level: [70.0, 90.0]}\n",
        "    across: {level: []}\n",
        "    across:",
        "claims.1.across.level",
        ["a value"],
    ),
    "unknown baseline": (
        "    n: 10\n",
        "    n: 10\n    baselines: [aa]\n",
        "    baselines:",
        "tables.0.baselines.0",
        ["aa", "a, b"],
    ),
    "unknown key at the top": (
        "controls:\n",
        "contrlos: {}\ncontrols:\n",
        "contrlos:",
        "contrlos",
        ["unknown key"],
    ),
    "unknown key in a claim": (
        "    statement: There are 12 things.\n",
        "    statement: There are 12 things.\n    colour: blue\n",
        "    colour:",
        "claims.6.colour",
        ["unknown key"],
    ),
    "truth for a number": (
        "    bound: 70.0\n",
        "    bound: yes\n",
        "    bound: yes",
        "claims.2.bound",
        ["a number is needed", "truth"],
    ),
    "misspelt key": (
        "    bound: 70.0\n",
        "    bond: 70.0\n",
        "    bond: 70.0",
        "claims.2.bond",
        ["did you mean `bound`?", "there are id, statement", "direction"],
    ),
    "row and column of one switch": (
        "      low: {level: 70.0}\n",
        "      low: {level: 70.0, variant: c}\n",
        "      low: {level: 70.0, variant: c}",
        "tables.0.columns.low",
        ["row `a` and column `low` both set `variant`"],
    ),
    "version without its letter": (
        "  year: 2020\n",
        '  year: 2020\n  arxiv: "2001.00001"\n  version: "5"\n',
        "  version:",
        "paper.version",
        ["pattern"],
    ),
    "statement of a table that asks for an attribute": (
        "{row} at {column}",
        "{row.foo} at {column}",
        "    statement: Variant {row.foo}",
        "tables.0.statement",
        ["may only speak of"],
    ),
    "unknown key in a table": (
        "    n: 10\n",
        "    n: 10\n    runs: 10\n",
        "    runs:",
        "tables.0.runs",
        ["unknown key"],
    ),
    "unknown key in a tier": (
        "      full: {seeds: 10}\n",
        "      full:\n        seeds: 10\n        sed: 1\n",
        "        sed:",
        "experiments.train.tiers.full.sed",
        ["unknown key"],
    ),
    "unknown tier": (
        "      full: {seeds: 10}\n",
        "      huge: {seeds: 10}\n",
        "      huge:",
        "experiments.train.tiers.huge",
        ["smoke", "quick", "long", "full"],
    ),
    "YAML key twice": (
        "    bound: 70.0\n",
        "    bound: 70.0\n    bound: 71.0\n",
        "    bound: 71.0",
        "claims.2.bound",
        ["twice", "line {    bound: 70.0}"],
    ),
    "YAML key twice in a setting": (
        "      level: 80.0\n",
        "      level: 80.0\n      level: 81.0\n",
        "      level: 81.0",
        "experiments.train.setting.level",
        ["twice"],
    ),
    "claim id twice": (
        "  - id: H1\n",
        "  - id: V1\n",
        "  - id: V1\n    kind: threshold",
        "claims.2.id",
        ["`V1`", "already, on line"],
    ),
    "claim id of a table's cell": (
        "  - id: H1\n",
        "  - id: T1-a-low\n",
        "  - id: T1-a-low",
        "claims.2.id",
        ["`T1-a-low`"],
    ),
    "id that is no id": ("  - id: H1\n", "  - id: H 1\n", "  - id: H 1", "claims.2.id", ["pattern"]),
    "claim without anchor": (
        "    statement: It is above 70 %.\n    anchor: {place: page 2, evidence: paper}\n",
        "    statement: It is above 70 %.\n",
        "  - id: H1",
        "claims.2.anchor",
        ["missing", "every number needs its anchor"],
    ),
    "table without anchor": (
        "    anchor: {place: Table 1, page: 1, evidence: paper}\n",
        "",
        "  - id: T1",
        "tables.0.anchor",
        ["missing", "anchor"],
    ),
    "anchor without its source": (
        "    anchor: {place: page 4, evidence: paper}\n",
        "    anchor: {place: page 4}\n",
        "    anchor: {place: page 4}",
        "claims.7.anchor.evidence",
        ["missing"],
    ),
    "value without a number": (
        VALUE_V1,
        "    published: {n: 3}\n",
        "    published: {n: 3}",
        "claims.0.published.value",
        ["missing"],
    ),
    "margin without a reason": (
        "    margin: {value: 0.2, reason: it is a toy}\n",
        "    margin: {value: 0.2}\n",
        "    margin: {value: 0.2}",
        "claims.3.margin.reason",
        ["missing"],
    ),
    "margin of nothing": (
        "    margin: {value: 0.2, reason: it is a toy}\n",
        "    margin: {value: 0, reason: it is a toy}\n",
        "    margin: {value: 0,",
        "claims.3.margin.value",
        ["greater than 0"],
    ),
    "a spread that nobody can read": (
        VALUE_V1,
        "    published: {value: 80.0, dispersion: 0.5}\n",
        "    published: {value: 80.0, dispersion",
        "claims.0.published",
        ["dispersion_kind", "sd, se or unstated"],
    ),
    "unknown kind of claim": (
        "    kind: curve\n",
        "    kind: curved\n",
        "    kind: curved",
        "claims.4.kind",
        ["curved", "'curve'", "'scaling'"],
    ),
    "a number that is text": (
        "    bound: 70.0\n",
        "    bound: seventy\n",
        "    bound: seventy",
        "claims.2.bound",
        ["number"],
    ),
    "a setting that is a list": (
        "      level: 80.0\n",
        "      level: [80.0]\n",
        "      level: [80.0]",
        "experiments.train.setting.level",
        ["one number, text, true or false"],
    ),
    "quantity that the experiment does not produce": (
        "measure: {experiment: growth, quantity: cost}\n    slope",
        "measure: {experiment: growth, quantity: accuracy}\n    slope",
        "    measure: {experiment: growth, quantity: accuracy}",
        "claims.3.measure.quantity",
        ["`growth`", "`accuracy`", "only cost"],
    ),
    "quantity that the ledger does not name": (
        "    quantities: [accuracy]\n",
        "    quantities: [accuracy, los]\n",
        "    quantities: [accuracy, los]",
        "experiments.train.quantities.1",
        ["`los`"],
    ),
    "quantity that no claim uses": (
        "  excess:\n",
        "  loss:\n    meaning: loss\n    unit: nats\n  excess:\n",
        "  loss:",
        "quantities.loss",
        ["no claim uses"],
    ),
    "control that no claim uses": (
        "    controls: [shuffled]\n",
        "",
        "  shuffled:",
        "controls.shuffled",
        ["no claim"],
    ),
    "control that there is not": (
        "    controls: [shuffled]\n",
        "    controls: [shufled]\n",
        "    controls: [shufled]",
        "claims.0.controls",
        ["`shufled`", "did you mean `shuffled`?"],
    ),
    "control with an unknown setting": (
        "    set: {labels: shuffled}\n",
        "    set: {lables: shuffled}\n",
        "    set: {lables: shuffled}",
        "controls.shuffled.set.lables",
        ["`lables`", "did you mean `labels`?"],
    ),
    "unknown setting of a claim": (
        "    greater: {variant: b}\n",
        "    greater: {varient: b}\n",
        "    greater: {varient: b}",
        "claims.1.greater.varient",
        ["`varient`", "labels, level, steps, variant", "did you mean `variant`?"],
    ),
    "unknown value of a setting": (
        "    than: [{variant: a}]\n",
        "    than: [{variant: d}]\n",
        "    than: [{variant: d}]",
        "claims.1.than.0.variant",
        ["`d`", "a, b, c"],
    ),
    "unknown setting across": (
        "    across: {level: [70.0, 90.0]}\n",
        "    across: {levels: [70.0, 90.0]}\n",
        "    across: {levels: ",
        "claims.1.across.levels",
        ["did you mean `level`?"],
    ),
    "unknown setting of a row": (
        "      b: {variant: b}\n",
        "      b: {variant: e}\n",
        "      b: {variant: e}",
        "tables.0.rows.b.variant",
        ["`e`", "a, b, c"],
    ),
    "unknown setting of a tier": (
        "      smoke: {seeds: 2, set: {steps: 3}}\n",
        "      smoke: {seeds: 2, set: {step: 3}}\n",
        "      smoke: {seeds: 2, set: {step: 3}}",
        "experiments.train.tiers.smoke.set.step",
        ["did you mean `steps`?"],
    ),
    "unknown setting that a tier skips": (
        "      quick: {seeds: 5}\n",
        "      quick: {seeds: 5, skip: [{varient: [b]}]}\n",
        "      quick: {seeds: 5, skip:",
        "experiments.train.tiers.quick.skip.0.varient",
        ["did you mean `variant`?"],
    ),
    "unknown kind that a tier supports": (
        "supports: [scaling]",
        "supports: [skaling]",
        "      quick: {seeds: 3,",
        "experiments.growth.tiers.quick.supports.0",
        ["'scaling'"],
    ),
    "default that is no choice": (
        "      variant: a\n",
        "      variant: z\n",
        "      variant: z",
        "experiments.train.setting.variant",
        ["`z`", "a, b, c"],
    ),
    "choices of an unknown setting": (
        "      variant: [a, b, c]\n",
        "      varant: [a, b, c]\n",
        "      varant:",
        "experiments.train.choices.varant",
        ["did you mean `variant`?"],
    ),
    "experiment that there is not": (
        "measure: {experiment: reading, quantity: answer}",
        "measure: {experiment: raeding, quantity: answer}",
        "    measure: {experiment: raeding",
        "claims.7.measure.experiment",
        ["`raeding`", "did you mean `reading`?"],
    ),
    "scaling without an index": (
        "measure: {experiment: growth, quantity: cost}\n    slope",
        "measure: {experiment: train, quantity: accuracy}\n    slope",
        "    measure: {experiment: train, quantity: accuracy}\n    slope",
        "claims.3.measure.experiment",
        ["scaling", "`index`"],
    ),
    "curve without an index": (
        "measure: {experiment: growth, quantity: cost}\n    peak",
        "measure: {experiment: train, quantity: accuracy}\n    peak",
        "    measure: {experiment: train, quantity: accuracy}\n    peak",
        "claims.4.measure.experiment",
        ["curve", "`index`"],
    ),
    "row that the table does not have": (
        "      b: {low: 72.0, high: 92.0}\n",
        "      bb: {low: 72.0, high: 92.0}\n",
        "      bb: {low: 72.0",
        "tables.0.published.bb",
        ["`bb`"],
    ),
    "column that the table does not have": (
        "      b: {low: 72.0, high: 92.0}\n",
        "      b: {low: 72.0, hihg: 92.0}\n",
        "      b: {low: 72.0, hihg",
        "tables.0.published.b.hihg",
        ["`hihg`"],
    ),
    "column without a margin": (
        "      high: {value: 3.0, reason: it is a toy}\n",
        "",
        "      a: {low: 70.0, high: 90.0}",
        "tables.0.published.a.high",
        ["margins"],
    ),
    "spread of a row that the table does not have": (
        "    n: 10\n",
        "    n: 10\n    dispersion_kind: se\n    dispersion:\n      aa: {low: 1.0, high: 1.0}\n",
        "      aa:",
        "tables.0.dispersion.aa",
        ["`aa`"],
    ),
    "spread of a table that nobody can read": (
        "    n: 10\n",
        "    n: 10\n    dispersion:\n      a: {low: 1.0, high: 1.0}\n",
        "  - id: T1",
        "tables.0",
        ["dispersion_kind"],
    ),
    "controls of a row that the table does not have": (
        "    n: 10\n",
        "    n: 10\n    controls:\n      aa: [shuffled]\n",
        "      aa:",
        "tables.0.controls.aa",
        ["`aa`"],
    ),
    "statement with an unknown place": (
        "    statement: Variant {row} at {column} is {value} % right.\n",
        "    statement: Variant {rwo} at {column} is {value} % right.\n",
        "    statement: Variant {rwo}",
        "tables.0.statement",
        ["{row}, {column} and {value}"],
    ),
    "table name that makes no id": (
        "  - id: T1\n",
        "  - id: T 1\n",
        "  - id: T 1",
        "tables.0",
        ["'T 1-a-low'"],
    ),
    "switch that there is not": (
        "    switch: variant\n",
        "    switch: varint\n",
        "    switch: varint",
        "deviations.variant.switch",
        ["did you mean `variant`?"],
    ),
    "alternative that there is not": (
        "    alternatives: [c]\n",
        "    alternatives: [x]\n",
        "    alternatives: [x]",
        "deviations.variant.alternatives",
        ["`x`", "a, b, c"],
    ),
    "deviation that moves an unknown claim": (
        "    moves: [V1, T1]\n",
        "    moves: [V1, T2]\n",
        "    moves: [V1, T2]",
        "deviations.variant.moves.1",
        ["`T2`"],
    ),
    "evidence of an unknown kind": (
        "    anchor: {place: page 4, evidence: paper}\n",
        "    anchor: {place: page 4, evidence: hearsay}\n",
        "    anchor: {place: page 4, evidence: hearsay}",
        "claims.7.anchor.evidence",
        ["'recalled'"],
    ),
    "not YAML": (
        "    bound: 70.0\n",
        "    bound: [70.0\n",
        "    direction: above\n  - id: S1",
        "",
        ["not valid YAML"],
    ),
    "a key that is a list": ("    bound: 70.0\n", "    ? [a, b]\n    : 70.0\n", "    ? [a, b]", "", ["key"]),
    "text where the default is a number": (
        "      smoke: {seeds: 2, set: {steps: 3}}\n",
        "      smoke: {seeds: 2, set: {steps: few}}\n",
        "      smoke: {seeds: 2, set: {steps: few}}",
        "experiments.train.tiers.smoke.set.steps",
        ["'few' stands where 100 does"],
    ),
    "a fraction where the default is whole": (
        "      smoke: {seeds: 2, set: {steps: 3}}\n",
        "      smoke: {seeds: 2, set: {steps: 0.5}}\n",
        "      smoke: {seeds: 2, set: {steps: 0.5}}",
        "experiments.train.tiers.smoke.set.steps",
        ["0.5 stands where 100 does"],
    ),
    "a negative rounding": (
        "    published: {value: 80.0}\n",
        "    published: {value: 80.0, rounding: -1}\n",
        "    published: {value: 80.0, rounding: -1}",
        "claims.0.published.rounding",
        ["greater than or equal to 0"],
    ),
    "a spread over one run": (
        "    published: {value: 80.0}\n",
        "    published: {value: 80.0, dispersion: 1, dispersion_kind: sd, n: 1}\n",
        "    published: {value: 80.0, dispersion: 1, dispersion_kind: sd, n: 1}",
        "claims.0.published",
        ["2 or more"],
    ),
    "a date that is none": ("  year: 2020\n", "  year: 2020-13-45\n", "  year:", "paper.year", ["integer"]),
}


def line_of(text: str, beginning: str) -> int:
    """Number of the line where a text begins; it must be there once."""
    assert text.count("\n" + beginning) == 1, beginning
    return text[: text.index("\n" + beginning) + 1].count("\n") + 1


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistake_names_file_line_and_key(toy, mistake: str) -> None:
    old, new, beginning, key, words = MISTAKES[mistake]
    load_ledger(toy.file)  # the toy itself is in order
    text = toy.edit(old, new)
    with pytest.raises(LedgerError) as caught:
        load_ledger(toy.file)
    message = str(caught.value)
    assert message.startswith(f"{toy.file}:{line_of(text, beginning)}: "), message
    assert key in message.removeprefix(f"{toy.file}:").split(": ")[1], message
    assert "\n" not in message
    for word in words:
        if word.startswith("line {"):
            word = f"line {line_of(text, word[6:-1])}"
        assert word in message, message


def test_a_tier_that_overwrites_what_is_compared(toy) -> None:
    text = toy.edit("      full: {seeds: 10}\n", "      full: {seeds: 10, set: {variant: b}}\n")
    with pytest.raises(
        LedgerError, match=r"claims\.1: at the full tier both sides .* are the same run"
    ) as caught:
        load_ledger(toy.file)
    assert f":{line_of(text, '  - id: O1')}:" in str(caught.value)


def test_a_deviation_that_a_tier_overwrites(toy) -> None:
    ordering = toy.file.read_text()
    ordering = ordering[ordering.index("  - id: O1\n") : ordering.index("  - id: H1\n")]
    toy.edit(ordering, "")
    toy.edit("      full: {seeds: 10}\n", "      full: {seeds: 10, set: {variant: b}}\n")
    with pytest.raises(LedgerError, match=r"deviations\.variant: at the full tier both sides"):
        load_ledger(toy.file)


def test_two_switches_of_one_text_are_two_comparisons(toy) -> None:
    toy.edit("      variant: a\n    choices:", "      variant: a\n      other: a\n    choices:")
    toy.edit(
        "    than: [{variant: a}]\n    across: {level: [70.0, 90.0]}\n",
        "    than: [{variant: c}, {other: c}]\n",
    )
    assert len(comparisons(toy.ledger, toy.ledger.claim("O1"))) == 2


def test_table_id_twice(toy) -> None:
    """Two tables of one name would make two claims of each id, none of them in `claims`."""
    text = toy.file.read_text()
    table = text[text.index("  - id: T1\n") : text.index("claims:\n")]
    text = toy.edit(table, table + table)
    with pytest.raises(LedgerError, match="T1-a-low") as caught:
        load_ledger(toy.file)
    second = text.index("  - id: T1\n", text.index("  - id: T1\n") + 1)
    assert f":{text[:second].count(chr(10)) + 1}: tables.1.id:" in str(caught.value)


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"", b"[]", b"- a\n- b\n", b"a\x00b: 1"])
def test_no_ledger_at_all(toy, content: bytes) -> None:
    toy.file.write_bytes(content)
    with pytest.raises(LedgerError, match=str(toy.file)):
        load_ledger(toy.file)


def test_missing_file(toy) -> None:
    with pytest.raises(LedgerError, match="no such ledger"):
        load_ledger(toy.root / "papers" / "nobody" / "paper.yaml")


def test_paper_id_is_the_folder(toy) -> None:
    toy.edit("  id: toy\n", "  id: other\n")
    with pytest.raises(LedgerError, match=r"`other`.*`toy`"):
        toy.project.ledger("toy")


def test_edited_ledger_is_read_again(toy) -> None:
    assert toy.ledger.claim("V1").published.value == 80.0
    toy.edit(VALUE_V1, "    published: {value: 81.0}\n")
    assert toy.ledger.claim("V1").published.value == 81.0


def test_table_cells_are_claims(toy) -> None:
    claim = toy.ledger.claim("T1-b-high")
    assert (claim.kind, claim.published.value, claim.published.n, claim.margin.value) == (
        "value",
        92.0,
        10,
        3.0,
    )
    assert claim.measure.setting == {"variant": "b", "level": 90.0}
    assert claim.statement == "Variant b at high is 92.0 % right."
    assert claim.anchor.place == "Table 1, row b, column high"
    assert claim.family == "T1"
    with pytest.raises(KeyError):
        toy.ledger.claim("T1-c-high")


def test_one_cell_without_a_spread(toy) -> None:
    """A row may print ± for some columns only."""
    toy.edit("    n: 10\n", "    n: 10\n    dispersion_kind: se\n    dispersion:\n      a: {low: 0.5}\n")
    ledger = toy.ledger
    assert (
        ledger.claim("T1-a-low").published.dispersion,
        ledger.claim("T1-a-low").published.dispersion_kind,
    ) == (
        0.5,
        "se",
    )
    assert ledger.claim("T1-a-high").published.dispersion is None
    assert ledger.claim("T1-b-low").published.dispersion_kind is None


def test_a_value_at_one_index(toy) -> None:
    """A claim about one point of a curve names it in its setting, and in no arm's setting does it appear."""
    toy.edit(
        "  - id: C1\n",
        "  - id: V2\n    kind: value\n    statement: At 8 it is 8.\n    anchor: {place: page 9, evidence: paper}\n"
        "    measure: {experiment: growth, quantity: cost, setting: {size: 8}}\n"
        "    published: {value: 8.0}\n    margin: {value: 2.0, reason: it is a toy}\n  - id: C1\n",
    )
    (arm,) = claim_arms(toy.ledger, toy.ledger.claim("V2"))
    assert arm.at == 8.0
    assert "size" not in arm.setting
    growth = [job for job in jobs(toy.ledger, "full") if job.experiment == "growth"]
    assert [sorted(job.needed_by) for job in growth] == [["C1", "S1", "V2"]]


def test_recalled_numbers_are_never_judged(toy) -> None:
    toy.edit(
        "    statement: It is 80 % right.\n    anchor: {place: page 1, evidence: paper}\n",
        "    statement: It is 80 % right.\n    anchor: {place: page 1, evidence: recalled}\n",
    )
    records = [toy.record("train", s, {"accuracy": 80.0 + 0.1 * (s % 3)}) for s in range(10)]
    verdicts = toy.judge(records)
    assert verdicts["V1"].outcome == "not_run"
    assert "recalled" in verdicts["V1"].reasons[0]
    assert verdicts["V1"].measured is None
    assert verdicts["H1"].outcome == "reproduced"  # on the same records


def test_blocked_by_the_ledger(toy) -> None:
    toy.edit(VALUE_V1, VALUE_V1 + "    blocked: the data is gone\n")
    records = [toy.record("train", s, {"accuracy": 80.0 + 0.1 * (s % 3)}) for s in range(10)]
    verdict = toy.judge(records)["V1"]
    assert (verdict.outcome, verdict.reasons) == ("blocked", ["the data is gone"])
    assert not any("V1" in by for job in jobs(toy.ledger, "full") for by in job.needed_by), "nor is it run"


# ------------------------------------------------------------------ what the ledger makes run


def test_jobs_hold_each_setting_once(toy) -> None:
    planned = jobs(toy.ledger, "quick")
    assert len({job.name for job in planned}) == len(planned)
    train = {tuple(job.setting.values()): job for job in planned if job.experiment == "train"}
    # T1 has four settings, V1 and H1 share one; V1's control; the deviation is for the full tier only
    assert len(train) == 6
    default = train[80.0, 100, "true", "a"]
    assert default.needed_by == ("V1", "H1")
    assert default.seeds == (0, 1, 2, 3, 4)
    assert train[80.0, 100, "shuffled", "a"].needed_by == ("V1 (control shuffled)",)
    assert len([job for job in jobs(toy.ledger, "full") if job.experiment == "train"]) == 7


def test_smoke_reduces_the_setting(toy) -> None:
    assert {job.setting["steps"] for job in jobs(toy.ledger, "smoke", "train")} == {3}
    assert {job.setting["steps"] for job in jobs(toy.ledger, "full", "train")} == {100}


def test_a_tier_does_not_undo_a_control(toy) -> None:
    """If both change one setting the control's change wins, or the control would run the claim's own arm."""
    toy.edit("    set: {labels: shuffled}\n", "    set: {steps: 0}\n")
    (control,) = [
        job for job in jobs(toy.ledger, "smoke", "train") if job.needed_by == ("V1 (control shuffled)",)
    ]
    assert control.setting["steps"] == 0


def test_skipped_settings_are_not_run(toy) -> None:
    toy.edit("      quick: {seeds: 5}\n", "      quick: {seeds: 5, skip: [{variant: [b, c], level: 90.0}]}\n")
    settings = [(j.setting["variant"], j.setting["level"]) for j in jobs(toy.ledger, "quick", "train")]
    assert ("b", 90.0) not in settings
    assert ("b", 70.0) in settings
    assert ("a", 90.0) in settings


def test_whole_numbers_become_decimal_where_the_default_is(toy) -> None:
    """`level: 70` and `level: 70.0` are one setting, and one record."""
    before = {job.name for job in jobs(toy.ledger, "quick", "train")}
    toy.edit("      low: {level: 70.0}\n", "      low: {level: 70}\n")
    assert {job.name for job in jobs(toy.ledger, "quick", "train")} == before


def test_unknown_paper_is_suggested(toy) -> None:
    with pytest.raises(ReproError, match="did you mean `toy`"):
        toy.project.ledger("tyo")


def test_the_guide_names_every_key() -> None:
    """In the row of what has it, in the column that says whether it may be left out."""
    text = (Path(__file__).parents[1] / "docs" / "ledger.md").read_text(encoding="utf-8")
    rows = {
        cells[1].strip(" `"): (cells[2], cells[3])
        for line in text.partition("## Every key")[2].partition("\n## ")[0].splitlines()
        if len(cells := line.split("|")) == 5
    }
    base = set(claims.ClaimBase.model_fields)
    models = {
        "paper": ledger.Publication, "a work of `works": ledger.Work, "a quantity": ledger.Quantity,
        "an experiment": ledger.Experiment, "a tier of it": ledger.TierPlan, "every claim": claims.ClaimBase,
        "anchor": claims.Anchor, "measure": claims.Measure, "published": claims.PublishedNumber,
        "margin": claims.Margin, "a table": ledger.Table, "a control": ledger.Control, "a deviation": ledger.Deviation,
        **{kind.model_fields["kind"].annotation.__args__[0]: kind for kind in get_args(get_args(claims.Claim)[0])},
    }  # fmt: skip
    assert set(models) <= set(rows)
    for name, model in models.items():
        own = {
            key: field
            for key, field in model.model_fields.items()
            if model is claims.ClaimBase or key not in base
        }
        for key, field in own.items():
            if key != "kind":
                assert f"`{key}`" in rows[name][0 if field.is_required() else 1], f"{name}: {key}"
