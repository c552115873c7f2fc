"""Publishing to PostgreSQL, and comparing both sides: ``publish``."""

from __future__ import annotations

from typing import Annotated

import typer

from whalesync.cli import jobs
from whalesync.cli.app import Command, Json, new_app, print_result, progress_line, settings, step_logger
from whalesync.errors import SettingsError, UsageError
from whalesync.jobs.table import PUBLISH
from whalesync.settings import PUBLISH_URL

app = new_app()


@app.command(cls=Command, rich_help_panel=jobs.PANEL)
def publish(
    check: Annotated[bool, typer.Option("--check", help="Compare file and server; exit 1 if they differ.")] = False,
    repair: Annotated[
        bool, typer.Option("--repair", help="Publish, compare as --check does, and send again what differs.")
    ] = False,
    as_json: Json = False,
) -> int:
    """Copy what is new or changed to PostgreSQL.

    Without WHALESYNC_PUBLISH_URL it does nothing.

    Examples: whalesync publish · whalesync publish --check --json · whalesync publish --repair
    """
    if not (check or repair):
        if as_json:
            raise UsageError("--json goes with --check or --repair")
        jobs.perform(PUBLISH)
        return 0
    from whalesync.jobs.publish import Publishing, serving
    from whalesync.jobs.run import run_job
    from whalesync.postgres import check_driver
    from whalesync.store.database import open_existing
    from whalesync.views import publish as view

    found = settings()
    if not PUBLISH.is_set_up(found):
        raise SettingsError(f"{PUBLISH_URL.name} is not set: there is nothing to compare with")
    check_driver()
    from whalesync.jobs import publish_check

    repaired = 0
    with progress_line() as report_progress:
        if repair:
            with (
                run_job(PUBLISH, found, log_step=step_logger(), report_progress=report_progress) as run,
                serving(found, run.db) as (server, name),
            ):
                publishing = Publishing(run, server, name)
                publishing.publish()
                result = publish_check.compare_all(run.db, server, report_progress)
                if not result.ok:
                    repaired = publish_check.repair(publishing, result.differences)
                    result = publish_check.compare_all(run.db, server, report_progress)
        else:
            with open_existing(found.db) as db, serving(found, db) as (server, _):
                result = publish_check.compare_all(db, server, report_progress)
    document = view.as_json(result, repaired)
    print_result(document, lambda console: view.render(document, console), as_json=as_json)
    return int(not result.ok)
