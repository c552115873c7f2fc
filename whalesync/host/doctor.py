"""The check-up: one line for each thing that must be right on this host, good or with what to do.

It changes nothing, and no line ever contains a secret.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from whalesync.alerts import rules, targets
from whalesync.errors import (
    AuthenticationError,
    NotServed,
    OutOfTime,
    RateLimited,
    SettingsError,
    StoreError,
    Unreachable,
    WhalesyncError,
)
from whalesync.exchanges import DEFAULT_EXCHANGE, EXCHANGES, secrets_of
from whalesync.exchanges.base import Exchange
from whalesync.host import crontab
from whalesync.jobs.table import JOBS, MINUTE, SECOND, SYNC_WHALES
from whalesync.redact import redact
from whalesync.settings import DB, ENV_FILE, PING_URL, Settings, check_url, default_alerts_file, default_env_file
from whalesync.store import alerts, trades, whales
from whalesync.store.copying import fault_of
from whalesync.store.database import RESTORE, SCHEMA_VERSION, beside, open_existing
from whalesync.store.sync_log import runs_of
from whalesync.store.totals import progress_of
from whalesync.text import counted, plain, size

PROBE_SECONDS = 15.0
CLOCK_WARNS_SECONDS = 5
CLOCK_FAILS_SECONDS = 60
MAX_WAL_BYTES = 256 * 2**20  # every job empties it, so this much is hours of a reader that never lets go
MIN_FREE_BYTES = 100 * 2**20
REGULAR_RUNS = 5  # so many runs of sync-whales within ...
REGULAR_MS = 10 * MINUTE  # ... this time are not somebody trying it out by hand
LATELY_MS = 3 * MINUTE  # ... the newest of them no older, and the oldest this much older than it

Probe = Callable[[Exchange, Settings], int | None]
_Result = tuple[bool, str]  # of a finding


@dataclass(frozen=True)
class Finding:
    """What was checked, whether it is right, and in one line how it is or what to do."""

    name: str
    ok: bool
    text: str


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
    in_use = [each for name, each in EXCHANGES.items() if name in (DEFAULT_EXCHANGE, *stored.wallets)]
    findings = [
        *(finding for each in in_use for finding in _exchange(each, settings, now, probe)),
        Finding("env file", *_env_file(settings)),
        Finding("database", *_database(path)),
        Finding("watch list", *_watch_list(stored.wallets)),
        Finding("permissions", *_permissions(path)),
        Finding("wal", *_wal(path)),
        Finding("disk", *_disk(path)),
        Finding("sqlite", *_sqlite(sqlite3.sqlite_version_info)),
        Finding("cron", *_cron(settings, crontab_text() or "", program, _are_regular(stored.starts, now))),
        Finding("alerts", *_alerts(settings, stored)),
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

    wallets: Mapping[str, Mapping[str, int | None]] = field(default_factory=dict)
    starts: Sequence[int] = ()
    known: Sequence[sqlite3.Row] = ()
    failed: int = 0


def _stored(path: Path) -> _Stored:
    try:
        with open_existing(path) as db:
            starts = [run["started_at"] for run in runs_of(db, SYNC_WHALES.type, REGULAR_RUNS)]
            wallets: dict[str, dict[str, int | None]] = {}
            for whale in whales.tracked(db):
                listed = progress_of(whale.platform, trades.state(db, whale.id)).listed
                wallets.setdefault(whale.platform, {})[whale.name] = listed
            return _Stored(wallets, starts, whales.addresses(db), alerts.failed_count(db))
    except StoreError:  # which has a finding of its own
        return _Stored()


def _watch_list(wallets: Mapping[str, Mapping[str, int | None]]) -> _Result:
    """Name the wallets of which their exchange lists nothing: it may be the wrong address of the right person."""
    count = sum(map(len, wallets.values()))
    if not count:
        return True, "empty: 'whalesync whales add ADDRESS' and 'whalesync whales discover' fill it"
    text = counted(count, "wallet")
    for name, listed in wallets.items():
        silent = [wallet for wallet, trades in listed.items() if trades == 0]
        if silent and name in EXCHANGES:
            more = f" and {len(silent) - 3} more" if len(silent) > 3 else ""
            text += f"; {', '.join(silent[:3])}{more}: {EXCHANGES[name].no_trades_hint}"
    return True, text


def _exchange(exchange: Exchange, settings: Settings, now: int, probe: Probe) -> list[Finding]:
    """Check key, if the exchange has one, address and clock: one request tells of all three."""
    title, has_key = exchange.title, any(setting.secret for setting in exchange.settings)
    key, address = (True, f"{title}: set; not tried"), (True, f"{title} answers")
    clock = (False, f"not compared: {title} was not reached")
    began = time.monotonic()
    try:
        exchange.check_settings(settings)
        date = probe(exchange, settings)
    except SettingsError as exc:
        wrong = next((each for each in exchange.settings if str(exc).startswith(each.name)), None)
        if wrong is not None and wrong.secret:
            key, address = (False, str(exc)), (False, f"{title}: not tried without a key")
        else:
            address = (False, str(exc))
    except NotServed as exc:
        address = (False, str(exc))
    except AuthenticationError as exc:
        key, clock = (False, str(exc)), (False, f"not compared: {title} rejected the key")
    except RateLimited:
        address = (True, f"{title} answers, but is rate limited: try again in a minute")
        clock = (True, f"not compared: {title} is rate limited")
    except WhalesyncError as exc:
        address = (False, str(exc))
    else:
        key = (True, f"{title} accepts it")
        clock = _clock(title, now, date, round((time.monotonic() - began) * SECOND))
    findings = [Finding("key", *key), Finding("address", *address), Finding("clock", *clock)]
    return findings if has_key else findings[1:]


def _clock(title: str, asked_at: int, date: int | None, took: int) -> _Result:
    """Compare the clocks (ms)."""
    if date is None:
        return True, f"not compared: {title} sends no time"
    # The date is cut to the second, and was taken at some moment of the ``took`` ms of the request.
    ahead, behind = asked_at - (date + SECOND), date - (asked_at + took)
    off = max(ahead, behind) / SECOND
    if off <= CLOCK_WARNS_SECONDS:
        return True, f"within {CLOCK_WARNS_SECONDS} s of {title}'s"
    how = "ahead of" if ahead > 0 else "behind"
    return off <= CLOCK_FAILS_SECONDS, f"{off:.0f} s {how} {title}'s: synchronize it by NTP ('timedatectl')"


def _env_file(settings: Settings) -> _Result:
    path, usual = settings.env_file, default_env_file()
    if path is None and secrets_of(settings):
        return True, f"none: the key is in the environment, which cron does not have; for cron: {usual}"
    if path is None:
        return False, f"none: make {usual}, mode 600, with the key in it"
    try:
        status = path.stat()
    except OSError as exc:
        return False, f"{path} cannot be read ({exc.strerror})"
    if status.st_mode & 0o077:
        return False, f"other users may use {path}: chmod 600 '{path}'"
    if status.st_uid not in (0, os.geteuid()):
        return False, f"{path} belongs to another user, who can change the key: chown it"
    return True, f"only its owner may use {path}"


def _database(path: Path) -> _Result:
    try:
        with open_existing(path) as db:
            fault = fault_of(db)
    except StoreError as exc:
        return False, str(exc)
    if fault is not None:
        return False, f"{path} {fault}: {RESTORE}"
    return True, f"{path} is intact (schema {SCHEMA_VERSION}, {size(path.stat().st_size)})"


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
        return False, f"this user cannot write {', '.join(map(str, closed))}: chown what is not yours"
    if folder != path.parent:
        return True, f"the first job will make {path.parent}"
    return True, "this user can write the database and its folder"


def _wal(path: Path) -> _Result:
    wal = path.with_name(path.name + "-wal")
    length = wal.stat().st_size if os.path.exists(wal) else 0  # noqa: PTH110  (see _existing)
    if length > MAX_WAL_BYTES:
        return (
            False,
            f"{wal} has grown to {size(length)}: a program keeps reading; find it with 'fuser' and end it",
        )
    return True, "small: checkpoints succeed"


def _disk(path: Path) -> _Result:
    free = shutil.disk_usage(_existing(path.parent)).free
    if free < MIN_FREE_BYTES:
        return False, f"only {size(free)} free where the database is: free some space"
    return True, f"{size(free)} free where the database is"


def _sqlite(version: tuple[int, ...]) -> _Result:
    """Name the version, and the fault of sqlite.org/wal.html#walresetbug; 3.44 and 3.50 were fixed too."""
    fixed = (3, 50, 7) <= version < (3, 51) or (3, 44, 6) <= version < (3, 45)
    text = ".".join(map(str, version))
    if (3, 7, 0) <= version <= (3, 51, 2) and not fixed:
        text += (
            " can, very rarely, damage a file that two programs write and checkpoint at the same time; whalesync's own "
            "checkpoints are made under one lock, which excludes it: let no other program write to the file"
        )
    return True, text


def _cron(settings: Settings, text: str, program: Sequence[str] | None, jobs_run: bool) -> _Result:
    lines, commented_out = crontab.find_lines(text), crontab.find_lines(text, commented_out=True)
    missing = [job.command for job in JOBS if job.command not in lines and job.is_set_up(settings)]
    if not lines and jobs_run:
        return True, "no lines in this user's crontab, but the jobs run: something else starts them"
    if inactive := [command for command in missing if command in commented_out]:
        return False, f"commented out in this user's crontab: {', '.join(inactive)}; remove the '#'"
    if not lines:
        how = "append them with '(crontab -l; whalesync crontab) | crontab -', or set up systemd timers (README)"
        return False, f"this user's crontab does not start the jobs: {how}"
    if missing:
        return False, f"no line for {', '.join(missing)}: copy it from 'whalesync crontab'"
    try:
        program = program or crontab.this_program()
    except SettingsError as exc:
        return False, str(exc)
    for command, line in lines.items():
        if not crontab.starts(line, program):
            return (
                False,
                f"the line for {command} starts another program: compare it with 'whalesync crontab'",
            )
        for name, here in ((DB.name, settings.db), (ENV_FILE.name, settings.env_file)):
            there = crontab.setting(line, name)
            if there is not None and there != str(here):
                how = f"sets {name} to {there}, but this check-up uses {here or 'none'}"
                return (
                    False,
                    f"the line for {command} {how}: run it with the same {name}, or correct the line",
                )
    return True, "all jobs are in this user's crontab and start this program"


def _are_regular(runs: Sequence[int], now: int) -> bool:
    """Return whether runs are spread out and recent: somebody who tries things by hand starts a few in a row."""
    if len(runs) < REGULAR_RUNS:
        return False
    newest, oldest = runs[0], runs[-1]
    return now - LATELY_MS < newest and now - REGULAR_MS < oldest < newest - LATELY_MS


def _alerts(settings: Settings, stored: _Stored) -> _Result:
    try:
        path, found = rules.alerts_file(settings), rules.load(settings)
        rules.check_whales(found, stored.known, path)
        targets.check_installed(found)
    except SettingsError as exc:
        return False, str(exc)
    if path is None:
        return True, f"off; rules in {default_alerts_file()} turn them on"
    failed = f"; {counted(stored.failed, 'message')} failed: see 'whalesync alerts'" if stored.failed else ""
    return True, f"{counted(len(found), 'rule')} in {path}{failed}"


def _pings(url: str | None) -> _Result:
    if not url:
        return True, f"off; with {PING_URL.name} set, a monitor raises the alarm when the jobs stop"
    try:
        check_url(url)
    except ValueError as exc:
        return False, f"{PING_URL.name} {exc}"
    return True, "on: the monitor is pinged by every run"


def _existing(folder: Path) -> Path:
    """Return the folder, or the nearest one above it that exists."""
    # Path.exists() would raise where a folder above may not be entered.
    return next(place for place in (folder, *folder.parents) if os.path.exists(place))  # noqa: PTH110
