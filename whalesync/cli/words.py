"""Reading what people type: addresses, labels, times; and the nearest right word for a wrong one."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from whalesync.errors import SettingsError, WhalesyncError
from whalesync.store import whales
from whalesync.store.database import Database, open_existing

_ADDRESS = re.compile(r"0x[0-9a-f]{40}")
_SPAN = re.compile(r"(\d{1,6})\s*([smhdw])")
_UNITS_MS = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}


def parse_address(text: str) -> str:
    """A wallet address in lower case.

    Raises:
        SettingsError: it is none.
    """
    address = text.strip().lower()
    if not _ADDRESS.fullmatch(address):
        what = f"{len(address)} characters" if address.startswith("0x") else repr(text[:50])
        raise SettingsError(f"an address is 0x and 40 hex digits, not {what}")
    return address


def find_whale(db: Database, text: str) -> str:
    """The address that ``text`` stands for: an address, or the label of a whale that is or was watched.

    Raises:
        SettingsError: neither, with the nearest label or address; or a label that several have.
    """
    if _ADDRESS.fullmatch(text.strip().lower()):
        return text.strip().lower()
    rows = [
        (str(row["label"]), str(row["address"]))
        for row in whales.addresses(db, everyone=True)
        if row["label"]
    ]
    hits = [address for label, address in rows if label == text] or [
        address for label, address in rows if label.casefold() == text.casefold()
    ]
    if len(hits) > 1:
        raise SettingsError(
            f"{len(hits)} whales are called {text[:50]!r}: name one by its address, {', '.join(hits)}"
        )
    if not hits:
        raise SettingsError(
            f"no whale is called {text[:50]!r}{did_you_mean(text, [w for row in rows for w in row])}"
        )
    return hits[0]


def did_you_mean(word: str, known: list[str]) -> str:
    """ "; did you mean …?", if something is near."""
    from difflib import get_close_matches

    near = get_close_matches(word, known, n=1, cutoff=0.6)
    return f"; did you mean {near[0]!r}?" if near else ": see 'whalesync whales list'"


def parse_since(text: str, now: int) -> int:
    """A moment in milliseconds, from a span back from ``now`` (24h, 7d) or an ISO time (UTC unless it says so).

    Raises:
        SettingsError: it is neither.
    """
    if span := _SPAN.fullmatch(text.strip().lower()):
        return now - int(span[1]) * _UNITS_MS[span[2]]
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        raise SettingsError(
            f"--since takes a span such as 30m, 24h or 7d, or a time such as 2026-03-01T12:00, not {text[:40]!r}"
        ) from None
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)


def complete_whale(incomplete: str) -> list[str]:
    """Addresses and labels from the watch list, for the shell's completion."""
    from whalesync.settings import Settings

    try:
        with open_existing(Settings.load().db) as db:
            words = [word for row in whales.addresses(db) for word in (row["label"], row["address"]) if word]
    except WhalesyncError:
        return []
    return [word for word in words if word.casefold().startswith(incomplete.casefold())]
