"""The ledger: what a paper claims, where it says so, and which runs test it.

Each ``papers/<id>/paper.yaml`` is one :class:`Ledger`. Everything is checked on reading, and an error names the
file, the line and the key. See ``docs/ledger.md`` for a guide.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Scalar = bool | int | float | str
Setting = dict[str, Scalar]
Tier = Literal["smoke", "quick", "long", "full"]
# From the smallest; docs/ledger.md says what each is.
TIERS: tuple[Tier, ...] = ("smoke", "quick", "long", "full")
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$")]  # of a folder too
Kind = Literal["value", "ordering", "threshold", "scaling", "curve", "generalisation", "property", "audit"]


class Strict(BaseModel):
    """Base of all ledger entries: an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Publication(Strict):
    """The paper itself."""

    id: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    title: str
    authors: list[str]
    year: int
    venue: str
    arxiv: str | None = None
    version: str | None = None
    bibtex: str


class Work(Strict):
    """Another work in which some claims of a ledger are made."""

    title: str
    arxiv: str
    version: str | None = None
    bibtex: str


class Anchor(Strict):
    """Where a claim is made, and who has read it there.

    ``work`` is a key of the ledger's ``works``, where the place is not in the paper itself.
    ``evidence`` is the tag of the source: ``paper`` (read in its own text), ``code`` (in the authors' code),
    ``third`` (a third party's transcription), ``digitised`` (read off a figure), ``derived`` (computed from
    printed numbers), ``recalled`` (unverified: never enters a verdict), ``ours`` (a check this project adds).
    """

    place: str
    page: int | None = None
    work: str | None = None
    evidence: Literal["paper", "code", "third", "digitised", "derived", "recalled", "ours"]


class PublishedNumber(Strict):
    """A number as printed: what its ± means, how many runs it rests on, half a unit of its last digit."""

    value: float = Field(allow_inf_nan=False)
    dispersion: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    dispersion_kind: Literal["sd", "se", "unstated"] | None = None
    n: int | None = Field(default=None, ge=1)
    rounding: float = Field(default=0.0, ge=0, allow_inf_nan=False)

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if (self.dispersion is None) != (self.dispersion_kind is None):
            raise ValueError("`dispersion` and `dispersion_kind` (sd, se or unstated) go together")
        if self.dispersion is not None and self.n == 1:
            raise ValueError("a `dispersion` over runs needs an `n` of 2 or more")
        return self


class Margin(Strict):
    """How far from the published value still counts as the same, declared with a reason before the run."""

    value: float = Field(gt=0, allow_inf_nan=False)
    reason: str


class Quantity(Strict):
    """A named number that an experiment measures.

    ``unjudged`` marks one that is reported or drawn beside others, and that no claim needs.
    """

    meaning: str
    unit: str
    better: Literal["higher", "lower", "neither"] = "neither"
    unjudged: bool = False


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


class Measure(Strict):
    """What is measured: a quantity of an experiment at a (partial) setting, at one value of its index."""

    experiment: str
    quantity: str
    setting: Setting = {}


class ClaimBase(Strict):
    """What all claims have.

    Attributes:
        id: of the claim, in the whole project.
        statement: what is claimed, as one sentence.
        anchor: where.
        measure: by which number it is tested.
        controls: runs that must fail, or must succeed; see :class:`Control`.
        family: claims that are corrected together (Holm); None stands alone.
        tiers: that run it.
        trouble: what speaks against the test, or what was decided when; shown beside the verdict.
        blocked: why it cannot be run at all; None where it can.
    """

    id: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.+-]*$")
    statement: str
    anchor: Anchor
    measure: Measure
    controls: list[str] = []
    family: str | None = None
    tiers: list[Tier] = list(TIERS)
    trouble: str | None = None
    blocked: str | None = None


class ValueClaim(ClaimBase):
    """Our mean equals the published one within a margin.

    ``baseline`` marks a method that the paper compares itself with: to do better than printed is then no success of
    the paper but contradicts its number.
    """

    kind: Literal["value"]
    published: PublishedNumber
    margin: Margin
    baseline: bool = False


class OrderingClaim(ClaimBase):
    """One arm's mean exceeds each other arm's, paired by seed; in every combination of ``across``.

    An arm is a partial setting; the experiment's index may be one of its keys.
    """

    kind: Literal["ordering"]
    greater: Setting
    than: list[Setting] = Field(min_length=1)
    across: dict[str, list[Scalar]] = {}
    at_least: float = 0.0


class ThresholdClaim(ClaimBase):
    """Our mean lies above, or below, a bound."""

    kind: Literal["threshold"]
    bound: float
    direction: Literal["above", "below"]


class ScalingClaim(ClaimBase):
    """A quantity grows as a power of the experiment's index (a system size): the log-log slope.

    ``smallest`` is the first size that counts; None counts all.
    """

    kind: Literal["scaling"]
    slope: float
    margin: Margin
    smallest: float | None = None


class CurveClaim(ClaimBase):
    """The best mean along the experiment's index is reached at one of ``peak``."""

    kind: Literal["curve"]
    peak: list[float] = Field(min_length=1)


class GeneralisationClaim(ClaimBase):
    """How an error changes with system size outside the training sizes (see ``repro.generalisation``).

    Attributes:
        relative_to: what the error at a size is divided by: that of a model trained at this size
            (``same_size``), the own error at the nearest training size, or nothing.
        same_size: with ``relative_to: same_size``, what changes for the model trained at each size.
        trained: the training sizes.
        sizes: the sizes it speaks of; all outside the training sizes if empty.
        limit: the ratio that counts as considerable, declared before the run.
        expect: ``holds``: at or below the limit at each of ``sizes``; ``breaks``: above it from some size on, no
            later than the largest of ``sizes``.
        survives: with ``breaks``, arms in which it must break as well for size to be the cause.
        reference_below: what the reference's own error must be shown to lie below: a network that has learned nothing
            is as bad at every size, and its ratio says nothing.
    """

    kind: Literal["generalisation"]
    relative_to: Literal["same_size", "training_sizes", "nothing"]
    same_size: Setting = {}
    trained: list[float] = Field(min_length=1)
    sizes: list[float] = []
    limit: float = Field(gt=0)
    expect: Literal["holds", "breaks"]
    survives: list[Setting] = []
    reference_below: float | None = Field(default=None, gt=0)

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if (self.relative_to == "same_size") != bool(self.same_size):
            raise ValueError("`same_size`: {...} and `relative_to: same_size` go together")
        if self.survives and self.expect == "holds":
            raise ValueError("`survives` belongs to `expect: breaks`")
        if self.reference_below is not None and self.relative_to == "nothing":
            raise ValueError("`reference_below` needs a reference: same_size or training_sizes")
        if set(self.sizes) & set(self.trained):
            raise ValueError("`sizes` names training sizes; it speaks of sizes outside `trained`")
        if self.expect == "breaks" and self.sizes and max(self.sizes) <= max(self.trained):
            raise ValueError("`breaks` speaks of sizes beyond the largest of `trained`")
        return self


class PropertyClaim(ClaimBase):
    """Something that holds exactly in every trial: the quantity is never further than ``at_most`` from zero.

    Trials are all rows of all seeds, in every combination of ``across``.
    """

    kind: Literal["property"]
    at_most: float = Field(ge=0, allow_inf_nan=False)
    across: dict[str, list[Scalar]] = {}


class AuditClaim(ClaimBase):
    """A printed number against one recomputed without training; equal within its rounding or not.

    ``inputs`` is how far the rounding of the printed numbers that it is recomputed from can move it.
    """

    kind: Literal["audit"]
    published: PublishedNumber
    inputs: float = Field(default=0.0, ge=0, allow_inf_nan=False)


Claim = Annotated[
    ValueClaim
    | OrderingClaim
    | ThresholdClaim
    | ScalingClaim
    | CurveClaim
    | GeneralisationClaim
    | PropertyClaim
    | AuditClaim,
    Field(discriminator="kind"),
]


class Table(Strict):
    """A printed table of values: one value claim per cell, named ``<table>-<row>-<column>``.

    Attributes:
        rows: partial setting of each row; ``columns``: of each column.
        published: row, then column, to the printed number.
        dispersion: likewise, where a ± is printed.
        margins: the margin of each column.
        controls: of each row.
        baselines: rows of methods that the paper compares itself with.
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
            )
            for row, cells in self.published.items()
            for column, value in cells.items()
        ]


class Control(Strict):
    """A run that must fail, or must succeed: the claim's own arms with ``set`` changed.

    A claim that its failing control passes as well is void.
    """

    meaning: str
    set: Setting
    expect: Literal["fail", "pass"] = "fail"


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
