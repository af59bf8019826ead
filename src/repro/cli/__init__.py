"""The command `repro`."""

from __future__ import annotations

import io
import sys
import traceback
from typing import Any

import typer

from repro.cli import data, running, verdicts, writing
from repro.errors import ReproError

EXIT_CODES = """
Exit codes: 0 all is well; 1 a claim is contradicted or in error (judge), a quantity has drifted (drift), a run failed
(run) or data is missing (data verify); 2 a mistake in how it was called, in a ledger or in a file; 70 a mistake in this
program; 130 interrupted.
"""

INTERNAL = 70  # as in sysexits.h

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
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # names and signs that a Windows code page does not have
            stream.reconfigure(encoding="utf-8")
    try:
        return app(arguments)
    except ReproError as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(2)
    except BrokenPipeError:
        sys.exit(0)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        typer.echo(f"error: {where}{error.strerror or error}", err=True)
        sys.exit(2)
    except KeyboardInterrupt:
        typer.echo("interrupted", err=True)
        sys.exit(130)
    except Exception:
        # Not 1, which says that a claim is contradicted.
        traceback.print_exc()
        typer.echo("error: this is a mistake in repro itself; please report the lines above", err=True)
        sys.exit(INTERNAL)
