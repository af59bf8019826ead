"""The generated part of a paper's README: what the reference records say, never typed by hand."""

from __future__ import annotations

from repro.errors import ReproError
from repro.judge import effects, gather, judge, known_exceptions
from repro.project import Project
from repro.records import write_atomically
from repro.report.found import paragraphs
from repro.words import MARKS, interval, number, printed, unit_of, unit_of_difference

BEGIN = "<!-- generated from results/reference by `repro keep`; do not edit -->"
END = "<!-- end of the generated part -->"


def _cell(text: object) -> str:
    return str(text).replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")


def generated(project: Project, paper: str) -> str:
    """Return the generated part: what was found, a line per claim, the effect of each deviation."""
    ledger = project.ledger(paper)
    evidence = gather(project, ledger, project.reference)
    verdicts = judge(evidence)
    exceptions = known_exceptions(project.papers / "known_exceptions.yaml")
    lines = [f"- {_cell(text)}" for text in paragraphs(ledger, verdicts, exceptions)]
    lines += ["", "| claim | published | ours | n | verdict |", "|---|---|---|---|---|"]
    for verdict in verdicts:
        claim = ledger.claim(verdict.claim)
        ours = f"{number(verdict.measured, unit_of(claim, ledger))} {interval(verdict.interval)}".strip()
        lines.append(
            f"| {_cell(verdict.claim)} | {_cell(printed(claim))} | {ours} | {verdict.n or ''} "
            f"| {MARKS[verdict.outcome]} {verdict.outcome.replace('_', ' ')} |"
        )
    lines += ["", "| deviation | where | effect on the mean, 95 % interval | n |", "|---|---|---|---|"]
    for effect in effects(evidence):
        if effect.estimate:
            e = effect.estimate
            unit = unit_of_difference(ledger.quantities[effect.quantity].unit)
            lines.append(
                f"| {_cell(effect.deviation)}: {_cell(effect.alternative)} | {_cell(effect.where)} "
                f"| {e.value:+.2f} {interval((e.low, e.high))} {unit} | {e.n} |"
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
