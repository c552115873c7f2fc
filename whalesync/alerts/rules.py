"""The alerts file: read, and checked as a whole before anything is sent.

Every fault is told in one line with the file, the rule and the cause, and never with an address or a secret.
"""

from __future__ import annotations

import math
import re
import sqlite3
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from whalesync.alerts.model import Quiet, Rule, is_webhook
from whalesync.errors import SettingsError
from whalesync.exchanges import EXCHANGES
from whalesync.records import TIER_DELAYS_MS
from whalesync.settings import ALERTS_FILE, Settings, default_alerts_file, is_loopback
from whalesync.units import DAY, MINUTE, parse_span

MAX_NAME_CHARS = 100
MOST_FOLD_MS = DAY
LEAST_AGE_MS = MINUTE  # that a trade has for being synced, beyond the delay of the tier

_HOURS = re.compile(r"([01]\d|2[0-3]):([0-5]\d)\s*-\s*([01]\d|2[0-3]):([0-5]\d)(?:\s+(\S+))?")
_APPRISE_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://\S+")
_SECRET_BYTES = range(24, 65)  # Standard Webhooks: from 192 to 512 bits


def alerts_file(settings: Settings) -> Path | None:
    """Return where the rules are: the file that is set, or the usual one if it is there."""
    if named := settings.get(ALERTS_FILE):
        return named
    usual = default_alerts_file()
    try:
        return usual if usual.exists() else None
    except OSError:  # a folder that may not be entered, as with another user's HOME
        return None


def are_set_up(settings: Settings) -> bool:
    """Whether there is anything for ``send-alerts`` to do; a file with a fault counts, so that the fault is told."""
    try:
        return bool(load(settings))
    except SettingsError:
        return True


def load(settings: Settings) -> list[Rule]:
    """Read the rules; none without a file.

    Raises:
        SettingsError: the file cannot be read, or others than its owner can read it; or a rule is wrong.
    """
    path = alerts_file(settings)
    return [] if path is None else read(path)


def read(path: Path) -> list[Rule]:
    """Read and check the rules of a file.

    Raises:
        SettingsError: as for ``load``.
    """
    import tomllib

    text = _text(path)
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as exc:
        # Only where: what stands there may be a secret.
        place = re.search(r" \(at [^()]*\)$", str(exc))
        raise SettingsError(f"the alerts file {path} is not valid TOML{place[0] if place else ''}") from None
    except RecursionError:
        raise SettingsError(f"the alerts file {path} is not valid TOML") from None
    if unknown := sorted(set(content) - {"alert"}):
        raise SettingsError(f"the alerts file {path} has {unknown[0][:40]!r}, which is not [[alert]]")
    tables = content.get("alert", [])
    if not isinstance(tables, list) or not all(isinstance(each, dict) for each in tables):
        raise SettingsError(f"the alerts file {path} has [alert]: write [[alert]] for each rule")
    rules: list[Rule] = []
    for number, table in enumerate(tables, start=1):
        called = table.get("name")
        where = repr(called[:40]) if isinstance(called, str) and called else f"number {number}"
        try:
            rule = _rule(table)
            if any(rule.name == each.name for each in rules):
                raise ValueError("name: another rule has the same")
        except ValueError as exc:
            raise SettingsError(f"the alerts file {path}, rule {where}: {exc}") from None
        rules.append(rule)
    return rules


def secrets_of(rules: Iterable[Rule]) -> list[str]:
    """Return what must appear in no output: the addresses and the secrets."""
    return [text for rule in rules for text in (*rule.targets, rule.secret) if text]


def whales_of(rule: Rule, known: Iterable[sqlite3.Row], path: object) -> set[int]:
    """Return the ids of the wallets that a rule is about.

    Args:
        known: the watch list: id, platform, address and label (``store.whales.addresses``).
        path: of the alerts file, for the message.

    Raises:
        SettingsError: the rule names a whale that is not on the watch list.
    """
    known = [whale for whale in known if rule.exchanges is None or whale["platform"] in rule.exchanges]
    if rule.whales is None:
        return {whale["id"] for whale in known}
    found: set[int] = set()
    for name in rule.whales:
        wanted = name.strip().casefold()
        hits = [
            whale["id"] for whale in known if wanted in (whale["address"].casefold(), (whale["label"] or "").casefold())
        ]
        if not hits:
            where = "the watch list" if rule.exchanges is None else f"the watch list of {', '.join(rule.exchanges)}"
            raise SettingsError(
                f"the alerts file {path}, rule {rule.name[:40]!r}: whales: {name[:50]!r} is not on {where};"
                " see 'whalesync whales list'"
            )
        found.update(hits)
    return found


def check_whales(rules: Iterable[Rule], known: Iterable[sqlite3.Row], path: object) -> None:
    """Check that every whale that a rule names is on the watch list.

    Raises:
        SettingsError: as for ``whales_of``.
    """
    known = list(known)
    for rule in rules:
        whales_of(rule, known, path)


def _text(path: Path) -> str:
    try:
        if path.exists() and not path.is_file():  # reading a pipe would wait for ever
            raise SettingsError(f"the alerts file {path} is not a regular file")
        mode = path.stat().st_mode
        if mode & 0o077:
            raise SettingsError(
                f"the alerts file {path} holds secrets and others than its owner may use it: 'chmod 600 {path}'"
            )
        return path.read_text(encoding="utf-8")
    except OSError as exc:
        raise SettingsError(f"cannot read the alerts file {path} ({exc.strerror})") from exc
    except UnicodeDecodeError:
        raise SettingsError(f"the alerts file {path} is not UTF-8 text") from None


def _rule(table: Mapping[str, Any]) -> Rule:
    """Make a rule of its table; raises ValueError with the name of what is wrong, and the cause."""
    if unknown := sorted(set(table) - set(_FIELDS)):
        from difflib import get_close_matches

        near = get_close_matches(unknown[0], _FIELDS, n=1)
        raise ValueError(
            f"{unknown[0][:40]!r} is not a setting of rules{f': did you mean {near[0]!r}?' if near else ''}"
        )
    values: dict[str, Any] = {}
    for name in ("name", "to"):
        if name not in table:
            raise ValueError(f"{name}: is missing")
    for name, value in table.items():
        field, parse = _FIELDS[name]
        try:
            values[field] = parse(value)
        except ValueError as exc:
            raise ValueError(f"{name}: {exc}") from None
    rule = Rule(**values)
    least, most = rule.min_price, rule.max_price
    if least is not None and most is not None and least > most:
        raise ValueError("min_price: is above max_price")
    if rule.max_age_ms < TIER_DELAYS_MS[rule.tier] + LEAST_AGE_MS:
        raise ValueError(f"max_age: must be a minute longer than the delay of the tier {rule.tier!r}, or more")
    return rule


def _name(value: object) -> str:
    text = _text_of(value)
    if text != text.strip() or not text.isprintable() or len(text) > MAX_NAME_CHARS:
        raise ValueError(f"must be at most {MAX_NAME_CHARS} printable characters, without spaces around them")
    return text


def _targets(value: object) -> tuple[str, ...]:
    targets = _texts([value] if isinstance(value, str) else value)
    for number, address in enumerate(targets, start=1):
        which = f"address {number}" if len(targets) > 1 else "the address"
        if not _APPRISE_ADDRESS.fullmatch(address):
            raise ValueError(f"{which} must be like https://example.com/hook, or one that apprise knows")
        if is_webhook(address):
            _check_webhook(address, which)
    if len(set(targets)) < len(targets):
        raise ValueError("an address is there twice")
    return targets


def _check_webhook(address: str, which: str) -> None:
    from urllib.parse import urlsplit

    try:
        parts = urlsplit(address)
        usable = bool(parts.hostname) and (parts.port is None or parts.port > 0)
        (parts.hostname or "").encode("idna")
    except ValueError:
        usable = False
    if not usable or not address.isascii() or not address.isprintable():
        raise ValueError(f"{which} must be like https://example.com/hook")
    if "@" in parts.netloc or parts.fragment:
        raise ValueError(f"{which} must have neither a user nor a fragment")
    if parts.scheme == "http" and not is_loopback(address):
        raise ValueError(f"{which} must be https; http is allowed on loopback only")


def _secret(value: object) -> str:
    from base64 import b64decode
    from binascii import Error

    text = value if isinstance(value, str) else ""
    try:
        key = b64decode(text.removeprefix("whsec_"), validate=True)
    except (Error, ValueError):
        key = b""
    if not text.startswith("whsec_") or len(key) not in _SECRET_BYTES:
        raise ValueError('must be "whsec_" and 24 to 64 bytes in base64, as of: openssl rand -base64 32')
    return text


def _number(least: float, most: float) -> Callable[[object], float]:
    def parse(value: object) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
            raise ValueError(f"must be a number from {least:g}" + ("" if math.isinf(most) else f" to {most:g}"))
        if math.isinf(value):
            raise ValueError("must be a finite number")
        return float(value)

    return parse


def _text_of(value: object) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError("must be text")
    return value


def _texts(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not value or not all(isinstance(each, str) and each.strip() for each in value):
        raise ValueError('must be a list of texts, such as ["one", "two"]')
    return tuple(value)


def _one_of(choices: Iterable[str]) -> Callable[[object], str]:
    names = tuple(choices)

    def parse(value: object) -> str:
        if value not in names:
            raise ValueError(f"must be one of {', '.join(names)}")
        return str(value)

    return parse


def _exchanges(value: object) -> tuple[str, ...]:
    return tuple(map(_one_of(EXCHANGES), _texts(value)))


def _actions(value: object) -> tuple[str, ...]:
    return tuple(text.strip().upper() for text in _texts(value))


def _span(least: int, most: int, words: str) -> Callable[[object], int]:
    def parse(value: object) -> int:
        span = parse_span(value) if isinstance(value, str) else None
        if span is None or not least <= span <= most:
            raise ValueError(f"must be a time such as {words}")
        return span

    return parse


def _quiet(value: object) -> Quiet:
    found = _HOURS.fullmatch(value.strip()) if isinstance(value, str) else None
    if not found:
        raise ValueError('must be hours and a time zone, such as "22:00-07:00 Europe/Berlin"')
    start, end = (int(found[hour]) * 60 + int(found[hour + 1]) for hour in (1, 3))
    if start == end:
        raise ValueError("starts and ends at the same time")
    zone = found[5] or "UTC"
    if zone != "UTC":
        _check_zone(zone)
    return Quiet(start, end, zone)


def _check_zone(zone: str) -> None:
    from zoneinfo import ZoneInfo, available_timezones

    try:
        ZoneInfo(zone)
    except (OSError, ValueError):  # ZoneInfoNotFoundError is a KeyError
        raise ValueError(f"{zone[:40]!r} is not a time zone, such as Europe/Berlin") from None
    except KeyError:
        if not available_timezones():
            raise ValueError("this system has no time zones: 'pip install tzdata', or give the hours in UTC") from None
        raise ValueError(f"{zone[:40]!r} is not a time zone, such as Europe/Berlin") from None


_FIELDS: dict[str, tuple[str, Callable[[object], object]]] = {
    "name": ("name", _name),
    "to": ("targets", _targets),
    "secret": ("secret", _secret),
    "min_usd": ("min_usd", _number(0, math.inf)),
    "whales": ("whales", _texts),
    "exchanges": ("exchanges", _exchanges),
    "markets": ("markets", _texts),
    "categories": ("categories", _texts),
    "actions": ("actions", _actions),
    "min_price": ("min_price", _number(0, 1)),
    "max_price": ("max_price", _number(0, 1)),
    "tier": ("tier", _one_of(TIER_DELAYS_MS)),
    "fold": ("fold_ms", _span(1, MOST_FOLD_MS, '"30m", at most "24h"')),
    "quiet": ("quiet", _quiet),
    "max_age": ("max_age_ms", _span(1, 90 * DAY, '"6h"')),
}
"""The names in the file, with the field of ``Rule`` and what makes its value."""
