"""Who may import whom: read from the source, so that a lazy import counts as well."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "src" / "repro"
MODULES = {
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
}

# What each module of the core may import of the harness; None says nothing. Not listed: free, within the rules below.
ALLOWED: dict[str, set[str]] = {
    "errors": set(),
    "statistics": set(),
    "claims": set(),
    "ledger": {"claims", "errors"},
    "document": {"errors"},
    "ledger_checks": {"claims", "document", "errors", "ledger", "plan"},
    "ledger_file": {"claims", "document", "errors", "ledger", "ledger_checks"},
    "plan": {"claims", "ledger"},
    "settings": {"claims", "errors", "ledger"},
    "records": {"claims", "errors", "ledger", "plan"},
    "project": {"errors", "ledger", "ledger_file"},
    "provenance": {"errors"},
    "freshness": {"data", "errors", "ledger", "project", "provenance", "records"},
    "curves": {"statistics"},
    "generalisation": {"statistics"},
    "knee": set(),
    "evidence": {"data", "errors", "freshness", "ledger", "plan", "project", "records", "statistics"},
    "decisions": {
        "claims",
        "curves",
        "evidence",
        "generalisation",
        "knee",
        "ledger",
        "plan",
        "statistics",
        "words",
    },
    "judge": {"claims", "decisions", "evidence", "ledger", "plan", "statistics", "words"},
    "checkpoint": {"records"},
    "context": {"checkpoint"},
    "randomness": set(),
    "noise": {"randomness"},
    "stopping": set(),
    "ensemble": {"randomness"},
    "nn": {"nn", "randomness"},
    "node_classification": set(),
    "physics": {"errors", "physics", "randomness"},
    "data": {"data", "errors"},
    "heap": set(),
    "run": {
        "context",
        "data",
        "errors",
        "freshness",
        "heap",
        "ledger",
        "plan",
        "project",
        "provenance",
        "records",
        "turns",
    },
    "turns": set(),
    "deviations": {"claims", "decisions", "evidence", "judge", "ledger", "plan", "statistics"},
    "known_exceptions": {"document", "errors", "judge", "project"},
    "scaffold": {"errors", "project", "report"},
}
TORCH = {
    "run",
    "checkpoint",
    "ensemble",
    "randomness",
    "noise",
    "stopping",
    "nn",
    "node_classification",
    "physics",
    "provenance",
}
TORCH_LATE = {
    "run",
    "checkpoint",
    "provenance",
}  # only inside functions: who plans or judges must not load it


def imports(path: Path, module: str, top_only: bool = False) -> set[str]:
    """Absolute names that a file imports, those in `if TYPE_CHECKING:` left out."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    names: set[str] = set()

    def visit(node: ast.AST) -> None:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            return
        if top_only and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            return
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        if isinstance(node, ast.ImportFrom):
            parts = package.split(".")
            base = ".".join(parts[: len(parts) + 1 - node.level]) if node.level else ""
            source = ".".join(part for part in (base, node.module or "") if part)
            names.add(source)
            names.update(f"{source}.{alias.name}" for alias in node.names)
        for child in ast.iter_child_nodes(node):
            visit(child)

    visit(tree)
    return names


def parts_of_the_harness(names: set[str]) -> set[str]:
    """Second parts of what is imported of `repro`: `repro.data.fetch` is `data`."""
    known = {module.split(".")[1] for module in MODULES if "." in module}
    return {name.split(".")[1] for name in names if name.startswith("repro.") and name.split(".")[1] in known}


def top(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


def reaches(start: str) -> set[str]:
    """All modules of the harness that importing one loads, what is imported late left out."""
    seen: set[str] = set()
    waiting = [f"repro.{start}"]
    while waiting:
        module = waiting.pop()
        if module in seen or module not in MODULES:
            continue
        seen.add(module)
        waiting += imports(MODULES[module], module, top_only=True)
    return seen


def test_the_rules_name_modules_that_there_are() -> None:
    known = {top(module) for module in MODULES}
    assert {*ALLOWED, *TORCH, *(name for names in ALLOWED.values() for name in names)} <= known


@pytest.mark.parametrize("module", [m for m in MODULES if top(m) in ALLOWED])
def test_a_module_imports_only_what_it_may(module: str) -> None:
    used = parts_of_the_harness(imports(MODULES[module], module))
    assert used <= ALLOWED[top(module)], f"{module} imports {used - ALLOWED[top(module)]}"


@pytest.mark.parametrize("module", MODULES)
def test_the_harness_imports_no_paper(module: str) -> None:
    assert not {name for name in imports(MODULES[module], module) if name.split(".")[0] == "papers"}


@pytest.mark.parametrize("module", [m for m in MODULES if top(m) != "cli"])
def test_nothing_imports_the_command_line(module: str) -> None:
    assert "cli" not in parts_of_the_harness(imports(MODULES[module], module))


@pytest.mark.parametrize("module", MODULES)
def test_torch_is_where_it_belongs(module: str) -> None:
    def torch(names: set[str]) -> set[str]:
        return {name for name in names if name.split(".")[0] in ("torch", "torch_geometric")}

    if top(module) not in TORCH:
        assert not torch(imports(MODULES[module], module))
    elif top(module) in TORCH_LATE:
        assert not torch(imports(MODULES[module], module, top_only=True))


@pytest.mark.parametrize("start", ["judge", "board", "junit", "report.pages", "settings", "scaffold"])
def test_reading_results_never_loads_training(start: str) -> None:
    loaded = {top(module) for module in reaches(start)}
    assert "judge" in loaded or start in ("settings", "scaffold")
    assert not loaded & {"ensemble", "randomness", "stopping", "nn", "cli"}


@pytest.mark.parametrize("module", [m for m in MODULES if top(m) == "cli"])
def test_the_command_line_loads_nothing_of_the_harness_before_it_must(module: str) -> None:
    assert parts_of_the_harness(imports(MODULES[module], module, top_only=True)) <= {"cli", "errors"}


@pytest.mark.parametrize(
    "figures", sorted((ROOT / "papers").glob("*/figures*.py")), ids=lambda p: f"{p.parent.name}-{p.stem}"
)
def test_figures_compute_nothing(figures: Path) -> None:
    """They read records, with help of other figures: neither model nor experiments, nor what runs them."""
    own = f"papers.{figures.parent.name}.figures"
    names = {
        n for n in imports(figures, f"papers.{figures.parent.name}.{figures.stem}") if not n.startswith(own)
    }
    assert not {name for name in names if name.split(".")[0] in ("papers", "torch")}
    assert not parts_of_the_harness(names) & {"run", "ensemble", "nn", "randomness", "data"}


def test_lazy_and_relative_imports_count(tmp_path: Path) -> None:
    """This test's own eyes."""
    path = tmp_path / "x.py"
    path.write_text("def f():\n    import torch.nn\n    from . import cli\n    from ..papers import y\n")
    assert {"torch.nn", "repro.report.cli", "repro.papers.y"} <= imports(path, "repro.report.x")
    assert imports(path, "repro.report.x", top_only=True) == set()
    path.write_text("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import torch\n")
    assert imports(path, "repro.x") == {"typing", "typing.TYPE_CHECKING"}
