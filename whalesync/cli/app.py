"""The application: the options that all commands share, and how a run ends.

Data goes to standard output, all else to standard error. Exit codes: 0 done, 1 failed, 2 wrong usage or
settings, 75 another run of the job is active, 130 and 143 stopped by SIGINT and SIGTERM.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import typer
from typer import _click as click  # typer's own copy of click; the version is bounded in pyproject.toml
from typer._click.exceptions import ClickException, NoArgsIsHelpError, UsageError
from typer._click.globals import get_current_context
from typer.core import TyperCommand, TyperGroup, TyperOption

from whalesync.errors import AnotherRunActive, Interrupted, WhalesyncError
from whalesync.settings import Settings


@dataclass
class Options:
    """What the shared options say."""

    db: str | None = None
    api_url: str | None = None
    verbose: bool = False


def _remember(ctx: click.Context, param: click.Parameter, value: Any) -> None:
    if value:
        setattr(ctx.ensure_object(Options), param.name or "", value)


def _shared_options() -> list[click.Parameter]:
    """Accepted before and after the command, so nobody has to remember where they belong."""
    return [
        TyperOption(
            param_decls=["db", "--db"],
            type=str,
            metavar="FILE",
            expose_value=False,
            callback=_remember,
            help="The SQLite file (or WHALESYNC_DB).",
        ),
        TyperOption(
            param_decls=["api_url", "--api-url"],
            type=str,
            metavar="URL",
            expose_value=False,
            callback=_remember,
            help="The exchange's base address (or WHALESYNC_API_URL).",
        ),
        TyperOption(
            param_decls=["verbose", "-v", "--verbose"],
            is_flag=True,
            expose_value=False,
            callback=_remember,
            help="Tell every step, and show where an error comes from.",
        ),
    ]


class Command(TyperCommand):
    """A command that takes the shared options."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs["params"] = [*(kwargs.get("params") or []), *_shared_options()]
        super().__init__(*args, **kwargs)


class Group(TyperGroup):
    """A group of commands that takes the shared options, and lists its commands in the order they were made."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs["params"] = [*(kwargs.get("params") or []), *_shared_options()]
        super().__init__(*args, **kwargs)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)


def new_app(help: str, **settings: Any) -> typer.Typer:
    """A group of commands."""
    return typer.Typer(
        cls=Group,
        help=help,
        no_args_is_help=True,
        context_settings={"help_option_names": ["-h", "--help"]},
        pretty_exceptions_enable=False,  # errors are told in one line, in run()
        rich_markup_mode="rich",
        **settings,
    )


def options() -> Options:
    """The shared options of the command that is running."""
    found: Options = get_current_context().ensure_object(Options)
    return found


def settings() -> Settings:
    """The settings, with the options of the command line in front."""
    given = options()
    return Settings.load(db=given.db, api_url=given.api_url)


def now_ms() -> int:
    """The wall clock, in milliseconds; read once by each command."""
    return int(time.time() * 1000)


def say_to() -> Callable[[str], None]:
    """Where steps are told: standard error with ``-v``, nowhere else."""
    if not options().verbose:
        return lambda _: None

    def say(step: str) -> None:
        stamp = time.strftime("%H:%M:%S", time.gmtime())
        tell(f"{stamp} {step}")

    return say


@contextmanager
def progress_to() -> Iterator[Callable[[str], None]]:
    """Where progress is shown: a line on a terminal, nowhere else."""
    if options().verbose or not on_terminal():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.text import Text

    with Console(stderr=True).status(Text("working")) as status:
        yield lambda words: status.update(Text(words))


def on_terminal() -> bool:
    """Whether a person reads standard error."""
    return sys.stderr is not None and sys.stderr.isatty()


def tell(words: str) -> None:
    """One line on standard error, with nothing in it that a terminal would obey."""
    from whalesync.views.text import plain

    if sys.stderr is None:
        return
    try:
        sys.stderr.write(plain(words) + "\n")
        sys.stderr.flush()
    except (OSError, ValueError):
        # Nobody can be told; the exit code still says it. What is buffered must not fail once more at exit.
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115  (stays open until the end)


def run(arguments: Sequence[str]) -> int:
    """Run the command line; returns the exit code. The one place where errors become words and codes."""
    from whalesync.cli.commands import app

    verbose = "-v" in arguments or "--verbose" in arguments
    command = next((word for word in arguments if not word.startswith("-")), "")
    name = f"whalesync {command}".strip()
    try:
        code = typer.main.get_command(app).main(list(arguments), prog_name="whalesync", standalone_mode=False)
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


def tell_lines(words: str) -> None:
    """Several lines on standard error."""
    for line in words.splitlines():
        tell(line)


def _trace(verbose: bool) -> None:
    if verbose:
        import traceback

        tell_lines(traceback.format_exc())
