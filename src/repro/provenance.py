"""What a result rests on: the code that made it, the data it read, the machine it ran on."""

from __future__ import annotations

import ast
import hashlib
import os
import platform
import subprocess
import sys
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from repro.errors import ReproError

# Parts of the harness that decide when and where something runs, never what comes out.
_NOT_PART_OF_A_RESULT = {
    "repro",
    "repro.errors",
    "repro.context",
    "repro.checkpoint",
    # Data is identified by the md5 of its bytes, however they were fetched.
    "repro.data",
    "repro.data.fetch",
    "repro.data.pointers",
}


def _describe(node: Any) -> Any:
    """An abstract syntax tree as nested tuples without positions, empty fields, comments and docstrings.

    Of docstrings, those of modules, classes and functions; a text under a constant counts.

    Unlike ``ast.dump`` this is the same in all Python versions that parse the file alike.
    """
    if isinstance(node, list):
        return tuple(_describe(item) for item in node)
    if not isinstance(node, ast.AST):
        return repr(node)
    fields = []
    for name, value in ast.iter_fields(node):
        if name == "body" and isinstance(value, list) and value and _is_docstring(value[0]):
            value = value[1:]
        if isinstance(node, ast.JoinedStr):  # Python 3.12 ends a nested format with an empty text
            value = [part for part in value if not (isinstance(part, ast.Constant) and part.value == "")]
        if value not in (None, []) and name not in ("ctx", "type_comment", "kind"):
            fields.append((name, _describe(value)))
    return (type(node).__name__, tuple(fields))


def _is_docstring(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def _imports(tree: ast.AST, package: str) -> set[str]:
    """Every module that a module of ``package`` may import; a relative import counts from there."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) + 1 - node.level] if node.level else []
            module = ".".join([*above, *([node.module] if node.module else [])])
            names.add(module)
            names.update(f"{module}.{alias.name}" for alias in node.names)
    return names


def _source(module: str, root: Path) -> Path | None:
    """The file of a module of the harness or of a paper; None for anything else."""
    base = Path(__file__).parents[1] if module.split(".")[0] == "repro" else root
    if module.split(".")[0] not in ("repro", "papers"):
        return None
    path = base / Path(*module.split("."))
    if path.with_suffix(".py").is_file():
        return path.with_suffix(".py")
    return path / "__init__.py" if (path / "__init__.py").is_file() else None


@lru_cache(maxsize=512)
def _read(path: Path, package: str, stamp: int) -> tuple[str, frozenset[str]]:
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except (SyntaxError, ValueError) as error:
        line = f":{error.lineno}" if isinstance(error, SyntaxError) and error.lineno else ""
        raise ReproError(f"{path}{line}: not valid Python ({error})") from None
    return hashlib.sha256(repr(_describe(tree)).encode()).hexdigest(), frozenset(_imports(tree, package))


_NOTHING = hashlib.sha256(
    repr(_describe(ast.parse(""))).encode()
).hexdigest()  # of a module with only a docstring


def code_modules(module: str, root: Path) -> dict[str, str]:
    """Return the modules of harness and papers that ``module`` imports, directly or not, with their hashes."""
    found: dict[str, str] = {}
    waiting = [module]
    while waiting:
        name = waiting.pop()
        path = _source(name, root)
        if name in found or path is None or name in _NOT_PART_OF_A_RESULT:
            continue
        package = name if path.name == "__init__.py" else name.rpartition(".")[0]
        found[name], imports = _read(path, package, path.stat().st_mtime_ns)
        waiting.extend(imports)
        # Python runs the packages that a module lies in as well; most of them are empty.
        above = name.rpartition(".")[0]
        folder = _source(above, root)
        if folder and _read(folder, above, folder.stat().st_mtime_ns)[0] != _NOTHING:
            waiting.append(above)
    return found


def code_hash(paper: str, function: str, root: Path) -> str:
    """Return 16 digits that change when the code behind an experiment does, but not with its comments.

    The hash covers the module of ``function`` (``module.function`` of the paper's folder) and all modules of
    the harness and of the papers that it imports.
    """
    modules = code_modules(f"papers.{paper}.{function.split('.')[0]}", root)
    text = "\n".join(f"{name} {modules[name]}" for name in sorted(modules))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            return next(line.split(":", 1)[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def git_commit(root: Path) -> str | None:
    """Return the commit of the working tree, with ``+`` if it has changes, or None outside git."""
    try:
        head = subprocess.run(
            ["git", "-C", str(root), "describe", "--always", "--dirty=+", "--abbrev=12", "--exclude=*"],
            capture_output=True,
            text=True,
            timeout=20,
            check=True,
        )
        return head.stdout.strip() or None
    except (OSError, subprocess.SubprocessError):
        return None


def environment(root: Path, device: str, threads: int, freed_memory: str | None = None) -> dict[str, Any]:
    """Return library versions, hardware and the commit, with nothing that names a person or a machine.

    Args:
        root: of the project.
        device: ``cpu`` or ``cuda``.
        threads: of torch.
        freed_memory: ``kept`` if the process keeps it, which makes steps faster; None if the system gets it back.
    """
    import psutil

    packages = ("torch", "torch-geometric", "numpy", "scipy", "mujoco", "dm-control")
    hardware: dict[str, Any] = {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30),
        "threads": threads,
        "device": device,
        "freed_memory": freed_memory,
    }
    if device.startswith("cuda"):
        import torch

        hardware["gpu"] = torch.cuda.get_device_name()
        hardware["cuda"] = torch.version.cuda
    return {
        "python": ".".join(str(part) for part in sys.version_info[:3]),
        "system": platform.system(),
        **{name: _installed(name) for name in packages},
        **hardware,
        "commit": git_commit(root),
    }
