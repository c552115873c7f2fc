"""Polymarket's adapter: from JSON to records, whole seconds, cursors, health, rates. The job's view is at the end."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from support.data_host import START, DataHost, DataOffice, activity_row
from support.fills import query

from whalesync.errors import ContradictoryList, InvalidResponse, RequestRefused, ServerError
from whalesync.exchanges.polymarket import clients, parsing
from whalesync.exchanges.polymarket.api import Api
from whalesync.exchanges.polymarket.clients import LEAST_HOLD, Clients, rate_file, unwrap
from whalesync.exchanges.polymarket.pages import ActivityRequest, CountRequest, Page, Volume, Work
from whalesync.records import RejectedRecord, Trade, fill_key, fill_key_rule

WALLET = "0x" + 40 * "1"
EVERYTHING = ActivityRequest(Work.BACKFILL, 1, START)

# As an official client's fixtures have it, but for the addresses of pictures.
RECORDED: dict[str, Any] = {
    "proxy_wallet": "0x7c3db723f1d4d8cb9c550095203b686cb11e5c6b", "timestamp": 1788886026,
    "condition_id": "0x706beb0ebd2edd12bbe8ec141a94181a8b67fb2b630c66304db8e70828a2cd7f", "type": "TRADE",
    "size": 155.03, "usdc_size": 13.89215,
    "transaction_hash": "0xe0631ac3c5899c6eafff31fde1a62c6dcb6cff3644cceae345136f725d54a5bb", "price": 0.0864503644,
    "token_id": "48806077328000909419484823670508609131899330142378469532880640080613055214499", "side": "BUY",
    "outcome_index": 0, "outcome": "Yes", "title": "Will the Republican Party candidate win by 5%-10%?",
    "slug": "will-the-republican-party-candidate-win", "event_slug": "arkansas-senate-margin", "name": "Car",
}  # fmt: skip


def read(**fields: Any) -> Trade:
    found = parsing.parse_row({**RECORDED, **fields})
    assert isinstance(found, Trade)
    return found


def connected(host: DataHost) -> Api:
    return Api(host, clock=lambda: float(host.now))  # type: ignore[arg-type]  # the host stands for it


def test_a_recorded_trade() -> None:
    """What moved, fee included; the fee is what moved beyond 155.03 x 0.0864503644 = 13.40240."""
    trade = read()
    assert (trade.action, trade.amount, trade.price, trade.shares) == ("BUY", 13.89215, 0.0864503644, 155.03)
    assert trade.fee == 0.48975
    assert (trade.outcome, trade.outcome_label, trade.timestamp) == ("YES", "Yes", 1788886026000)
    assert trade.market_external_id == RECORDED["condition_id"]
    assert trade.token_id == RECORDED["token_id"]
    assert trade.profit is None


def test_a_sale_moves_less_than_its_shares_are_worth() -> None:
    """The fee is positive on both sides, and nothing where the price is merely rounded."""
    assert read(side="SELL", size=100, price=0.5, usdc_size=49.25).fee == 0.75
    assert read(size=3, price=0.3333333333, usdc_size=1.0).fee == 0.0


def test_what_is_no_trade_has_no_price_and_no_shares() -> None:
    """The size of a redemption is money; without a token there is no outcome."""
    trade = read(type="REDEEM", side="", token_id="", size=7.5, usdc_size=7.5, price=0, outcome="Yes")
    assert (trade.action, trade.amount, trade.price, trade.shares, trade.fee) == ("REDEEM", 7.5, None, None, None)
    assert (trade.outcome, trade.outcome_label, trade.token_id) == (None, None, None)
    assert read(type="NEW_KIND", side="").action == "NEW_KIND"


@pytest.mark.parametrize("kind", ["REWARD", "YIELD", "MAKER_REBATE", "TAKER_REBATE", "DEPOSIT", "WITHDRAWAL", "TIP"])
def test_what_concerns_no_market_is_left_out(kind: str) -> None:
    """Income and transfers."""
    assert parsing.parse_row({**RECORDED, "type": kind, "condition_id": ""}) is None


def test_a_row_that_is_not_labelled_yet() -> None:
    """Neither outcome nor label; its key is that of the labelled row, and also of one mined again."""
    fresh = read(outcome_index=999, outcome="")
    assert (fresh.outcome, fresh.outcome_label) == (None, None)
    assert fresh.fill_key == read().fill_key == read(timestamp=1788886027, title="Other", price=0.08).fill_key
    assert fresh.fill_key != read(token_id="1").fill_key
    assert fresh.fill_key != read(usdc_size=13.892151).fill_key


def test_the_rule_of_a_key_stands_in_it() -> None:
    """So a stored row is checked by the rule by which it was stored."""
    trade = read()
    assert fill_key_rule(trade.fill_key) == trade.fill_key_rule == 3
    content = (trade.tx_hash, trade.market_external_id, "BUY", "NO", 13.89215, None, 155.03, 0, trade.token_id)
    assert fill_key(*content, rule=3) == trade.fill_key


def test_condition_ids_of_both_protocols_and_of_combos() -> None:
    """62 digits beginning 01 or 02 are the market data's 64; combos stay as they are."""
    assert parsing.market_id("0x01" + 60 * "A") == "0x01" + 60 * "a" + "00"
    assert parsing.market_id("0x03" + 60 * "a") == "0x03" + 60 * "a"
    assert read(condition_id="0x03" + 60 * "a").market_external_id == "0x03" + 60 * "a"


@pytest.mark.parametrize(
    "fields",
    [
        {"condition_id": ""}, {"token_id": ""}, {"side": ""}, {"size": "10"}, {"usdc_size": -1}, {"price": None},
        {"transaction_hash": "0xg"}, {"type": "trade"}, {"timestamp": "1788886026"}, {"usdc_size": True},
    ],
    ids=str,
)  # fmt: skip
def test_what_cannot_be_read_is_kept(fields: dict[str, Any]) -> None:
    """As a record of its own, the same one whatever its titles become."""
    first, later = (parsing.parse_row({**RECORDED, **fields, "title": title}) for title in ("", "Now titled"))
    assert isinstance(first, RejectedRecord)
    assert isinstance(later, RejectedRecord)
    assert first.fingerprint == later.fingerprint


def test_a_full_page_shows_whole_seconds_only() -> None:
    """The oldest second of a page that goes on is left to the next request."""
    rows = [activity_row(n, second) for n, second in enumerate([30, 29, 29])]
    assert parsing.parse_page(rows, 1, 40, more=True, at=35, healthy=True).whole_from == 30
    page = parsing.parse_page(rows, 1, 40, more=False, at=35, healthy=True)
    assert (page.whole_from, [entry.second for entry in page.entries]) == (1, [30, 29, 29])


def test_a_row_without_a_readable_time_stands_where_it_is_shown() -> None:
    """Between its neighbours; alone, at the end of what was asked for."""
    rows = [activity_row(1, 30), {**activity_row(2, 29), "timestamp": None}, activity_row(3, 28)]
    page = parsing.parse_page(rows, 1, 40, more=False, at=35, healthy=True)
    assert [entry.second for entry in page.entries] == [30, 30, 28]
    assert parsing.seconds_of(rows[1:2], 35) == [35]


@pytest.mark.parametrize("seconds", [[10, 11], [41], [4]], ids=str)
def test_rows_that_were_not_asked_for_are_refused(seconds: list[int]) -> None:
    """Not sorted, too new, or too old: nothing can be concluded from such a page."""
    with pytest.raises(ContradictoryList):
        parsing.parse_page([activity_row(1, each) for each in seconds], 5, 40, more=False, at=35, healthy=True)


@pytest.mark.parametrize(("body", "problem"), [({"trade_count": None}, "trade_count"), ({"trade_count": 1}, "volume")])
def test_a_volume_that_is_none(body: dict[str, Any], problem: str) -> None:
    """It is not taken for zero."""
    with pytest.raises(InvalidResponse, match=problem):
        parsing.parse_volume(body)


def test_a_second_that_fills_a_page_is_followed_to_its_end() -> None:
    """By its cursor; one that has become void begins the request again."""
    host = DataHost(largest_page=2)
    for number in range(5):
        host.add(WALLET, activity_row(number, START - 50), place=number)
    for number in range(5, 7):
        host.add(WALLET, activity_row(number, START - 60 - number))
    host.before = lambda number: setattr(host, "secret", int(number >= 3))  # the status, a page, and then
    page = connected(host).fetch_trades(WALLET, EVERYTHING)
    assert isinstance(page, Page)
    assert (page.whole_from, len(page.entries)) == (START - 64, 5)
    assert [path for path, params in host.asked if "cursor" not in params] == ["/status", *2 * ["/activity"]]


def test_a_list_that_contradicts_itself() -> None:
    """``has_more`` without a cursor is not the end of a list."""
    host = DataHost()
    host.get = lambda path, params: {"data": [], "pagination": {"has_more": True, "next_cursor": None}}  # type: ignore[method-assign]
    with pytest.raises(ContradictoryList, match="contradict"):
        connected(host).fetch_trades(WALLET, EVERYTHING)


def test_what_is_asked_for() -> None:
    """No type, since a list of them may be ignored; deposits, which are hidden by default, since they may hide more."""
    host = DataHost()
    connected(host).fetch_trades(WALLET, ActivityRequest(Work.POLL, None, None))
    assert host.asked[-1][1] == {
        "user": WALLET, "start": START - 615, "end": START + 3600, "limit": 1000, "sort_by": "TIMESTAMP",
        "sort_direction": "DESC", "exclude_deposits_withdrawals": "false",
    }  # fmt: skip
    connected(host).fetch_trades(WALLET, CountRequest(Work.COUNT, 20_000, 20_002))
    assert host.asked[-1] == ("/user-volume", {"user": WALLET, "start": 1_728_000_000, "end": 1_728_172_800})


@pytest.mark.parametrize(
    ("status", "healthy"),
    [
        ({"serving": {"lag_seconds": 120}, "age_seconds": 300}, True),
        ({"serving": {"lag_seconds": 121}, "age_seconds": 1}, False),
        ({"serving": {"lag_seconds": 1}, "age_seconds": 301}, False),
        ({"serving": {}}, False),
        (ServerError("503"), False),
    ],
)
def test_an_index_that_does_not_say_that_it_keeps_up_does_not(status: Any, *, healthy: bool) -> None:
    """It is asked once a run, not once a wallet, and the run says what is wrong with it."""
    host = DataHost()
    honest = host.get

    def get(path: str, params: Mapping[str, str | int]) -> Any:
        if path != "/status":
            return honest(path, params)
        host.asked.append((path, params))
        if isinstance(status, Exception):
            raise status
        return status

    host.get = get  # type: ignore[method-assign]
    connection = connected(host)
    pages = [connection.fetch_trades(WALLET, EVERYTHING) for _ in range(3)]
    assert [page.healthy for page in pages if isinstance(page, Page)] == 3 * [healthy]
    assert [path for path, _ in host.asked].count("/status") == 1
    assert (connection.trouble() is None) == healthy


def test_trades_of_today_are_counted_too() -> None:
    """The exchange counts them late, but lists them."""
    host = DataHost()
    assert connected(host).count_trades(WALLET) == 0
    host.add(WALLET, activity_row(1, START - 10))
    assert connected(host).count_trades(WALLET) == 1
    assert connected(host).fetch_trades(WALLET, CountRequest(Work.COUNT, 0, 1)) == Volume(0, 0.0, 0.0)


def test_an_error_of_the_exchange() -> None:
    """Its code and its text, also where the body is not JSON."""
    body = {"error": "limit must be between 0 and 1000", "code": "invalid_request", "retryable": False}
    with pytest.raises(RequestRefused, match=r"400 invalid_request limit must be"):
        unwrap(400, body)
    with pytest.raises(RequestRefused, match=r"\(403\)"):
        unwrap(403, None)


def test_a_429_holds_all_rates_of_its_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """For some seconds at least, whatever it says; the other host's goes on."""
    db = tmp_path / "whales.db"
    open_client: Callable[..., Any] = lambda url, headers, rate, *rest, **more: rate  # noqa: E731  (the rate alone)
    monkeypatch.setattr(clients, "Client", open_client)
    urls = "http://127.0.0.1:1", "http://127.0.0.1:2"
    made = Clients(*urls, 18, db, title="", first_backoff=0, until=0, log_step=lambda text: None)
    rates: list[Any] = [made.activity, made.positions, made.data, made.gamma]
    assert [round(1 / rate.interval) for rate in rates] == [18, 18, 36, 27]
    before = [rate._clock() for rate in rates]
    rates[0].hold(0.0)
    waits = [rate._update(rate._path, lambda free: free) - now for rate, now in zip(rates, before, strict=True)]
    assert all(LEAST_HOLD <= wait < LEAST_HOLD + 1 for wait in waits[:3])
    assert waits[3] < 0


def test_the_rate_of_a_host_is_shared_by_all_files_of_a_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It counts by address; beside the database where that folder cannot be made, and for an address of this host."""
    db = tmp_path / "whales.db"
    monkeypatch.setattr(clients, "user_folder", lambda kind: tmp_path / "cache" / "whalesync")
    assert rate_file("http://127.0.0.1:8080", db)("data") == tmp_path / "whales.db.polymarket.data.rate"
    expected = tmp_path / "cache" / "whalesync" / "data-api.polymarket.com.data.rate"
    assert rate_file("https://data-api.polymarket.com", db)("data") == expected
    (tmp_path / "a file").touch()
    monkeypatch.setattr(clients, "user_folder", lambda kind: tmp_path / "a file" / "whalesync")
    assert rate_file("https://data-api.polymarket.com", db)("data") == tmp_path / "whales.db.polymarket.data.rate"


# What the job makes of it


@pytest.fixture
def office(tmp_path: Path) -> DataOffice:
    """A wallet with a trade an hour for three days, all stored."""
    office = DataOffice(tmp_path, [WALLET])
    for hour in range(72):
        office.host.add(WALLET, activity_row(hour, START - hour * 3600 - 700))
    office.sync()
    return office


def edit(office: DataOffice, sql: str) -> None:
    """Change the file behind our back."""
    with sqlite3.connect(office.db) as db:
        db.execute(sql)


def test_verify_names_the_day_that_differs(office: DataOffice) -> None:
    """By the exchange's counts of closed days; the deep walk finds the row, and the repair brings it back."""
    assert office.verify()[0].ok
    edit(office, f"DELETE FROM whale_activity WHERE timestamp = {(START - 40 * 3600 - 700) * 1000}")
    (verdict,) = office.verify()
    assert verdict.faults == ["the exchange counts other trades of 2026-09-19 than are stored"]
    assert verdict.listed == (verdict.accounted or 0) + 1
    assert office.verify(deep=True)[0].missing == 1
    assert office.verify(repair=True)[0].ok
    assert office.stored(WALLET) == office.host.kept(WALLET)


def test_verify_finds_a_row_that_is_not_listed(office: DataOffice) -> None:
    """A sync would take three looks to supersede it; a repair takes two walks."""
    del office.host.rows[WALLET][40]
    (verdict,) = office.verify(deep=True)
    assert len(verdict.extra or []) == 1
    assert office.verify(repair=True)[0].ok
    assert office.stored(WALLET) == office.host.kept(WALLET)


def test_a_label_that_comes_later_is_added(tmp_path: Path) -> None:
    """And the outcome with it; no second row comes of it."""
    office = DataOffice(tmp_path, [WALLET])
    row = office.host.add(WALLET, activity_row(1, START - 20, outcome_index=999, outcome=""))
    office.sync()
    row.raw |= {"outcome_index": 1, "outcome": "Celtics"}
    office.host.now += 60
    office.sync()
    assert query(office.db, "SELECT outcome, outcome_label FROM whale_activity") == [("NO", "Celtics")]


def test_a_row_that_vanishes_is_reported_when_it_is_certain(office: DataOffice) -> None:
    """After three looks, ten minutes apart; until then it counts."""
    gone = office.host.add(WALLET, activity_row(100, START - 5))
    office.host.now += 60
    office.sync()
    office.host.rows[WALLET].remove(gone)
    kept = []
    for _ in range(4):
        office.host.now += 601
        office.sync()
        kept.append((office.stored(WALLET).total(), any("no longer listed" in each for each in office.errors)))
    assert kept == [(73, False), (73, False), (72, True), (72, False)]
    office.host.rows[WALLET].append(gone)
    office.host.now += 60
    office.sync()
    assert office.stored(WALLET).total() == 73


def test_a_day_that_differs_for_good_is_reported_once(office: DataOffice) -> None:
    """It is read again first; nothing is adjusted."""
    honest = office.host.get

    def get(path: str, params: Mapping[str, str | int]) -> Any:
        body = json.loads(json.dumps(honest(path, params)))
        if path == "/user-volume" and int(params["start"]) <= (START - 2 * 86_400) <= int(params["end"]) + 86_399:
            body["trade_count"] += 1
        return body

    office.host.get = get  # type: ignore[method-assign]
    reports = []
    for _ in range(3):
        office.host.now += 86_400
        office.sync()
        reports += [each for each in office.errors if "although all that it lists" in each]
    assert len(reports) == 1
    assert "counts 25 trades" in reports[0]
    assert office.stored(WALLET).total() == 72


def test_a_format_that_has_changed_fails_the_run(tmp_path: Path) -> None:
    """Where no row of a page can be read; a few that cannot be are those rows' own fault."""
    office = DataOffice(tmp_path, [WALLET])
    for number in range(20):
        if number == 19:
            office.sync()
        office.host.add(WALLET, activity_row(number, START - number, usdc_size="1.0"))
    with pytest.raises(Exception, match="the exchange has changed its format"):
        office.sync()


def test_a_long_history_is_read_page_by_page(tmp_path: Path) -> None:
    """The newest first; a request for each page, and four more: the head, the counts, what is older, the status."""
    office = DataOffice(tmp_path, [WALLET])
    host = office.host
    for number in range(5_000):
        host.add(WALLET, activity_row(number, START - 700 - number * 60))
    office.sync(4)
    newest = min(row[-1] for row in office.stored(WALLET)) // 1000
    assert office.stored(WALLET) == host.kept(WALLET, newest)
    office.sync()
    assert office.stored(WALLET) == host.kept(WALLET)
    pages = [params for path, params in host.asked if path == "/activity"]
    assert len(pages) <= 5_000 / (parsing.LARGEST_PAGE - 1) + 1 + 4
