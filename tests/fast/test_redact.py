"""Redaction: which values are secret, and what is left of a text."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.second_exchange import SecondExchange, Server

from whalesync.exchanges import EXCHANGES, secrets_of
from whalesync.redact import redact
from whalesync.settings import Setting, Settings


def test_secrets_are_redacted_in_full() -> None:
    """One that is part of another leaves no remainder of it; short ones stay, which are part of ordinary words."""
    assert redact("secret-key-and-more secret-key", ["secret-key", "secret-key-and-more"]) == "*** ***"
    assert redact("a market of markets", ["market", ""]) == "a market of markets"


def test_the_secrets_of_every_exchange_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """The key of each, and the monitor's address, as they appear in a request; nothing that is not secret."""
    second = SecondExchange(Server())
    second.settings = [Setting("SECOND_TOKEN", "its token", str, "", secret=True)]
    monkeypatch.setitem(EXCHANGES, "second", second)
    secrets = {
        "OPINION_TRADE_API_KEY": "key-of-the-first ",
        "SECOND_TOKEN": "key-of-the-second",
        "WHALESYNC_PING_URL": "https://monitor.example/uuid",
    }
    settings = Settings(Path("/db"), values={**secrets, "WHALESYNC_API_URL": "https://exchange.example"})
    assert sorted(secrets_of(settings)) == sorted(value.strip() for value in secrets.values())
    assert secrets_of(Settings(Path("/db"))) == []
