"""The whole workflow at its smoke tier: Snakemake, runs, verdicts, pages; a second time it does nothing."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAPER = "gcn"


def _run(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    environment = {
        **{k: v for k, v in os.environ.items() if k not in ("REPRO_ROOT", "REPRO_DATA_REMOTE")},
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "XDG_CACHE_HOME": str(folder / "cache"),
    }
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)


def _snakemake(folder: Path) -> subprocess.CompletedProcess[str]:
    return _run(folder, sys.executable, "-m", "snakemake", "--cores", "2", "--config", "tier=smoke")


def _repro(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return _run(folder, sys.executable, "-m", "repro.cli", *arguments)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project with one paper and no results; its data folder points at the data that is here, if any.

    One paper takes every path of the workflow; all of them take minutes, and CI runs their quick tiers anyway.
    """
    folder = tmp_path_factory.mktemp("project")
    shutil.copytree(
        ROOT / "papers" / PAPER, folder / "papers" / PAPER, ignore=shutil.ignore_patterns("__pycache__")
    )
    for name in ("Snakefile", "environment.yaml"):
        shutil.copy(ROOT / name, folder)
    (folder / "data").mkdir()
    for pointer in (ROOT / "data").glob("*.dvc"):
        shutil.copy(pointer, folder / "data")
        if pointer.with_suffix("").is_dir():
            (folder / "data" / pointer.stem).symlink_to(pointer.with_suffix(""))
    return folder


def test_smoke_tier_runs_judges_reports_and_then_has_nothing_to_do(project: Path) -> None:
    first = _snakemake(project)
    assert first.returncode == 0, first.stderr[-3000:]
    for paper in (path.parent.name for path in (project / "papers").glob("*/paper.yaml")):
        verdicts = json.loads((project / "results/local" / paper / "verdicts.json").read_text())["verdicts"]
        allowed = {"not_run", "blocked"}
        assert {v["outcome"] for v in verdicts} <= allowed, "the smoke tier must not support a verdict"
        page = (project / f"reports/site/{paper}.html").read_text()
        assert "<h1>" in page
        for outside in ('src="http', "@import", "<script"):
            assert outside not in page
    assert "href" in (project / "reports/site/index.html").read_text()
    second = _snakemake(project)
    assert "Nothing to be done" in second.stdout + second.stderr


def test_without_data_claims_are_blocked_and_the_rest_goes_on(project: Path, tmp_path: Path) -> None:
    shutil.copytree(project / "papers", tmp_path / "papers")
    for name in ("Snakefile", "environment.yaml"):
        shutil.copy(project / name, tmp_path)
    (tmp_path / "data").mkdir()
    for pointer in (project / "data").glob("*.dvc"):
        shutil.copy(pointer, tmp_path / "data")
    done = _repro(tmp_path, "run", "gcn", "--experiment", "dataset_statistics", "--tier", "quick")
    assert done.returncode == 0, done.stderr[-3000:]
    done = _repro(tmp_path, "judge", "gcn", "--records", "local", "--json")
    assert done.returncode == 0, done.stderr[-3000:]
    outcomes = {v["claim"]: v for v in json.loads(done.stdout)["verdicts"]}
    assert outcomes["GCN-T1-nodes-cora"]["outcome"] == "blocked"
    assert outcomes["GCN-T2-GCN-cora"]["outcome"] == "blocked"
    assert "ind." in " ".join(outcomes["GCN-T2-GCN-cora"]["reasons"])
    assert outcomes["GCN-F2-linear"]["outcome"] == "not_run"
