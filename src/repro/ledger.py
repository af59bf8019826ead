"""The ledger: what a paper claims, where it says so, and which runs test it.

Each ``papers/<id>/paper.yaml`` is one :class:`Ledger`. Everything is checked on reading, and an error names the
file, the line and the key. See ``docs/ledger.md`` for a guide.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from repro.claims import (
    Anchor,
    Claim,
    Kind,
    Margin,
    Measure,
    PublishedNumber,
    Scalar,
    Setting,
    Strict,
    Tier,
    ValueClaim,
)

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$")]  # of a folder too


VERSION = Field(default=None, pattern=r"^v[1-9][0-9]*$")  # of an arXiv number, as its address has it


class Publication(Strict):
    """The paper itself."""

    id: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    title: str
    authors: list[str]
    year: int
    venue: str
    arxiv: str | None = None
    version: str | None = VERSION
    bibtex: str


class Work(Strict):
    """Another work in which some claims of a ledger are made."""

    title: str
    arxiv: str
    version: str | None = VERSION
    bibtex: str


class Quantity(Strict):
    """A named number that an experiment measures.

    ``unjudged`` marks one that is reported or drawn beside others, and that no claim needs. ``guess`` is what a model
    has that has learned nothing, where that is known: a claim on ratios of errors must be able to fail by it.
    """

    meaning: str
    unit: str
    better: Literal["higher", "lower", "neither"] = "neither"
    unjudged: bool = False
    guess: float | None = Field(default=None, gt=0)


class TierPlan(Strict):
    """What an experiment gets at one tier.

    Attributes:
        seeds: how many seeds, numbered from 0.
        set: settings that are reduced at this tier, for example fewer epochs.
        supports: the kinds of claim that a reduced setting can still support. Where ``set`` is empty the
            protocol is the paper's and every kind is supported, as far as the number of seeds goes.
        skip: partial settings that this tier leaves out for lack of time.
    """

    seeds: int = Field(ge=1, le=1_000_000)
    set: Setting = {}
    supports: list[Kind] = []
    skip: list[dict[str, Scalar | list[Scalar]]] = []


class Experiment(Strict):
    """A function of the paper's module and the protocol it runs by default.

    Attributes:
        function: ``module.function`` inside the paper's folder.
        setting: every switch with its default, which is the paper's protocol.
        choices: the valid values of a switch, where only some are.
        index: the name of the row index (a size, a depth, a step), if a record has several rows.
        data: names of data sets (``data/<name>.dvc``) without which it cannot run.
        alone: it measures time, so that nothing else may run beside it.
        device: ``cpu`` if it computes on the processor whatever GPU there is; its records then say so.
        folds: seeds are the folds of cross-validations with so many folds; their training sets overlap, and the
            tests allow for it.
    """

    meaning: str
    function: str = Field(pattern=r"^[a-z_][a-z0-9_]*\.[a-z_][a-z0-9_]*$")
    quantities: list[str] = Field(min_length=1)
    setting: Setting = {}
    choices: dict[str, list[Scalar]] = {}
    index: str | None = None
    data: list[str] = []
    alone: bool = False
    device: Literal["any", "cpu"] = "any"
    folds: int | None = Field(default=None, ge=2)
    tiers: dict[Tier, TierPlan]


class Table(Strict):
    """A printed table of values: one value claim per cell, named ``<table>-<row>-<column>``.

    Attributes:
        rows: partial setting of each row; ``columns``: of each column.
        published: row, then column, to the printed number.
        dispersion: likewise, where a ± is printed.
        margins: the margin of each column.
        controls: of each row.
        baselines: rows of methods that the paper compares itself with.
        trouble: row, then column, to what speaks against the test of a cell.
    """

    id: str
    statement: str
    anchor: Anchor
    measure: Measure
    rows: dict[str, Setting]
    columns: dict[str, Setting]
    published: dict[str, dict[str, float]]
    dispersion: dict[str, dict[str, float]] = {}
    dispersion_kind: Literal["sd", "se", "unstated"] | None = None
    n: int | None = None
    rounding: float = 0.0
    margins: dict[str, Margin]
    controls: dict[str, list[str]] = {}
    baselines: list[str] = []
    trouble: dict[str, dict[str, str]] = {}

    @model_validator(mode="after")
    def _dispersion_is_named(self) -> Self:
        if self.dispersion and self.dispersion_kind is None:
            raise ValueError("`dispersion` needs `dispersion_kind`: sd, se or unstated")
        return self

    def claims(self) -> list[ValueClaim]:
        """Return the cells as claims; the table is their family for the Holm correction."""
        return [
            ValueClaim(
                kind="value",
                id=f"{self.id}-{row}-{column}",
                statement=self.statement.format(row=row, column=column, value=value),
                anchor=self.anchor.model_copy(
                    update={"place": f"{self.anchor.place}, row {row}, column {column}"}
                ),
                measure=self.measure.model_copy(
                    update={"setting": {**self.measure.setting, **self.rows[row], **self.columns[column]}}
                ),
                published=PublishedNumber(
                    value=value,
                    dispersion=self.dispersion.get(row, {}).get(column),
                    dispersion_kind=self.dispersion_kind if column in self.dispersion.get(row, {}) else None,
                    n=self.n,
                    rounding=self.rounding,
                ),
                margin=self.margins[column],
                controls=self.controls.get(row, []),
                baseline=row in self.baselines,
                family=self.id,
                trouble=self.trouble.get(row, {}).get(column),
            )
            for row, cells in self.published.items()
            for column, value in cells.items()
        ]


class Control(Strict):
    """A run that must fail: the claim's own arms with ``set`` changed. A claim that holds there as well is void."""

    meaning: str
    set: Setting


class Deviation(Strict):
    """One place where paper, authors' code and we differ, as a switch with its measured effect.

    Attributes:
        paper, code, ours: what each does.
        switch: the setting key; ``alternatives``: the values compared with the default.
        across: where the effect is measured.
        moves: ids of claims, or of a table, that it could move.
        tiers: that run it.
    """

    paper: str
    code: str
    ours: str
    anchor: Anchor
    measure: Measure
    switch: str
    alternatives: list[Scalar] = Field(min_length=1)
    across: dict[str, list[Scalar]] = {}
    moves: list[str] = []
    tiers: list[Tier] = ["full"]


class Ledger(Strict):
    """One ``paper.yaml``."""

    paper: Publication
    works: dict[str, Work] = {}
    quantities: dict[str, Quantity]
    experiments: dict[Name, Experiment]
    tables: list[Table] = []
    claims: list[Claim] = []
    controls: dict[str, Control] = {}
    deviations: dict[str, Deviation] = {}

    def all_claims(self) -> list[Claim]:
        """Return the claims of the tables, then the others, in the order of the file."""
        return [*(claim for table in self.tables for claim in table.claims()), *self.claims]

    def claim(self, claim_id: str) -> Claim:
        """Return one claim; KeyError if there is none of that id."""
        return {claim.id: claim for claim in self.all_claims()}[claim_id]
