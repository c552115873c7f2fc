"""Evidence that the file is complete: ``verify``."""

from __future__ import annotations

from typing import Annotated

import typer

from whalesync.cli import parse
from whalesync.cli.app import Command, Json, new_app, print_result, progress_line, settings, step_logger
from whalesync.cli.parse import Exchange, WhaleName
from whalesync.errors import UsageError
from whalesync.jobs.table import VERIFY
from whalesync.store import whales
from whalesync.store.database import open_existing

app = new_app()


@app.command(cls=Command, rich_help_panel="The host")
def verify(
    whale: Annotated[
        str | None, typer.Option(metavar="WHALE", help="An address or a label.", click_type=WhaleName())
    ] = None,
    exchange: Exchange = None,
    deep: Annotated[bool, typer.Option("--deep", help="Compare every trade that is listed.")] = False,
    repair: Annotated[
        bool, typer.Option("--repair", help="Compare as --deep does, and make the file equal to the exchange.")
    ] = False,
    as_json: Json = False,
) -> int:
    """Whether the file has all that the exchanges list, wallet by wallet; exit 1 if one does not add up.

    It makes a few requests for each wallet, with --deep as many as its whole list takes.

    Each stored row is also compared with its own fill key.

    Examples: whalesync verify · whalesync verify --whale "Moby Dick" --deep --json · whalesync verify --repair
    """
    from whalesync.jobs.run import run_job
    from whalesync.jobs.verify import chosen, run
    from whalesync.views import verify as view

    found = settings()
    with open_existing(found.db) as db:
        whale_id = parse.find_whale(db, whale, exchange)["id"] if whale else None
        verdicts = chosen(whales.tracked(db), whale_id=whale_id, platform=exchange)
    if whale and not verdicts:
        raise UsageError(f"{whale[:50]!r} is not tracked any more: 'whalesync whales add' tracks it again")
    looked = False
    try:
        with (
            progress_line() as report_progress,
            run_job(VERIFY, found, log_step=step_logger(), report_progress=report_progress) as started,
        ):
            looked = True
            run(started, verdicts, deep=deep, repair=repair)
    finally:
        if looked and (not verdicts or any(each.looked_at for each in verdicts)):  # also where the run has failed
            print_result(view.as_json(verdicts), lambda console: view.render(verdicts, console), as_json=as_json)
    return int(not all(each.ok for each in verdicts))
