"""Redaction: which values are secret, and what is left of a text."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.second_exchange import SecondExchange, Server

from whalesync.exchanges import EXCHANGES
from whalesync.redact import redact, secrets_of
from whalesync.settings import Setting, Settings


def test_the_longest_secret_goes_first() -> None:
    """A secret that is part of another leaves no remainder of the longer one."""
    assert redact("secret-key-and-more secret-key", ["secret-key", "secret-key-and-more"]) == "*** ***"


def test_short_secrets_stay() -> None:
    """They are part of ordinary words; an empty one is part of every text."""
    assert redact("a market of markets", ["market", ""]) == "a market of markets"


def test_the_secrets_of_every_exchange_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """The key of each, and the monitor's address, as they appear in a request; nothing that is not secret."""
    second = SecondExchange(Server())
    second.settings = [Setting("SECOND_TOKEN", "its token", str, "", secret=True)]
    monkeypatch.setitem(EXCHANGES, "second", second)
    values = {
        "OPINION_TRADE_API_KEY": " key-of-the-first ",
        "SECOND_TOKEN": "key-of-the-second",
        "WHALESYNC_PING_URL": "https://monitor.example/uuid",
        "WHALESYNC_API_URL": "https://exchange.example",
        "OTHER": "other",
    }
    settings = Settings(Path("/db"), values=values)
    assert sorted(secrets_of(settings)) == [
        "https://monitor.example/uuid",
        "key-of-the-first",
        "key-of-the-second",
    ]
    assert secrets_of(Settings(Path("/db"))) == []
