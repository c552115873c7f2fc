"""The check-up: one line for each thing that must be right on this host, good or what to do.

It looks and touches nothing, and no line ever holds the key.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from whalesync.errors import KeyRefused, RateLimited, SettingsError, StoreError, WhalesyncError
from whalesync.host import crontab
from whalesync.host.ping import hide
from whalesync.settings import Settings, check_url, default_env_file
from whalesync.store.database import RESTORE, SCHEMA_VERSION, open_existing
from whalesync.store.log import runs_of

CLOCK_WARNS_SECONDS = 5
CLOCK_FAILS_SECONDS = 60
MAX_WAL_BYTES = 256 * 2**20  # every job empties it, so this much is hours of a reader that never lets go
MIN_FREE_BYTES = 100 * 2**20
REGULAR_RUNS = 5  # so many runs of sync-whales within ...
REGULAR_MS = 10 * 60_000  # ... this time are not somebody trying it out by hand
LATELY_MS = 3 * 60_000  # ... the newest of them no older, and the oldest this much older than it


@dataclass(frozen=True)
class Finding:
    """What was looked at, whether it is right, and what is good or what to do, in one line."""

    name: str
    ok: bool
    text: str


def examine(
    settings: Settings,
    *,
    now: int,
    probe: Callable[[], float | None],
    crontab_text: Callable[[], str | None],
    program: Sequence[str],
) -> list[Finding]:
    """All findings, in the order in which things are set up.

    Args:
        settings: what this host is set to.
        now: this host's clock, ms.
        probe: makes one request with the key; returns the answer's ``Date`` in Unix seconds, None without one.
        crontab_text: this user's crontab, None if there is none (see ``crontab.installed_text``).
        program: how this program is started (see ``crontab.this_program``).
    """
    findings = [
        *_exchange(settings, now, probe),
        _env_file(settings),
        _database(settings.db),
        _rights(settings.db),
        _wal(settings.db),
        _disk(settings.db),
        _sqlite(sqlite3.sqlite_version_info),
        _cron(settings, crontab_text(), program, started_anyway=_started_regularly(settings.db, now)),
        _pings(settings.ping_url),
    ]
    secrets = {settings.api_key or "", settings.ping_url or ""}
    return [replace(finding, text=_one_line(hide(finding.text, secrets))) for finding in findings]


def _exchange(settings: Settings, now: int, probe: Callable[[], float | None]) -> Iterator[Finding]:
    """Key, address and clock: one request tells of all three."""
    not_compared = Finding("clock", False, "not compared: the exchange was not reached")
    try:
        settings.checked_key()
    except SettingsError as exc:
        yield Finding("key", False, str(exc))
        yield Finding("address", False, "not asked: there is no key to ask with")
        yield not_compared
        return
    began = time.monotonic()
    try:
        url = settings.checked_api_url()
        date = probe()
    except KeyRefused as exc:
        yield Finding("key", False, f"{exc}: copy it anew from the exchange into the env file")
        yield Finding("address", True, f"{settings.api_url} answers")
        yield replace(not_compared, text="not compared: the exchange refused the key")
    except RateLimited:
        yield Finding("key", True, "set; not tried, since the exchange is busy with the jobs' requests")
        yield Finding(
            "address", True, f"{settings.api_url} answers, but asks for patience: try again in a minute"
        )
        yield Finding("clock", True, "not compared: the exchange is busy")
    except WhalesyncError as exc:
        yield Finding("key", True, "set; not tried")
        yield Finding("address", False, str(exc))
        yield not_compared
    else:
        yield Finding("key", True, "set, and the exchange accepts it")
        yield Finding("address", True, f"{url} answers")
        yield _clock(now / 1000, date, time.monotonic() - began)


def _clock(asked_at: float, date: float | None, took: float) -> Finding:
    if date is None:
        return Finding("clock", True, "not compared: the exchange names no time")
    # The date is cut to the second, and was taken at some moment of the ``took`` seconds of the request.
    ahead, behind = asked_at - (date + 1), date - (asked_at + took)
    off = max(ahead, behind)
    if off <= CLOCK_WARNS_SECONDS:
        return Finding("clock", True, f"within {CLOCK_WARNS_SECONDS} s of the exchange's")
    text = (
        f"{off:.0f} s {'ahead of' if ahead > 0 else 'behind'} the exchange's: keep it by NTP ('timedatectl')"
    )
    return Finding("clock", off <= CLOCK_FAILS_SECONDS, text)


def _env_file(settings: Settings) -> Finding:
    path = settings.env_file
    if path is None and settings.api_key:
        usual = default_env_file()
        return Finding(
            "env file", True, f"none: the key is in the environment, which cron lacks; for cron: {usual}"
        )
    if path is None:
        return Finding("env file", False, f"none: make {default_env_file()}, mode 600, with the key in it")
    try:
        status = path.stat()
    except OSError as exc:
        return Finding("env file", False, f"{path} cannot be read ({exc.strerror})")
    if status.st_mode & 0o077:
        return Finding("env file", False, f"others than its owner may use {path}: chmod 600 '{path}'")
    if status.st_uid not in (0, os.geteuid()):
        return Finding("env file", False, f"{path} belongs to another user, who can change the key: chown it")
    return Finding("env file", True, f"{path} is for its owner alone")


def _database(path: Path) -> Finding:
    try:
        with open_existing(path) as db:
            fault = db.value("PRAGMA quick_check(1)")
            orphan = db.one("PRAGMA foreign_key_check")
    except StoreError as exc:
        return Finding("database", False, str(exc))
    if fault != "ok":
        return Finding("database", False, f"{path} is damaged ({fault}): {RESTORE}")
    if orphan is not None:
        return Finding(
            "database", False, f"{path}: a row of {orphan[0]} points to none in {orphan[2]}: {RESTORE}"
        )
    return Finding("database", True, f"{path} is sound (schema {SCHEMA_VERSION}, {_megabytes(path)})")


def _rights(path: Path) -> Finding:
    """The file, what stands beside it, and the folder; a job run once as root leaves files others cannot write."""
    folder = _existing(path.parent)
    beside = [file for file in _beside(path) if not os.access(file, os.R_OK | os.W_OK)]
    if not os.access(folder, os.W_OK | os.X_OK):
        beside.insert(0, folder)
    if beside:
        return Finding(
            "rights", False, f"this user cannot write {', '.join(map(str, beside))}: chown what is not yours"
        )
    return Finding("rights", True, "the database and its folder can be written")


def _wal(path: Path) -> Finding:
    wal = path.with_name(path.name + "-wal")
    size = wal.stat().st_size if os.path.exists(wal) else 0  # noqa: PTH110  (see _existing)
    if size > MAX_WAL_BYTES:
        text = (
            f"{wal} has grown to {_megabytes(wal)}: a program keeps reading; find it with 'fuser' and end it"
        )
        return Finding("wal", False, text)
    return Finding("wal", True, "small: checkpoints get through")


def _disk(path: Path) -> Finding:
    free = shutil.disk_usage(_existing(path.parent)).free
    text = f"{free / 2**20:.0f} MB free where the database is"
    if free < MIN_FREE_BYTES:
        return Finding("disk", False, f"only {text}: make room")
    return Finding("disk", True, text)


def _sqlite(version: tuple[int, ...]) -> Finding:
    """Names the versions of sqlite.org/wal.html#walresetbug; 3.44 and 3.50 got the mending too."""
    mended = (version[:2] == (3, 50) and version >= (3, 50, 7)) or (
        version[:2] == (3, 44) and version >= (3, 44, 6)
    )
    text = ".".join(map(str, version))
    if (3, 7, 0) <= version <= (3, 51, 2) and not mended:
        text += (
            " can, very rarely, damage a file that two programs write and checkpoint at once; whalesync's checkpoints "
            "happen under one lock, which rules it out: let no other program write to the file"
        )
    return Finding("sqlite", True, text)


def _cron(settings: Settings, text: str | None, program: Sequence[str], *, started_anyway: bool) -> Finding:
    lines = crontab.find_lines(text or "")
    if not lines and started_anyway:
        return Finding(
            "cron", True, "no lines in this user's crontab, but the jobs run: something else starts them"
        )
    if not lines:
        how = "append them with '(crontab -l; whalesync crontab) | crontab -', or set up systemd timers (README)"
        return Finding("cron", False, f"this user's crontab does not start the jobs: {how}")
    missing = [command for command in crontab.COMMANDS if command not in lines]
    if missing:
        return Finding("cron", False, f"no line for {', '.join(missing)}: take it from 'whalesync crontab'")
    for command, line in lines.items():
        if not crontab.starts(line, program):
            fault = f"the line for {command} starts another program than this one"
            return Finding("cron", False, f"{fault}: compare it with 'whalesync crontab'")
        for name, here in (("WHALESYNC_DB", settings.db), ("WHALESYNC_ENV_FILE", settings.env_file)):
            there = crontab.setting(line, name)
            if there is not None and there != str(here):
                fault = (
                    f"the line for {command} sets {name} to {there}, this check-up looked at {here or 'none'}"
                )
                return Finding("cron", False, f"{fault}: run it with the same {name}, or mend the line")
    return Finding("cron", True, "all four jobs are in this user's crontab and start this program")


def _started_regularly(path: Path, now: int) -> bool:
    try:
        with open_existing(path) as db:
            runs = runs_of(db, "whales", REGULAR_RUNS)
    except StoreError:
        return False
    if len(runs) < REGULAR_RUNS:
        return False
    newest, oldest = runs[0]["started_at"], runs[-1]["started_at"]
    # Spread out and lately: somebody who tries things by hand starts a few in a row.
    return bool(now - LATELY_MS < newest and now - REGULAR_MS < oldest < newest - LATELY_MS)


def _pings(url: str | None) -> Finding:
    if url is None:
        return Finding(
            "pings", True, "off; with WHALESYNC_PING_URL a monitor would speak up when the jobs fall silent"
        )
    try:
        check_url(url, "WHALESYNC_PING_URL")
    except SettingsError as exc:
        return Finding("pings", False, str(exc))
    return Finding("pings", True, "on: each run is told to the monitor")


def _existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that exists."""
    # Path.exists() would raise where a folder above may not be entered.
    return next(place for place in (folder, *folder.parents) if os.path.exists(place))  # noqa: PTH110


def _beside(path: Path) -> Iterator[Path]:
    """The database and what belongs to it: WAL, shared memory, lock files."""
    if not os.access(path.parent, os.R_OK | os.X_OK):
        return
    for file in sorted(path.parent.iterdir()):
        rest = file.name.removeprefix(path.name)
        if rest in ("", "-wal", "-shm") or (rest != file.name and rest.endswith(".lock")):
            yield file


def _megabytes(path: Path) -> str:
    return f"{path.stat().st_size / 2**20:.1f} MB"


def _one_line(text: str) -> str:
    """Without line breaks or escapes: parts of it come from outside."""
    return "".join(sign if sign.isprintable() else "?" for sign in " ".join(text.split()))
