"""From install to running: ``setup``. Each step shows what it would change, asks, and may be declined and repeated."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NamedTuple, NoReturn

import click
import typer

from whalesync.cli import parse
from whalesync.cli.alerts import send_sample
from whalesync.cli.app import Command, new_app, now_ms, options, print_error, step_logger
from whalesync.cli.host import PANEL, print_findings
from whalesync.cli.watchlist import parse_entries, read_list, suggestion
from whalesync.errors import NoDatabase, SettingsError, UsageError, WhalesyncError
from whalesync.exchanges import DEFAULT_EXCHANGE, EXCHANGES, all_settings, asked_for, key_of, secrets_of, title_of
from whalesync.exchanges.base import Exchange
from whalesync.exchanges.opinion_trade import API_URL
from whalesync.redact import REDACTED, redact
from whalesync.settings import (
    DB,
    ENV_FILE,
    Setting,
    Settings,
    default_alerts_file,
    default_env_file,
    read_env_file,
)
from whalesync.store import whales
from whalesync.store.database import open_database, open_existing
from whalesync.store.whales import WatchEntry
from whalesync.text import counted

TRIES = 3  # of a key that is typed
CANDIDATES = 10
SHOWN_WALLETS = 5
MAX_SECRET_BYTES = 10_000

app = new_app()


class Answers(NamedTuple):
    """What the options of the command answer; None or nothing: ask."""

    yes: bool
    exchanges: Sequence[str]
    key: str | None
    no_key: bool
    wallets: Sequence[WatchEntry]
    discover: int | None
    no_whales: bool
    cron: bool | None
    alert: str | None
    no_alerts: bool


@app.command(cls=Command, rich_help_panel=PANEL)
def setup(
    exchange: Annotated[
        list[str] | None,
        typer.Option(
            metavar="E",
            help=f"Watch wallets of this exchange, one of {', '.join(EXCHANGES)}; may be repeated.",
            click_type=click.Choice(list(EXCHANGES)),
        ),
    ] = None,
    key_file: Annotated[str | None, typer.Option(metavar="FILE", help="Read the key there; -: standard input.")] = None,
    no_key: Annotated[bool, typer.Option("--no-key", help="Do not ask for a key.")] = False,
    import_: Annotated[
        str | None, typer.Option("--import", metavar="FILE", help="Watch the wallets of this file, as 'whales import'.")
    ] = None,
    add: Annotated[
        list[str] | None, typer.Option(metavar="ADDRESS", help="Watch this wallet; may be repeated.")
    ] = None,
    discover: Annotated[
        int | None, typer.Option(min=1, max=100, metavar="N", help="Watch the first N of the leaderboard.")
    ] = None,
    no_whales: Annotated[bool, typer.Option("--no-whales", help="Leave the watch list as it is.")] = False,
    cron: Annotated[
        bool | None, typer.Option("--cron/--no-cron", help="Add the missing crontab lines, or not.")
    ] = None,
    alert_file: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Send alerts to the address that this file holds; -: standard input."),
    ] = None,
    no_alerts: Annotated[bool, typer.Option("--no-alerts", help="Make no alert rule.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Answer yes where that is safe.")] = False,
) -> int:
    """From install to running: exchanges, key, env file, watch list, crontab lines, alerts, then 'doctor'.

    Each step shows what it would change and asks first. It may be run again at any time.

    Without a terminal: whalesync setup --yes --key-file FILE --import FILE
    """
    parse.only_one(**{"key-file": key_file is not None, "no-key": no_key})
    parse.only_one(**{"no-whales": no_whales, "import": import_ is not None, "discover": discover is not None})
    parse.only_one(**{"no-whales": no_whales, "add": bool(add)})
    parse.only_one(**{"alert-file": alert_file is not None, "no-alerts": no_alerts})
    if [key_file, import_, alert_file].count("-") > 1:
        raise UsageError("standard input can be only one of --key-file, --import and --alert-file")
    interactive = sys.stdin is not None and sys.stdin.isatty()
    given = (yes, exchange, key_file, no_key, import_, add, discover, no_whales, alert_file, no_alerts)
    if not interactive and cron is None and not any(given):
        raise UsageError(
            "standard input is not a terminal, so nothing can be asked: give --yes, and --key-file FILE or --no-key,"
            " --import FILE or --no-whales"
        )
    platform = exchange[0] if exchange and len(set(exchange)) == 1 else DEFAULT_EXCHANGE
    answers = Answers(
        yes=yes,
        exchanges=exchange or (),
        key=None if key_file is None else _read_secret(key_file, "the key"),
        no_key=no_key,
        wallets=[
            *(parse_entries(import_, read_list(import_), platform) if import_ else ()),
            *(WatchEntry(parse.parse_address(address), platform=platform) for address in add or ()),
        ],
        discover=discover,
        no_whales=no_whales,
        cron=cron,
        alert=None if alert_file is None else _read_secret(alert_file, "the address"),
        no_alerts=no_alerts,
    )
    return SetupRun(answers, interactive=interactive).run()


class SetupRun:
    """One run of ``setup``. A step returns whether what it is for is in place."""

    def __init__(self, answers: Answers, *, interactive: bool) -> None:
        self.answers = answers
        self.interactive = interactive
        self.exchanges: Sequence[Exchange] = ()  # those that are wanted
        self.new_keys: dict[str, str] = {}  # by setting
        self.secrets: set[str] = {secret for secret in (answers.key, answers.alert) if secret}
        self.load()

    def load(self) -> None:
        """Read the settings as they are now.

        Raises:
            SettingsError: one of them is wrong.
        """
        given = options()
        overrides = {DB.name: given.db, API_URL.name: given.api_url}
        self.settings = Settings.load(overrides=overrides, may_be_missing=True)
        for each in all_settings():
            if not each.secret:  # a wrong key is a matter of its step
                self.settings.get(each)
        self.given = {name: text for name, text in overrides.items() if text is not None}
        self.environ = dict(os.environ)
        # A relative path would be another file wherever else the env file is read.
        if given.db is not None:
            self.given[DB.name] = str(self.settings.db)
        elif self.environ.get(DB.name):
            self.environ[DB.name] = str(self.settings.db)
        self.secrets.update(secrets_of(self.settings))
        self.env_file = self.settings.env_file or default_env_file()

    def run(self) -> int:
        """Take the steps, then say what ``doctor`` finds; returns the exit code."""
        from whalesync.host.doctor import examine

        not_done = [step.name for step in STEPS]
        try:
            for number, step in enumerate(STEPS, start=1):
                print_error(f"{number}/{len(STEPS)} {step.name}")
                if self.take(step):
                    not_done.remove(step.name)
        except (KeyboardInterrupt, click.Abort):
            self.say(f"Stopped. Not done: {', '.join(not_done)}. 'whalesync setup' continues from there.")
            raise
        if not_done:
            self.say(f"Not done: {', '.join(not_done)}. 'whalesync setup' may be run again at any time.")
        print_error("doctor")
        self.load()
        code = print_findings(examine(self.settings, now=now_ms()))
        self.say("Next: 'whalesync status', now and in five minutes; 'whalesync activity' shows the trades.")
        return code

    def take(self, step: Step) -> bool:
        """Take one step; a failure is said, and is not one of the steps after it."""
        try:
            return step.take(self)
        except WhalesyncError as exc:
            self.say(f"{exc}.")
            return False

    def take_exchanges(self) -> bool:
        """Find out of which exchanges wallets are to be watched: the other steps are for these."""
        from whalesync.host.setup import chosen

        platforms = {*self.answers.exchanges, *(each.platform for each in self.answers.wallets)}
        platforms = platforms or {platform for platform, _ in self.watched()}
        if self.answers.key and not self.answers.exchanges:
            platforms |= {each.name for each in EXCHANGES.values() if key_of(each)}
        wanted = asked_for(platforms)
        if not self.answers.exchanges and self.interactive and len(EXCHANGES) > 1:
            known = list(EXCHANGES.values())
            wanted = wanted if platforms else known
            for number, each in enumerate(known, start=1):
                self.say(f"{number} {each.title} ({'needs a key' if key_of(each) else 'needs no key'})")
            names = " and ".join(each.title for each in wanted)
            while True:
                answer = self.ask(f"Numbers such as 1 or 1-2 (Enter: {names})")
                try:
                    wanted = chosen(answer, known, _no_exchange) or wanted
                    break
                except UsageError as exc:
                    self.say(f"{exc}.")
        self.exchanges = wanted
        self.say(f"Wallets of {' and '.join(each.title for each in wanted)}.")
        return True

    def take_key(self) -> bool:
        """Find a key that each exchange accepts that needs one; it is kept by the next step."""
        needed = [(each, key) for each in self.exchanges if (key := key_of(each)) is not None]
        if not needed:
            self.say(f"{' and '.join(each.title for each in self.exchanges)} needs no key.")
        found = [self.find_key(exchange, key.name) for exchange, key in needed]
        return all(found)

    def find_key(self, exchange: Exchange, name: str) -> bool:
        """Find a key that an exchange accepts; ``name`` is that of its setting."""
        from whalesync.host.setup import Verdict

        title = exchange.title
        if self.answers.no_key:
            self.say("Skipped.")
            return name in self.settings.values
        present = self.answers.key or self.settings.values.get(name)
        if present:
            verdict, why = self.try_key(exchange, name, present)
            self.say(why if self.answers.key else f"Done already: {why}" if verdict is Verdict.ACCEPTED else why)
            is_usable = verdict is not Verdict.REJECTED
            if is_usable and self.answers.key:
                self.new_keys[name] = present
            if is_usable and (self.answers.key or not self.confirm("Use another key?", default=False)):
                return verdict is Verdict.ACCEPTED
        if not self.interactive:
            self.say(f"Give --key-file FILE for a key of {title}. Until you have one: 'whalesync sandbox'.")
            return False
        for _ in range(TRIES):
            key = self.ask(f"Key of {title} (not shown; Enter: none yet)", hide_input=True)
            if not key:
                break
            self.secrets.add(key)
            verdict, why = self.try_key(exchange, name, key)
            self.say(why)
            if verdict is not Verdict.REJECTED:
                self.new_keys[name] = key
                return verdict is Verdict.ACCEPTED
        instead = "The present one stays." if present else "Until you have one: 'whalesync sandbox'."
        self.say(f"No new key. {instead}")
        return False

    def take_env_file(self) -> bool:
        """Write the key, and what was given, into the env file; make it private."""
        from whalesync.host import env_file
        from whalesync.host.setup import missing_values

        path, declared = self.env_file, all_settings()
        in_file = read_env_file(path if path.exists() else None)
        given = {**self.given, **self.new_keys}
        changes = missing_values(declared, in_file=in_file, given=given, environ=self.environ)
        mode = env_file.open_to_others(path)
        if changes:
            self.say(f"{path} (mode 600{f', now {mode:o}' if mode else ''}) would get:")
            for each in declared:
                if text := changes.get(each.name):
                    replaced = " (instead of another value)" if each.name in in_file else ""
                    self.say(f"  {each.name}={REDACTED if each.secret else text}{replaced}")
            if not self.confirm("Write it?", given=True if self.answers.key and self.new_keys else None):
                return False
            env_file.write(path, changes)
            self.say("Written.")
        elif mode:
            self.say(f"Other users may use {path} (mode {mode:o}).")
            if not self.confirm("Make it yours alone (mode 600)?"):
                return False
            env_file.make_private(path)
        elif path.exists():
            self.say(f"Done already: {path}, which only its owner may use, has all that is set.")
        else:
            needs_key = any(key_of(each) for each in self.exchanges)
            self.say(f"Nothing to write into {path}{' yet' if needs_key else ': none is needed'}.")
            return not needs_key
        self.say_what_differs({**in_file, **changes}, declared)
        return True

    def take_watch_list(self) -> bool:
        """Put wallets on the watch list."""
        present = self.watched()
        if present:
            self.say(f"Done already: {counted(len(present), 'wallet')} on the watch list.")
        if self.answers.no_whales:
            return bool(present)
        limit, found = self.answers.discover, list(self.answers.wallets)
        given = bool(found or limit)
        if limit:
            found += [each for exchange in self.exchanges for each in self.candidates(exchange, limit, present)]
        elif not given and self.interactive and (not present or self.confirm("Add wallets?", default=False)):
            found += [each for exchange in self.exchanges for each in self.choose(exchange, present)]
        entries = self.new_entries(found, present)
        if not entries:
            if not present:
                self.say("The watch list is empty; 'whalesync whales add' and 'whalesync whales discover' fill it.")
            return bool(present)
        several = len({each.platform for each in entries}) > 1
        names = [
            f"{each.address} {f'of {title_of(each.platform)} ' if several else ''}{each.label or ''}".rstrip()
            for each in entries
        ]
        more = f" and {len(names) - SHOWN_WALLETS} more" if len(names) > SHOWN_WALLETS else ""
        self.say(f"To add to {self.settings.db}: {', '.join(names[:SHOWN_WALLETS])}{more}")
        if not self.confirm("Add them?", given=True if given else None):
            return bool(present)
        with open_database(self.settings.db) as db:
            added = whales.add(db, entries, now_ms())
        self.say(f"Added {counted(added.new, 'wallet')} to the watch list.")
        return True

    def take_cron(self) -> bool:
        """Add the missing lines to this user's crontab."""
        from whalesync.host import crontab
        from whalesync.host.setup import plan_cron

        if self.answers.cron is False:
            self.say("Skipped.")
            return False
        if not crontab.is_available():
            self.say("This host has no 'crontab': use systemd timers, see the README.")
            return False
        text = crontab.read()
        plan = plan_cron(text)
        if plan.present:
            self.say(f"Done already: {', '.join(job.command for job in plan.present)}.")
        if plan.commented_out:
            names = ", ".join(job.command for job in plan.commented_out)
            self.say(f"Commented out, and left so: {names}. 'crontab -e' removes the '#'.")
        if not plan.missing:
            return not plan.commented_out
        program = crontab.this_program()
        entries = [crontab.entry(job, program, self.named_env_file(), self.settings.db) for job in plan.missing]
        kept = f"Your crontab keeps its {counted(lines, 'line')}. " if (lines := len(text.splitlines())) else ""
        self.say(f"{kept}To add:")
        for line in "\n".join(entries).splitlines():
            self.say(f"  {line}")
        why = self.why_cron_would_fail()
        if why:
            self.say(f"These jobs would fail: {why}")
        if not self.confirm("Add them?", given=self.answers.cron, default=not why):
            return False
        if crontab.read() != text:
            self.say("Your crontab has changed in the meantime and was not touched: run 'whalesync setup' again.")
            return False
        crontab.replace(crontab.with_entries(text, entries))
        self.say("Added.")
        return not plan.commented_out

    def take_alerts(self) -> bool:
        """Make a first alert rule, and send a sample to its target. Alerts are optional: none is no fault."""
        from whalesync.alerts import rules
        from whalesync.host.setup import RULE_NAME, alert_rules, write_alert_rules

        path = rules.alerts_file(self.settings) or default_alerts_file()
        if path.exists():
            self.say(f"Done already: {counted(len(rules.read(path)), 'alert rule')} in {path}.")
            return True
        address = self.answers.alert
        if address is None and self.interactive and not self.answers.no_alerts:
            self.say("Alerts go to a webhook, or to any service that apprise knows (Telegram, Discord, e-mail, …).")
            address = self.ask("Address of the target (not shown; Enter: no alerts)", hide_input=True)
        if not address:
            self.say("No alerts; the README says how to write rules later.")
            return True
        self.secrets.add(address)
        self.say(f"{path} (mode 600) would get:")
        for line in alert_rules(address).splitlines():
            self.say(f"  {line}")
        if not self.confirm("Write it, and send a sample?", given=True if self.answers.alert else None):
            return False
        write_alert_rules(path, address)
        self.say("Written.")
        (rule,) = (each for each in rules.read(path) if each.name == RULE_NAME)
        return send_sample(rule, self.say)

    def try_key(self, exchange: Exchange, name: str, key: str) -> tuple[object, str]:
        """Make one request with a key; see ``whalesync.host.setup.try_key``."""
        from whalesync.host import setup

        return setup.try_key(exchange, setup.with_values(self.settings, {name: key}))

    def say_what_differs(self, in_file: Mapping[str, str], declared: Sequence[Setting[object]]) -> None:
        """Name what the environment sets to another value than the env file, and wins in this shell but not in cron."""
        names = [each.name for each in declared if self.environ.get(each.name) and each is not ENV_FILE]
        for name in names:
            if name in in_file and in_file[name] != self.environ[name]:
                self.say(f"{name} has another value in the environment, which wins in this shell; cron has the file's.")

    def new_entries(self, entries: Iterable[WatchEntry], present: Mapping[tuple[str, str], Any]) -> list[WatchEntry]:
        """Return the wallets that are not watched yet, and those of the user's own list that get another label."""
        own = {(each.platform, each.address) for each in self.answers.wallets}
        return [
            each
            for each in entries
            if (key := (each.platform, each.address)) not in present
            or (key in own and each.label and each.label != present[key]["label"])
        ]

    def watched(self) -> dict[tuple[str, str], Any]:
        """Return the rows of the watch list, by exchange and address."""
        try:
            with open_existing(self.settings.db) as db:
                return {(row["platform"], row["address"]): row for row in whales.listed(db)}
        except NoDatabase:
            return {}

    def candidates(self, exchange: Exchange, limit: int, present: Mapping[tuple[str, str], Any]) -> list[WatchEntry]:
        """Print the first of a leaderboard and return them; none if it cannot be read."""
        from whalesync.views import tables
        from whalesync.views.output import console_on

        try:
            found = exchange.discover(self.settings, by="profit", period="month", limit=limit, log_step=step_logger())
        except WhalesyncError as exc:
            self.say(f"The leaderboard of {exchange.title} cannot be read: {exc}")
            return []
        rows = [{**each._asdict(), "whale": present.get((exchange.name, each.address))} for each in found]
        self.say(f"{exchange.title}, profit of 30 days:")
        tables.render_candidates(rows, console_on(sys.stderr), by="profit")
        return [suggestion(each, exchange.name) for each in found]

    def choose(self, exchange: Exchange, present: Mapping[tuple[str, str], Any]) -> list[WatchEntry]:
        """Ask which wallets of an exchange to add: of its leaderboard, by address, or from a file."""
        from whalesync.host.setup import chosen

        candidates = self.candidates(exchange, CANDIDATES, present)
        places = "Numbers of this list such as 1,3-5, addresses" if candidates else "Addresses"
        while True:
            answer = self.ask(f"{exchange.title}: {places}, or a file of them (Enter: none)")
            file = os.path.expanduser(answer)  # noqa: PTH111  (Path refuses what is no path, such as 20 addresses)
            try:
                if os.path.isfile(file):  # noqa: PTH113
                    return list(parse_entries(answer, read_list(file), exchange.name))
                return chosen(
                    answer, candidates, lambda word: WatchEntry(parse.parse_address(word), platform=exchange.name)
                )
            except UsageError as exc:
                self.say(f"{exc}.")

    def named_env_file(self) -> Path | None:
        """Return the env file if cron is to name it: jobs do not run without one that is named, and may need none."""
        return self.env_file if self.env_file.exists() or any(map(key_of, self.exchanges)) else None

    def why_cron_would_fail(self) -> str | None:
        """Return why a job that has nothing but its crontab line would fail, None if it would not."""
        try:
            named = {} if (env_file := self.named_env_file()) is None else {ENV_FILE.name: str(env_file)}
            bare = Settings.load({**named, DB.name: str(self.settings.db)})
            for exchange in asked_for(platform for platform, _ in self.watched()):
                exchange.check_settings(bare)
        except SettingsError as exc:
            return str(exc)
        return None

    def confirm(self, question: str, *, given: bool | None = None, default: bool = True) -> bool:
        """Return the answer of an option, else of ``--yes``, which is the default, else of whoever is there."""
        if given is not None:
            return given
        if self.answers.yes or not self.interactive:
            if default and not self.answers.yes:
                self.say(f"{question} Not without --yes.")
            return default and self.answers.yes
        return click.confirm(f"  {question}", default=default, err=True)

    def ask(self, question: str, *, hide_input: bool = False) -> str:
        """Return what is typed, "" for nothing."""
        answer: str = click.prompt(f"  {question}", default="", show_default=False, hide_input=hide_input, err=True)
        return answer.strip()

    def say(self, text: str) -> None:
        """Print a line of a step on standard error, without secrets."""
        print_error(f"  {redact(text, self.secrets)}")


@dataclass(frozen=True)
class Step:
    """One step of ``setup``."""

    name: str
    take: Callable[[SetupRun], bool]


STEPS = (
    Step("exchanges", SetupRun.take_exchanges),
    Step("key", SetupRun.take_key),
    Step("env file", SetupRun.take_env_file),
    Step("watch list", SetupRun.take_watch_list),
    Step("cron", SetupRun.take_cron),
    Step("alerts", SetupRun.take_alerts),
)


def _no_exchange(word: str) -> NoReturn:
    raise UsageError(f"{word[:20]!r} is not a number of this list")


def _read_secret(file: str, what: str) -> str:
    """Return the secret that a file or standard input holds: never an argument, which the process list would show."""
    text = read_list(file)
    if len(text) > MAX_SECRET_BYTES or not text.strip() or len(text.split()) != 1:
        raise UsageError(f"{'standard input' if file == '-' else file} must hold {what} and nothing else")
    return text.strip()
