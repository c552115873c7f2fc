"""``sync-positions``: what every tracked wallet holds, of all exchanges.

A list of positions is read whole or not at all: a reading that fails changes nothing. Lists grow, because positions in
markets that have ended stay on them, so a run takes up wallets only until it has made its share of the key's requests;
the next one goes on with those that have waited longest. Wallets that have traded come first.

Where an exchange also lists what is held no longer, that list is read as far as something can have joined it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial

from whalesync.errors import AuthenticationError, ExchangeError, JobFailed, OutOfTime
from whalesync.exchanges.base import Connection, Exchange, Holdings, Task
from whalesync.jobs.exchanges import all_failed, clock_ahead, compare_clocks, exchanges_to_ask
from whalesync.jobs.pool import Lane, Pool
from whalesync.jobs.run import Run
from whalesync.jobs.table import HOUR, SECOND, SYNC_MARKETS, SYNC_POSITIONS
from whalesync.positions import NOT_LISTED, SETTLING_MS, Evidence, Holding, as_listed, judge
from whalesync.records import DAY_MS, Position
from whalesync.store import markets, outcomes, positions, rejected, stats, sync_log, trades, whales
from whalesync.store.positions import NEVER_LISTED, Entry, Kept, Key, Listing, Traded
from whalesync.store.whales import Whale
from whalesync.text import counted

FIRST_BACKOFF = 0.5  # seconds
SHARE = 0.1  # of the requests that the exchange allows between two runs
LONGEST_WAIT = 2 * HOUR  # after which a wallet comes first, even if it has not traded
CLOSED_OVERLAP_MS = DAY_MS  # how late something may be listed as held no longer


def run(run: Run) -> None:
    """Run the job. An exchange that fails does not keep the others from being served."""
    tracked = whales.tracked(run.db)
    listings = positions.listings(run.db)
    with ExitStack() as stack:
        served = []
        for exchange in exchanges_to_ask(run, tracked):
            connection = stack.enter_context(
                exchange.connect(run.settings, first_backoff=FIRST_BACKOFF, until=run.deadline, log_step=run.log_step)
            )
            listed = (whale for whale in tracked if whale.platform == exchange.name)
            wanted = reading_order(listed, listings, run.now - clock_ahead(run.db, exchange.name))
            allowed = int(exchange.requests_per_second(run.settings) * SYNC_POSITIONS.interval / SECOND * SHARE)
            served.append(Served(run, exchange, connection, wanted, allowed))
        lanes = [Lane(each.exchange.title, each.tasks()) for each in served]
        Pool(run.clock.monotonic).run(lanes, until=run.deadline)
        for each in served:
            compare_clocks(run, each.exchange, each.connection)
    changed = stats.update_positions(run.db, run.now)
    read = sum(len(each.read) for each in served)
    wallets = sum(len(each.wanted) for each in served)
    run.summary = f"{read}/{wallets} wallets read, {counted(run.items, 'position')} held; {changed} whales changed"
    for each, lane in zip(served, lanes, strict=True):
        if failure := lane.error or each.failure():
            run.record_nothing_done(each.exchange, failure)


def reading_order(listed: Iterable[Whale], listings: Mapping[int, Listing], now: int) -> list[Whale]:
    """Those that have waited for too long, then those that have traded, then the others; the longest waiting first."""

    def key(whale: Whale) -> tuple[int, int, int]:
        listing = listings.get(whale.id, NEVER_LISTED)
        read_at = listing.listed_at or 0
        # A clock that was set back must not make anybody wait.
        waited = abs(now - read_at)
        rank = 0 if waited > LONGEST_WAIT else 1 if listing.trades_changed else 2
        return rank, -waited, whale.id

    return sorted(listed, key=key)


@dataclass(eq=False)
class Served:
    """One exchange in one run: its wallets, in order, and what became of them (by id)."""

    run: Run
    exchange: Exchange
    connection: Connection
    wanted: list[Whale]
    allowed: int
    read: set[int] = field(default_factory=set)
    failed: set[int] = field(default_factory=set)
    first_failure: str = ""
    requests: int = 0
    _markets: dict[str, int] = field(default_factory=dict)
    _markets_read_at: int | None = field(init=False)

    def __post_init__(self) -> None:
        db, name = self.run.db, self.exchange.name
        read_at = sync_log.last_good_start(db, SYNC_MARKETS.type, name)
        self._markets_read_at = None if read_at is None else read_at - clock_ahead(db, name)

    def failure(self) -> JobFailed | None:
        """Why no wallet of the exchange could be read; None if one could."""
        if self.wanted and not self.read and not self.failed:
            return JobFailed(f"{self.exchange.title}: no wallet could be read within the time budget")
        return all_failed(self.exchange, len(self.failed), len(self.failed | self.read), self.first_failure)

    def tasks(self) -> Iterator[Task]:
        """A task for each wallet, until the allowed requests are used up."""
        for whale in self.wanted:
            if self.requests >= self.allowed:
                self.run.log_step(f"{self.exchange.title}: {self.requests} requests made; the next run continues")
                return
            yield self._read(whale)

    def _read(self, whale: Whale) -> Task:
        try:
            (found,) = yield [partial(self.connection.list_positions, whale.address)]
            if self.exchange.lists_closed_positions:
                since = closed_since(found, *self._known(whale))
                if since is not None:
                    (closed,) = yield [partial(self.connection.list_closed_positions, whale.address, since)]
                    found = joined(found, closed)
        except OutOfTime:
            self.run.log_step(f"{whale.name}: no time left; the next run continues")
        except AuthenticationError:
            raise
        except ExchangeError as exc:
            self._fail(whale, exc)
        else:
            self.requests += found.requests
            self._store(whale, found)

    def _known(self, whale: Whale) -> tuple[list[Kept], Listing]:
        db = self.run.db
        kept = positions.kept(db, whale.id, only_held=True)
        return list(kept.values()), positions.listings(db, whale.id).get(whale.id, NEVER_LISTED)

    def _fail(self, whale: Whale, problem: object) -> None:
        self.failed.add(whale.id)
        self.first_failure = self.first_failure or f"{whale.name}: {problem}"
        self.run.record_problem(whale.name, problem)

    def _store(self, whale: Whale, found: Holdings) -> None:
        """Store one reading, with what the trades say."""
        db, now = self.run.db, self.run.now
        # When a list was read is compared with when trades were made, so it is told by the same clock.
        listed_at = self.connection.exchange_time() or now
        known = dict(self._markets)
        with db.write():
            markets.ids_for(db, whale.platform, found.positions, now, known)
            rejected.keep(db, f"positions {whale.address}", found.rejected, run_id=self.run.id, now=now)
        self._markets = known
        with db.read():  # adding up a long history takes seconds, for which nobody should wait
            state = trades.state(db, whale.id)
            decide = self._take_as_listed if self.exchange.lists_closed_positions else self._judge_by_trades
            entries, undecided = decide(whale, found, known, listed_at)
        with db.write():
            positions.save(db, whale.id, whale.platform, entries, now)
            if found.complete:
                undecided = undecided or trades.state(db, whale.id) != state
                positions.record_listing(db, whale.id, listed_at, undecided=undecided)
        self.read.add(whale.id)
        for record in found.rejected:
            self.run.record_problem(whale.name, f"a position was rejected: {record.reason}")
        if not found.complete and not found.rejected:
            self.run.log_step(f"{whale.name}: its positions changed while they were read; none is closed")
        self.run.items += sum(position.shares > 0 and position.closed_at is None for position in found.positions)
        self.run.report_progress(f"{counted(len(self.read), 'wallet')}, {counted(self.run.items, 'position')}")

    def _judge_by_trades(
        self, whale: Whale, found: Holdings, market_ids: dict[str, int], listed_at: int
    ) -> tuple[list[Entry], bool]:
        """What is known of each position from now on, and whether there are trades of which nothing can be said yet.

        Of an incomplete reading only what is listed counts. ``listed_at``: when it was made (ms, by the exchange).
        """
        db = self.run.db
        listed = {_key(each, market_ids): each for each in found.positions}
        kept = positions.kept(db, whale.id)
        listing_before = positions.listings(db, whale.id).get(whale.id, NEVER_LISTED)
        if not listing_before.trades_changed and is_unchanged(listed, kept):
            return [], False
        flows = positions.flows(db, whale.id)
        progress = self.exchange.trades.progress(trades.state(db, whale.id))
        keys = [*listed, *((kept.keys() | flows.keys()) - listed.keys() if found.complete else ())]
        times = positions.market_times(db, (key.market_id for key in keys))
        entries, undecided = [], False
        for key in keys:
            position, before, traded = listed.get(key), kept.get(key), flows.get(key)
            made_at, ended_at = times[key.market_id]
            since = progress.known_from if progress.complete else None
            holding = judge(
                Evidence(
                    now=listed_at,
                    listed=position,
                    listing_before=listing_before.listed_at,
                    before=before and before.holding,
                    flow=traded and traded.flow,
                    whole_flow=since is not None and (made_at or 0) >= since,
                    ended_at=ended_at,
                    markets_read_at=self._markets_read_at,
                )
            )
            if holding is None:
                undecided = undecided or traded is not None
            else:
                token_id = None if position is None else position.token_id
                entries.append(Entry(key, _label(position, traded, key), token_id, holding))
        return entries, undecided

    def _take_as_listed(
        self, whale: Whale, found: Holdings, market_ids: dict[str, int], listed_at: int
    ) -> tuple[list[Entry], bool]:
        """As ``_judge_by_trades``, where closed positions are listed too. Tokens tell positions apart."""
        db = self.run.db
        listed = {each.token_id: each for each in found.positions}
        kept = {each.token_id: (key, each) for key, each in positions.kept(db, whale.id).items()}
        keys = {token: key for token, (key, _) in kept.items()}
        taken = set(keys.values())
        new = [each for each in found.positions if each.token_id not in keys]
        sides = outcomes.sides(db, {market_ids[each.market_external_id] for each in new})
        for each in new:
            key = Key(market_ids[each.market_external_id], each.outcome or each.outcome_label)
            if each.token_id in sides:
                key = key._replace(outcome=sides[each.token_id].outcome)
            keys[each.token_id] = _claim_key(key, each.token_id, taken)
        times = positions.market_times(db, (keys[each.token_id].market_id for each in new))
        entries = []
        for token in keys if found.complete else listed:
            key, known = kept.get(token, (keys[token], None))
            before, ended_at = (known.holding, known.ended_at) if known else (None, times[key.market_id][1])
            holding = as_listed(listed.get(token), before, ended_at, listed_at)
            if holding is not None and holding != before:
                label = listed[token].outcome_label if token in listed and key.outcome != token else key.outcome
                entries.append(Entry(key, label, token, holding))
        if not found.complete or not self._known(whale)[1].trades_changed:
            return entries, False
        missing = [each for each in positions.traded_tokens(db, whale.id) if each.token_id not in keys]
        settled = [each for each in missing if listed_at - each.last_at >= SETTLING_MS]
        for trade in settled:
            outcome = trade.outcome or trade.label or trade.token_id
            key = _claim_key(Key(trade.market_id, outcome), trade.token_id, taken)
            holding = Holding(None, None, gap=NOT_LISTED, unlisted_since=listed_at)
            entries.append(Entry(key, trade.label or key.outcome, trade.token_id, holding))
        return entries, len(settled) < len(missing)


def _claim_key(key: Key, token_id: str | None, taken: set[Key]) -> Key:
    """Add the key of a new position; it is by its token where the exchange has named the side of another one."""
    key = key._replace(outcome=str(token_id)) if key in taken else key
    taken.add(key)
    return key


def closed_since(held: Holdings, kept: Iterable[Kept], before: Listing) -> int | None:
    """From when on (ms) to read what a wallet holds no longer; 0: all of it, None: not at all.

    Something has joined it if a stored position is not held any more, and may have if there are new trades. If the last
    reading did not find a position there, it may be listed as older than that.
    """
    if before.listed_at is None:
        return 0
    tokens = {position.token_id for position in held.positions}
    gone = [
        each.holding
        for each in kept
        if each.token_id not in tokens and each.holding.closed_at is None and each.holding.redeemed_profit is None
    ]
    if any(holding.shares is not None and (holding.unlisted_since or 0) >= before.listed_at for holding in gone):
        return 0
    missed_before = all(holding.unlisted_since is not None for holding in gone)
    return None if missed_before and not before.trades_changed else max(0, before.listed_at - CLOSED_OVERLAP_MS)


def joined(held: Holdings, closed: Holdings) -> Holdings:
    """Both lists as one. A remainder that is too small to count is in both: it is held."""
    tokens = {position.token_id for position in held.positions}
    return Holdings(
        positions=[*held.positions, *(each for each in closed.positions if each.token_id not in tokens)],
        rejected=[*held.rejected, *closed.rejected],
        complete=held.complete and closed.complete,
        requests=held.requests + closed.requests,
    )


def is_unchanged(listed: Mapping[Key, Position], kept: Mapping[Key, Kept]) -> bool:
    """Whether a reading shows just what is stored: nothing is to be worked out anew."""
    held = {key: each for key, each in listed.items() if each.shares > 0}
    known = {key: each.holding for key, each in kept.items() if each.holding.unlisted_since is None}
    waiting = any(each.is_doubtful for each in kept.values())
    return not waiting and held.keys() == known.keys() and all(_agree(held[key], known[key]) for key in held)


def _agree(listed: Position, known: Holding) -> bool:
    """Whether a position is listed with the shares, and the cost if that is listed, which are stored."""
    cost = known.cost if listed.avg_price is None else listed.shares * listed.avg_price
    return (listed.shares, cost) == (known.shares, known.cost)


def _key(position: Position, market_ids: dict[str, int]) -> Key:
    return Key(market_ids[position.market_external_id], position.outcome or position.outcome_label)


def _label(position: Position | None, traded: Traded | None, key: Key) -> str:
    if position is not None:
        return position.outcome_label
    return key.outcome if traded is None else traded.label
