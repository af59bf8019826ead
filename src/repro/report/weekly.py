"""A literature review every week: the writer's prose in a Markdown file, and between markers what the records say.

``new`` writes the form, ``build`` renews what stands between the markers and renders the page. Everything outside the
markers is the writer's and stays as it is, byte for byte.
"""

from __future__ import annotations

import base64
import json
import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml
from markupsafe import Markup

from repro.errors import ReproError
from repro.known_exceptions import known_exceptions
from repro.ledger import Ledger
from repro.ledger_file import with_beliefs
from repro.project import Project
from repro.records import write_atomically
from repro.report import review
from repro.report.changes import Changes, compare, state_of
from repro.report.entries import entries_of
from repro.report.notebook import Report
from repro.report.sizes import size_figure
from repro.report.tables import templates
from repro.words import markdown

BLOCKS = ("citation", "claimed", "found", "sizes", "surprises", "open", "beliefs")
WEEK = re.compile(r"(\d{4})-W(\d{2})")
COMMENT = re.compile(r"(?<!`)<!--.*?-->", re.DOTALL)  # one that begins within `code` is spoken of
FENCED = re.compile(
    r"^(?P<before>[ \t]*(?:[-*][ \t]+)?)(?P<fence>`{3,}|~{3,})(?P<info>[^\n]*)\n(?P<body>.*?)^[ \t]*(?P=fence)",
    re.MULTILINE | re.DOTALL,
)
BELIEF = re.compile(r"^[ \t]*believes?[ \t]*:", re.MULTILINE | re.IGNORECASE)


@dataclass(frozen=True)
class Review:
    """A review's file with its front matter."""

    path: Path
    text: str
    week: str
    title: str
    category: str
    papers: list[str]


def check_week(week: str) -> int:
    """Return the number of an ISO week such as ``2026-W08``.

    Raises:
        ReproError: if it is written otherwise, or its year has no such week.
    """
    found = WEEK.fullmatch(week)
    if not found:
        raise ReproError(f"{week}: give a week as year and number, like 2026-W08")
    year, number = int(found[1]), int(found[2])
    try:
        date.fromisocalendar(year, number, 1)
    except ValueError:
        last = date(year, 12, 28).isocalendar().week if year else 52
        raise ReproError(f"{week}: there is no such week; {year} has the weeks 1 to {last}") from None
    return number


def folder(project: Project) -> Path:
    """Return where the reviews are."""
    return project.root / "reports" / "weekly"


def weeks(project: Project) -> list[str]:
    """Return the weeks that have a review, the earliest first."""
    return sorted(path.stem for path in folder(project).glob("*.md") if WEEK.fullmatch(path.stem))


def begin(name: str) -> str:
    """Return the line before a generated block."""
    return f"<!-- generated: {name} -->"


def end(name: str) -> str:
    """Return the line after it."""
    return f"<!-- end of {name} -->"


def replace_block(text: str, name: str, content: str, path: Path) -> str:
    """Return the text with other content in one block.

    Raises:
        ReproError: if the block's two markers are not there once each and in this order.
    """
    first, last = begin(name), end(name)
    if text.count(first) != 1 or text.count(last) != 1 or text.index(first) > text.index(last):
        raise ReproError(
            f"{path}: the block `{name}` needs the lines `{first}` and `{last}` once each, in this order; "
            "put them back where it belongs. Nothing was changed"
        )
    before, rest = text.split(first)
    return f"{before}{first}\n{content}\n{last}{rest.split(last)[1]}"


def new(project: Project, week: str, papers: Sequence[str]) -> Path:
    """Write the form of a week's review with its generated blocks filled.

    Raises:
        ReproError: for a week that does not exist or has a review, and for an unknown paper.
    """
    number = check_week(week)
    review.check_papers(project.paper_ids(), papers)
    ledgers = [project.ledger(paper) for paper in papers]
    path = folder(project) / f"{week}.md"
    if path.exists():
        raise ReproError(
            f"{path}: there is a review of this week already; `repro weekly build {week}` renews it"
        )
    form = templates().get_template("weekly.md").render(
        week=week, number=number, ledgers=[_plain(ledger) for ledger in ledgers], begin=begin, end=end
    )  # fmt: skip
    build(project, week, form)
    return path


def _plain(ledger: Ledger) -> dict[str, Any]:
    return {"id": ledger.paper.id, "title": Markup(markdown(ledger.paper.title))}


def read(project: Project, week: str | None, text: str | None = None) -> Review:
    """Read a week's review; the latest if none is named.

    Args:
        text: of a review that is not written yet.

    Raises:
        ReproError: if there is none, or its front matter does not say what it must.
    """
    known = weeks(project)
    if week is None and not known:
        raise ReproError(
            f"{folder(project)}: there is no review yet; `repro weekly new WEEK --papers A,B` writes one"
        )
    week = week or known[-1]
    check_week(week)
    path = folder(project) / f"{week}.md"
    if text is None:
        if not path.is_file():
            have = f"there is {', '.join(known)}" if known else "there is none yet"
            raise ReproError(
                f"{path}: no review of this week; {have}; `repro weekly new {week} --papers …` writes it"
            )
        try:
            text = path.read_bytes().decode("utf-8")
        except UnicodeDecodeError as error:
            raise ReproError(f"{path}: not UTF-8 text (byte {error.start})") from None
    found = re.match(r"---\r?\n(.*?)^---\r?\n", text, re.MULTILINE | re.DOTALL)
    try:
        matter = yaml.safe_load(found[1]) if found else None
    except yaml.YAMLError as error:
        raise ReproError(
            f"{path}: its front matter is not valid YAML: {' '.join(str(error).split())}"
        ) from None
    keys = {"title": str, "category": str, "papers": list}
    for key, kind in keys.items():
        if not isinstance(matter, dict) or not isinstance(matter.get(key), kind):
            raise ReproError(
                f"{path}: needs front matter between two lines `---` with title, category and a list of papers; "
                f"`{key}` is missing or no {'list' if kind is list else 'text'}"
            )
    assert isinstance(matter, dict)
    return Review(path, text, week, matter["title"], matter["category"], [str(p) for p in matter["papers"]])


def build(project: Project, week: str | None = None, form: str | None = None) -> Path:
    """Renew the generated blocks of a review, note the state of the claims, render the page and return its file.

    Raises:
        ReproError: if anything is amiss; the review then stays as it was.
    """
    found = read(project, week, form)
    built = [path.stem for path in _states(project)]
    later = [week for week in built if week > found.week]
    if later and found.week in built:
        raise ReproError(
            f"{found.path}: {later[0]} is built already, and compared with what stood here: today's numbers would "
            "take its place. Prose that you have changed is shown by `repro report`"
        )
    for paper in found.papers:
        project.ledger(paper)
    reports = {paper: Report(paper, project) for paper in project.paper_ids()}
    exceptions = known_exceptions(project)
    text, figures = found.text, {}
    state = _state(reports, exceptions)
    text = replace_block(text, "changes", _changes(project, found.week, state, reports), found.path)
    for paper in found.papers:
        report = reports[paper]
        drawn = size_figure(report.ledger, report.sources[report.main])
        name = f"{found.week}-{paper}-sizes.svg"
        if drawn:
            figures[name] = drawn.bytes()
        content = {
            "citation": review.citation(report.ledger),
            "claimed": review.claimed(report.ledger),
            "found": review.what_we_find(report, exceptions),
            "sizes": review.sizes(drawn, name),
            "surprises": review.surprises(report, exceptions),
            "open": review.open_questions(report, exceptions),
            "beliefs": review.beliefs(report, _with_beliefs(found, report.ledger)),
        }
        for block in BLOCKS:
            # A message may name a file by where it lies on this machine; a review is read elsewhere.
            told = content[block].replace(markdown(f"{project.root}/"), "")
            text = replace_block(text, f"{block} {paper}", told, found.path)
    for name, svg in figures.items():
        _write(folder(project) / name, svg)
    _write(folder(project) / f"{found.week}.json", _line_by_line(state).encode())
    _write(found.path, text.encode())
    return render(project, found.week)


def _write(path: Path, content: bytes) -> None:
    if not path.is_file() or path.read_bytes() != content:
        write_atomically(path, content)


def _section(found: Review, paper: str) -> tuple[int, int]:
    """Return where a paper's part of the review begins and ends."""
    starts = sorted(found.text.find(begin(f"citation {p}")) for p in found.papers)
    start = found.text.find(begin(f"citation {paper}"))
    later = [s for s in starts if s > start]
    return _heading(found, start), _heading(found, later[0]) if later else len(found.text)


def _heading(found: Review, marker: int) -> int:
    """Return where the heading above a marker begins: what stands between belongs to the paper."""
    above = found.text.rfind("\n## ", 0, marker)
    return marker if above < 0 else above + 1


def _blank(match: re.Match[str]) -> str:
    """Return as many lines of blanks, so that what follows keeps its place."""
    return re.sub(r"[^\n]", " ", match[0])


def _with_beliefs(found: Review, ledger: Ledger) -> Ledger:
    """Return the ledger with what the reviewer believes of the paper, wherever in its section that stands."""
    start, stop = _section(found, ledger.paper.id)
    first = min(_section(found, paper)[0] for paper in found.papers)
    anchor = {"place": f"belief in the review of {found.week}", "evidence": "ours"}
    # What is commented out, such as the form's own example, is not believed; lines keep their number.
    for comment in COMMENT.finditer(found.text):
        if BELIEF.search(comment[0]) and "…" not in comment[0]:
            line = found.text.count("\n", 0, comment.start()) + 1
            raise ReproError(
                f"{found.path}:{line}: this belief stands in a comment, <!-- ... -->: move it out to have it judged"
            )
    said = COMMENT.sub(_blank, found.text)
    if left := re.search(r"^[ \t]*(?:`{3,}|~{3,})", FENCED.sub(_blank, said), re.MULTILINE):
        line = found.text.count("\n", 0, left.start()) + 1
        raise ReproError(f"{found.path}:{line}: this block is never closed: end it with the same fence")
    for block in FENCED.finditer(said):
        line = found.text.count("\n", 0, block.start("body"))
        if not BELIEF.search(block["body"]):
            first_key = re.match(r"\s*(\w+)[ \t]*:", block["body"])
            if first_key and get_close_matches(first_key[1].lower(), ["believe"], cutoff=0.75):
                raise ReproError(f"{found.path}:{line + 1}: `{first_key[1]}`: did you mean `believe`?")
            continue
        if not re.match(r"[ \t]*ya?ml\b", block["info"], re.IGNORECASE):
            raise ReproError(
                f"{found.path}:{line}: a belief stands in a block of `yaml`: write that after its fence"
            )
        if block.start() < first:
            raise ReproError(
                f"{found.path}:{line}: this belief belongs to no paper: move it below a paper's heading"
            )
        if start <= block.start() < stop:
            ledger = with_beliefs(ledger, found.path, textwrap.dedent(block["body"]), line, anchor)
    return ledger


def _state(reports: dict[str, Report], exceptions: dict[str, str]) -> dict[str, Any]:
    """Return what the next week's review is compared with."""
    entries = [entry for report in reports.values() for entry in entries_of(report, exceptions)]
    totals = {}
    for paper, report in reports.items():
        evidence = report.sources[report.main]
        seconds = round(sum(r.seconds for r in evidence.records))
        totals[paper] = {"records": len(evidence.records), "stale": len(evidence.stale), "seconds": seconds}
    return {"claims": state_of(entries), "papers": totals}


def _states(project: Project) -> list[Path]:
    """Return the notes of all weeks that were built, the earliest first."""
    return [path for path in sorted(folder(project).glob("*.json")) if WEEK.fullmatch(path.stem)]


def _line_by_line(state: dict[str, dict[str, Any]]) -> str:
    """Return the state as JSON with a line for each claim, so that its history can be read."""
    parts = [
        f"{json.dumps(name)}: {{\n"
        + ",\n".join(f" {json.dumps(k)}: {json.dumps(v)}" for k, v in part.items())
        + "\n}"
        for name, part in state.items()
    ]
    return "{\n" + ",\n".join(parts) + "\n}\n"


def _changes(project: Project, week: str, state: dict[str, Any], reports: dict[str, Report]) -> str:
    earlier = [path for path in _states(project) if path.stem < week]
    if not earlier:
        found, before, fresh = Changes(None, [], 0), {}, {}
    else:
        try:
            last = json.loads(earlier[-1].read_text(encoding="utf-8"))
            before, claims = last["papers"], last["claims"]
            found = compare(claims, state["claims"], earlier[-1].stem)
        except (OSError, ValueError, KeyError, TypeError):
            raise ReproError(
                f"{earlier[-1]}: cannot be read; restore it, or remove it to compare with an earlier week"
            ) from None
        papers = [name.partition("/")[0] for name in state["claims"]]
        fresh = {p: papers.count(p) for p in dict.fromkeys(papers) if p not in before}
    return review.what_changed(found, before, state["papers"], list(reports.values()), fresh)


def render(project: Project, week: str) -> Path:
    """Render a review as it is to a page of the site, and return its file."""
    import mistune

    class Renderer(mistune.HTMLRenderer):
        """Code can be scrolled with the keyboard; pictures beside the review become part of the page."""

        def block_code(self, code: str, info: str | None = None) -> str:
            return f'<pre tabindex="0"><code>{mistune.escape(code)}</code></pre>\n'

        def image(self, text: str, url: str, title: str | None = None) -> str:
            file = folder(project) / url
            if file.parent != folder(project) or file.suffix != ".svg" or not file.is_file():
                return mistune.escape(f"[{text}: of pictures, only SVG files beside the review are shown]")
            data = base64.b64encode(file.read_bytes()).decode()
            return f'<img src="data:image/svg+xml;base64,{data}" alt="{mistune.escape(text)}">'

    found = read(project, week)
    body = re.sub(r"\A---\r?\n.*?^---\r?\n", "", found.text, flags=re.MULTILINE | re.DOTALL)
    body = COMMENT.sub("", body)  # markers and hints are for the writer
    html = mistune.create_markdown(renderer=Renderer(escape=True), plugins=["table", "strikethrough"])(body)
    page = templates().get_template("weekly.html").render(
        root="../", title=found.title, review=found, body=Markup(html)
    )  # fmt: skip
    path = project.site / "weekly" / f"{week}.html"
    _write(path, page.encode())
    return path
