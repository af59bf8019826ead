"""The board's lines: every claim of every paper with its verdict, ready to be shown or exported."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from repro.claims import Claim
from repro.judge import Verdict
from repro.known_exceptions import excuse
from repro.ledger import Ledger
from repro.report.notebook import Report
from repro.words import OUTCOMES, found, parts, printed


@dataclass(frozen=True)
class Entry:
    """One claim with what we know of it.

    Attributes:
        verdict: from the records that the pages speak of.
        source: which these are, ``reference`` or ``yours``.
        own: the verdict from the user's runs, where these are not the source.
        excuse: why a contradiction is expected, if it is a known exception.
    """

    ledger: Ledger
    claim: Claim
    verdict: Verdict
    source: str
    own: Verdict | None
    excuse: str | None

    @property
    def paper(self) -> str:
        """Id of the paper."""
        return self.ledger.paper.id

    @property
    def claimed(self) -> str:
        """What the claim asks for, in words."""
        return printed(self.claim)

    @property
    def origin(self) -> str:
        """Whether the claim is a check of ours or the paper's own: ``ours`` or ``paper``."""
        return "ours" if self.claim.anchor.evidence == "ours" else "paper"

    @property
    def words(self) -> str:
        """What else a reader may search for: the experiment and what it does."""
        name = self.claim.measure.experiment
        return f"{name.replace('_', ' ')} {self.ledger.experiments[name].meaning}"

    def found(self, verdict: Verdict) -> str:
        """What a verdict's runs give, in words."""
        return found(self.claim, verdict, self.ledger)

    @property
    def rank(self) -> int:
        """Place of the verdict among those that need attention first."""
        return OUTCOMES.index(self.verdict.outcome)

    @property
    def address(self) -> str:
        """The claim's page, from the site's root."""
        return f"{self.paper}/{self.claim.id}.html"


def entries_of(report: Report, exceptions: Mapping[str, str]) -> list[Entry]:
    """Return the entries of one paper in the ledger's order."""
    main = report.verdicts[report.main]
    own = report.verdicts.get("yours", {}) if report.main != "yours" else {}
    return [
        Entry(
            report.ledger,
            claim,
            main[claim.id],
            report.main,
            own.get(claim.id),
            excuse(main[claim.id], exceptions),
        )
        for claim in report.ledger.all_claims()
    ]


def attention_first(entries: Iterable[Entry]) -> list[Entry]:
    """Return the entries, what needs attention first, otherwise as they were."""
    return sorted(entries, key=lambda entry: entry.rank)


def outcomes(entries: Iterable[Entry]) -> list[tuple[str, int]]:
    """Return how many claims have each outcome: the parts of a bar."""
    return parts(entry.verdict.outcome for entry in entries)
