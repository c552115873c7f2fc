"""Redact secrets (keys, tokens, the monitor's address) in text that leaves the program."""

from __future__ import annotations

from collections.abc import Iterable

SHORTEST_SECRET = 8  # characters; anything shorter is part of ordinary words too
REDACTED = "***"


def redact(text: str, secrets: Iterable[str]) -> str:
    """Return the text without the secrets; the longest goes first, since one may be part of another."""
    for secret in sorted(secrets, key=len, reverse=True):
        if len(secret) >= SHORTEST_SECRET:
            text = text.replace(secret, REDACTED)
    return text
