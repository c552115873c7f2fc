"""The check-up: one line for each thing that must be right on this host, good or with the command that mends it.

What could not be checked is called so, and is no fault by itself: what prevented it has a line of its own. The check-up
changes nothing, and no line ever contains a secret.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from whalesync.alerts import rules, targets
from whalesync.errors import (
    AuthenticationError,
    NoDatabase,
    NotServed,
    OutOfTime,
    RateLimited,
    SettingsError,
    StoreError,
    Unreachable,
    WhalesyncError,
)
from whalesync.exchanges import EXCHANGES, asked_for, key_of, secrets_of, title_of
from whalesync.exchanges.base import Exchange
from whalesync.host import crontab
from whalesync.host.restore import interrupted
from whalesync.jobs import publish
from whalesync.jobs.table import JOBS, MINUTE, PUBLISH, SECOND, SYNC_WHALES
from whalesync.redact import redact
from whalesync.settings import (
    DB,
    ENV_FILE,
    PING_URL,
    PUBLISH_URL,
    Setting,
    Settings,
    check_url,
    default_alerts_file,
    default_env_file,
)
from whalesync.store import alerts, trades, whales
from whalesync.store.copying import fault_of
from whalesync.store.database import open_existing
from whalesync.store.file import RESTORE, SCHEMA_VERSION, beside
from whalesync.store.sync_log import runs_of
from whalesync.store.totals import progress_of
from whalesync.text import counted, duration, plain, size

PROBE_SECONDS = 15.0
CLOCK_WARNS_SECONDS = 5
CLOCK_FAILS_SECONDS = 60
MAX_WAL_BYTES = 256 * 2**20  # every job empties it, so this much is hours of a reader that never lets go
CHOWN = 'sudo chown "$(id -un)"'
MIN_FREE_BYTES = 100 * 2**20
REGULAR_RUNS = 5  # so many runs of sync-whales within ...
REGULAR_MS = 10 * MINUTE  # ... this time are not somebody trying it out by hand
LATELY_MS = 3 * MINUTE  # ... the newest of them no older, and the oldest this much older than it

Probe = Callable[[Exchange, Settings], int | None]


class Outcome(StrEnum):
    """What a check has found."""

    GOOD = "good"
    WRONG = "WRONG"
    NOT_CHECKED = "not checked"


GOOD, WRONG, NOT_CHECKED = Outcome
_Result = tuple[Outcome, str]  # of a finding


@dataclass(frozen=True)
class Finding:
    """What was checked, whether it is right, and in one line how it is or what to do."""

    name: str
    outcome: Outcome
    text: str

    @property
    def ok(self) -> bool:
        """Whether it is no fault."""
        return self.outcome != WRONG


def probe(exchange: Exchange, settings: Settings) -> int | None:
    """Make one request that needs all that the jobs need; returns the exchange's clock (ms), None without one.

    Raises:
        WhalesyncError: why the jobs would fail.
    """
    until = time.monotonic() + PROBE_SECONDS
    with TemporaryDirectory() as folder:
        if not os.path.isdir(settings.db.parent):  # noqa: PTH112  (Path.is_dir() raises in a folder that is closed)
            # Before the first job nobody shares the rate, and there is no folder to keep it in.
            settings = replace(settings, db=Path(folder) / settings.db.name)
        with exchange.connect(settings, first_backoff=0.25, until=until, log_step=lambda _: None) as connection:
            try:
                connection.check()
            except OutOfTime as exc:
                why = f"no response within {PROBE_SECONDS:.0f} s, or the running jobs use the whole request rate"
                raise Unreachable(f"{exchange.title}: {why}") from exc
            return connection.exchange_time()


def examine(
    settings: Settings,
    *,
    now: int,
    probe: Probe = probe,
    crontab_text: Callable[[], str | None] = crontab.installed_text,
    program: Sequence[str] | None = None,
) -> list[Finding]:
    """Return all findings, in the order in which things are set up.

    Args:
        settings: what this host is set to.
        now: this host's clock (ms).
        probe: asks an exchange; see ``probe``.
        crontab_text: returns this user's crontab, None if there is none.
        program: how this program is started; None: as it is now.
    """
    path = settings.db
    stored = _stored(path)
    wallets: Mapping[str, Mapping[str, int | None]] = stored.wallets if stored else {}
    asked = asked_for(wallets)
    findings = [
        *(finding for each in asked for finding in _exchange(each, settings, now, probe)),
        Finding("env file", *_env_file(settings, next((key for each in asked if (key := key_of(each))), None))),
        Finding("database", *_database(path)),
        Finding("watch list", *_watch_list(wallets if stored else None)),
        Finding("permissions", *_permissions(path)),
        Finding("wal", *_wal(path)),
        Finding("disk", *_disk(path)),
        Finding("sqlite", *_sqlite(sqlite3.sqlite_version_info)),
        Finding(
            "cron", *_cron(settings, crontab_text() or "", program, _are_regular(stored.starts if stored else (), now))
        ),
        Finding("alerts", *_alerts(settings, stored)),
        Finding("postgresql", *_postgresql(settings)),
        Finding("pings", *_pings(settings.get(PING_URL))),
    ]
    secrets = secrets_of(settings)
    return [replace(finding, text=plain(redact(finding.text, secrets))) for finding in findings]


@dataclass(frozen=True)
class _Stored:
    """What the checks take from the file.

    ``wallets``: for each exchange of the watch list, how many trades it lists of each wallet, None where that is not
    known. ``starts``: when the last runs of sync-whales started (ms), newest first. ``known``: the rows of the watch
    list. ``failed``: how many deliveries of alerts were given up.
    """

    wallets: Mapping[str, Mapping[str, int | None]]
    starts: Sequence[int]
    known: Sequence[sqlite3.Row]
    failed: int


def _stored(path: Path) -> _Stored | None:
    try:
        with open_existing(path) as db:
            starts = [run["started_at"] for run in runs_of(db, SYNC_WHALES.type, REGULAR_RUNS)]
            wallets: dict[str, dict[str, int | None]] = {}
            for whale in whales.tracked(db):
                listed = progress_of(whale.platform, trades.state(db, whale.id)).listed
                wallets.setdefault(whale.platform, {})[whale.name] = listed
            return _Stored(wallets, starts, whales.addresses(db), alerts.failed_count(db))
    except StoreError:  # which has a finding of its own
        return None


def _watch_list(wallets: Mapping[str, Mapping[str, int | None]] | None) -> _Result:
    """Name the wallets of which their exchange lists nothing: it may be the wrong address of the right person."""
    if wallets is None:
        return NOT_CHECKED, "there is no database that it could be read from"
    count = sum(map(len, wallets.values()))
    if not count:
        return GOOD, "empty: 'whalesync whales add ADDRESS' and 'whalesync whales discover' fill it"
    text = counted(count, "wallet")
    if len(wallets) > 1:
        parts = (f"{len(listed):,} of {title_of(name)}" for name, listed in wallets.items())
        text += f" ({', '.join(parts)})"
    for name, listed in wallets.items():
        silent = [wallet for wallet, trades in listed.items() if trades == 0]
        if silent and name in EXCHANGES:
            more = f" and {len(silent) - 3} more" if len(silent) > 3 else ""
            text += f"; {', '.join(silent[:3])}{more}: {EXCHANGES[name].no_trades_hint}"
    return GOOD, text


def _exchange(exchange: Exchange, settings: Settings, now: int, probe: Probe) -> list[Finding]:
    """Check key, if the exchange needs one, address and clock: one request tells of all three."""
    title, needed_key = exchange.title, key_of(exchange)
    key, address = (NOT_CHECKED, f"{title} was not reached"), (GOOD, f"{title} answers")
    clock = (NOT_CHECKED, f"{title} was not reached")
    began = time.monotonic()
    try:
        exchange.check_settings(settings)
        date = probe(exchange, settings)
    except SettingsError as exc:
        if needed_key is not None and str(exc).startswith(needed_key.name):
            key, address = (WRONG, str(exc)), (NOT_CHECKED, f"{title} is not asked without a key")
            clock = address
        else:
            address = (WRONG, str(exc))
    except NotServed as exc:
        address = (WRONG, str(exc))
    except AuthenticationError as exc:
        key, clock = (WRONG, str(exc)), (NOT_CHECKED, f"{title} rejected the key")
    except RateLimited:
        address = (GOOD, f"{title} answers")
        key = clock = (NOT_CHECKED, f"{title} is rate limited: try again in a minute")
    except WhalesyncError as exc:
        address = (WRONG, str(exc))
    else:
        key = (GOOD, f"{title} accepts it")
        clock = _clock(title, now, date, round((time.monotonic() - began) * SECOND))
    findings = [Finding("key", *key), Finding("address", *address), Finding("clock", *clock)]
    return findings if needed_key else findings[1:]


def _clock(title: str, asked_at: int, date: int | None, took: int) -> _Result:
    """Compare the clocks (ms)."""
    if date is None:
        return NOT_CHECKED, f"{title} sends no time"
    # The date is cut to the second, and was taken at some moment of the ``took`` ms of the request.
    ahead, behind = asked_at - (date + SECOND), date - (asked_at + took)
    off = max(ahead, behind) / SECOND
    if off <= CLOCK_WARNS_SECONDS:
        return GOOD, f"within {CLOCK_WARNS_SECONDS} s of {title}'s"
    how = "ahead of" if ahead > 0 else "behind"
    outcome = GOOD if off <= CLOCK_FAILS_SECONDS else WRONG
    return outcome, f"{off:.0f} s {how} {title}'s: synchronize it with 'sudo timedatectl set-ntp true'"


def _env_file(settings: Settings, key: Setting[Any] | None) -> _Result:
    """``key``: the one that the exchanges that are asked need, if they need any."""
    path, usual = settings.env_file, default_env_file()
    if path is None:
        if key is None:
            return GOOD, "none: no exchange on the watch list needs a key"
        line = f"printf '{key.name}=%s\\n' 'your key' > {_quoted(usual)}"
        how = f"make one with 'whalesync setup' or (umask 077; mkdir -p {_quoted(usual.parent)}; {line})"
        if secrets_of(settings):
            return GOOD, f"none: the key is in the environment, which cron does not have; for cron {how}"
        return WRONG, f"none: {how}"
    try:
        status = path.stat()
    except OSError as exc:
        return WRONG, f"{path} cannot be read ({exc.strerror}): make it, or correct {ENV_FILE.name}"
    if status.st_uid not in (0, os.geteuid()):
        return WRONG, f"{path} belongs to another user, who can change the key: {CHOWN} {_quoted(path)}"
    if status.st_mode & 0o077:
        return WRONG, f"other users may use {path}: chmod 600 {_quoted(path)}"
    return GOOD, f"only its owner may use {path}"


def _database(path: Path) -> _Result:
    try:
        with open_existing(path) as db:
            fault = fault_of(db)
    except StoreError as exc:
        return WRONG, str(exc)
    if fault is not None:
        return WRONG, f"{path} {fault}: {RESTORE}"
    if folder := interrupted(path):
        return WRONG, f"a restore was interrupted: run it again, or rm -r {_quoted(folder)}"
    return GOOD, f"{path} is intact (schema {SCHEMA_VERSION}, {size(path.stat().st_size)})"


def _permissions(path: Path) -> _Result:
    """Check the file, what is kept beside it, and the folder; a job run as root leaves files others cannot write."""
    folder = _existing(path.parent)
    closed = [] if os.access(folder, os.W_OK | os.X_OK) else [folder]
    if os.access(path.parent, os.R_OK | os.X_OK):
        for file in sorted(path.parent.iterdir()):
            is_lock = file.name.startswith(f"{path.name}.") and file.suffix in (".lock", ".rate")
            if (is_lock or file in (path, *beside(path))) and not os.access(file, os.R_OK | os.W_OK):
                closed.append(file)
    if closed:
        own = [each for each in closed if each.stat().st_uid == os.geteuid()]
        foreign = [each for each in closed if each not in own]
        commands = [
            " ".join([command, *map(_quoted, files)])
            for command, files in (("chmod u+rwX", own), (CHOWN, foreign))
            if files
        ]
        return WRONG, f"this user cannot write {', '.join(map(str, closed))}: {'; '.join(commands)}"
    if folder != path.parent:
        return GOOD, "this user can make the folder of the database"
    return (
        GOOD,
        "this user can write the database and its folder" if path.exists() else "this user can make the database",
    )


def _wal(path: Path) -> _Result:
    wal = path.with_name(path.name + "-wal")
    length = wal.stat().st_size if os.path.exists(wal) else 0  # noqa: PTH110  (see _existing)
    if length > MAX_WAL_BYTES:
        how = f"find it with 'fuser -v {_quoted(path)}' and end it"
        return WRONG, f"{wal} has grown to {size(length)}: a program keeps reading; {how}"
    if not os.path.exists(path):  # noqa: PTH110
        return NOT_CHECKED, "there is no database yet"
    return GOOD, "small: checkpoints succeed"


def _disk(path: Path) -> _Result:
    folder = _existing(path.parent)
    free = shutil.disk_usage(folder).free
    if free < MIN_FREE_BYTES:
        how = f"'du -xh {_quoted(folder)} | sort -h | tail' shows what takes the space"
        return WRONG, f"only {size(free)} free where the database is: {how}"
    return GOOD, f"{size(free)} free where the database is"


def _sqlite(version: tuple[int, ...]) -> _Result:
    """Name the version, and the fault of sqlite.org/wal.html#walresetbug; 3.44 and 3.50 were fixed too."""
    fixed = (3, 50, 7) <= version < (3, 51) or (3, 44, 6) <= version < (3, 45)
    text = ".".join(map(str, version))
    if (3, 7, 0) <= version <= (3, 51, 2) and not fixed:
        text += (
            " can, very rarely, damage a file that two programs write and checkpoint at the same time; whalesync's own "
            "checkpoints are made under one lock, which excludes it: let no other program write to the file"
        )
    return GOOD, text


def _cron(settings: Settings, text: str, program: Sequence[str] | None, jobs_run: bool) -> _Result:
    lines, commented_out = crontab.find_lines(text), crontab.find_lines(text, commented_out=True)
    missing = [job.command for job in JOBS if job.command not in lines and job.is_set_up(settings)]
    if not lines and jobs_run:
        return GOOD, "no active lines in this user's crontab, but the jobs run: something else starts them"
    faults = []
    if inactive := [command for command in missing if command in commented_out]:
        faults.append(f"commented out in this user's crontab: {', '.join(inactive)}; remove the '#' with 'crontab -e'")
    if absent := [command for command in missing if command not in commented_out]:
        how = "copy it from 'whalesync crontab' with 'crontab -e'"
        faults.append(f"no line for {', '.join(absent)}: {how}")
    if doubles := crontab.find_doubles(text):
        faults.append(f"more than one line for {', '.join(doubles)}: leave one of each with 'crontab -e'")
    if not lines and not inactive:
        how = "add its lines with 'whalesync setup', or set up systemd timers (README)"
        faults = [f"this user's crontab does not start the jobs: {how}"]
    if faults:
        return WRONG, "; ".join(faults)
    try:
        program = program or crontab.this_program()
    except SettingsError as exc:
        return WRONG, str(exc)
    for command, line in lines.items():
        if not crontab.starts(line, program):
            how = "replace it by that of 'whalesync crontab' with 'crontab -e'"
            return WRONG, f"the line for {command} starts another program: {how}"
        for name, here in ((DB.name, settings.db), (ENV_FILE.name, settings.env_file)):
            there = crontab.setting(line, name)
            if there is not None and there != str(here):
                how = f"sets {name} to {there}, but 'whalesync doctor' uses {here or 'none'}"
                mend = f"run it with the same {name}, or correct the line with 'crontab -e'"
                return WRONG, f"the line for {command} {how}: {mend}"
    return GOOD, "all jobs are in this user's crontab and start this program"


def _are_regular(runs: Sequence[int], now: int) -> bool:
    """Return whether runs are spread out and recent: somebody who tries things by hand starts a few in a row."""
    if len(runs) < REGULAR_RUNS:
        return False
    newest, oldest = runs[0], runs[-1]
    return now - LATELY_MS < newest and now - REGULAR_MS < oldest < newest - LATELY_MS


def _alerts(settings: Settings, stored: _Stored | None) -> _Result:
    try:
        path, found = rules.alerts_file(settings), rules.load(settings)
        rules.check_whales(found, stored.known if stored else (), path)
        targets.check_installed(found)
    except SettingsError as exc:
        return WRONG, str(exc)
    if path is None:
        return GOOD, f"off; rules in {default_alerts_file()} turn them on"
    lost = stored.failed if stored else 0
    failed = f"; {counted(lost, 'message')} failed: see 'whalesync alerts'" if lost else ""
    return GOOD, f"{counted(len(found), 'rule')} in {path}{failed}"


def _postgresql(settings: Settings) -> _Result:
    """Connect as ``publish`` does, and look; nothing is made or changed."""
    if not PUBLISH.is_set_up(settings):
        return GOOD, f"off; with {PUBLISH_URL.name} set, publish copies the file to a server"
    try:
        with open_existing(settings.db) as db, publish.serving(settings, db) as (server, name):
            found = server.standing()
    except NoDatabase:
        return NOT_CHECKED, "there is no database to publish yet"
    except WhalesyncError as exc:
        return WRONG, str(exc)
    if not found.may_write:
        return WRONG, "this user may not make the schema whalesync, or write to it: publish as its owner"
    if found.missing_roles and found.schema:
        missing = " ".join(f"CREATE ROLE {role} NOLOGIN;" for role in found.missing_roles)
        return WRONG, f"roles of the tiers are missing: let an administrator run: {missing}"
    when = (
        "not published yet" if found.published is None else f"published {duration(round(found.published * SECOND))} ago"
    )
    return GOOD, f"server {found.version} can be written, schema {found.schema or 'not made yet'}; {name}: {when}"


def _pings(url: str | None) -> _Result:
    if not url:
        return GOOD, f"off; with {PING_URL.name} set, a monitor raises the alarm when the jobs stop"
    try:
        check_url(url)
    except ValueError as exc:
        return WRONG, f"{PING_URL.name} {exc}"
    return GOOD, "on: the monitor is pinged by every run"


def _existing(folder: Path) -> Path:
    """Return the folder, or the nearest one above it that exists."""
    # Path.exists() would raise where a folder above may not be entered.
    return next(place for place in (folder, *folder.parents) if os.path.exists(place))  # noqa: PTH110


def _quoted(path: Path) -> str:
    """Return a path as the shell takes it, quoted in any case."""
    return "'" + str(path).replace("'", "'\"'\"'") + "'"
