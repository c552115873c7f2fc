"""What all commands share: options, settings, messages on standard error, and loading a command when it is named."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Annotated, Any

import click
import typer
from typer.core import TyperCommand, TyperGroup, TyperOption

from whalesync.jobs.table import JOBS, PUBLISH
from whalesync.settings import Settings

if TYPE_CHECKING:
    from rich.console import Console

MODULES = {
    "demo": ("demo", "sandbox"),
    "show": ("status", "activity", "markets"),
    "watchlist": ("whales",),
    "alerts": ("alerts",),
    "setup": ("setup",),
    "host": ("crontab", "doctor", "metadata", "backup", "restore"),
    "verify": ("verify",),
    "jobs": tuple(job.command for job in JOBS if job is not PUBLISH),
    "publish": (PUBLISH.command,),
}
"""The modules and their commands, in the order in which the help lists them."""

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
Csv = Annotated[bool, typer.Option("--csv", help="Print CSV.")]


@dataclass
class Options:
    """The values of the shared options, and the command that was named."""

    db: str | None = None
    api_url: str | None = None
    verbose: bool = False
    command: str = "whalesync"


class SharedOptions(click.Command):
    """Adds to a command or group the options that are accepted before and after the command."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs["params"] = [
            *(kwargs.get("params") or []),
            _shared("--db", metavar="FILE", help="The SQLite file (or WHALESYNC_DB)."),
            _shared("--api-url", metavar="URL", help="Opinion.Trade's base address (or WHALESYNC_API_URL)."),
            _shared("--verbose", "-v", is_flag=True, help="Print every step, and the traceback of an error."),
        ]
        super().__init__(*args, **kwargs)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse, and remember the command, which errors name; the help for missing arguments is an error."""
        ctx.ensure_object(Options).command = ctx.command_path
        with redirect_stdout(sys.stdout if args else sys.stderr):
            return super().parse_args(ctx, args)


def _shared(*names: str, **settings: Any) -> click.Parameter:
    def remember(ctx: click.Context, param: click.Parameter, value: Any) -> None:
        if value:
            setattr(ctx.ensure_object(Options), str(param.name), value)

    return TyperOption(param_decls=list(names), expose_value=False, callback=remember, **settings)


class Command(SharedOptions, TyperCommand):
    """A command with the shared options."""


class Group(SharedOptions, TyperGroup):
    """A group of commands with the shared options."""


class LazyGroup(Group):
    """Loads the module of a command when the command is named, or when all are listed.

    The pattern is that of click's documentation, "Lazily Loading Subcommands".
    """

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Name the commands, loaded or not."""
        return [name for names in MODULES.values() for name in names]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Load a command; for an unknown name all of them, so that the nearest can be suggested."""
        known = cmd_name in self.list_commands(ctx)
        for module, names in MODULES.items():
            if cmd_name in names or not known:
                self.commands.update(typer.main.get_group(import_module(f"whalesync.cli.{module}").app).commands)
        return self.commands.get(cmd_name)


def new_app(cls: type[Group] = Group, **settings: Any) -> typer.Typer:
    """Make a group of commands."""
    shared: dict[str, Any] = {
        "cls": cls,
        "no_args_is_help": True,
        "context_settings": {"help_option_names": ["-h", "--help"]},
        "pretty_exceptions_enable": False,  # errors become one line, in run()
        "rich_markup_mode": "rich",
        "suggest_commands": False,  # click does
    }
    return typer.Typer(**shared | settings)


def options() -> Options:
    """Return the shared options of the running command."""
    return click.get_current_context().ensure_object(Options)


def settings() -> Settings:
    """Load the settings; the options of the command line come first.

    Raises:
        SettingsError: a setting is wrong.
    """
    given = options()
    return Settings.load(overrides={"WHALESYNC_DB": given.db, "WHALESYNC_API_URL": given.api_url})


def now_ms() -> int:
    """Read the wall clock, in milliseconds; once in each command."""
    return int(time.time() * 1000)


def step_logger() -> Callable[[str], None]:
    """Return what prints a step on standard error with ``-v``, from any thread, and nothing without."""
    if not options().verbose:
        return lambda _: None
    return lambda step: print_error(f"{time.strftime('%H:%M:%S', time.gmtime())} {step}")


@contextmanager
def progress_line() -> Iterator[Callable[[str], None]]:
    """Yield what shows progress in one line of a terminal, and does nothing elsewhere."""
    if options().verbose or not on_terminal():
        yield lambda _: None
        return
    from rich.text import Text

    from whalesync.views.output import console_on

    with console_on(sys.stderr).status(Text("working")) as status:
        yield lambda text: status.update(Text(text))


def on_terminal() -> bool:
    """Return whether a person reads standard error."""
    return sys.stderr is not None and sys.stderr.isatty()


def print_error(text: str) -> None:
    """Print one line on standard error, with everything escaped that a terminal would interpret."""
    from whalesync.text import plain

    if sys.stderr is None:
        return
    try:
        sys.stderr.write(plain(text) + "\n")
        sys.stderr.flush()
    except (OSError, ValueError):
        # The exit code still tells. What is buffered must not fail again at exit.
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115  (stays open until the end)


def print_data(text: str) -> None:
    """Print text, as it is, on standard output."""
    from whalesync.views.output import standard_output

    with standard_output(sys.stdout) as out:
        out.write(text)


def print_result(
    document: Any, render: Callable[[Console], None], *, as_json: bool, columns: Sequence[str] | None = None
) -> None:
    """Print a result: as JSON; as CSV, if ``columns`` are given and it is a list of rows; else as ``render`` does."""
    from whalesync.views import output

    with output.standard_output(sys.stdout) as out:
        if as_json:
            output.write_json(document, out)
        elif columns is not None:
            output.write_csv(document, out, columns)
        else:
            render(output.console_on(out))
