"""The command `repro`."""

from __future__ import annotations

import sys
from typing import Any

import typer

from repro.cli import data, running, verdicts, writing
from repro.errors import ReproError

EXIT_CODES = """
Exit codes: 0 all is well; 1 a claim is contradicted or in error (judge), a quantity has drifted (drift), a run failed
(run) or data is missing (data verify); 2 a mistake in how it was called, in a ledger or in a file; 130 interrupted.
"""

app = typer.Typer(
    help="Tests published claims: a ledger of claims, runs that test them, and a statistical verdict for each.\n\n"
    + EXIT_CODES,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for part in (verdicts.app, running.app, writing.app):
    app.add_typer(part)
app.add_typer(data.app, name="data")
app.add_typer(writing.weekly_app, name="weekly")


def main(arguments: list[str] | None = None) -> Any:
    """Run the command line; a user's mistake ends in one message and exit code 2."""
    try:
        return app(arguments)
    except ReproError as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(2)
    except BrokenPipeError:
        sys.exit(0)
    except OSError as error:
        if error.filename is None:
            raise
        typer.echo(f"error: {error.filename}: {error.strerror}", err=True)
        sys.exit(2)
