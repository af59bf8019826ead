"""A folder for a new paper: a small worked example that passes the contract tests, to be replaced file by file."""

from __future__ import annotations

import re
import shutil
import tempfile
from importlib.resources import files
from keyword import iskeyword
from pathlib import Path
from string import Template

from repro.errors import ReproError
from repro.project import RESERVED, Project


def _proposal(paper_id: str) -> str:
    word = re.sub(r"[^a-z0-9]+", "_", paper_id.lower()).strip("_")
    return word if re.match(r"[a-z]", word) and not iskeyword(word) else f"paper_{word}".strip("_")


def _check(project: Project, paper_id: str) -> None:
    if not re.fullmatch(r"[a-z][a-z0-9_]*", paper_id) or iskeyword(paper_id):
        raise ReproError(
            f"`{paper_id}` cannot name a paper, which becomes a Python module: lower-case letters, digits and "
            f"underscores, a letter first; for example `{_proposal(paper_id)}`"
        )
    if paper_id in RESERVED:
        raise ReproError(
            f"`{paper_id}` names a part of the site: take another, for example `{paper_id}_paper`"
        )
    if (project.papers / paper_id).exists():
        raise ReproError(f"the paper `{paper_id}` exists already: {project.papers / paper_id}")


def new_paper(project: Project, paper_id: str) -> list[Path]:
    """Make ``papers/<paper_id>/`` and return its files; the folder appears whole or not at all.

    Raises:
        ReproError: if the id cannot be a module's name, or there is such a folder already.
    """
    from repro.report.readme import BEGIN, END

    _check(project, paper_id)
    words = {"paper": paper_id, "prefix": paper_id.upper(), "begin": BEGIN, "end": END}
    # Beside `papers/`, not in it, where a half-made folder would be taken for a paper.
    work = Path(tempfile.mkdtemp(dir=project.root, prefix=f".new-{paper_id}-"))
    try:
        for source in files("repro").joinpath("scaffold_files").iterdir():
            name = source.name.removesuffix(".txt").replace("test_paper", f"test_{paper_id}")
            text = Template(source.read_text(encoding="utf-8")).substitute(words)
            (work / name).write_text(text, encoding="utf-8")
        work.chmod(0o755)
        try:
            work.rename(project.papers / paper_id)
        except OSError:
            _check(project, paper_id)  # someone else was faster
            raise
    except BaseException:
        shutil.rmtree(work, ignore_errors=True)
        raise
    return sorted((project.papers / paper_id).iterdir())
