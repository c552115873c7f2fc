"""``sync-markets`` over a real file, with an exchange in memory on the other side."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from whalesync.exchanges import EXCHANGES
from whalesync.exchanges.http import Client
from whalesync.exchanges.opinion_trade import OpinionTrade
from whalesync.exchanges.opinion_trade.api import Api, unwrap
from whalesync.jobs import sync_markets
from whalesync.jobs.pool import Lane
from whalesync.jobs.run import Clock, Run, run_job
from whalesync.jobs.table import SYNC_MARKETS
from whalesync.sandbox import Books, Refused, make_market
from whalesync.settings import Settings
from whalesync.store.database import open_database

NOW = 1_790_000_000  # Unix seconds
BUDGET = 240.0

Answer = Callable[[dict[str, Any]], Any]


class Host(Client):
    """A file, the books of the exchange, and clocks: the host's is ``ahead`` (s) of the exchange's.

    It is also the client: requests are answered from the books, and each takes ``seconds`` of its path. ``before`` is
    called with the path and the number of each request of a run; ``answers`` replace those of a path.
    """

    def __init__(self, db: Path) -> None:
        self.db = db
        self.elapsed = 0.0
        self.ahead = 0
        self.books = Books(lambda: NOW + self.elapsed)
        self.asked: list[tuple[str, dict[str, Any]]] = []  # in the latest run
        self.seconds: dict[str, float] = {}
        self.before: Callable[[str, int], None] = lambda path, number: None
        self.answers: dict[str, Answer] = {}

    @property
    def latest_date(self) -> int | None:
        return int((NOW + self.elapsed) * 1000)

    def get(self, path: str, params: Any) -> Any:
        self.asked.append((path, params))
        self.elapsed += self.seconds.get(path, 0.0)
        self.before(path, len(self.asked))
        return self.answers[path](params) if path in self.answers else self.honest(path, params)

    def honest(self, path: str, params: Mapping[str, Any]) -> Any:
        try:
            return self.books.answer(path, {name: str(value) for name, value in params.items()})
        except Refused as exc:
            return unwrap(exc.status, {"errno": exc.number, "errmsg": str(exc), "result": None})

    def list_markets(self, count: int, **fields: Any) -> None:
        """List markets from number 1 on, each with a price of 0.5."""
        for number in range(1, count + 1):
            self.books.add_market(make_market(number, **fields))
            self.books.set_price(self.token(number), "0.5")

    def sync(self) -> Run:
        """Run the job once."""
        self.asked.clear()
        clock = Clock(lambda: int((NOW + self.ahead + self.elapsed) * 1000), lambda: self.elapsed)
        settings = Settings(db=self.db, values={"WHALESYNC_TIME_BUDGET": str(BUDGET)})
        with run_job(SYNC_MARKETS, settings, clock=clock) as run:
            sync_markets.run(run)
        return run

    def rows(self, sql: str) -> list[dict[str, Any]]:
        """What a query finds in the file."""
        with open_database(self.db) as db:
            return [dict(row) for row in db.rows(sql)]

    def stored(self, columns: str) -> dict[str, Any]:
        """A column, or several as a tuple, of all markets that are not topics, by external id."""
        found = self.rows(f"SELECT external_id, {columns} FROM markets WHERE kind = 'market' ORDER BY id")
        values = {row.pop("external_id"): tuple(row.values()) for row in found}
        return {key: value if len(value) > 1 else value[0] for key, value in values.items()}

    def token(self, number: int) -> str:
        return str(self.books.market(number)["yesTokenId"])

    def lists(self, **named: Any) -> list[dict[str, Any]]:
        """The parameters of the requests for lists that have these (None: have not)."""
        asked = [params for path, params in self.asked if path == "/market"]
        return [params for params in asked if all(params.get(key) == value for key, value in named.items())]

    def asked_for(self, path: str, name: str) -> list[Any]:
        """A parameter of each request for a path."""
        return [params[name] for asked, params in self.asked if asked == path]


@contextmanager
def reached(host: Host, monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    """Let the job reach the host's exchange, with one request at a time."""

    class Reached(OpinionTrade):
        def check_settings(self, settings: Settings) -> None: ...

        @contextmanager
        def connect(self, settings: Settings, **_: Any) -> Iterator[Api]:
            yield Api(host)

    with monkeypatch.context() as patch:
        patch.setitem(EXCHANGES, "opinion_trade", Reached())
        patch.setattr(sync_markets, "Lane", partial(Lane, in_flight=1))
        yield host
