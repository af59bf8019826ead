"""Known exceptions: contradicted claims whose reason is known, so that CI notices the next one."""

from __future__ import annotations

from collections.abc import Mapping

from repro.document import Document
from repro.errors import did_you_mean
from repro.judge import Verdict
from repro.project import Project


def known_exceptions(project: Project) -> dict[str, str]:
    """Return claim id to reason from ``papers/known_exceptions.yaml``; nothing if there is no such file.

    Raises:
        LedgerError: if it is not a mapping of claims there are to a reason each, with the line.
    """
    path = project.papers / "known_exceptions.yaml"
    if not path.is_file():
        return {}
    document = Document(path)
    content = {} if document.value is None else document.value
    if not isinstance(content, dict):
        document.fail("must map claim ids to a reason each", ())
    known, broken = project.claim_papers()
    for claim, reason in content.items():
        if not isinstance(reason, str) or not reason.strip():
            document.fail("needs a reason, as text", (claim,))
        if claim not in known and not broken:
            document.fail(f"there is no claim `{claim}`{did_you_mean(claim, known)}", (claim,))
    return content


def excuse(verdict: Verdict, exceptions: Mapping[str, str]) -> str | None:
    """Return why a verdict does not count against the exit code; None if it does, or needs no excuse.

    Only a contradiction can be excused: an error is never expected.
    """
    return exceptions.get(verdict.claim) if verdict.outcome == "contradicted" else None
