"""What whalesync asks of an exchange.

An exchange is one package with one entry in ``whalesync.exchanges.EXCHANGES``. It brings its own HTTP details,
records, limits and settings, and two parts that decide what to read:

- A ``TradeSource`` follows one wallet's trades exactly. It is pure: it says what to read next, and what the
  responses mean for the stored rows. Its state is opaque to everyone else; the job commits it together with the
  rows that it speaks of. Its requests are opaque too: the job hands them to the connection, and the responses back.
- ``Connection.sync_markets`` decides which markets to fetch, in which order, and stores them in a ``Catalog``.

Only a connection makes requests.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any, NamedTuple, Protocol, TypeAlias

from whalesync.records import Market, Position, RejectedRecord, Trade
from whalesync.settings import Setting, Settings

Request: TypeAlias = Any
Response: TypeAlias = Any
Reading: TypeAlias = Sequence[Request]
"""Requests whose responses are taken together."""
Call: TypeAlias = Callable[[], Any]
Task: TypeAlias = Generator[list[Call], Any, None]
"""Yields the calls whose results it needs next, all made at once, and is resumed with their results."""


class StoredEntry(NamedTuple):
    """A stored row of one wallet, as far as it takes part in comparing.

    ``id`` is that of the activity row, or of the rejected record. ``key`` is the fill key, or the fingerprint of
    a rejected record, of which ``copies`` are counted. ``superseded`` rows are kept, and count for nothing.
    ``labelled``: whether the label of its outcome is known.
    """

    id: int
    key: int | bytes
    timestamp: int
    copy: int = 1
    copies: int = 1
    fee: float | None = None
    profit: float | None = None
    superseded: bool = False
    action: str = ""
    price: float | None = None
    shares: float | None = None
    labelled: bool = False


class Traded(NamedTuple):
    """Sums over the fills of some days that count and are purchases or sales.

    ``shares``: their sum; ``usd``: the sum of shares x price. ``rejected``: how many rejected records count there too.
    """

    fills: int
    shares: float
    usd: float
    rejected: int = 0


class StoredTrades(Protocol):
    """What is stored of one wallet, read inside the transaction that stores the next batch."""

    def newer(self, timestamp: int) -> int:
        """How many entries are newer than ``timestamp`` (ms): fills that are not superseded, and rejected records."""

    def between(self, first: int, last: int) -> Sequence[StoredEntry]:
        """The entries from ``first`` to ``last`` (ms), both included, superseded ones too."""

    def rejected(self, fingerprint: bytes) -> StoredEntry | None:
        """A rejected record of this wallet, wherever it stands."""

    def has_rejected(self) -> bool:
        """Whether any rejected record counts as an entry."""

    def count(self, first: int, before: int) -> int:
        """How many entries that count are from ``first`` (ms) up to, but not including, ``before``."""

    def traded(self, first: int, before: int) -> Traded:
        """The sums from ``first`` (ms) up to, but not including, ``before``."""


class NewFill(NamedTuple):
    """A fill to store, with the number of its copy (from 1)."""

    trade: Trade
    copy: int


class CountedRecord(NamedTuple):
    """A rejected record, how many ``copies`` of it the list holds, and its place in the list as a time (ms)."""

    record: RejectedRecord
    copies: int
    timestamp: int


class Rewrite(NamedTuple):
    """A stored row, and the fill that it is to hold: again, or in another second."""

    id: int
    fill: NewFill


class Correction(NamedTuple):
    """What the exchange has changed of a stored fill, or has made known of it since.

    ``price``: as it is now, None if it is as stored. ``outcome`` and its label count only where none is stored.
    """

    id: int
    fee: float | None
    profit: float | None
    price: float | None = None
    outcome: str | None = None
    outcome_label: str | None = None


class Pace(Enum):
    """How urgently a wallet's next requests are wanted."""

    NOW = auto()  # new trades are missing: go on at once
    LATER = auto()  # history, or a search: in the time that is left when all wallets have been polled
    IDLE = auto()  # a comparison that only checks what is stored: when nothing else is to be done
    DONE = auto()


@dataclass(slots=True)
class Batch:
    """What responses mean for the file. The job stores all of it in one transaction, or nothing.

    ``revived`` are superseded rows that the exchange shows again; ``superseded`` are rows that it no longer shows;
    ``doubted`` are such rows that are kept until that is certain. ``rewritten`` rows get all of their content anew.
    ``rejected`` and ``recounted`` give rejected records their number of copies, the latter by id. Fills older than
    ``refetched_before`` (ms) were deleted by cleanup and are fetched again. ``notes`` go into the sync log; so does the
    ``problem``, which fails the wallet's part of the run, and with ``exchange_changed`` the whole run.
    """

    state: str
    pace: Pace
    new: list[NewFill] = field(default_factory=list)
    revived: list[int] = field(default_factory=list)
    superseded: list[int] = field(default_factory=list)
    doubted: list[int] = field(default_factory=list)
    corrected: list[Correction] = field(default_factory=list)
    rewritten: list[Rewrite] = field(default_factory=list)
    rejected: list[CountedRecord] = field(default_factory=list)
    recounted: list[tuple[int, int]] = field(default_factory=list)
    refetched_before: int | None = None
    notes: list[str] = field(default_factory=list)
    problem: str | None = None
    exchange_changed: bool = False


class Progress(NamedTuple):
    """How far a wallet has been read.

    ``phase`` is the state's name; ``complete``: whether everything listed down to the retention cutoff is stored;
    ``listed`` and ``accounted``: how long the exchange's list is, and how much of it is accounted for, both None
    where that is not known; ``compared_at``: when every row was last compared with the exchange's (ms);
    ``known_from``: every trade since then (ms) is or was stored, 0 if none is older, None if that is not known.
    """

    phase: str
    complete: bool
    listed: int | None = None
    accounted: int | None = None
    compared_at: int | None = None
    known_from: int | None = None

    @property
    def missing(self) -> int | None:
        """How many listed entries are not accounted for yet; None where that is not known."""
        if self.complete:
            return 0
        return None if self.listed is None or self.accounted is None else max(0, self.listed - self.accounted)


class Account(NamedTuple):
    """What an exchange counts of a wallet's trades, as its latest response says, and what the file accounts for.

    ``listed``: the length of the list, None where it has none. ``accounted``: the stored entries and those that are
    older than what is stored; None where that is not known. ``arrived``: how many have been listed since the last sync;
    they are no fault. ``problem``: why the file cannot be complete, or why that is not known; None if it adds up.
    """

    listed: int | None
    accounted: int | None
    arrived: int = 0
    problem: str | None = None


class TradeSource(Protocol):
    """How one exchange's trades are followed exactly. Pure; ``state`` is None for a wallet never read."""

    def poll(self, state: str | None) -> Reading:
        """The reading that starts every poll of a wallet."""

    def next(self, state: str, stored: StoredTrades) -> Sequence[Reading]:
        """The readings to make next, all at once, to be taken in this order; none if nothing is left to do."""

    def take(
        self,
        state: str | None,
        requests: Reading,
        responses: Sequence[Response],
        stored: StoredTrades,
        *,
        now: int,
        cutoff: int,
    ) -> Batch:
        """What the responses to one reading mean. ``cutoff`` (ms): older trades are not stored."""

    def prune(self, state: str, cutoff: int, stored: StoredTrades) -> str:
        """The state after everything older than ``cutoff`` (ms) has been deleted; ``stored`` is as it was before."""

    def progress(self, state: str | None) -> Progress:
        """How far the wallet has been read."""

    def audit(self, state: str | None, answered: Mapping[Request, Response], stored: StoredTrades) -> Reading:
        """What ``account`` needs beyond the responses to the requests ``answered``; nothing if they suffice."""

    def account(
        self, state: str | None, requests: Reading, responses: Sequence[Response], stored: StoredTrades
    ) -> Account:
        """Whether the file accounts for what the responses to ``poll``, or to all that ``audit`` wanted, count.

        ``state`` and ``stored`` belong together: nothing may have been stored between the requests and ``stored``.
        """

    def recheck(self, state: str | None) -> str | None:
        """The state in which everything is to be compared with the exchange's list; None if it was never read.

        The comparison has ended when ``progress`` has a ``compared_at`` again.
        """


class Tradable(NamedTuple):
    """A stored market that can be traded now. Times in ms; ``*_left_out_since``: a run had no time for it since."""

    id: int
    external_id: str
    yes_token_id: str
    volume_24h: float
    price_left_out_since: int | None
    liquidity_left_out_since: int | None


Key: TypeAlias = tuple[str, str]
"""The kind and the external id of a market."""


class StoredMarket(NamedTuple):
    """A stored market or topic that may be looked up by its id. Times in ms; ``status`` None: known from a trade alone.

    ``topic_looked_up_at``: when its topic was looked up, if it has one. ``created_at``: of a market known from a trade
    alone, when it was first met.
    """

    id: int
    kind: str
    external_id: str
    parent_external_id: str | None
    status: str | None
    category: str
    end_date: int | None
    url: str | None
    looked_up_at: int | None
    topic_looked_up_at: int | None
    created_at: int

    @property
    def key(self) -> Key:
        """What tells it from the other markets of its exchange."""
        return self.kind, self.external_id


class Catalog(Protocol):
    """What ``Connection.sync_markets`` works with: the stored markets of its exchange, and the run's log.

    ``now``: when the run began (ms).
    """

    now: int

    def save(
        self, markets: Sequence[Market], rejected: Sequence[RejectedRecord] = (), looked_up: Iterable[Key] = ()
    ) -> set[Key]:
        """Store markets and rejected records, and which stored markets have been looked up, in one transaction.

        Returns those among the markets without a parent whose status was not known before.
        """

    def not_ended(self) -> list[StoredMarket]:
        """The stored markets and topics whose end is not known."""

    def topics_never_looked_up(self, limit: int) -> list[StoredMarket]:
        """Topics that have ended and were never looked up, newest first."""

    def without_result(self, since: int, not_after: int, limit: int) -> list[StoredMarket]:
        """Markets resolved after ``since`` without a result, and not looked up after ``not_after`` (both ms)."""

    def end_topics(self) -> None:
        """Give topics whose stored markets have all ended the status ``resolved``."""

    def mark_deleted(self, markets: Iterable[StoredMarket]) -> None:
        """Give markets the status ``deleted``."""

    def recall(self, name: str) -> int | None:
        """A number that an earlier run remembered."""

    def remember(self, facts: Mapping[str, int]) -> None:
        """Keep numbers for later runs, by name."""

    def tradable(self) -> list[Tradable]:
        """The stored markets that can be traded now."""

    def save_price(self, market: Tradable, yes_price: float | None) -> None:
        """Store the price of a market's YES outcome; None: the exchange knows none."""

    def save_liquidity(self, market: Tradable, usd: float) -> None:
        """Store the USD resting in a market's order book."""

    def left_out(self, what: str, asked: Iterable[int], left_out: Iterable[int]) -> None:
        """Remember for which markets (ids) there was no time to ask for ``what``: ``price`` or ``liquidity``."""

    def record_problem(self, item: str, problem: object) -> None:
        """A part of the work failed: it goes into the sync log."""

    def report_progress(self, text: str) -> None:
        """Say on a terminal how far the work is."""

    def run(self, tasks: Iterable[Task], *, share: float = 1.0) -> None:
        """Run tasks until they are done, or until ``share`` of the time that is left has passed."""


class Holdings(NamedTuple):
    """The positions of one wallet, as one reading of the whole list shows them.

    ``complete``: whether nothing can be missing, so that a position that is not among them is gone. ``requests``: how
    many were made.
    """

    positions: Sequence[Position]
    rejected: Sequence[RejectedRecord]
    complete: bool
    requests: int


class Connection(Protocol):
    """An open connection to one exchange; threads may share it. Every method may block."""

    def fetch_trades(self, wallet: str, request: Request) -> Response:
        """Make one of the trade source's requests.

        Raises:
            OutOfTime: the time budget ended before the request could be sent.
            ExchangeError: the request failed, after retries.
        """

    def count_trades(self, wallet: str) -> int:
        """Ask how many trades the exchange lists of a wallet. Raises as ``fetch_trades``."""

    def list_positions(self, wallet: str) -> Holdings:
        """Read all pages of what a wallet holds.

        Raises:
            OutOfTime: the time budget ended before the last page was read.
            ExchangeError: a request failed, after retries.
        """

    def list_closed_positions(self, wallet: str, since: int) -> Holdings:
        """Read all pages of what a wallet holds no longer, and what was made of it; raises as ``list_positions``.

        Where the exchange does not list that (``Exchange.lists_closed_positions``), there are none.

        Args:
            since: those that nothing happened to since then (ms) may be left out; 0: none.
        """

    def exchange_time(self) -> int | None:
        """The exchange's own clock now (ms), as its latest response gave it; None if none did. No request."""

    def trouble(self) -> str | None:
        """What is wrong with the exchange although it answers, as far as its responses said; None if nothing is."""

    def sync_markets(self, catalog: Catalog) -> str:
        """Bring the exchange's markets up to date; returns a summary."""

    def check(self) -> None:
        """Make one cheap request that needs all that the jobs need (address, key).

        Raises:
            ExchangeError, SettingsError: why the jobs would fail.
        """


class Candidate(NamedTuple):
    """A wallet of an exchange's leaderboard.

    What it is ranked by: ``usd``, or ``shares`` where the exchange counts a volume in those; None if it does not say.
    """

    rank: int
    address: str
    name: str | None
    usd: float | None
    shares: float | None = None


class Exchange(Protocol):
    """One exchange. The modules behind ``connect`` are loaded when it is called, not before."""

    name: str
    """As stored in the ``platform`` columns."""
    title: str
    """As people call it."""
    settings: Sequence[Setting[Any]]
    trades: TradeSource
    no_trades_hint: str
    """Why a wallet that trades may be listed without trades, and what to do."""
    lists_closed_positions: bool
    """Whether positions stay listed, with what was made of them, when they are held no longer.

    Then they are taken as they are listed, and the profit is theirs; otherwise it follows from the trades.
    """

    def check_settings(self, settings: Settings) -> None:
        """Raise SettingsError if the exchange cannot be asked with these settings."""

    def requests_per_second(self, settings: Settings) -> float:
        """How many requests the exchange allows in a second."""

    def discover(
        self, settings: Settings, *, by: str, period: str, limit: int, log_step: Callable[[str], None]
    ) -> list[Candidate]:
        """Read the exchange's leaderboard, the best first.

        Args:
            by: ``profit`` or ``volume``.
            period: ``day``, ``week``, ``month`` or ``all``.

        Raises:
            SettingsError: a setting is wrong.
            ExchangeError: the leaderboard cannot be read.
        """

    def connect(
        self, settings: Settings, *, first_backoff: float, until: float, log_step: Callable[[str], None]
    ) -> AbstractContextManager[Connection]:
        """Connect at the rate that all processes share.

        Args:
            first_backoff: seconds before the second try of a request.
            until: monotonic seconds; nothing is sent or tried again after.
        """
