"""What continuous integration stands on: workflow files, the action's script, judging without torch."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
ACTION = ROOT / ".github" / "actions" / "claims" / "action.yml"
SCRIPT = ACTION.with_name("claims.sh")
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


# ------------------------------------------------------------------ the files


@pytest.mark.parametrize(
    ("schema", "path"),
    [("vendor.github-actions", ACTION), *(("vendor.github-workflows", path) for path in WORKFLOWS)],
    ids=lambda value: value.name if isinstance(value, Path) else "",
)
def test_workflows_follow_their_schema(schema: str, path: Path) -> None:
    pytest.importorskip("check_jsonschema", reason="needs check-jsonschema (pip install -e '.[dev]')")
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema, str(path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@pytest.mark.skipif(shutil.which("actionlint") is None, reason="needs actionlint")
def test_actionlint_finds_nothing() -> None:
    done = subprocess.run(["actionlint", *map(str, WORKFLOWS)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_the_script_is_valid_and_refuses_what_it_does_not_know() -> None:
    subprocess.run(["bash", "-n", str(SCRIPT)], check=True)
    done = subprocess.run(["bash", str(SCRIPT), "everything"], capture_output=True, text=True)
    assert (done.returncode, "there are judge" in done.stderr) == (2, True)


# ------------------------------------------------------------------ what the script does

FAKE = """#!/usr/bin/env bash
echo "$@" >> "$LOG"
if [ "$1 $2" = "run broken" ]; then exit 1; fi
if [ "$1" = judge ]; then exit "${JUDGED:-0}"; fi
"""


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A git repository of three papers, with a `repro` that only notes how it is called."""
    root = tmp_path / "group"
    for paper in ("broken", "first", "second"):
        (root / "papers" / paper).mkdir(parents=True)
        (root / "papers" / paper / "paper.yaml").write_text("paper: {}\n")
    (root / "src").mkdir()
    (root / "src" / "x.py").write_text("")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "repro").write_text(FAKE)
    (tmp_path / "bin" / "repro").chmod(0o755)
    _git(root, "init", "-q", "-b", "main")
    _commit(root)
    return root


def _git(root: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=n", "-c", "user.email=e@example.org", "-c", "commit.gpgsign=false"]
    done = subprocess.run(
        ["git", "-C", str(root), *identity, *arguments], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def _commit(root: Path) -> str:
    _git(root, "add", "-A")
    _git(root, "commit", "-qm", "x", "--allow-empty")
    return _git(root, "rev-parse", "HEAD")


def _script(root: Path, *arguments: str, **variables: str) -> tuple[int, list[str]]:
    """Run the script and return its exit code and the calls of `repro`."""
    log = root.parent / "log"
    log.unlink(missing_ok=True)
    environment = {
        **{k: v for k, v in os.environ.items() if not k.startswith(("GITHUB_", "GIT_"))},
        "PATH": f"{root.parent / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "LOG": str(log),
        "RUNNER_TEMP": str(root.parent / "temp"),
        **variables,
    }
    done = subprocess.run(
        ["bash", str(SCRIPT), *arguments], cwd=root, env=environment, capture_output=True, text=True
    )
    return done.returncode, log.read_text().splitlines() if log.exists() else []


def _run(calls: list[str]) -> list[str]:
    return [call.split()[1] for call in calls if call.startswith("run ")]


def test_a_pull_request_runs_the_papers_it_changes(repository: Path) -> None:
    base = _commit(repository)
    (repository / "papers" / "first" / "model.py").write_text("x = 1\n")
    shutil.rmtree(repository / "papers" / "second")
    _commit(repository)
    code, calls = _script(repository, "smoke", BASE=base)
    assert (code, calls[0], calls[1:]) == (
        0, "data fetch --needed --allow-missing", ["run first --tier smoke --device cpu"],
    )  # fmt: skip
    assert _run(_script(repository, "smoke", BASE=base, PAPERS="broken first")[1]) == ["broken", "first"]
    assert _run(_script(repository, "smoke")[1]) == ["broken", "first"], "without a base: all"
    (repository / "src" / "x.py").write_text("x = 1\n")
    _commit(repository)
    assert _run(_script(repository, "smoke", BASE=base)[1]) == ["broken", "first"], "the harness changed: all"


def test_one_broken_paper_fails_the_job_but_not_the_others(repository: Path) -> None:
    for mode in ("smoke", "quick"):
        code, calls = _script(repository, mode)
        assert (code, _run(calls)) == (1, ["broken", "first", "second"])
    assert any(call.startswith("judge --records local") for call in calls), "verdicts are given all the same"
    assert not any(call.startswith("drift") for call in calls), "there is nothing stored to compare with"
    stored = repository / "results" / "reference" / "first.parquet"
    stored.parent.mkdir(parents=True)
    stored.touch()
    assert "drift reference local" in _script(repository, "quick")[1]


def test_a_contradicted_claim_fails_the_job(repository: Path) -> None:
    shutil.rmtree(repository / "papers" / "broken")
    output = repository.parent / "output"
    assert _script(repository, "judge", GITHUB_OUTPUT=str(output))[0] == 0
    assert output.read_text().startswith("folder=")
    assert _script(repository, "judge", JUDGED="1")[0] == 1
    assert _script(repository, "full", JUDGED="1", DEVICE="cuda")[0] == 1
    code, calls = _script(repository, "full", DEVICE="cuda")
    assert (code, "run first --tier full --device cuda" in calls) == (0, True)


# ------------------------------------------------------------------ without torch


def _name(requirement: str) -> str:
    return requirement.partition(">=")[0].lower()


def test_what_judging_needs_is_part_of_what_everything_needs() -> None:
    assert set(PYPROJECT["dependency-groups"]["judge"]) < set(PYPROJECT["project"]["dependencies"])


BLOCK = """
import json
import sys
blocked = set(sys.argv.pop(1).split(","))
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in blocked:
            raise ImportError(f"{name} is not installed here")
sys.meta_path.insert(0, Finder())
from repro.cli import main
for arguments in json.loads(sys.argv[1]):
    try:
        main(arguments)
    except SystemExit as ended:
        assert not ended.code, arguments
"""
MODULES = {"torch-geometric": "torch_geometric", "pyyaml": "yaml"}


def test_stored_records_are_judged_without_torch_and_what_comes_with_it(tmp_path: Path) -> None:
    """Everything that the group `judge` leaves out of the dependencies cannot be imported."""
    kept = {_name(r) for r in PYPROJECT["dependency-groups"]["judge"]}
    names = {_name(r.partition("<")[0].rstrip(",")) for r in PYPROJECT["project"]["dependencies"]} - kept
    blocked = ",".join(MODULES.get(name, name.replace("-", "_")) for name in sorted(names))
    assert "torch" in blocked.split(",")
    files = ["--junit", f"{tmp_path}/j.xml", "--summary", f"{tmp_path}/s.md", "--badges", str(tmp_path)]
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            BLOCK,
            blocked,
            json.dumps([["judge", "gcn", *files], ["export", "gcn"]]),
        ],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert (tmp_path / "gcn.svg").is_file()
