"""What a weekly review says by itself of a paper: Markdown generated from ledger, records and verdicts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from repro.claims import Claim
from repro.deviations import turned
from repro.drift import corrected, drift
from repro.errors import ReproError
from repro.evidence import Evidence
from repro.judge import Verdict, judge
from repro.ledger import Ledger
from repro.needs import needs
from repro.plan import claim_arms, differing
from repro.report.changes import Changes
from repro.report.drawing import Drawn
from repro.report.found import KINDS, by_outcome, kind_of
from repro.report.notebook import Report
from repro.report.tables import arxiv_link
from repro.words import MARKS, duration, found, lesser_tier, markdown, marked, outcome_name, printed

SHOWN = 20  # changed verdicts that are listed one by one


def _list(texts: Iterable[str], otherwise: str) -> str:
    return "\n".join(f"- {text}" for text in texts) or otherwise


def citation(ledger: Ledger) -> str:
    """Return authors, year, title, venue and a link to the version that the anchors mean."""
    paper = ledger.paper
    text = f"{markdown(', '.join(paper.authors))} ({paper.year}): {markdown(paper.title)}. {markdown(paper.venue)}."
    link = arxiv_link(paper)
    return f"{text} [arXiv:{paper.arxiv}{paper.version or ''}]({link})" if link else text


def claimed(ledger: Ledger) -> str:
    """Return what the paper claims: a line for each table, each place of printed numbers, each other claim.

    The checks that this project adds are counted, not listed.
    """
    claims = ledger.all_claims()
    kinds = {name: sum(kind_of(c) == kind for c in claims) for kind, name in KINDS.items()}
    counts = ", ".join(f"{name} ({count})" for name, count in kinds.items() if count)
    in_tables: Counter[tuple[str, str]] = Counter()  # a printed table may be several here
    for table in ledger.tables:
        what = table.anchor.place, table.measure.quantity.replace("_", " ")
        in_tables[what] += sum(map(len, table.published.values()))
    lines = [
        f"{markdown(place)}: {count} values of {markdown(quantity)}"
        for (place, quantity), count in in_tables.items()
    ]
    theirs = [c for c in ledger.claims if c.anchor.evidence != "ours"]
    printed_at = Counter(_place(c) for c in theirs if c.kind == "audit")
    lines += [
        f"{place}: {count} printed number{'s' * (count > 1)} that can be recomputed"
        for place, count in printed_at.items()
    ]
    lines += [f"{markdown(c.statement)} ({_place(c)})" for c in theirs if c.kind != "audit"]
    ours = sum(c.anchor.evidence == "ours" for c in claims)
    lines += [f"{ours} checks that this project adds"] if ours else []
    return f"{len(claims)} claims: {counts}.\n\n" + _list(lines, "")


def _place(claim: Claim) -> str:
    page = f", page {claim.anchor.page}" if claim.anchor.page else ""
    return markdown(claim.anchor.place) + page


def what_we_find(report: Report, exceptions: Mapping[str, str]) -> str:
    """Return the count of verdicts, how many claims of each kind hold, and what the numbers rest on."""
    texts = by_outcome(report.ledger, report.verdicts[report.main].values(), exceptions)
    records = report.sources[report.main].records
    basis = (
        f"From {len(records)} {'reference' if report.main == 'reference' else 'own'} records, "
        f"{duration(sum(r.seconds for r in records))} of computing."
    )
    return _list([markdown(t) for t in (*texts["all"], *texts["reproduced"], basis)], "")


def surprises(report: Report, exceptions: Mapping[str, str]) -> str:
    """Return what is contradicted, better than printed or in error, and what another protocol would turn."""
    texts = by_outcome(report.ledger, report.verdicts[report.main].values(), exceptions)
    lines = [markdown(t) for outcome in ("contradicted", "error", "better") for t in texts[outcome]]
    protocols: dict[str, list[str]] = {}
    for turn in turned(report.sources[report.main]):
        where = f"{turn.switch} = {turn.alternative}"
        protocols.setdefault(where, []).append(f"{turn.claim} {turn.here.outcome} → {turn.there.outcome}")
    for where, turns in protocols.items():
        many = "One verdict is another one" if len(turns) == 1 else f"{len(turns)} verdicts are others"
        lines.append(markdown(f"{many} with {where}: {'; '.join(turns)}."))
    return _list(lines, "None: nothing is contradicted, and no measured deviation turns a verdict.")


def open_questions(report: Report, exceptions: Mapping[str, str]) -> str:
    """Return what is inconclusive, blocked or not run, and how many seeds would settle it."""
    evidence, verdicts = report.sources[report.main], report.verdicts[report.main]
    texts = by_outcome(report.ledger, verdicts.values(), exceptions)
    lines = [markdown(t) for outcome in ("inconclusive", "blocked", "not_run") for t in texts[outcome]]
    for need in needs(evidence, verdicts.values()):
        if need.seeds is not None:
            cost = f", {duration(need.seconds)}" if need.seconds is not None else ""
            lines.append(f"{markdown(need.claim)} would take about {need.seeds} seeds{cost}.")
    return _list(lines, "None: every claim is settled.")


def sizes(drawn: Drawn | None, file: str) -> str:
    """Return the size-generalisation figure, which lies in ``file`` beside the review."""
    if drawn is None:
        return "No claim about generalisation in system size has runs to draw."
    return f"![{markdown(drawn.alt)}]({file})\n\n{markdown(drawn.caption)}"


def beliefs(report: Report, extended: Ledger) -> str:
    """Return the verdicts on the reviewer's own claims, judged as the paper's are."""
    known = {claim.id for claim in report.ledger.all_claims()}
    mine = [claim for claim in extended.claims if claim.id not in known]
    judged = {
        name: {v.claim: v for v in judge(replace(evidence, ledger=extended))}
        for name, evidence in report.sources.items()
    }
    lines = []
    for claim in mine:
        source = next((s for s in judged if judged[s][claim.id].outcome != "not_run"), report.main)
        lines.append(_belief(extended, claim, judged[source][claim.id], report.sources[source], source))
    return _list(lines, "No belief is written down as a claim.")


def _belief(ledger: Ledger, claim: Claim, verdict: Verdict, evidence: Evidence, source: str) -> str:
    ours = f" Found: {markdown(found(claim, verdict, ledger))}." if verdict.measured is not None else ""
    whose = f"{'reference' if source == 'reference' else 'own'} records"
    basis = ", ".join(filter(None, [whose, lesser_tier(verdict)]))
    believed = f" ({markdown(printed(claim))})" if printed(claim) else ""
    text = (
        f"{MARKS[verdict.outcome]} **{outcome_name(verdict.outcome)}**: “{markdown(claim.statement)}”{believed}, "
        f"{verdict.n} runs ({basis}).{ours}"
    )
    if verdict.outcome != "reproduced" and verdict.reasons:
        text += f" {markdown(verdict.reasons[0])}"
    missing = [arm for arm in claim_arms(ledger, claim) if not evidence.of(arm)]
    if verdict.outcome == "not_run" and missing:
        for arm in dict.fromkeys(missing):
            changes = differing(arm.setting, ledger.experiments[arm.experiment])
            changed = "".join(f" --set {k}={v}" for k, v in changes.items())
            text += f" Run it: `repro run {ledger.paper.id} --experiment {arm.experiment}{changed}`"
    return text


Totals = Mapping[str, Mapping[str, float]]
"""Paper to the number of its records, of stale ones, and the seconds they took."""


def what_changed(
    found: Changes, before: Totals, now: Totals, reports: Sequence[Report], names: Mapping[str, int]
) -> str:
    """Return what is different from the review before: verdicts, claims, stale records, drift, computing.

    Args:
        found: by claim.
        before, now: by paper; ``before`` is empty for a first review.
        reports: of all papers.
        names: papers that the earlier review did not know, with their number of claims.
    """
    lines = []
    if found.since is None:
        lines.append("This is the first review here: there is no earlier week to compare with.")
    else:
        turned_ones = [c for c in found.turned if c.paper not in names]
        lines += [f"{markdown(p)} is new, with {count} claims." for p, count in names.items()]
        for c in turned_ones[:SHOWN]:
            then, today = (
                (marked(c.before) if c.before else "new"),
                (marked(c.after) if c.after else "gone"),
            )
            lines.append(f"{markdown(c.claim)}: {then} → {today}")
        if len(turned_ones) > SHOWN:
            lines.append(f"… and {len(turned_ones) - SHOWN} more verdicts.")
        if not turned_ones:
            lines.append(f"No verdict has turned since {found.since}.")
        if found.moved:
            lines.append(f"{found.moved} claims have new numbers and the same verdict.")
    for paper, totals in now.items():
        if totals["stale"]:
            lines.append(f"{markdown(paper)}: {totals['stale']:.0f} records are stale and do not count.")
    spent = sum(t["seconds"] for t in now.values())
    added = spent - sum(t["seconds"] for t in before.values())
    since = f", {'+' if added >= 0 else '−'}{duration(abs(added))} since {found.since}" if found.since else ""
    lines.append(f"Computing behind the records of all papers here: {duration(spent)}{since}.")
    lines.append(_drift(reports))
    return _list(lines, "")


def _drift(reports: Sequence[Report]) -> str:
    """Return in words whether the user's own records differ from the reference."""
    both = [r for r in reports if {"reference", "yours"} <= set(r.sources) and r.sources["yours"].records]
    found = corrected(
        [drift(r.ledger, r.sources["reference"].records, r.sources["yours"].records) for r in both]
    )
    compared = sum(len(d.shifts) for d in found)
    if not compared:
        return "Drift: there are no own runs to compare with the reference records."
    shifts = [s for d in found for s in d.found]
    if not shifts:
        return f"Drift between the reference records and the own runs: none in {compared} comparisons."
    told = "; ".join(markdown(f"{s.paper}/{s.arm} {s.quantity} {s.shift:+.3g}") for s in shifts[:SHOWN])
    return f"Drift between the reference records and the own runs in {len(shifts)} of {compared} comparisons: {told}."


def check_papers(known: Sequence[str], wanted: Sequence[str]) -> None:
    """Refuse an empty list of papers and one that names a paper twice; unknown ones the project refuses."""
    if not wanted or len(set(wanted)) != len(wanted):
        raise ReproError(f"--papers {','.join(wanted)}: name each paper once; there is {', '.join(known)}")
