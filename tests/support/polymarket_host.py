"""Jobs over a real file, with the simulated Polymarket in memory on the other side, whose time is moved by hand."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlencode

import pytest

from whalesync.exchanges import EXCHANGES
from whalesync.exchanges.polymarket import Polymarket
from whalesync.exchanges.polymarket.api import Api
from whalesync.exchanges.polymarket.clients import Clients, unwrap
from whalesync.jobs import sync_markets
from whalesync.jobs.pool import Lane
from whalesync.jobs.run import Clock, Run, run_job
from whalesync.jobs.table import JOBS, SYNC_MARKETS, Job
from whalesync.sandbox import polymarket as sandbox
from whalesync.settings import Settings
from whalesync.store import whales
from whalesync.store.database import open_database
from whalesync.store.whales import WatchEntry

NOW = 1_790_000_000  # Unix seconds
WALLET = "0x" + "ab" * 20
HOUR, DAY = 3_600, 86_400
DATA, GAMMA = "data", "gamma"


class PolymarketHost:
    """A file with one wallet, the exchange, and a clock. Nothing is cached, and no request is too many.

    ``asked`` has the address of each request. Each takes ``seconds``; ``before`` is called with its path and number.
    """

    def __init__(self, db: Path) -> None:
        self.db = db
        self.elapsed = 0.0
        self.seconds = 0.0
        self.serve(sandbox.Books(lambda: NOW + self.elapsed))
        self.asked: list[str] = []
        self.before: Callable[[str, int], None] = lambda path, number: None
        self.watch(WALLET)

    def serve(self, books: sandbox.Books) -> None:
        """Let the exchange have these books; what is closed is in the list of closed markets at once."""
        self.books = books
        self.exchange = sandbox.Polymarket(books, cached={})
        self.exchange.gamma.closing_gap = 0

    def watch(self, *wallets: str) -> None:
        """Put wallets on the watch list."""
        with open_database(self.db) as db:
            whales.add(db, [WatchEntry(wallet, None, "polymarket") for wallet in wallets], NOW * 1000)

    @property
    def latest_date(self) -> int:
        return int((NOW + self.elapsed) * 1000)

    def get(self, service: str, path: str, params: Mapping[str, Any]) -> Any:
        """Answer a request of one of the services."""
        pairs = [(name, str(each)) for name, value in params.items()
                 for each in (value if isinstance(value, list) else [value])]  # fmt: skip
        target = f"{path}?{urlencode(pairs)}"
        self.asked.append(target)
        self.elapsed += self.seconds
        self.before(path, len(self.asked))
        answer = self.exchange.answer(service, f"/v2{path}" if service == DATA else path, pairs, target)
        return unwrap(answer.status, json.loads(answer.body) if answer.body[:1] in b"{[" else None)

    def run(self, *jobs: Job, budget: float = 240.0) -> list[Run]:
        """Run jobs one after another; all that everybody uses, if none is named."""
        settings = Settings(self.db, values={"WHALESYNC_TIME_BUDGET": str(budget)})
        clock = Clock(lambda: int((NOW + self.elapsed) * 1000), lambda: self.elapsed)
        done = []
        for job in jobs or [each for each in JOBS if not each.set_up]:
            self.asked.clear()
            with run_job(job, settings, clock=clock) as run:
                module, _, function = job.runner.partition(":")
                getattr(import_module(module), function)(run)
            done.append(run)
        return done

    def sync_markets(self, **options: Any) -> Run:
        """Run one job."""
        (run,) = self.run(SYNC_MARKETS, **options)
        return run

    def rows(self, sql: str) -> list[dict[str, Any]]:
        """What a query finds in the file."""
        with open_database(self.db) as db:
            return [dict(row) for row in db.rows(sql)]

    def stored(self, columns: str, kind: str = "market") -> dict[str, Any]:
        """A column of all markets of a kind, or several as a tuple, by external id."""
        found = self.rows(f"SELECT external_id, {columns} FROM markets WHERE kind = '{kind}' ORDER BY id")
        values = {row.pop("external_id"): tuple(row.values()) for row in found}
        return {key: value if len(value) > 1 else value[0] for key, value in values.items()}

    def figures(self) -> dict[str, Any]:
        """The whale's profit."""
        (row,) = self.rows(
            "SELECT realized_profit, settled_profit, open_profit, open_value, won_count, lost_count, win_rate,"
            " profit_complete FROM whales"
        )
        return row

    def positions(self, columns: str) -> dict[tuple[str, str], Any]:
        """A column of the stored positions, or several as a tuple, by the market's title and the label."""
        found = self.rows(f"SELECT market_title, outcome_label, {columns} FROM holdings ORDER BY id")
        values = {(row.pop("market_title"), row.pop("outcome_label")): tuple(row.values()) for row in found}
        return {key: value if len(value) > 1 else value[0] for key, value in values.items()}


class _Client:
    def __init__(self, host: PolymarketHost, service: str) -> None:
        self.get = partial(host.get, service)


class _Clients:
    def __init__(self, host: PolymarketHost) -> None:
        self.activity = self.positions = self.data = _Client(host, DATA)
        self.gamma = _Client(host, GAMMA)
        self._host = host

    @property
    def latest_date(self) -> int:
        return self._host.latest_date


@contextmanager
def reached(host: PolymarketHost, monkeypatch: pytest.MonkeyPatch) -> Iterator[PolymarketHost]:
    """Let the jobs reach the host's exchange, with one request at a time."""

    class Reached(Polymarket):
        @contextmanager
        def connect(self, settings: Settings, **_: Any) -> Iterator[Api]:
            clients = cast(Clients, _Clients(host))
            yield Api(clients, lambda: NOW + host.elapsed)

    with monkeypatch.context() as patch:
        patch.setitem(EXCHANGES, "polymarket", Reached())
        patch.setattr(sync_markets, "Lane", partial(Lane, in_flight=1))
        yield host
