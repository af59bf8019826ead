"""Known exceptions: contradicted claims whose reason is known, so that CI notices the next one."""

from __future__ import annotations

from collections.abc import Mapping

import yaml

from repro.errors import LedgerError, did_you_mean
from repro.judge import Verdict
from repro.project import Project


def known_exceptions(project: Project) -> dict[str, str]:
    """Return claim id to reason from ``papers/known_exceptions.yaml``; nothing if there is no such file.

    Raises:
        LedgerError: if it is not a mapping of claims there are to a reason each.
    """
    path = project.papers / "known_exceptions.yaml"
    if not path.is_file():
        return {}
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise LedgerError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict) or not all(isinstance(v, str) and v.strip() for v in content.values()):
        raise LedgerError(f"{path}: must map claim ids to a reason each")
    known, broken = project.claim_papers()
    for claim in content:
        if claim not in known and not broken:
            raise LedgerError(f"{path}: there is no claim `{claim}`{did_you_mean(claim, known)}")
    return content


def excuse(verdict: Verdict, exceptions: Mapping[str, str]) -> str | None:
    """Return why a verdict does not count against the exit code; None if it does, or needs no excuse.

    Only a contradiction can be excused: an error is never expected.
    """
    return exceptions.get(verdict.claim) if verdict.outcome == "contradicted" else None
