"""The simulated Polymarket keeps to what is documented of the real one. `httpx` is the client, never our own."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from support.clock import StillClock

from whalesync.sandbox import Polymarket, Record, Sandbox
from whalesync.sandbox.polymarket import Books, Limits, condition_id, make_activity, make_market, token_id

DAY = 86_400
WALLET = "0x" + "ab" * 20


@pytest.fixture
def books(clock: StillClock) -> Books:
    """Books with one market, whose clock stands still."""
    books = Books(clock)
    books.add_market(make_market(1, tags=["Politics"], volume=1000))
    return books


@pytest.fixture
def sandbox(books: Books) -> Iterator[Sandbox]:
    """The exchange without limits, and without the cache in front of it."""
    with Sandbox(polymarket=Polymarket(books, cached={})) as sandbox:
        yield sandbox


@pytest.fixture
def data(sandbox: Sandbox) -> Iterator[httpx.Client]:
    """A client of the Data API."""
    with httpx.Client(base_url=sandbox.polymarket_data_url) as client:
        yield client


@pytest.fixture
def gamma(sandbox: Sandbox) -> Iterator[httpx.Client]:
    """A client of Gamma."""
    with httpx.Client(base_url=sandbox.polymarket_gamma_url) as client:
        yield client


def rows(client: httpx.Client, path: str = "/v2/activity", **query: Any) -> list[Record]:
    """All pages of a list for the wallet."""
    found: list[Record] = []
    query = {"user": WALLET, **query}
    while True:
        document = client.get(path, params=query).raise_for_status().json()
        found += document["data"]
        if not document["pagination"]["has_more"]:
            assert document["pagination"]["next_cursor"] is None
            return found
        query["cursor"] = document["pagination"]["next_cursor"]


def add(books: Books, *ages: int, **fields: Any) -> None:
    """Add a trade for each age, in seconds."""
    for age in ages:
        books.add(WALLET, make_activity(timestamp=int(books.clock()) - age, **fields))


def test_a_walk_has_every_row_once_in_either_direction(books: Books, data: httpx.Client) -> None:
    """By second, then by place in the chain; identical rows are rows of their own, and seconds are inclusive."""
    add(books, 30, 20, 20, 20, 10, 10)
    expected = books.activity(WALLET)
    assert rows(data, sort_direction="ASC", limit=2) == expected
    assert rows(data, limit=1) == expected[::-1]
    now = int(books.clock())
    assert rows(data, sortDirection="ASC", start=now - 20, end=now - 20) == expected[1:4]


def test_rows_that_arrive_during_a_walk_do_not_shift_its_pages(books: Books, data: httpx.Client) -> None:
    """A late row takes its place in the chain: one behind what was read is not found by going on."""
    add(books, 50, 40, 30)
    first = data.get("/v2/activity", params={"user": WALLET, "limit": 2, "sort_direction": "ASC"}).json()
    late, ahead = (make_activity(timestamp=int(books.clock()) - age, size=7) for age in (45, 35))
    books.add(WALLET, late)
    books.add(WALLET, ahead)
    rest = rows(data, cursor=first["pagination"]["next_cursor"])
    assert [row["size"] for row in rest] == [7, 100] and len(rows(data)) == 5


def test_a_row_shows_when_it_is_visible_and_is_labelled_later(
    books: Books, clock: StillClock, data: httpx.Client
) -> None:
    """Until then its index is 999; a removed row is gone, and one that is mined again has another second."""
    now = int(clock.now)
    row = books.add(WALLET, make_activity(timestamp=now), visible_at=now + 8, labelled_at=now + 60)
    assert rows(data) == []
    clock.now += 8
    (shown,) = rows(data)
    assert (shown["outcome_index"], shown["outcome"], shown["event_slug"]) == (999, "", "")
    clock.now += 52
    (shown,) = rows(data)
    assert (shown["outcome_index"], shown["outcome"], shown["event_slug"]) == (0, "Yes", "event-1")
    books.mine_again([row], now + 2)
    assert [each["timestamp"] for each in rows(data)] == [now + 2]
    books.remove(row)
    assert rows(data) == [] and len(books.rows(WALLET)) == 1


def test_a_cursor_keeps_the_size_of_a_page_and_is_signed(books: Books, sandbox: Sandbox, data: httpx.Client) -> None:
    """It holds the anchor and the size; `limit` is ignored; altered, expired or voided it is refused with 400."""
    add(books, 5, 4, 3, 2, 1)
    cursor = data.get("/v2/activity", params={"user": WALLET, "limit": 2}).json()["pagination"]["next_cursor"]
    second = data.get("/v2/activity", params={"user": WALLET, "limit": 900, "cursor": cursor}).json()
    assert len(second["data"]) == 2 and second["pagination"]["limit"] == 2
    document = json.loads(base64.urlsafe_b64decode(cursor + "=="))
    assert {"l", "ts", "sq", "d"} <= document["data"]["params"].keys()
    document["data"]["params"]["ts"] += 1
    forged = base64.urlsafe_b64encode(json.dumps(document).encode()).decode()
    assert data.get("/v2/activity", params={"user": WALLET, "cursor": forged}).status_code == 400
    assert data.get("/v2/trades", params={"user": WALLET, "cursor": cursor}).status_code == 400
    sandbox.polymarket.cursors.void()
    assert data.get("/v2/activity", params={"user": WALLET, "cursor": cursor}).status_code == 400


def test_a_cursor_may_expire(books: Books, clock: StillClock) -> None:
    """After the lifetime it was given."""
    add(books, 2, 1)
    with Sandbox(polymarket=Polymarket(books, cursor_lifetime=60)) as sandbox:
        url = f"{sandbox.polymarket_data_url}/v2/activity?user={WALLET}&limit=1"
        cursor = httpx.get(url).json()["pagination"]["next_cursor"]
        statuses = []
        for _ in range(2):
            statuses.append(httpx.get(f"{url}&cursor={cursor}").status_code)
            clock.now += 61
    assert statuses == [200, 400]


@pytest.mark.parametrize(
    ("query", "parameter"),
    [
        ("", "user"),
        (f"user={WALLET}&limit=1001", "limit"),
        (f"user={WALLET}&offset=0", "offset"),
        (f"user={WALLET}&user={WALLET}", "user"),
        (f"user={WALLET}&type=BUY", "type"),
        (f"user={WALLET}&sort_by=CASH", "sort_by"),
        (f"user={WALLET}&condition={condition_id(1)}&event_id=1", "event_id"),
        (f"user={WALLET}&conditionId=0x12", "condition"),
        ("user=0x4D97DCd97eC945f40cF65F87097ACe5EA0476045", "user"),
    ],
)
def test_what_is_refused_names_its_parameter(query: str, parameter: str, data: httpx.Client) -> None:
    """HTTP 400 with the error document, whose trace id is that of the header."""
    response = data.get(f"/v2/activity?{query}")
    document = response.json()
    assert (response.status_code, document["code"], document["retryable"]) == (400, "invalid_request", False)
    assert document["parameter"] == parameter and document["trace_id"] == response.headers["x-trace-id"]


def test_a_mistyped_wallet_is_empty_but_for_user_stats(data: httpx.Client) -> None:
    """200 and no rows, no volume, nothing; only user-stats checks it."""
    assert rows(data, user="0xtypo") == rows(data, "/v2/positions", user="0xtypo") == []
    nothing = {"volume": 0, "volume_usdc": 0, "trade_count": 0}
    assert data.get("/v2/user-volume?user=typo").json() == {"data": nothing}
    assert data.get("/v2/user-stats?user=typo").status_code == 400
    assert data.get(f"/v2/user-stats?user={WALLET}").json() == {"data": None}


def test_what_a_wallet_s_activity_leaves_out_by_default(books: Books, data: httpx.Client) -> None:
    """Deposits even when they are named, tips unless they are named, and what is older than three years."""
    add(books, 40, type="DEPOSIT")
    add(books, 30, type="TIP", side="IN")
    add(books, 20, type="REWARD")
    add(books, 4 * 365 * DAY)
    kinds = [
        [row["type"] for row in rows(data, **query)]
        for query in (
            {},
            {"type": "DEPOSIT,REWARD"},
            {"type": "TIP"},
            {"exclude_deposits_withdrawals": "false"},
            {"start": 0},
            {"start": 1},
        )
    ]
    assert kinds == [["REWARD"], ["REWARD"], ["TIP"], ["REWARD", "DEPOSIT"], ["REWARD"], ["REWARD", "TRADE"]]


def test_user_volume_counts_the_trades_of_whole_days(books: Books, clock: StillClock, data: httpx.Client) -> None:
    """Shares and price times shares, without fees; what has just shown is counted later."""
    midnight = int(clock.now) // DAY * DAY
    for at in (midnight - DAY - 1, midnight - DAY, midnight - 1, midnight):
        books.add(WALLET, make_activity(timestamp=at, size=10, price=0.25, fee=0.1))
    books.add(WALLET, make_activity("SPLIT", timestamp=midnight - 5))
    books.add(WALLET, make_activity(timestamp=midnight - 9, size=1), visible_at=clock.now)
    query: dict[str, str | int] = {"user": WALLET, "start": midnight - DAY + 100, "end": midnight - 50}
    assert data.get("/v2/user-volume", params=query).json()["data"] == {
        "volume": 20.0,
        "volume_usdc": 5.0,
        "trade_count": 2,
    }
    clock.now += books.volume_lag
    assert data.get("/v2/user-volume", params=query).json()["data"]["trade_count"] == 3


def test_the_same_address_has_the_same_body_for_15_seconds(books: Books, clock: StillClock) -> None:
    """With the old trace id, and an age; another address is answered anew."""
    with Sandbox(polymarket=Polymarket(books)) as sandbox:
        url = f"{sandbox.polymarket_data_url}/v2/activity?user={WALLET}"
        first = httpx.get(url)
        add(books, 0)
        clock.now += 14
        hit = httpx.get(url)
        assert hit.content == first.content and hit.headers["x-trace-id"] == first.headers["x-trace-id"]
        assert (hit.headers["x-cache"], hit.headers["age"]) == ("Hit from cloudfront", "14")
        assert len(httpx.get(f"{url}&end={int(clock.now) + 3600}").json()["data"]) == 1
        clock.now += 1
        assert len(httpx.get(url).json()["data"]) == 1


def test_a_stalled_index_shows_nothing_new_and_says_so(books: Books, clock: StillClock, data: httpx.Client) -> None:
    """`lagging` stays empty under a total stall; before the first measurement the status is 503."""
    books.stall()
    clock.now += 300
    add(books, 10)
    now = int(clock.now)
    books.add(WALLET, make_activity(timestamp=now - 100, size=5), visible_at=now - 90)
    status = data.get("/v2/status").json()["data"]
    assert status["serving"]["lag_seconds"] >= 300 and status["ingestion"]["lagging"] == []
    assert [row["size"] for row in rows(data)] == [100]
    books.resume()
    assert len(rows(data)) == 2 and data.get("/v2/status").json()["data"]["serving"]["lag_seconds"] < 60
    books.status_age = None
    response = data.get("/v2/status")
    assert (response.status_code, response.json()["code"]) == (503, "dependency_unavailable")
    assert response.headers["Retry-After"] == "1" and response.json()["retryable"]


def test_a_request_too_many_blocks_the_host(books: Books) -> None:
    """429 that is not JSON, `Retry-After: 0`, for every path of the host; further requests prolong it."""
    with Sandbox(polymarket=Polymarket(books, limits=Limits(scale=0.02, block=0.3))) as sandbox:
        url = f"{sandbox.polymarket_data_url}/v2"
        statuses = [httpx.get(f"{url}/activity?user={WALLET}").status_code for _ in range(5)]
        assert statuses == [200] * 4 + [429]
        refused = httpx.get(f"{url}/user-volume?user={WALLET}")
        assert (refused.status_code, refused.text, refused.headers["Retry-After"]) == (429, "error code: 1015", "0")
        assert httpx.get(f"{sandbox.polymarket_gamma_url}/markets/keyset").status_code == 200
        time.sleep(0.35)
        assert httpx.get(f"{url}/user-volume?user={WALLET}").status_code == 200
        assert sandbox.counts()["data", "/v2/activity"] == 5


def test_positions_follow_from_the_rows(books: Books, clock: StillClock, data: httpx.Client) -> None:
    """Average cost without fees; dust and what was redeemed is closed; small ones are hidden unless asked for."""
    books.add_market(make_market(2))
    at = int(clock.now) - 100
    for size, price, fee, side in ((100, 0.4, 1.0, "BUY"), (100, 0.6, 0.0, "BUY"), (50, 0.7, 0.0, "SELL")):
        books.add(WALLET, make_activity(timestamp=at, size=size, price=price, fee=fee, side=side))
    books.add(WALLET, make_activity(timestamp=at, market=2, size=0.05))
    books.set_price(condition_id(1), 0.8)
    (row,) = rows(data, "/v2/positions")
    shown = [row[name] for name in ("current_size", "avg_price", "entry_cost_usdc", "realized_pnl", "current_value")]
    assert shown == [150, 0.5, 75, 10, 120] and (row["status"], row["redeemable"]) == ("OPEN", False)
    assert len(rows(data, "/v2/positions", filter_amount=0)) == 2
    books.resolve(condition_id(1), winner=0)
    (row,) = rows(data, "/v2/positions", status="REDEEMABLE")
    assert (row["status"], row["current_price"], row["unrealized_pnl"]) == ("REDEEMABLE", 1, 75)
    books.add(WALLET, make_activity("REDEEM", timestamp=at + 10, size=150))
    (row,) = rows(data, "/v2/positions", status="CLOSED")
    assert (row["token_id"], row["current_size"], row["realized_pnl"]) == (token_id(1, 0), 0, 85)
    assert rows(data, "/v2/positions") == []


def test_a_positions_cursor_binds_its_order(books: Books, data: httpx.Client) -> None:
    """Without its wallet it is refused, and so is another sort; saying nothing is no contradiction."""
    for number in range(1, 6):
        books.add(WALLET, make_activity(market=number, size=10 * number))
    query: dict[str, Any] = {"user": WALLET, "sort_by": "TOKENS", "limit": 2}
    first = data.get("/v2/positions", params=query).json()
    cursor = first["pagination"]["next_cursor"]
    assert [row["current_size"] for row in first["data"]] == [50, 40]
    assert [row["current_size"] for row in rows(data, "/v2/positions", cursor=cursor)] == [30, 20, 10]
    assert data.get("/v2/positions", params={"cursor": cursor}).status_code == 400
    assert data.get("/v2/positions", params={**query, "sort_by": "PRICE", "cursor": cursor}).status_code == 400


def test_gamma_s_lists_have_other_rules(books: Books, clock: StillClock, gamma: httpx.Client) -> None:
    """Closed and version 2 must be asked for, lists are repeated keys, and only `after_cursor` goes on."""
    for number in range(2, 130):
        books.add_market(make_market(number, version="v1" if number < 120 else "v2"))
    both = "version=v1&version=v2"

    def ids(query: str) -> list[int]:
        markets = gamma.get(f"/markets/keyset?{query}").raise_for_status().json()["markets"]
        return [int(market["id"]) for market in markets]

    assert len(ids("")) == 20 and len(ids("limit=500")) == 100
    assert ids("order=id&ascending=true&limit=3") == [1, 2, 3]
    page = gamma.get(f"/markets/keyset?{both}&order=id&ascending=true&limit=100").json()
    following = f"{both}&order=id&ascending=true&limit=100&after_cursor={page['next_cursor']}"
    assert ids(following) == list(range(101, 130))
    assert "next_cursor" not in gamma.get(f"/markets/keyset?{following}").json()
    assert ids(f"order=id&ascending=true&cursor={page['next_cursor']}")[0] == 1
    asked = [condition_id(1), condition_id(2)]
    assert sorted(ids("&".join(f"condition_ids={each}" for each in asked))) == [1, 2]
    assert ids(f"condition_ids={','.join(asked)}") == []
    assert len(ids(f"condition_ids[]={asked[0]}")) == 20
    assert ids(f"condition_ids={condition_id(125, 'v2')}") == []
    assert ids(f"condition_ids={condition_id(125, 'v2')}&version=v2") == [125]
    assert ids("volume_num_min=500") == [1]
    for refused in ("offset=20", "order=volume_24hr", "limit=x"):
        assert gamma.get(f"/markets/keyset?{refused}").status_code == 422
    assert gamma.get(f"/markets/keyset?slug={'x' * 9000}").status_code == 414
    assert gamma.get("/markets/keyset", headers={"User-Agent": "Python-urllib/3.11"}).status_code == 403


def test_a_market_that_has_just_closed_is_in_neither_list(books: Books, clock: StillClock, gamma: httpx.Client) -> None:
    """For some minutes; then its prices are what it pays. Tags come only if they are asked for."""
    books.resolve(condition_id(1), winner=1, at=clock.now + 10)
    query = f"/markets/keyset?condition_ids={condition_id(1)}&closed="

    def found() -> list[int]:
        return [len(gamma.get(query + closed).json()["markets"]) for closed in ("false", "true")]

    assert found() == [1, 0]
    clock.now += 10
    assert found() == [0, 0]
    clock.now += 120
    assert found() == [0, 1]
    (market,) = gamma.get(query + "true").json()["markets"]
    assert (market["outcomePrices"], market["umaResolutionStatus"], market["closed"]) == (
        '["0", "1"]',
        "resolved",
        True,
    )
    assert "tags" not in market
    (market,) = gamma.get(query + "true&include_tag=true").json()["markets"]
    assert market["tags"][0]["slug"] == "politics" and market["events"][0]["slug"] == "event-1"


def test_trades_hide_makers_and_crumbs_by_default(books: Books, data: httpx.Client) -> None:
    """`taker_only` is true unless it is said, and what is below a cent is never shown."""
    for size, fee in ((10, 0.1), (10, 0.0), (0.01, 0.001)):
        books.add(WALLET, make_activity(timestamp=int(books.clock()) - 5, size=size, fee=fee))
    assert len(rows(data, "/v2/trades")) == 1
    both = rows(data, "/v2/trades", taker_only="false", filter_amount=0)
    assert len(both) == 2 and "usdc_size" not in both[0]


def test_the_leaderboard_ranks_by_profit_or_shares(books: Books, data: httpx.Client) -> None:
    """Of a period; a wallet's own standing has both ranks, and one that is unknown has none."""
    other = "0x" + "cd" * 20
    at = int(books.clock())
    books.add(WALLET, make_activity(timestamp=at - 3 * DAY, size=100, price=0.2))
    books.add(WALLET, make_activity(timestamp=at - 2 * DAY, size=100, price=0.5, side="SELL"))
    books.add(other, make_activity(timestamp=at - 100, size=500))
    board = rows(data, "/v2/leaderboard", user="", time_period="all", limit=1)
    assert [(row["rank"], row["user_id"], row["pnl"], row["volume"]) for row in board] == [
        (1, WALLET, 30.0, 200.0),
        (2, other, 0.0, 500.0),
    ]
    assert [row["user_id"] for row in rows(data, "/v2/leaderboard", user="")] == [other]
    standing = data.get(f"/v2/leaderboard?user={other}&time_period=all").json()["data"]
    assert (standing["rank_pnl"], standing["rank_volume"]) == (2, 1)
    assert data.get("/v2/leaderboard?user=0x00").json() == {"data": None}
