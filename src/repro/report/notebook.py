"""What a paper's notebook shows: each function returns a piece of HTML generated from ledger and records."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from markupsafe import Markup

from repro.deviations import turned
from repro.evidence import Evidence, gather, main_source
from repro.judge import Verdict, judge
from repro.known_exceptions import known_exceptions
from repro.ledger import Ledger
from repro.lineage import environment_in_words
from repro.project import Project, find_project
from repro.report import found, tables
from repro.words import parts


class Piece(Markup):
    """Safe HTML that a notebook displays as such."""

    def _repr_html_(self) -> str:
        return str(self)


@dataclass
class Report:
    """One paper's report.

    Args:
        paper: id of the paper.
        project: where it is.
    """

    paper: str
    project: Project

    @classmethod
    def of(cls, paper: str) -> Report:
        """Return the report of a paper of the project around the current folder."""
        return cls(paper, find_project())

    @cached_property
    def ledger(self) -> Ledger:
        """The paper's ledger."""
        return self.project.ledger(self.paper)

    @cached_property
    def sources(self) -> dict[str, Evidence]:
        """The reference records and, if there are any, the user's own."""
        sources = {"reference": gather(self.project, self.ledger, self.project.reference)}
        own = gather(self.project, self.ledger, self.project.local)
        if own.records or own.problems:
            sources["yours"] = own
        return sources

    @cached_property
    def verdicts(self) -> dict[str, dict[str, Verdict]]:
        """Source to claim id to verdict."""
        return {name: {v.claim: v for v in judge(evidence)} for name, evidence in self.sources.items()}

    @property
    def main(self) -> str:
        """The source that pages speak of: the reference records, or the user's where there are none."""
        return main_source(self.sources)

    def _render(self, template: str, **values: Any) -> Piece:
        return Piece(tables.templates().get_template(template).render(**values))

    def heading(self) -> Piece:
        """Title, authors, a link to the version that the anchors mean, and the verdicts at a glance."""
        paper, outcomes = self.ledger.paper, [v.outcome for v in self.verdicts[self.main].values()]
        return self._render("heading.html", paper=paper, link=tables.arxiv_link(paper), parts=parts(outcomes))

    def found(self) -> Piece:
        """What was found, in words; from the reference records, or the user's where there are none."""
        exceptions = known_exceptions(self.project)
        texts = found.paragraphs(self.ledger, self.verdicts[self.main].values(), exceptions)
        return self._render("found.html", source=self.main, paragraphs=texts)

    def claims(self) -> Piece:
        """The table of all claims: published, reference, yours."""
        return Piece(tables.claims_table(self.ledger, self.verdicts, known_exceptions(self.project)))

    def deviations(self) -> Piece:
        """What paper, released code and we do differently, with measured effects."""
        return Piece(tables.deviations_table(self.sources[self.main]))

    def turned(self) -> Piece:
        """Which verdicts an alternative protocol would turn."""
        return self._render("turned.html", turned=turned(self.sources[self.main]), ledger=self.ledger)

    def figures(self) -> Piece:
        """The paper's own figures, from its folder's ``figures.py``."""
        draw = self.project.function(self.paper, "figures.figures")
        pieces = []
        try:
            pieces += [
                self._render("figure.html", drawn=drawn) for drawn in draw(self.sources, self.verdicts)
            ]
        except ValueError as error:  # a run without a number, say; the page has more to tell than its figures
            pieces.append(self._render("undrawn.html", why=str(error)))
        return Piece("\n".join(pieces))

    def provenance(self) -> Piece:
        """Which code, data, libraries and hardware the records of each source come from."""
        facts: list[tuple[str, str]] = []
        for source, evidence in self.sources.items():
            records = evidence.records
            facts.append((f"{source} records", f"{len(records)} counted, {len(evidence.stale)} stale, "
                          f"{len(evidence.damaged)} damaged"))  # fmt: skip
            for label, values in (
                ("code", {r.code for r in records}),
                ("data md5", {f"{name} {md5}" for r in records for name, md5 in r.data.items()}),
                ("environment", {environment_in_words({**r.environment, "commit": None}) for r in records}),
            ):
                facts += [(label, value) for value in sorted(values)]
            hours = sum(r.seconds for r in records) / 3600
            facts.append(("computing time", f"{hours:.1f} hours"))
        return self._render("provenance.html", facts=facts)
