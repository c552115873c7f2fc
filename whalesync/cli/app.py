"""What all commands share: options, settings, and where words that are no data go (standard error)."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, Any

import typer
from typer import _click as click  # typer's own copy of click; the version is bounded in pyproject.toml
from typer._click.globals import get_current_context
from typer.core import TyperCommand, TyperGroup, TyperOption

from whalesync.settings import Settings

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


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
