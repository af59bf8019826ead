"""The kinds of claims that a ledger can hold, and what each of them states. See ``docs/ledger.md`` for a guide."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

Scalar = bool | int | float | str
Setting = dict[str, Scalar]
Tier = Literal["smoke", "quick", "long", "full"]
# From the smallest; docs/ledger.md says what each is.
TIERS: tuple[Tier, ...] = ("smoke", "quick", "long", "full")
Kind = Literal["value", "ordering", "threshold", "scaling", "curve", "generalisation", "property", "audit"]


class Strict(BaseModel):
    """Base of all ledger entries: an unknown key is an error, and so is a number that is none."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _knows_its_keys(cls, data: Any) -> Any:
        """Refuse unknown keys, and truth values for numbers: YAML reads ``yes`` as true, which would pass for 1."""
        for key, value in data.items() if isinstance(data, dict) else ():
            if key not in cls.model_fields:
                known = ", ".join(cls.model_fields)
                raise PydanticCustomError("unknown_key", "{known}", {"key": str(key), "known": known})
            kind = cls.model_fields[key].annotation
            if isinstance(value, bool) and {float, int} & {kind, *get_args(kind)}:
                raise PydanticCustomError("truth_for_number", "{key}", {"key": key})
        return data


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

    value: float
    dispersion: float | None = Field(default=None, ge=0)
    dispersion_kind: Literal["sd", "se", "unstated"] | None = None
    n: int | None = Field(default=None, ge=1)
    rounding: float = Field(default=0.0, ge=0)

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if (self.dispersion is None) != (self.dispersion_kind is None):
            raise ValueError("`dispersion` and `dispersion_kind` (sd, se or unstated) go together")
        if self.dispersion is not None and self.n == 1:
            raise ValueError("a `dispersion` over runs needs an `n` of 2 or more")
        return self


class Margin(Strict):
    """How far from the published value still counts as the same, declared with a reason before the run."""

    value: float = Field(gt=0)
    reason: str


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
    at_most: float = Field(ge=0)
    across: dict[str, list[Scalar]] = {}


class AuditClaim(ClaimBase):
    """A printed number against one recomputed without training; equal within its rounding or not.

    ``inputs`` is how far the rounding of the printed numbers that it is recomputed from can move it.
    """

    kind: Literal["audit"]
    published: PublishedNumber
    inputs: float = Field(default=0.0, ge=0)


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
