"""Reading a ``paper.yaml``, and claims that a reviewer adds to it."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from repro.claims import Claim, Strict
from repro.document import Document, validated
from repro.errors import LedgerError
from repro.ledger import Ledger
from repro.ledger_checks import check, check_measure


@lru_cache(maxsize=64)
def _load(path: Path, stamp: tuple[int, int]) -> Ledger:
    document = Document(path)
    ledger = validated(Ledger, document)
    check(ledger, document)
    return ledger


def load_ledger(path: Path) -> Ledger:
    """Read and check one ``paper.yaml``.

    Raises:
        LedgerError: with file, line and key, for the first mistake found.
    """
    path = Path(path)
    if not path.is_file():
        raise LedgerError(f"{path}: there is no such ledger; `repro list` shows the papers there are")
    status = path.stat()
    return _load(path, (status.st_mtime_ns, status.st_size))


class _Beliefs(Strict):
    believe: list[Claim]


def with_beliefs(ledger: Ledger, path: Path, text: str, above: int, anchor: dict[str, str]) -> Ledger:
    """Return a ledger with a reviewer's own claims added: ``believe:`` and a list of claims as in a ledger.

    Args:
        ledger: of the paper they are about.
        path: of the file they stand in.
        text: the YAML; above: lines of the file before it.
        anchor: what their anchor is; they need none of their own.

    Raises:
        LedgerError: with file, line and key, for the first mistake found.
    """
    document = Document(path, text, above)
    listed = document.value.get("believe") if isinstance(document.value, dict) else None
    for claim in listed if isinstance(listed, list) else []:
        if isinstance(claim, dict):
            claim.setdefault("anchor", anchor)
    beliefs = validated(_Beliefs, document).believe
    taken = {claim.id for claim in ledger.all_claims()}
    for i, claim in enumerate(beliefs):
        if claim.id in taken:
            document.fail(f"the id `{claim.id}` is taken already", ("believe", i, "id"))
        taken.add(claim.id)
        check_measure(ledger, claim, document, ("believe", i))
    return ledger.model_copy(update={"claims": [*ledger.claims, *beliefs]})
