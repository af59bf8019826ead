"""The site: a board of all claims, and a page for each. Opens from disk; its script is an addition, not a need."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from typing import Any

from markupsafe import Markup

from repro.deviations import Effect, Turned, effects, turned
from repro.known_exceptions import known_exceptions
from repro.ledger import Ledger
from repro.lineage import command, lineage
from repro.project import Project
from repro.records import write_atomically
from repro.report.badges import write_badges
from repro.report.changes import since_last_build, state_of
from repro.report.entries import Entry, attention_first, entries_of, outcomes
from repro.report.notebook import Report
from repro.report.seeds import distribution, drawing
from repro.report.sizes import size_figure
from repro.report.tables import arxiv_link, templates

ASSETS = ("site.css", "site.js")

EVIDENCE = {
    "paper": "read in the paper's own text",
    "code": "read in the authors' code",
    "third": "from a third party's transcription",
    "digitised": "read off a figure",
    "derived": "computed from printed numbers",
    "recalled": "not verified, so that it enters no verdict",
    "ours": "a check that this project adds",
}


def render(template: str, **values: Any) -> bytes:
    """Return a page."""
    return templates().get_template(template).render(**values).encode()


def write_site(project: Project, reviews: Sequence[str] = ()) -> Path:
    """Write the board, every claim's page, the badges and what they share; return the board's file.

    Args:
        project: whose claims they are.
        reviews: weeks whose review has a page.

    A file whose content would stay the same is left alone; pages of claims that are gone are removed.
    """
    reports = [Report(paper, project) for paper in project.paper_ids()]
    exceptions = known_exceptions(project)
    entries = {report.paper: entries_of(report, exceptions) for report in reports}
    for name in ASSETS:
        _write(project.site / name, files("repro.report").joinpath("assets", name).read_bytes())
    _forget(project.site, [report.paper for report in reports], reviews)
    for report in reports:
        write_claims(project.site, report, entries[report.paper])
        write_badges(project.site / "badges", report.ledger, [e.verdict for e in entries[report.paper]])
    return _write_board(project.site, reports, entries, reviews)


def _forget(site: Path, papers: Sequence[str], reviews: Sequence[str]) -> None:
    """Remove the pages of papers and reviews that are gone."""
    _keep_only(site.glob("*.html"), {"index", *papers})
    _keep_only((site / "badges").glob("*.*"), papers)
    _keep_only((site / "weekly").glob("*.html"), reviews)


def _keep_only(pages: Iterable[Path], stems: Collection[str]) -> None:
    for path in pages:
        if path.stem not in stems:
            path.unlink()


def write_claims(site: Path, report: Report, entries: Sequence[Entry]) -> None:
    """Write the page of every claim of a paper."""
    evidence = report.sources[report.main]
    measured, turns = effects(evidence), turned(evidence)
    for entry in entries:
        page = render("claim.html", **_claim_values(report, entry, measured, turns))
        _write(site / entry.address, page)
    _keep_only((site / report.paper).glob("*.html"), {entry.claim.id for entry in entries})


def _claim_values(
    report: Report, entry: Entry, measured: Iterable[Effect], turns: Iterable[Turned]
) -> dict[str, Any]:
    ledger, claim, verdict = report.ledger, entry.claim, entry.verdict
    evidence = report.sources[report.main]
    names = {claim.id, claim.family}
    work = ledger.works[claim.anchor.work] if claim.anchor.work else ledger.paper
    seeds = distribution(evidence, claim, verdict)
    return {
        "root": "../",
        "title": f"{claim.id}: {claim.statement}",
        "entry": entry,
        "claim": claim,
        "verdict": verdict,
        "paper": ledger.paper,
        "work": work,
        "link": arxiv_link(work),
        "evidence": EVIDENCE[claim.anchor.evidence],
        "quantity": ledger.quantities[claim.measure.quantity],
        "seeds": seeds,
        "drawn": Markup(render("distribution.html", **drawing(seeds)).decode()) if seeds else "",
        "deviations": {n: d for n, d in ledger.deviations.items() if names & set(d.moves)},
        "effects": [e for e in measured if names & set(ledger.deviations[e.deviation].moves)],
        "quantities": ledger.quantities,
        "turns": [t for t in turns if t.claim == claim.id],
        "controls": {name: ledger.controls[name] for name in claim.controls},
        "origins": lineage(evidence, claim, verdict.tier) if verdict.records else [],
        "command": command(ledger, claim, verdict.tier),
    }


def _write_board(
    site: Path, reports: Sequence[Report], entries: dict[str, list[Entry]], reviews: Sequence[str]
) -> Path:
    every = attention_first(entry for found in entries.values() for entry in found)
    today = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    figures = [(r, size_figure(r.ledger, r.sources[r.main])) for r in reports]
    page = render(
        "index.html",
        root="",
        title="Are the papers' claims true?",
        papers=[_card(report.ledger, entries[report.paper]) for report in reports],
        tags=EVIDENCE,
        entries=every,
        reviews=reviews,
        changes=since_last_build(site / "board.json", state_of(every), today),
        figures=[(report.ledger.paper, drawn) for report, drawn in figures if drawn],
        verdicts=[outcome for outcome, _ in outcomes(every)],
        kinds=sorted({entry.claim.kind for entry in every}),
        tiers=sorted({entry.verdict.tier for entry in every if entry.verdict.tier}),
    )
    path = site / "index.html"
    _write(path, page)
    return path


def _card(ledger: Ledger, entries: Sequence[Entry]) -> tuple[Any, ...]:
    """Return a paper, titles of other works, outcomes, those of checks of ours, and words to find it by."""
    paper, works = ledger.paper, ledger.works.values()
    others = [work.title for work in works if work.title not in paper.title]
    ours = outcomes(e for e in entries if e.origin == "ours")
    words = " ".join([paper.title, *paper.authors, *(work.bibtex for work in works)])
    return paper, others, outcomes(entries), ours, words


def _write(path: Path, content: bytes) -> None:
    if not path.is_file() or path.read_bytes() != content:
        # A page can be built again; a thousand syncs take seconds.
        write_atomically(path, content, durable=False)
