"""The Data API, version 2: activity, trades, positions, volumes, boards and the status of the index."""

from collections.abc import Callable, Iterable, Iterator
from decimal import Decimal
from functools import partial
from typing import Any

from ..values import DAY, Record
from .books import DUST, Books, Market, Row, block_of, profile
from .cursors import Cursors
from .ledger import Holding, number
from .queries import CONDITION_ALIASES, Problem, Query
from .wire import OF_MARKETS, TYPES, as_activity_names_it, iso, plain

LARGEST_PAGE, PAGE = 1000, 100
THREE_YEARS = 3 * 365 * DAY
SMALLEST_TRADE, DUST_FLOOR = 0.01, 0.1
HIDDEN = ("DEPOSIT", "WITHDRAWAL")

STATUSES = ("OPEN", "REDEEMABLE", "REDEEMABLE_LOST", "MERGEABLE", "CLOSED")
SORTS = {
    "CURRENT_VALUE": "current_value",
    "PRICE": "current_price",
    "TOKENS": "current_size",
    "UNREALIZED_PNL": "unrealized_pnl",
    "REALIZED_PNL": "realized_pnl",
    "TOTAL_PNL": "total_pnl",
    "TIMESTAMP": "last_event_at",
}
OF_CLOSED = ("REALIZED_PNL", "TOTAL_PNL", "TIMESTAMP")
PERIODS = {"day": 1, "week": 7, "month": 30, "all": 0}
CATEGORIES = ("overall", "politics", "sports", "crypto", "culture", "finance", "tech", "weather", "economics")


class DataApi:
    """Answers by the path below the base address ("/v2/activity"), with the whole document; raises Problem."""

    def __init__(self, books: Books, cursors: Cursors) -> None:
        self._books = books
        self._cursors = cursors
        self._endpoints: dict[str, Callable[[Query], Record]] = {
            "/v2/activity": self._activity,
            "/v2/trades": self._trades,
            "/v2/positions": self._positions,
            "/v2/value": self._value,
            "/v2/user-volume": self._user_volume,
            "/v2/user-stats": self._user_stats,
            "/v2/leaderboard": self._leaderboard,
            "/v2/tokens": self._tokens,
            "/v2/status": self._status,
        }

    def answer(self, path: str, pairs: Iterable[tuple[str, str]]) -> Record:
        """The document of a request."""
        endpoint = self._endpoints.get(path)
        if endpoint is None:
            raise Problem(404, f"no such route: {path}", code="not_found")
        query = Query(pairs, CONDITION_ALIASES)
        with self._books.lock:
            return endpoint(query)

    # The feeds: keyset walks in the order of the chain

    def _activity(self, query: Query) -> Record:
        user = query.user()
        types = query.items("type", len(TYPES))
        if unknown := [each for each in types if each not in TYPES]:
            raise Problem(400, f"unknown activity type: {unknown[0]}", parameter="type")
        query.choice("sort_by", ("TIMESTAMP",), "TIMESTAMP")
        ascending = query.choice("sort_direction", ("ASC", "DESC"), "DESC") == "ASC"
        shown = set(types or (each for each in TYPES if each != "TIP"))
        if query.boolean("exclude_deposits_withdrawals", True):
            shown.difference_update(HIDDEN)
        side = query.choice("side", ("BUY", "SELL"), "")
        in_market = self._market_filter(query)

        def wanted(row: Row) -> bool:
            record = row.record
            return record["type"] in shown and (not side or record["side"] == side) and in_market(record)

        return self._feed("activity", query, [user], wanted, self._books.as_sent, ascending=ascending)

    def _trades(self, query: Query) -> Record:
        user = query.user(required=False)
        taker_only = query.boolean("taker_only", True)
        floor = max(query.amount("filter_amount", SMALLEST_TRADE), SMALLEST_TRADE)
        in_cash = query.choice("filter_type", ("CASH", "TOKENS"), "CASH") == "CASH"
        side = query.choice("side", ("BUY", "SELL"), "")
        in_market = self._market_filter(query)

        def wanted(row: Row) -> bool:
            record = row.record
            if record["type"] != "TRADE" or (side and record["side"] != side) or not in_market(record):
                return False
            size = float(record["size"])
            if (size * float(record["price"]) if in_cash else size) < floor:
                return False
            return not taker_only or fee_of(record) > 0

        def as_sent(row: Row) -> Record:
            sent = self._books.as_sent(row)
            return {name: value for name, value in sent.items() if name not in ("type", "usdc_size", "is_combo")}

        wallets = [user] if user else self._books.wallets()
        return self._feed("trades", query, wallets, wanted, as_sent, ascending=False, bounded=bool(user))

    def _feed(
        self,
        kind: str,
        query: Query,
        wallets: list[str],
        wanted: Callable[[Row], bool],
        as_sent: Callable[[Row], Record],
        *,
        ascending: bool,
        bounded: bool = True,
    ) -> Record:
        now = self._books.clock()
        start = (bounded and query.integer("start", 0)) or int(now) - THREE_YEARS
        end = (bounded and query.integer("end", 0)) or int(now) + DAY
        limit, shown = query.integer("limit", PAGE, 0, LARGEST_PAGE), 0
        anchor = (start, -1) if ascending else (end + 1, -1)
        if cursor := query.text("cursor"):
            held = self._cursors.read(kind, cursor)
            # Only these are in a cursor: the size of a page and the direction cannot be changed under way, and every
            # other parameter can, without an error.
            limit, shown, ascending = held["l"], held["d"], held.get("dir") == "ASC"
            anchor = held["ts"], int(held["sq"])
        page: list[Row] = []
        more = False
        for row in self._walk(wallets, anchor, ascending=ascending):
            at = row.record["timestamp"]
            if (at > end) if ascending else (at < start):
                break
            if start <= at <= end and wanted(row):
                if len(page) == limit:
                    more = limit > 0
                    break
                page.append(row)
        following = None
        if more:
            last = page[-1]
            params = {"l": limit, "ts": last.record["timestamp"], "sq": str(last.sequence), "d": shown + len(page)}
            following = self._cursors.make(kind, params | ({"dir": "ASC"} if ascending else {}))
        return _page([as_sent(row) for row in page], limit, shown, following)

    def _walk(self, wallets: list[str], anchor: tuple[int, int], *, ascending: bool) -> Iterator[Row]:
        if len(wallets) == 1:
            return self._books.rows_after(wallets[0], anchor, ascending=ascending)
        rows = [row for wallet in wallets for row in self._books.rows_after(wallet, anchor, ascending=ascending)]
        return iter(sorted(rows, key=lambda row: row.key, reverse=not ascending))

    def _market_filter(self, query: Query) -> Callable[[Record], bool]:
        conditions = {as_activity_names_it(each) for each in query.conditions()}
        events = set(query.items("event_id", 20))
        if conditions and events:
            raise Problem(400, "condition and event_id are mutually exclusive", parameter="event_id")

        def matches(record: Record) -> bool:
            if conditions:
                return record["condition_id"] in conditions
            if events:
                market = self._books.market(record["condition_id"]) if record["type"] in OF_MARKETS else None
                return market is not None and event_of(market)["id"] in events
            return True

        return matches

    # Positions

    def _positions(self, query: Query) -> Record:
        user, conditions = query.user(required=False), query.conditions()
        if not user and len(conditions) != 1:
            raise Problem(400, "user or exactly one condition is required", parameter="user")
        status = query.choice("status", STATUSES, "OPEN")
        if status == "CLOSED" and query.boolean("include_archived", False):
            raise Problem(400, "include_archived is invalid with CLOSED", parameter="include_archived")
        usual = {"CLOSED": "REALIZED_PNL", "MERGEABLE": "TOKENS"}.get(status, "CURRENT_VALUE")
        sort = query.choice("sort_by", tuple(SORTS), usual)
        descending = query.choice("sort_direction", ("ASC", "DESC"), "DESC") == "DESC"
        limit, shown, anchor = query.integer("limit", PAGE, 0, LARGEST_PAGE), 0, None
        if cursor := query.text("cursor"):
            held = self._cursors.read("positions", cursor)
            given = {"status": status, "sort_by": sort, "sort_direction": "DESC" if descending else "ASC"}
            if changed := [name for name, value in given.items() if name in query and held[name] != value]:
                raise Problem(400, f"{changed[0]} contradicts the cursor", parameter=changed[0])
            status, sort, descending = held["status"], held["sort_by"], held["sort_direction"] == "DESC"
            limit, shown, anchor = held["l"], held["d"], (held["v"], held["t"])
        if status == "CLOSED" and sort not in OF_CLOSED:
            sort = "REALIZED_PNL"

        def order(row: Record) -> tuple[float, str]:
            value = row.get(SORTS[sort]) or 0.0
            return (-value if descending else value), row["proxy_wallet"] + row["token_id"]

        wallets = [user] if user else self._books.wallets()
        rows = [row for wallet in wallets for row in self.positions(wallet)]
        rows = sorted((row for row in rows if self._is_asked_for(row, status, query, conditions, rows)), key=order)
        if anchor:
            rows = [row for row in rows if list(order(row)) > list(anchor)]
        page, following = rows[:limit], None
        if limit and len(rows) > limit:
            value, tie = order(page[-1])
            params = {"l": limit, "d": shown + limit, "v": value, "t": tie, "status": status, "sort_by": sort}
            following = self._cursors.make("positions", {**params, "sort_direction": "DESC" if descending else "ASC"})
        return _page(page, limit, shown, following)

    def _is_asked_for(self, row: Record, status: str, query: Query, conditions: list[str], rows: list[Record]) -> bool:
        events, title = query.items("event_id", 20), query.text("title").strip().lower()
        market = self._books.market(row["condition_id"])
        if (market and not market.record["active"]) or (title and title not in row["title"].lower()):
            return False
        if conditions and row["condition_id"] not in {as_activity_names_it(each) for each in conditions}:
            return False
        if events and row["event_id"] not in events:
            return False
        if not query.integer("start", 0) <= row["last_event_at"] <= (query.integer("end", 0) or 10**12):
            return False
        if status == "CLOSED" or row["status"] == "CLOSED":
            return bool(status == row["status"])
        if row["archived"] and not query.boolean("include_archived", False):
            return False
        floor = query.amount("filter_amount", DUST_FLOOR)
        if query.choice("filter_type", ("CASH", "TOKENS"), "TOKENS") == "CASH":
            if row["current_value"] < floor or row["current_size"] < DUST_FLOOR:
                return False
        elif row["current_size"] < floor:
            return False
        match status:
            case "REDEEMABLE":
                return bool(row["redeemable"])
            case "REDEEMABLE_LOST":
                return bool(row["redeemable"]) and row["current_price"] == 0
            case "MERGEABLE":
                return bool(row["mergeable"])
        return True

    def positions(self, wallet: str) -> list[Record]:
        """Every position a wallet ever had in a market, as it is sent; those in combinations are listed elsewhere."""
        held = self._books.holdings(wallet)
        return [
            self._position(wallet, holding, held)
            for holding in held.values()
            if not holding.condition.startswith("0x03")
        ]

    def _position(self, wallet: str, holding: Holding, held: dict[str, Holding]) -> Record:
        books, now = self._books, self._books.clock()
        found = books.of_token(holding.token)
        market, index = found or (None, 999)
        prices = books.prices(market) if market else []
        price = Decimal(str(prices[index])) if prices else Decimal(0)
        resolved = market is not None and now >= market.closed_at
        closed = holding.shares <= DUST
        value = holding.shares * price
        unrealized = value - holding.cost
        opposite = self._opposite(market, index)
        total, average = holding.bought, holding.cost / holding.shares if holding.shares else Decimal(0)
        event = event_of(market) if market else {}
        held_opposite = held.get(opposite[0])
        return {
            "proxy_wallet": wallet,
            "token_id": holding.token,
            "condition_id": market.condition if market else holding.condition,
            "current_size": plain(holding.shares),
            "avg_price": plain(average),
            "entry_cost_usdc": plain(holding.cost),
            "entry_fees_usdc": plain(holding.fees),
            "total_cost_usdc": plain(holding.cost + holding.fees),
            "current_price": plain(price),
            "current_value": plain(value),
            "total_size": plain(total),
            "realized_pnl": plain(holding.realized),
            "unrealized_pnl": plain(unrealized),
            "total_pnl": plain(holding.realized + unrealized),
            "percent_pnl": _percent(unrealized, holding.cost),
            "percent_realized_pnl": _percent(holding.realized, total * average),
            "status": "CLOSED" if closed else "REDEEMABLE" if resolved else "OPEN",
            "redeemable": resolved and not closed,
            "mergeable": bool(not resolved and not closed and held_opposite and held_opposite.shares > DUST),
            "negative_risk": bool(market and market.record["negRisk"]),
            "archived": bool(market and market.record["archived"]),
            "title": market.record["question"] if market else "",
            "slug": market.record["slug"] if market else "",
            "icon": market.record["icon"] if market else "",
            "event_id": event.get("id", ""),
            "event_slug": event.get("slug", ""),
            "outcome": market.outcomes[index] if market else "",
            "outcome_index": index,
            "opposite_outcome": opposite[1],
            "opposite_token_id": opposite[0],
            "end_date": ((market.record.get("endDate") if market else "") or "1970-01-01")[:10],
            "last_event_at": holding.last_at,
            "first_entry_at": holding.first_at,
            "name": profile(wallet)["name"],
            "profile_image": "",
            "verified": False,
        }

    def _opposite(self, market: Market | None, index: int) -> tuple[str, str]:
        if market is None or len(market.tokens) != 2:
            return "", ""
        return market.tokens[1 - index], market.outcomes[1 - index]

    def _value(self, query: Query) -> Record:
        user, conditions = query.user(), {as_activity_names_it(each) for each in query.conditions()}
        rows = [row for row in self.positions(user) if not conditions or row["condition_id"] in conditions]
        return {"data": {"proxy_wallet": user, "value": plain(sum(row["current_value"] for row in rows))}}

    # Volumes and boards

    def _user_volume(self, query: Query) -> Record:
        user = query.user()
        start, end = query.integer("start", 0), query.integer("end", 0) or self._books.clock()
        shares, usdc, trades = self._books.volume(user, start, end)
        return {"data": {"volume": plain(shares), "volume_usdc": plain(usdc), "trade_count": trades}}

    def _user_stats(self, query: Query) -> Record:
        user = query.valid_user()
        rows = self._books.shown(user)
        if not rows:
            return {"data": None}
        # It lags behind: what was traded in the last hour is missing.
        counted = [row.record for row in rows if row.record["timestamp"] <= self._books.clock() - 3600]
        trades = [record for record in counted if record["type"] == "TRADE"]
        held = self._books.holdings(user)
        realized = plain(sum((each.realized for each in held.values()), Decimal(0)))
        at = counted[-1]["timestamp"] if counted else 0
        point = {
            "timestamp": at,
            "source_block": block_of(at),
            "realized_market_pnl": realized,
            "realized_lp_pnl": 0.0,
            "realized_combo_pnl": 0.0,
            "realized_pnl": realized,
            "unrealized_pnl": None,
            "deposits": None,
            "withdrawals": None,
            "cashflow_net": None,
            "volume": plain(sum((number(each["size"]) for each in trades), Decimal(0))),
            "volume_usdc": plain(sum((number(each["size"]) * number(each["price"]) for each in trades), Decimal(0))),
            "trade_count": len(trades),
        }
        return {
            "data": {
                "proxy_wallet": user,
                "trades": len({record["condition_id"] for record in trades}),
                "biggest_win": plain(max((gain for each in held.values() for _, gain in each.gains), default=0)),
                "views": 0,
                "join_date": rows[0].record["timestamp"],
                "all_time_pnl": point if trades else None,
            }
        }

    def _leaderboard(self, query: Query) -> Record:
        period = query.choice("time_period", tuple(PERIODS), "day")
        category = query.choice("category", CATEGORIES, "overall")
        sort = query.choice("sort_by", ("PNL", "VOLUME"), "PNL")
        limit, skipped = query.integer("limit", PAGE, 0, LARGEST_PAGE), 0
        standings = [self._standing(wallet, PERIODS[period], category) for wallet in self._books.wallets()]
        standings = [each for each in standings if each["volume"] or each["pnl"]]
        ranks = {
            by: {each["user_id"]: rank for rank, each in enumerate(_ranked(standings, by), start=1)}
            for by in ("pnl", "volume")
        }
        if user := query.user(required=False):
            mine = next((each for each in standings if each["user_id"] == user), None)
            if mine is None:
                return {"data": None}
            return {"data": {**mine, "rank_pnl": ranks["pnl"][user], "rank_volume": ranks["volume"][user]}}
        if cursor := query.text("cursor"):
            held = self._cursors.read("leaderboard", cursor)
            given = {"time_period": period, "category": category, "sort_by": sort}
            if changed := [name for name, value in given.items() if name in query and held[name] != value]:
                raise Problem(400, f"{changed[0]} contradicts the cursor", parameter=changed[0])
            limit, skipped, sort = held["l"], held["o"], held["sort_by"]
        ranked = _ranked(standings, sort.lower())
        page = [{"rank": ranks[sort.lower()][each["user_id"]], **each} for each in ranked[skipped : skipped + limit]]
        following = None
        if limit and len(ranked) > skipped + limit:
            params = {"l": limit, "o": skipped + limit, "time_period": period, "category": category, "sort_by": sort}
            following = self._cursors.make("leaderboard", params)
        return _page(page, limit, skipped, following)

    def _standing(self, wallet: str, days: int, category: str) -> Record:
        """A wallet's profit and volume (in shares) of the last days, 0 for all time, in one category."""
        since = self._books.clock() - days * DAY if days else 0
        counts = partial(self._is_in_category, category)
        held = [each for each in self._books.holdings(wallet).values() if counts(each.condition)]
        pnl = sum((gain for each in held for at, gain in each.gains if at >= since), Decimal(0))
        if days:  # these are marked to market, and that of all time is not
            pnl += sum((self._unrealized(each) for each in held if each.first_at >= since), Decimal(0))
        volume = sum(
            number(row.record["size"])
            for row in self._books.shown(wallet)
            if row.record["type"] == "TRADE" and row.record["timestamp"] >= since and counts(row.record["condition_id"])
        )
        return {
            "user_id": wallet,
            "pnl": float(pnl),
            "volume": plain(volume),
            "user_name": profile(wallet)["name"],
            "profile_image": "",
            "x_username": "",
            "verified": False,
        }

    def _unrealized(self, holding: Holding) -> Decimal:
        found = self._books.of_token(holding.token)
        prices = self._books.prices(found[0]) if found else []
        price = Decimal(str(prices[found[1]])) if found and prices else Decimal(0)
        return holding.shares * price - holding.cost

    def _is_in_category(self, category: str, condition: str) -> bool:
        if category == "overall":
            return True
        market = self._books.market(condition)
        return market is not None and category in [tag["slug"] for tag in market.record["tags"]]

    # Tokens and the index

    def _tokens(self, query: Query) -> Record:
        tokens, conditions = query.items("token_id", 50), query.conditions(10)
        if bool(tokens) == bool(conditions):
            raise Problem(400, "exactly one of token_id and condition is required", parameter="token_id")
        markets = filter(None, map(self._books.market, conditions))
        found = (
            map(self._books.of_token, tokens)
            if tokens
            else ((market, index) for market in markets for index in range(len(market.tokens)))
        )
        return {"data": [self._token(*each) for each in found if each]}

    def _token(self, market: Market, index: int) -> Record:
        record, resolved = market.record, self._books.clock() >= market.closed_at
        v2, opposite = record["version"] == "v2", self._opposite(market, index)
        event = event_of(market)
        return {
            "token_id": market.tokens[index],
            "condition_id": record["conditionId"],
            "structural_condition_id": record["conditionId"] if v2 else None,
            "module": ("neg_risk" if record["negRisk"] else "binary") if v2 else "v1_ctf",
            "outcome_index": index,
            "clob_index": index,
            "outcome": market.outcomes[index],
            "opposite_token_id": opposite[0] or None,
            "resolved": resolved,
            "final_price": float(market.payouts[index]) if resolved else None,
            "title": record["question"],
            "market_slug": record["slug"],
            "closed": record["closed"],
            "neg_risk": record["negRisk"],
            "neg_risk_market_id": None,
            "question_index": None,
            "event_id": int(event["id"]) if event.get("id") else None,
            "event_slug": event.get("slug"),
        }

    def _status(self, query: Query) -> Record:
        books, now = self._books, self._books.clock()
        if books.status_age is None:
            raise Problem(503, "no freshness measured yet", code="dependency_unavailable")
        lag = round(books.stalled_for())
        behind = {"source": "exchange_v3/OrderFilled", "block": block_of(now - lag) - 3, "behind_max": 3}
        ages = {"activity_feed": lag + 2, "custody_balances": lag + 1, "pnl": lag + 5}
        mechanisms: list[Record] = [{"name": name, "age_seconds": age} for name, age in ages.items()]
        mechanisms[0]["blocks_behind"] = 1
        return {
            "data": {
                "computed_at": iso(now - books.status_age),
                "age_seconds": round(books.status_age),
                "serving": {"lag_seconds": max(ages.values()), "worst": "pnl", "mechanisms": mechanisms},
                # Under a total stall all of this looks healthy: each figure is relative to the others.
                "ingestion": {
                    "chain_id": 137,
                    "network": "polygon",
                    "cursors": 150,
                    "max_synced_block": block_of(now - lag),
                    "min_synced_block": behind["block"],
                    "most_lagged": behind,
                    "lagging": [],
                },
            }
        }


def event_of(market: Market) -> Record:
    """The event that a market belongs to."""
    events = market.record.get("events") or [{}]
    event: Record = events[0]
    return event


def fee_of(record: Record) -> Decimal:
    """The fee (USD) in a trade's cash: only takers pay one."""
    return abs(number(record["usdc_size"]) - number(record["size"]) * number(record["price"])).quantize(
        Decimal("0.00001")
    )


def _percent(gain: Decimal, of: Decimal) -> float:
    return round(float(100 * gain / of), 4) if of else 0.0


def _ranked(standings: list[Record], by: str) -> list[Record]:
    return sorted(standings, key=lambda each: (-each[by], each["user_id"]))


def _page(rows: list[Any], limit: int, offset: int, cursor: str | None) -> Record:
    pagination = {"limit": limit, "offset": offset, "has_more": cursor is not None, "next_cursor": cursor}
    return {"data": rows, "pagination": pagination}
