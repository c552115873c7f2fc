"""A host that publishes, in this process: its file, the job, and what the server lacks of it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from support.postgres import Target, published

from whalesync.jobs.publish import run
from whalesync.jobs.run import Run, run_job
from whalesync.jobs.table import PUBLISH
from whalesync.settings import Settings
from whalesync.store.database import open_database

#: as ``support.postgres.published`` has them
STORED = (
    "SELECT w.address, m.external_id, a.tx_hash, a.action, a.outcome, a.amount, a.price, a.shares, a.fee, a.profit,"
    " a.timestamp, a.fill_key, a.superseded_at IS NOT NULL FROM whale_activity AS a"
    " JOIN whales AS w ON w.id = a.whale_id JOIN markets AS m ON m.id = a.market_id"
)


class Publisher:
    """A file that is published under a name."""

    def __init__(self, path: Path, target: Target, name: str, url: str | None = None) -> None:
        self.path = path
        self.target = target
        self.name = name
        self.url = url or target.url()
        self.db = open_database(path)

    def publish(self) -> Run:
        """Run the job; returns its run."""
        with run_job(PUBLISH, self.settings()) as started:
            run(started)
        return started

    def settings(self) -> Settings:
        """What the job is set to."""
        values = {"WHALESYNC_PUBLISH_URL": self.url, **({"WHALESYNC_SOURCE": self.name} if self.name else {})}
        return Settings(self.path, values=values)

    def stored(self) -> Counter[tuple[Any, ...]]:
        """The trades of the file, as a multiset."""
        return Counter((*row[:12], bool(row[12])) for row in map(tuple, self.db.rows(STORED)))

    def differences(self) -> list[Any]:
        """Trades of the file that the server has not, or has in another number; and those that it has alone."""
        ours, theirs = self.stored(), Counter(published(self.target))
        return [*(ours - theirs), *(theirs - ours)]

    def close(self) -> None:
        """Close the file."""
        self.db.close()
