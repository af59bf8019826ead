"""A folder with papers in it: where ledgers, code, data and results are."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from repro.errors import LedgerError, ReproError, close_to, did_you_mean
from repro.ledger import Ledger
from repro.ledger_file import load_ledger

# Names that the site uses for pages and folders of its own.
RESERVED = ("index", "weekly", "badges")


@dataclass(frozen=True)
class Project:
    """A reading group's folder: ``papers/``, ``data/``, ``results/`` and ``reports/`` side by side."""

    root: Path

    @property
    def papers(self) -> Path:
        """Folder with one folder per paper."""
        return self.root / "papers"

    @property
    def reference(self) -> Path:
        """Committed records."""
        return self.root / "results" / "reference"

    @property
    def local(self) -> Path:
        """The user's own records."""
        return self.root / "results" / "local"

    def records_of(self, tier: str) -> Path:
        """Folder of a user's runs at a tier; smoke runs are kept apart, where no judge looks for them."""
        return self.local / "smoke" if tier == "smoke" else self.local

    @property
    def site(self) -> Path:
        """Built pages."""
        return self.root / "reports" / "site"

    def paper_ids(self) -> list[str]:
        """Return the ids of the papers, sorted: every folder of ``papers/`` that holds a ``paper.yaml``."""
        return sorted(path.parent.name for path in self.papers.glob("*/paper.yaml"))

    def ledger(self, paper: str) -> Ledger:
        """Return one paper's ledger.

        Raises:
            ReproError: if there is no such paper; the message lists those there are.
            LedgerError: if the ledger does not hold together, or names another paper than its folder.
        """
        known = self.paper_ids()
        if paper not in known:
            there = f"there is {', '.join(known) or 'none'}{did_you_mean(paper, known)}"
            raise ReproError(f"no paper `{paper}` in {self.papers}: {there}")
        path = self.papers / paper / "paper.yaml"
        if paper in RESERVED:
            raise LedgerError(
                f"{path}: `{paper}` names a part of the site; rename the folder and its paper.id"
            )
        ledger = load_ledger(path)
        if ledger.paper.id != paper:
            raise LedgerError(f"{path}: paper.id is `{ledger.paper.id}` but the folder is `{paper}`")
        return ledger

    def find_claim(self, claim_id: str) -> tuple[str, Ledger]:
        """Return the paper that makes a claim, and its ledger.

        Raises:
            ReproError: with near matches, if no paper makes it.
            LedgerError: if it may stand in a ledger that does not hold together.
        """
        ids, broken = self.claim_papers()
        if claim_id in ids:
            return ids[claim_id], self.ledger(ids[claim_id])
        for paper in broken:
            self.ledger(paper)
        raise ReproError(f"no claim `{claim_id}`{close_to(claim_id, ids)}")

    def claim_papers(self) -> tuple[dict[str, str], list[str]]:
        """Return each claim's paper, and the papers whose ledgers do not hold together, which stop no other.

        Raises:
            LedgerError: if two papers have claims of one id.
        """
        ids: dict[str, str] = {}
        broken = []
        for paper in self.paper_ids():
            try:
                claims = self.ledger(paper).all_claims()
            except LedgerError:
                broken.append(paper)
                continue
            for claim in claims:
                if ids.setdefault(claim.id, paper) != paper:
                    both = f"{ids[claim.id]} and {paper}"
                    raise LedgerError(
                        f"{self.papers}: {both} both have a claim `{claim.id}`: an id is one claim's"
                    )
        return ids, broken

    def function(self, paper: str, name: str) -> Callable[..., Any]:
        """Import ``module.function`` of a paper's folder (this is where a paper's code first runs)."""
        module_name, function_name = name.split(".")
        if str(self.root) not in sys.path:
            sys.path.insert(0, str(self.root))
        module = importlib.import_module(f"papers.{paper}.{module_name}")
        try:
            return getattr(module, function_name)
        except AttributeError:
            raise LedgerError(
                f"{self.papers / paper / 'paper.yaml'}: there is no function `{name}` in the paper's folder"
            ) from None


def find_project(start: Path | None = None) -> Project:
    """Return the project at or above a folder, or the one that the variable ``REPRO_ROOT`` names.

    Raises:
        ReproError: if there is no folder ``papers/`` there.
    """
    stated = os.environ.get("REPRO_ROOT")
    begin = Path(stated).expanduser() if stated else (start or Path.cwd())
    for folder in [begin.resolve()] if stated else [begin.resolve(), *begin.resolve().parents]:
        if (folder / "papers").is_dir():
            return Project(folder)
    raise ReproError(
        f"no folder `papers/` in {begin}"
        + ("" if stated else " or above it")
        + ": run inside a project, or name its folder in the variable REPRO_ROOT"
    )
