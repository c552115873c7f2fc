"""``doctor --live``: make the live checks of Polymarket from this host, and keep what later ones compare with."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from whalesync.errors import SettingsError
from whalesync.exchanges.polymarket import POLYMARKET
from whalesync.exchanges.polymarket.live import Check, Memory, check_all
from whalesync.host.env_file import write_private
from whalesync.settings import Settings

SECONDS = 600.0  # for all checks; they need about 40 requests


def check_live(settings: Settings, wallet: str, *, now: int, log_step: Callable[[str], None]) -> list[Check]:
    """Make all checks with a wallet, and remember what later ones compare with. ``now``: ms.

    Raises:
        SettingsError: a setting is wrong, or the file that remembers cannot be read or written.
    """
    path = memory_file(settings)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        memories = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        memory = Memory(**memories.get(wallet, {}))
    except (OSError, ValueError, TypeError, AttributeError) as exc:
        raise SettingsError(f"{path}, which remembers earlier checks, cannot be used ({exc}): remove it") from exc
    until = time.monotonic() + SECONDS
    with POLYMARKET.clients(settings, first_backoff=1.0, until=until, log_step=log_step) as clients:
        checks = check_all(wallet, clients.activity.get, clients.gamma.get, memory, now=now // 1000)
    try:
        write_private(path, json.dumps({**memories, wallet: asdict(memory)}, indent=1) + "\n")
    except OSError as exc:
        raise SettingsError(f"cannot write {path} ({exc.strerror})") from exc
    return checks


def memory_file(settings: Settings) -> Path:
    """The file that keeps what later checks compare with."""
    return settings.db.with_name(f"{settings.db.name}.live.json")
