"""The generated part of a paper's README: what the reference records say, never typed by hand."""

from __future__ import annotations

from repro.deviations import effects, turned
from repro.errors import ReproError
from repro.evidence import gather
from repro.judge import judge
from repro.known_exceptions import known_exceptions
from repro.project import Project
from repro.records import write_atomically
from repro.report.found import paragraphs
from repro.words import change, found, lesser_tier, marked, number, printed, unit_of

BEGIN = "<!-- generated from results/reference by `repro keep`; do not edit -->"
END = "<!-- end of the generated part -->"


def _cell(text: object) -> str:
    return str(text).replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")


def generated(project: Project, paper: str) -> str:
    """Return the generated part: what was found, a line per claim, the effect of each deviation."""
    ledger = project.ledger(paper)
    evidence = gather(project, ledger, project.reference)
    verdicts = judge(evidence)
    exceptions = known_exceptions(project)
    lines = [f"- {_cell(text)}" for text in paragraphs(ledger, verdicts, exceptions)]
    lines += [
        "",
        "Intervals are 90 % intervals; those of values include what the published number itself leaves open.",
        "",
        "| claim | claimed | ours | n | verdict |",
        "|---|---|---|---|---|",
    ]
    for verdict in verdicts:
        claim = ledger.claim(verdict.claim)
        n = ", ".join(filter(None, [str(verdict.n or ""), lesser_tier(verdict)]))
        cells = verdict.claim, printed(claim), found(claim, verdict, ledger), n, marked(verdict.outcome)
        lines.append(f"| {' | '.join(map(_cell, cells))} |")
    lines += [
        "",
        "| deviation | where | of | effect on the mean, 95 % interval | n |",
        "|---|---|---|---|---|",
    ]
    for effect in effects(evidence):
        if effect.estimate:
            size = change(effect.estimate, ledger.quantities[effect.quantity].unit)
            lines.append(
                f"| {_cell(effect.deviation)}: {_cell(effect.alternative)} | {_cell(effect.where)} "
                f"| {_cell(effect.of)} | {size} | {effect.estimate.n} |"
            )
    lines += [
        "",
        "Verdicts that an alternative protocol turns, each claim's test alone (no correction for families):",
        "",
        "| claim | alternative | verdict here | verdict there | measured there |",
        "|---|---|---|---|---|",
    ]
    for turn in turned(evidence):
        claim = ledger.claim(turn.claim)
        offset = turn.there.published or 0.0 if claim.kind == "value" else 0.0
        measured = turn.there.estimate.value + offset if turn.there.estimate else None
        lines.append(
            f"| {_cell(turn.claim)} | {_cell(turn.switch)}: {_cell(turn.alternative)} | {turn.here.outcome} "
            f"| {turn.there.outcome} | {number(measured, unit_of(claim, ledger))} |"
        )
    return "\n".join(lines)


def refreshed(project: Project, paper: str) -> str:
    """Return the README with its generated part as the records have it now.

    Raises:
        ReproError: if the README or one of the two markers is missing; nothing is changed then.
    """
    path = project.papers / paper / "README.md"
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise ReproError(f"{path}: must hold the lines `{BEGIN}` and `{END}` once each, in this order")
    before, after = text.split(BEGIN)[0], text.split(END)[1]
    return f"{before}{BEGIN}\n\n{generated(project, paper)}\n\n{END}{after}"


def refresh(project: Project, paper: str) -> None:
    """Write the README anew, prose untouched."""
    write_atomically(project.papers / paper / "README.md", refreshed(project, paper).encode())
