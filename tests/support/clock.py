"""A clock that stands still until a test moves it."""

from __future__ import annotations

from dataclasses import dataclass

from support.exchange import NOW


@dataclass
class StillClock:
    """Calling it gives the time in Unix seconds."""

    now: float = NOW

    def __call__(self) -> float:
        return self.now
