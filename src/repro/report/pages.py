"""Building the site: each paper's executed notebook as a page, and around it the board and the claims."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from markupsafe import Markup

from repro.errors import ReproError
from repro.project import Project
from repro.records import write_atomically
from repro.report import weekly
from repro.report.notebook import Report
from repro.report.site import render, write_site


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
        places = re.findall(rf"(papers/{paper}/\w+\.py):(\d+)", str(error))
        where = f" ({places[-1][0]}:{places[-1][1]})" if places else ""
        raise ReproError(f"{source}: a cell failed: {last}{where}") from None
    exporter = HTMLExporter(
        template_name="basic", exclude_input=True, exclude_output_prompt=True, exclude_anchor_links=True
    )
    body, _ = exporter.from_notebook_node(notebook)
    return Markup(body)


def build(project: Project, papers: Sequence[str]) -> list[Path]:
    """Write the pages of ``papers``, the claims of all papers, the reviews and the board; return the board first.

    Other papers' pages are written where there are none yet.

    Raises:
        ReproError: if a notebook fails, when all else is written; its page stays as it was, or says so.
    """
    written, failures = [], []
    # The board and the claims link to every paper's page, so none may be missing.
    others = [
        p for p in project.paper_ids() if p not in papers and not (project.site / f"{p}.html").is_file()
    ]
    for paper in [*papers, *others]:
        report, path = Report(paper, project), project.site / f"{paper}.html"
        try:
            body = _execute(project, paper)
        except ReproError as failure:
            failures.append(str(failure))
            if path.is_file():
                continue
            body = Markup("<p>{}</p>").format(failure)
        page = render(
            "paper.html",
            root="",
            title=report.ledger.paper.title,
            body=body,
            paper=report.ledger.paper,
            works=list(report.ledger.works.values()),
            troubles=[claim for claim in report.ledger.all_claims() if claim.trouble],
        )
        write_atomically(path, page)
        written.append(path)
    reviews = weekly.weeks(project)
    written += [weekly.render(project, week) for week in reviews]
    written.insert(0, write_site(project, reviews))
    if failures:
        raise ReproError("\n".join([*failures, "all other pages were written"]))
    return written
