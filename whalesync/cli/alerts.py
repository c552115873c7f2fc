"""Alerts: ``alerts``, ``alerts test``, ``alerts retry``."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Annotated

import typer

from whalesync.alerts import rules as alert_rules
from whalesync.alerts.model import Rule, Sent
from whalesync.cli.app import Command, Json, new_app, now_ms, print_data, print_error, print_result, settings
from whalesync.errors import NoDatabase, SettingsError, UsageError
from whalesync.jobs.send_alerts import targets_of
from whalesync.settings import default_alerts_file
from whalesync.store import alerts, whales
from whalesync.store.database import open_database, open_existing
from whalesync.text import counted

alerts_app = new_app(
    help="The alert rules: how their deliveries stand; send a sample; try again.",
    no_args_is_help=False,
    invoke_without_command=True,
)
app = new_app()
app.add_typer(alerts_app, name="alerts", rich_help_panel="What is stored")

TEST_SECONDS = 11.0  # for a target: its own deadline comes before

Name = Annotated[str, typer.Argument(metavar="NAME", help="The name of a rule.")]


@alerts_app.callback()
def list_(ctx: typer.Context, as_json: Json = False) -> None:
    """The alert rules, and how their deliveries stand."""
    from whalesync.views import alerts as view

    if ctx.invoked_subcommand is not None:
        return
    found = settings()
    path, rules = alert_rules.alerts_file(found), alert_rules.load(found)
    try:
        with open_existing(found.db) as db, db.read():
            alert_rules.check_whales(rules, whales.addresses(db), path)
            rows = view.gather(targets_of(rules), map(dict, alerts.summary(db)), alerts.states(db))
    except NoDatabase:
        rows = view.gather(targets_of(rules), [], {})
    document = {"file": None if path is None else str(path), "alerts": rows}
    print_result(
        document,
        lambda console: view.render(rows, console, now_ms(), path, default_alerts_file()),
        as_json=as_json,
    )


@alerts_app.command(cls=Command)
def test(name: Name) -> int:
    """Send a message that says it is a sample to each target of a rule; exit 1 if one does not take it.

    Example: whalesync alerts test "big buys"
    """
    return int(not send_sample(_rule(alert_rules.load(settings()), name), lambda line: print_data(f"{line}\n")))


def send_sample(rule: Rule, say: Callable[[str], None]) -> bool:
    """Send a sample to each target of a rule, and say what each answered; returns whether all have taken it."""
    from uuid import uuid4

    from whalesync.alerts.message import sample
    from whalesync.alerts.targets import target_for

    all_sent = True
    for target, where in targets_of([rule]).items():
        message = sample(rule.name, f"msg_sample_{uuid4().hex}", now_ms())
        try:
            outcome = target_for(where.address, rule.secret).send(message, time.monotonic() + TEST_SECONDS)
            answer = "sent" if isinstance(outcome, Sent) else outcome.reason
        except SettingsError as exc:
            outcome, answer = None, str(exc)
        say(f"{target.key}: {answer}")
        all_sent = all_sent and isinstance(outcome, Sent)
    return all_sent


@alerts_app.command(cls=Command)
def retry(name: Name) -> None:
    """Try again what was given up, with the next runs of send-alerts, for another 24 hours.

    Example: whalesync alerts retry "big buys"
    """
    found = settings()
    rule = _rule(alert_rules.load(found), name)
    with open_database(found.db) as db:
        count = alerts.retry(db, rule.name, now_ms())
    print_error(f"{counted(count, 'message')} will be tried again.")


def _rule(rules: Sequence[Rule], name: str) -> Rule:
    """Return the rule of this name.

    Raises:
        UsageError: there is none, with the nearest name.
    """
    from difflib import get_close_matches

    for rule in rules:
        if rule.name == name:
            return rule
    near = get_close_matches(name, [rule.name for rule in rules], n=1)
    advice = f"; did you mean {near[0]!r}?" if near else ": 'whalesync alerts' lists them"
    raise UsageError(f"no alert rule {name[:50]!r}{advice}")
