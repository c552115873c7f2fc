"""The one place where errors become lines and exit codes.

Exit codes: 0 done, 1 failed, 2 wrong usage or settings, 75 another run of the job is active, 130 and 143
stopped by SIGINT and SIGTERM.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import click
import typer

from whalesync import __version__
from whalesync.cli.app import LazyGroup, Options, new_app, on_terminal, print_error
from whalesync.errors import Ambiguous, AnotherRunActive, Interrupted, WhalesyncError, describe_with_notes


def command_line() -> click.Command:
    """Build the command line; each command is loaded when it is named."""
    app = new_app(LazyGroup, epilog="Start with [bold]whalesync demo[/bold]: it needs no key and no network.")
    app.callback()(main)
    return typer.main.get_command(app)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"whalesync {__version__}")
        raise typer.Exit


def main(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_version, help="Print the version.")
    ] = False,
) -> None:
    """Every trade of the whales you watch on Opinion.Trade and Polymarket, in one SQLite file, by cron."""


def run(arguments: Sequence[str]) -> int:
    """Run the command line and return the exit code."""
    options = Options()
    try:
        code = command_line().main(list(arguments), prog_name="whalesync", standalone_mode=False, obj=options)
        return code if isinstance(code, int) else 0
    except click.exceptions.NoArgsIsHelpError:
        return 2  # the help has been printed
    except click.ClickException as exc:
        text = " ".join(exc.format_message().split()).removesuffix(".")
        print_error(f"{options.command}: {text} (see '{options.command} --help')")
        return 2
    except AnotherRunActive as exc:
        if options.verbose or on_terminal():
            print_error(f"{options.command}: {exc}")
        return exc.exit_code
    except Interrupted as exc:
        return exc.exit_code
    except (KeyboardInterrupt, typer.Abort):
        return 130
    except Exception as exc:  # noqa: BLE001  (a bug, too, is one line; the traceback with -v)
        if options.verbose:
            import traceback

            for line in traceback.format_exc().splitlines():
                print_error(line)
        text = describe_with_notes(exc)
        if text.startswith("unexpected"):
            text += ". Run it again with -v for the traceback, and report it"
        print_error(f"{options.command}: {text}")
        for choice in exc.choices if isinstance(exc, Ambiguous) else ():
            print_error(f"  {choice}")
        return exc.exit_code if isinstance(exc, WhalesyncError) else 1
