"""What ``setup`` decides: whether a key works, what the env file lacks, which cron lines are missing, a first alert."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum, auto
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

from whalesync.errors import AuthenticationError, NotServed, SettingsError, UsageError, WhalesyncError
from whalesync.exchanges.base import Exchange
from whalesync.host import crontab
from whalesync.host.doctor import Probe, probe
from whalesync.host.env_file import write_private
from whalesync.jobs.table import JOBS, Job
from whalesync.settings import ENV_FILE, Setting, Settings

Item = TypeVar("Item")


class Verdict(Enum):
    """What one request has shown about a key."""

    ACCEPTED = auto()
    REJECTED = auto()
    UNKNOWN = auto()
    """The exchange did not answer, or not on account of the key."""


def try_key(exchange: Exchange, settings: Settings, probe: Probe = probe) -> tuple[Verdict, str]:
    """Make one request with the key of the settings; returns the verdict, and in one line why."""
    try:
        probe(exchange, settings)
    except NotServed as exc:
        return Verdict.UNKNOWN, str(exc)
    except (AuthenticationError, SettingsError) as exc:
        return Verdict.REJECTED, str(exc)
    except WhalesyncError as exc:
        return Verdict.UNKNOWN, f"the key could not be tried: {exc}"
    return Verdict.ACCEPTED, f"{exchange.title} accepts the key"


def with_values(settings: Settings, values: Mapping[str, str]) -> Settings:
    """Return the settings with other values."""
    return replace(settings, values={**settings.values, **values})


def missing_values(
    declared: Sequence[Setting[Any]],
    *,
    in_file: Mapping[str, str],
    given: Mapping[str, str],
    environ: Mapping[str, str],
) -> dict[str, str]:
    """Return what the env file needs so that cron, which has no environment, runs with the same settings.

    What was given for ``setup`` replaces what the file has; what is in the environment only adds to it.
    """
    wanted = {each.name: given.get(each.name) or environ.get(each.name) for each in declared if each is not ENV_FILE}
    return {
        name: text
        for name, text in wanted.items()
        if text and (name not in in_file or (name in given and in_file[name] != text))
    }


@dataclass(frozen=True)
class CronPlan:
    """Which jobs a crontab starts, which it would if their line were not commented out, and which it lacks."""

    present: Sequence[Job]
    commented_out: Sequence[Job]
    missing: Sequence[Job]


def plan_cron(text: str) -> CronPlan:
    """Return what is to be done to a crontab. A line that is there, or was there and is commented out, is not added."""
    active, inactive = crontab.find_lines(text), crontab.find_lines(text, commented_out=True)
    return CronPlan(
        [job for job in JOBS if job.command in active],
        [job for job in JOBS if job.command in inactive and job.command not in active],
        [job for job in JOBS if job.command not in active and job.command not in inactive],
    )


def chosen(text: str, items: Sequence[Item], parse: Callable[[str], Item]) -> list[Item]:
    """Return what an answer chooses: numbers and ranges (``1, 3-5``) of ``items``; ``parse`` makes the rest.

    Raises:
        UsageError: a number is not in the list; or what ``parse`` raises.
    """
    found: list[Item] = []
    for word in re.split(r"[\s,]+", text.strip()):
        if numbers := re.fullmatch(r"(\d{1,4})(?:-(\d{1,4}))?", word):
            first, last = int(numbers[1]), int(numbers[2] or numbers[1])
            if not 1 <= first <= last <= len(items):
                raise UsageError(f"there is no {word} in a list of {len(items)}")
            found += items[first - 1 : last]
        elif word:
            found.append(parse(word))
    return found


RULE_NAME = "large trades"
RULE_MIN_USD = 10_000


def alert_rules(address: str) -> str:
    """Return the text of an alerts file with one rule; ``address`` is that of its target."""
    # A JSON string is a TOML string, too.
    return (
        f"[[alert]]\nname = {json.dumps(RULE_NAME)}\nto = [{json.dumps(address)}]\n"
        f'min_usd = {RULE_MIN_USD}  # of a trade as a person sees it: its fills together\nfold = "30m"\n'
    )


def write_alert_rules(path: Path, address: str) -> None:
    """Make the alerts file; ``path`` must not exist.

    Raises:
        SettingsError: it cannot be written, or no alerts can go to this address; nothing was changed.
    """
    from whalesync.alerts import rules, targets

    text = alert_rules(address)
    with TemporaryDirectory() as folder:
        tried = Path(folder) / path.name
        write_private(tried, text)
        try:
            targets.check_installed(rules.read(tried))
        except SettingsError as exc:
            raise SettingsError(str(exc).replace(str(tried), str(path))) from None
    try:
        write_private(path, text)
    except OSError as exc:
        raise SettingsError(f"cannot write the alerts file {path} ({exc.strerror})") from exc
