"""Executing the notebooks and writing one self-contained HTML page per paper, and an index."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from markupsafe import Markup

from repro.errors import ReproError
from repro.project import Project
from repro.records import write_atomically
from repro.report.notebook import Report
from repro.report.tables import templates
from repro.words import tally


def _execute(project: Project, paper: str) -> Markup:
    """Run ``papers/<id>/report.py`` as a notebook and return what it shows, without its code."""
    import jupytext
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError
    from nbconvert import HTMLExporter

    source = project.papers / paper / "report.py"
    if not source.is_file():
        raise ReproError(f"{source}: there is no such notebook; `repro new` shows what one looks like")
    notebook = jupytext.read(source)
    client = NotebookClient(
        notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": str(project.root)}}
    )
    try:
        client.execute()
    except CellExecutionError as error:
        last = str(error).strip().splitlines()[-1]
        raise ReproError(f"{source}: a cell failed: {last}") from None
    exporter = HTMLExporter(
        template_name="basic", exclude_input=True, exclude_output_prompt=True, exclude_anchor_links=True
    )
    body, _ = exporter.from_notebook_node(notebook)
    return Markup(body)


def build(project: Project, papers: Sequence[str]) -> list[Path]:
    """Write the pages of ``papers`` and the index of all papers; return the index first.

    Raises:
        ReproError: if a notebook fails; pages already there stay as they were.
    """
    written = []
    for paper in papers:
        body = _execute(project, paper)
        title = project.ledger(paper).paper.title
        page = templates().get_template("base.html").render(title=title, body=body)
        path = project.site / f"{paper}.html"
        write_atomically(path, page.encode())
        written.append(path)
    return [_index(project), *written]


def _index(project: Project) -> Path:
    reports = [Report(paper, project) for paper in project.paper_ids()]
    tallies = {
        r.paper: {source: tally(found.values()) for source, found in r.verdicts.items()} for r in reports
    }
    page = (
        templates()
        .get_template("index.html")
        .render(
            title="Are the papers' claims true?", papers=[r.ledger.paper for r in reports], tallies=tallies
        )
    )
    path = project.site / "index.html"
    write_atomically(path, page.encode())
    return path
