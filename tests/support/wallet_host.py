"""All jobs over a real file, with an exchange in memory on the other side whose time is moved by hand."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from support.market_host import NOW, Host

from whalesync.jobs.run import Clock, Run, run_job
from whalesync.jobs.table import JOBS, Job
from whalesync.sandbox import make_market, make_position, make_trade
from whalesync.settings import Settings
from whalesync.store import whales
from whalesync.store.database import open_database
from whalesync.store.whales import WatchEntry

WALLET = "0x" + "ab" * 20
HOUR, DAY = 3_600, 86_400

#: as a wallet's whole history is told: seconds before NOW, market, side, outcome, shares, price, profit
Told = tuple[float, int, str, str, float, float, float]


class WalletHost(Host):
    """One wallet on the watch list; ``retention_days`` of it are kept."""

    retention_days = 90

    def watch(self, *wallets: str) -> None:
        """Put wallets on the watch list."""
        with open_database(self.db) as db:
            whales.add(db, [WatchEntry(wallet) for wallet in wallets], self.now_ms)

    @property
    def now_ms(self) -> int:
        return int((NOW + self.ahead + self.elapsed) * 1000)

    def run(self, *jobs: Job) -> list[Run]:
        """Run jobs one after another; all that everybody uses, if none is named."""
        values = {"WHALESYNC_RETENTION_DAYS": str(self.retention_days), "WHALESYNC_TIME_BUDGET": "80000"}
        settings = Settings(self.db, values=values)
        done = []
        for job in jobs or [each for each in JOBS if not each.set_up]:
            with run_job(job, settings, clock=Clock(lambda: self.now_ms, lambda: self.elapsed)) as run:
                module, _, function = job.runner.partition(":")
                getattr(import_module(module), function)(run)
            done.append(run)
        return done

    def list_market(self, number: int, price: float = 0.5, **fields: Any) -> None:
        """List a market with a price of YES."""
        self.books.add_market(make_market(number, createdAt=NOW - 30 * DAY, **fields))
        self.books.set_price(self.token(number), str(price))

    def trade(self, told: Told, wallet: str = WALLET) -> None:
        """Let the wallet trade; a conversion is listed in one row for each side."""
        age, market, side, outcome, shares, price, profit = told
        fields = {
            "marketId": market, "side": side, "shares": str(shares), "price": str(price), "profit": str(profit),
            "createdAt": int(NOW - age), "txHash": f"0x{len(self.books.trades(wallet)):064x}",
        }  # fmt: skip
        for each in ("YES", "NO") if outcome == "BOTH" else (outcome,):
            self.books.add_trade(wallet, make_trade(**fields, outcomeSide=1 if each == "YES" else 2))

    def hold(self, market: int, outcome: str, shares: float, paid: float, wallet: str = WALLET) -> None:
        """Let the exchange list a position."""
        record = self.books.market(market)
        self.books.set_position(
            wallet,
            make_position(
                marketId=market, outcomeSide=1 if outcome == "YES" else 2, outcome=outcome,
                tokenId=record["yesTokenId" if outcome == "YES" else "noTokenId"],
                sharesOwned=str(shares), avgEntryPrice=str(paid),
            ),
        )  # fmt: skip

    def drop(self, market: int, outcome: str, wallet: str = WALLET) -> None:
        """Let the exchange list a position no longer."""
        token = self.books.market(market)["yesTokenId" if outcome == "YES" else "noTokenId"]
        self.books.drop_position(wallet, token)

    def resolve(self, market: int, winner: str) -> None:
        """Let a market end with a result."""
        record = self.books.market(market)
        token = record["yesTokenId" if winner == "YES" else "noTokenId"]
        self.books.update_market(market, status=4, resolvedAt=int(self.books.clock()), resultTokenId=token)

    def positions(self, columns: str = "state, shares, cost") -> dict[tuple[int, str], Any]:
        """Columns of the stored positions by market and outcome."""
        rows = self.rows(
            f"SELECT m.external_id AS market, p.outcome AS side, {columns} FROM positions AS p"
            " JOIN (SELECT id AS market_id, external_id FROM markets) AS m USING (market_id) ORDER BY p.id"
        )
        return {
            (int(row.pop("market")), row.pop("side")): tuple(row.values()) if len(row) > 1 else next(iter(row.values()))
            for row in rows
        }

    def figures(self, wallet: str = WALLET) -> dict[str, Any]:
        """The whale's profit."""
        (row,) = self.rows(
            "SELECT realized_profit, settled_profit, open_profit, open_value, won_count, lost_count, win_rate,"
            f" profit_complete FROM whales WHERE address = '{wallet}'"
        )
        return row
