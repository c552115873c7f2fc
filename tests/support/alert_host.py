"""A file with whales, markets and trades, an alerts file, and targets that answer by script."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from support import rows
from support.rows import DAY, MINUTE, NOW

from whalesync.alerts.model import Message, Outcome, Sent, Target, redacted
from whalesync.jobs import send_alerts
from whalesync.jobs.run import Clock, Run, run_job
from whalesync.jobs.table import SEND_ALERTS
from whalesync.settings import Settings
from whalesync.store.database import Database

HOOK = "https://example.com/hook/T0ken"
OTHER_HOOK = "https://example.com/hook/0ther"


class Killed(BaseException):
    """Stands for kill -9."""


@dataclass
class FakeTarget:
    """Takes every message, or answers as told; ``got``: when (ms after NOW) and what."""

    name: str
    host: AlertHost
    got: list[tuple[int, Message]] = field(default_factory=list)
    answer: Callable[[Message], Outcome] = lambda _: Sent()

    def send(self, message: Message, until: float) -> Outcome:
        """Record the message and answer."""
        self.got.append((self.host.now - NOW, message))
        return self.answer(message)

    @property
    def totals(self) -> list[float]:
        """The amount of each message, in the order in which they came."""
        return [message.total_usd for _, message in self.got]


@dataclass
class AlertHost:
    """Runs ``send-alerts`` at moments that a test sets."""

    folder: Path
    db: Database
    now: int = NOW
    targets: dict[str, FakeTarget] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Put a whale and a market into the file."""
        self.whale = rows.whale(self.db, label="Moby Dick", tracked_since=NOW - 30 * DAY)
        self.market = rows.market(self.db, category="Macro")

    @property
    def alerts_file(self) -> Path:
        return self.folder / "alerts.toml"

    def write(self, *rules: Mapping[str, Any]) -> None:
        """Write the alerts file: each rule is $10,000 to HOOK, unless it says otherwise."""
        lines = []
        for rule in rules:
            values = {"name": "big", "to": HOOK, "min_usd": 10_000} | dict(rule)
            lines += ["[[alert]]", *(f"{name} = {_toml(value)}" for name, value in values.items())]
        self.alerts_file.write_text("\n".join(lines), encoding="utf-8")
        self.alerts_file.chmod(0o600)

    def trade(self, usd: float, *, at: int | None = None, **fields: Any) -> int:
        """Store a fill that was made ``at`` ms after NOW; now, unless it is given."""
        moment = self.now if at is None else NOW + at
        whale, market = fields.pop("whale", self.whale), fields.pop("market", self.market)
        values: dict[str, Any] = {"outcome": "YES", "amount": usd, "price": 0.5, "shares": usd * 2} | fields
        return rows.trade(self.db, whale, market, moment, **values)

    def target(self, address: str = HOOK) -> FakeTarget:
        """What serves an address."""
        return self.targets.setdefault(address, FakeTarget(redacted(address), self))

    def target_for(self, address: str, secret: str | None) -> Target:
        """As ``whalesync.alerts.targets.target_for``."""
        return self.target(address)

    @property
    def settings(self) -> Settings:
        return Settings(self.db.path, values={"WHALESYNC_ALERTS_FILE": str(self.alerts_file)})

    def run(self, after: int = MINUTE) -> Run:
        """Run the job ``after`` ms later."""
        self.now += after
        elapsed = self.now / 1000
        with run_job(SEND_ALERTS, self.settings, clock=Clock(lambda: self.now, lambda: elapsed)) as run:
            send_alerts.run(run, target_for=self.target_for)
        return run

    def deliveries(self, columns: str = "status, attempts") -> list[tuple[Any, ...]]:
        """Columns of all deliveries, the oldest first."""
        return [tuple(row) for row in self.db.rows(f"SELECT {columns} FROM alert_deliveries ORDER BY rowid")]


def _toml(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_toml, value))}]"
    return f'"{value}"' if isinstance(value, str) else str(value)
