"""From words on a command line to an exit code: the one place where errors become lines and codes.

Exit codes: 0 done, 1 failed, 2 wrong usage or settings, 75 another run of the job is active, 130 and 143
stopped by SIGINT and SIGTERM.
"""

from __future__ import annotations

from collections.abc import Sequence

import typer
from typer._click.exceptions import ClickException, NoArgsIsHelpError, UsageError

from whalesync.cli.app import on_terminal, tell
from whalesync.cli.commands import build
from whalesync.errors import AnotherRunActive, Interrupted, WhalesyncError


def run(arguments: Sequence[str]) -> int:
    """Run the command line; returns the exit code. The one place where errors become words and codes."""
    verbose = "-v" in arguments or "--verbose" in arguments
    words = _command(arguments)
    name = " ".join(["whalesync", *words])
    try:
        code = typer.main.get_command(build(*words[:1])).main(
            list(arguments), prog_name="whalesync", standalone_mode=False
        )
        return code if isinstance(code, int) else 0
    except NoArgsIsHelpError as exc:
        tell_lines(exc.format_message())
        return 2
    except ClickException as exc:
        context = exc.ctx if isinstance(exc, UsageError) else None
        hint = f"see '{context.command_path if context else 'whalesync'} --help'"
        tell(f"{name}: {' '.join(exc.format_message().split())} ({hint})")
        return 2
    except AnotherRunActive as exc:
        if verbose or on_terminal():
            tell(f"{name}: {exc}")
        return exc.exit_code
    except WhalesyncError as exc:
        _trace(verbose)
        tell(f"{name}: {exc}")
        return exc.exit_code
    except Interrupted as exc:
        return exc.exit_code
    except (KeyboardInterrupt, typer.Abort):
        return 130
    except MemoryError:
        tell(f"{name}: not enough memory; the next run catches up")
        return 1
    except Exception as exc:  # noqa: BLE001  (a bug: told in one line, whole with -v)
        _trace(verbose)
        tell(f"{name}: unexpected {type(exc).__name__}: {exc}; run it with -v to see where, and report it")
        return 1


def _command(arguments: Sequence[str]) -> list[str]:
    """The words of the command line that name the command."""
    words, names = iter(arguments), []
    for word in words:
        if word in ("--db", "--api-url"):
            next(words, None)
        elif not word.startswith("-"):
            names.append(word)
    return names[: 2 if names[:1] == ["whales"] else 1]


def tell_lines(words: str) -> None:
    """Several lines on standard error."""
    for line in words.splitlines():
        tell(line)


def _trace(verbose: bool) -> None:
    if verbose:
        import traceback

        tell_lines(traceback.format_exc())
