"""The contract: what every folder of `papers/` must keep, and what `repro new` makes keeps at once.

A reading group with a project of its own runs it as `REPRO_ROOT=their/project pytest tests/test_papers.py`.
"""

from __future__ import annotations

import ast
import inspect
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from importlib.resources import files
from math import prod
from pathlib import Path
from string import Template

import pytest

from repro.claims import TIERS, OrderingClaim
from repro.errors import DataUnavailable, ReproError
from repro.evidence import Evidence
from repro.judge import judge
from repro.ledger import Ledger
from repro.lineage import command
from repro.plan import comparisons, jobs
from repro.project import Project, find_project
from repro.records import Record, read_folder
from repro.report.drawing import Drawn
from repro.report.readme import BEGIN, END, refreshed
from repro.run import run
from repro.scaffold import new_paper

PROJECT = find_project(Path(__file__).parent)
NEW = "fresh_paper"
PAPERS = [*PROJECT.paper_ids(), NEW]


def experiments_of(paper: str) -> list[str]:
    """Names of a paper's experiments; of a ledger that does not load, one that will fail."""
    try:
        return list(PROJECT.ledger(paper).experiments)
    except ReproError:
        return ["(the ledger does not load)"]


EXPERIMENTS = [
    *((paper, name) for paper in PROJECT.paper_ids() for name in experiments_of(paper)),
    (NEW, "estimation"),
    (NEW, "fraction"),
]


@pytest.fixture
def project(paper: str, tmp_path: Path) -> Iterator[Project]:
    """The project of a paper: this one, or one made for the test with a new paper in it."""
    if paper != NEW:
        yield PROJECT
        return
    path_before = list(sys.path)
    made = Project(tmp_path / "project")
    made.papers.mkdir(parents=True)
    new_paper(made, NEW)
    yield made
    sys.path[:] = path_before
    for name in [name for name in sys.modules if name.startswith(f"papers.{NEW}")]:
        del sys.modules[name]


@pytest.fixture
def ledger(project: Project, paper: str) -> Ledger:
    return project.ledger(paper)


@pytest.mark.parametrize("paper", PAPERS)
def test_files(project: Project, paper: str) -> None:
    folder = project.papers / paper
    for name in (
        "__init__.py",
        "paper.yaml",
        "model.py",
        "figures.py",
        "report.py",
        "README.md",
    ):
        assert (folder / name).is_file(), name
    assert list(folder.glob("test_*.py")), "a paper has tests of its own"
    text = (folder / "README.md").read_text(encoding="utf-8")
    assert text.count(BEGIN) == text.count(END) == 1
    assert text.index(BEGIN) < text.index(END)
    for module in folder.glob("*.py"):
        if module.name != "report.py":
            assert ast.get_docstring(ast.parse(module.read_text(encoding="utf-8"))), f"{module}: no docstring"


@pytest.mark.parametrize("paper", [paper for paper in PAPERS if paper != NEW])
def test_readme_says_what_the_records_say(paper: str) -> None:
    """`repro keep` writes it; a change of the ledger, of a known exception or of the words needs another one."""

    def lines(text: str) -> set[str]:
        # A claim without records is blocked or only not run, and counted so, by what data is on this machine.
        unsure = re.compile("blocked|not run|not been run", re.IGNORECASE)
        return {line for line in text.splitlines() if not unsure.search(line)}

    written = (PROJECT.papers / paper / "README.md").read_text(encoding="utf-8")
    assert lines(written) == lines(refreshed(PROJECT, paper)), f"repro keep {paper}"


@pytest.mark.parametrize("paper", PAPERS)
def test_report_shows_what_a_new_papers_does(project: Project, paper: str) -> None:
    """In this order; a paper may add cells of its own."""
    scaffold = files("repro.scaffold_files").joinpath("report.py.txt").read_text(encoding="utf-8")
    cells = (project.papers / paper / "report.py").read_text(encoding="utf-8").split("# %%")
    wanted = Template(scaffold).substitute(paper=paper).split("# %%")
    assert [cell for cell in cells if cell in wanted] == wanted


@pytest.mark.parametrize("paper", PAPERS)
def test_every_claim_says_what_and_where_and_how_far(ledger: Ledger) -> None:
    claims = ledger.all_claims()
    assert claims
    for claim in claims:
        assert claim.statement.strip(), claim.id
        assert claim.anchor.place.strip(), claim.id
        assert "{" not in claim.statement, claim.id
        # It is the title of a page and a line of the board, where none stands before it.
        assert not re.match(r"(So|They|These|Those|That|This|The same|It (is|does) so)\b", claim.statement), (
            claim.id
        )
        if claim.kind in ("value", "scaling"):
            assert len(claim.margin.reason.split()) > 2, f"{claim.id}: a margin needs a reason"
    for name, quantity in ledger.quantities.items():
        assert quantity.unit.strip(), f"{name}: `1` is the unit of what has none"


@pytest.mark.parametrize("paper", PAPERS)
def test_every_claim_is_run_by_some_tier(ledger: Ledger) -> None:
    """And every claim without records has a verdict that says so."""
    needed = {by.split(" ")[0] for tier in TIERS for job in jobs(ledger, tier) for by in job.needed_by}
    verdicts = judge(Evidence(ledger, []))
    assert [v.claim for v in verdicts] == [c.id for c in ledger.all_claims()]
    for claim, verdict in zip(ledger.all_claims(), verdicts, strict=True):
        assert claim.id in needed or claim.blocked, claim.id
        assert verdict.outcome == ("blocked" if claim.blocked else "not_run")
        assert verdict.reasons


@pytest.mark.parametrize("paper", PAPERS)
def test_the_command_that_a_page_shows_runs_something(ledger: Ledger) -> None:
    """Also where nothing was run, and at whatever tier the verdict is of; a blocked claim has none."""
    for claim in ledger.all_claims():
        for tier in (None, *(t for t in TIERS if t != "smoke")):
            shown = command(ledger, claim, tier)
            assert bool(claim.blocked) == (not shown), claim.id
            if shown:
                named = shown.partition("--tier ")[2].split()[0]
                assert jobs(ledger, named, claim_id=claim.id), f"{claim.id} at {named}"


def test_no_two_papers_share_a_claim_id() -> None:
    """`repro explain`, known_exceptions.yaml and JUnit name a claim by its id alone."""
    ids = [claim.id for paper in PROJECT.paper_ids() for claim in PROJECT.ledger(paper).all_claims()]
    assert len(set(ids)) == len(ids), sorted({i for i in ids if ids.count(i) > 1})


@pytest.mark.parametrize("paper", PAPERS)
def test_no_comparison_hides_another(project: Project, paper: str) -> None:
    """Comparisons are kept by their names: two of one name would be one."""
    ledger = project.ledger(paper)
    for claim in ledger.all_claims():
        if isinstance(claim, OrderingClaim):
            named = comparisons(ledger, claim)
            assert len(named) == len(claim.than) * prod(map(len, claim.across.values())), claim.id


@pytest.mark.parametrize("paper", PAPERS)
def test_no_paper_imports_another(project: Project, paper: str) -> None:
    for module in (project.papers / paper).rglob("*.py"):
        for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            for name in names:
                assert not name.startswith("papers.") or name.split(".")[1] == paper, f"{module}: {name}"


@pytest.mark.parametrize("paper", PAPERS)
def test_figures_are_drawn_from_records_alone(project: Project, ledger: Ledger, paper: str) -> None:
    """Without records there may be none, but no error; equal records give equal bytes."""
    draw = project.function(paper, "figures.figures")
    evidence = Evidence(ledger, [])
    verdicts = {v.claim: v for v in judge(evidence)}
    for source in ("reference", "yours"):
        drawn: list[list[Drawn]] = [
            list(draw({"reference": evidence, source: evidence}, {"reference": verdicts, source: verdicts}))
            for _ in range(2)
        ]
        for one, again in zip(*drawn, strict=True):
            assert one.title.strip()
            assert one.alt.strip()
            assert one.caption.strip()
            assert one.svg() == again.svg()


@pytest.mark.parametrize("paper", PAPERS)
def test_figures_need_no_torch(project: Project, paper: str) -> None:
    """A page is built from records: whoever only reads needs no training library."""
    code = f"import sys; import papers.{paper}.figures; print(sorted(m for m in sys.modules if m == 'torch'))"
    path = os.pathsep.join([str(project.root), *sys.path])
    found = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout.strip() == "[]"


class Quiet:
    """A progress that shows nothing."""

    def start(self, *_: object) -> None: ...

    job = done = say = start


@pytest.mark.parametrize(("paper", "name"), EXPERIMENTS)
def test_function(project: Project, ledger: Ledger, paper: str, name: str) -> None:
    function = project.function(paper, ledger.experiments[name].function)
    assert list(inspect.signature(function).parameters) == ["setting", "seeds", "context"]
    assert inspect.getdoc(function)


@pytest.mark.parametrize(("paper", "name"), EXPERIMENTS)
def test_smoke_tier_runs(project: Project, ledger: Ledger, paper: str, name: str, tmp_path: Path) -> None:
    """One setting of the smoke tier gives the declared quantities, and a seed gives the same without others."""
    experiment = ledger.experiments[name]
    assert "smoke" in experiment.tiers, "the smoke tier proves the wiring of every experiment"
    planned = jobs(ledger, "smoke", name)
    if not planned:
        pytest.skip(f"no claim that can be run needs {name} at the smoke tier")
    for data in experiment.data:
        from repro.data.fetch import require

        try:
            require(data, project.root)
        except DataUnavailable as missing:
            pytest.skip(f"data that is not here: {missing}")

    def records(seeds: tuple[int, ...]) -> dict[int, Record]:
        folder = tmp_path / "-".join(map(str, seeds))
        outcome = run(
            project, ledger, [replace(planned[0], seeds=seeds)], folder, progress=Quiet(), threads=1
        )
        assert (outcome.blocked, outcome.failed, len(outcome.written)) == ({}, {}, len(seeds))
        return {record.seed: record for record in read_folder(folder, paper)[0]}

    both = records((0, 1))
    expected = {*experiment.quantities, *([experiment.index] if experiment.index else [])}
    for record in both.values():
        assert record.rows
        assert all(set(row) == expected for row in record.rows)
    timed = {q for q in experiment.quantities if ledger.quantities[q].unit in ("s", "ms", "B", "MiB", "GiB")}
    if not timed:
        assert json.dumps(records((1,))[1].rows) == json.dumps(both[1].rows)


def test_judging_needs_no_torch() -> None:
    modules = "judge ledger ledger_file records plan statistics freshness junit board words settings scaffold"
    code = "; ".join(f"import repro.{name}" for name in modules.split())
    code += "; import repro.report.pages, repro.report.readme"
    found = subprocess.run(
        [
            sys.executable,
            "-c",
            f"{code}; import sys; print([m for m in sys.modules if m.startswith('torch')])",
        ],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout.strip() == "[]"


# ------------------------------------------------------------------ repro new


@pytest.fixture
def empty(tmp_path: Path) -> Project:
    project = Project(tmp_path / "theirs")
    project.papers.mkdir(parents=True)
    return project


def test_new_paper_tells_what_it_wrote(empty: Project) -> None:
    written = new_paper(empty, "my_paper")
    assert written == sorted((empty.papers / "my_paper").iterdir())
    assert empty.papers / "my_paper" / "test_my_paper.py" in written
    assert [path.name for path in empty.root.iterdir()] == ["papers"], "nothing is left beside it"
    assert empty.paper_ids() == ["my_paper"]
    for path in written:
        text = path.read_text(encoding="utf-8")
        assert "$" not in text, path
        assert not path.name.endswith(".txt")


def test_new_paper_passes_its_own_tests_and_is_reproduced(empty: Project) -> None:
    """In a project of its own, by the commands that its README names."""
    new_paper(empty, "my_paper")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "COLUMNS": "120"}

    def call(*arguments: str) -> str:
        found = subprocess.run(
            [sys.executable, "-m", *arguments],
            cwd=empty.root,
            env=environment,
            capture_output=True,
            text=True,
        )
        assert found.returncode == 0, found.stdout + found.stderr
        return found.stdout

    assert "4 passed" in call("pytest", "-q", "-p", "no:cacheprovider", "papers")
    call("repro.cli", "run", "my_paper")
    verdicts = json.loads(call("repro.cli", "judge", "--records", "local", "--json"))["verdicts"]
    assert {v["claim"]: v["outcome"] for v in verdicts} == {
        "MY_PAPER-pi": "reproduced",
        "MY_PAPER-bound": "reproduced",
        "MY_PAPER-fraction": "reproduced",
    }
    assert {str(v["controls"]) for v in verdicts} == {"{}", "{'whole_square': 'contradicted'}"}


@pytest.mark.parametrize(
    ("paper_id", "proposal"),
    [
        ("My-Paper", "my_paper"),
        ("my paper", "my_paper"),
        ("2gether", "paper_2gether"),
        ("../evil", "evil"),
        ("a/b", "a_b"),
        ("class", "paper_class"),
        ("_x", "x"),
        ("ünï", "n"),
        ("", "paper"),
        ("$", "paper"),
    ],
)
def test_an_id_that_is_no_module_is_refused(empty: Project, paper_id: str, proposal: str) -> None:
    with pytest.raises(ReproError, match=f"for example `{proposal}`"):
        new_paper(empty, paper_id)
    assert list(empty.root.rglob("*")) == [empty.papers]
    new_paper(empty, proposal)


def test_an_existing_paper_is_left_alone(empty: Project) -> None:
    new_paper(empty, "mine")
    (empty.papers / "mine" / "paper.yaml").write_text("precious")
    with pytest.raises(ReproError, match="`mine` exists already"):
        new_paper(empty, "mine")
    assert (empty.papers / "mine" / "paper.yaml").read_text() == "precious"


def test_a_new_folder_appears_whole_or_not_at_all(empty: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    write = Path.write_text

    def crash(path: Path, *args: object, **options: object) -> int:
        assert empty.paper_ids() == [], "a half-made folder must not look like a paper"
        if path.name == "report.py":
            raise KeyboardInterrupt
        return write(path, *args, **options)

    monkeypatch.setattr(Path, "write_text", crash)
    with pytest.raises(KeyboardInterrupt):
        new_paper(empty, "mine")
    assert list(empty.root.rglob("*")) == [empty.papers]


def test_someone_else_was_faster(empty: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    rename = Path.rename

    def slow(path: Path, target: Path) -> Path:
        target.mkdir()
        (target / "paper.yaml").write_text("theirs")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", slow)
    with pytest.raises(ReproError, match="exists already"):
        new_paper(empty, "mine")
    assert (empty.papers / "mine" / "paper.yaml").read_text() == "theirs"
