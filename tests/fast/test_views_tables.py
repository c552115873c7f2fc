"""Tables and the chart, as text on consoles of several widths."""

import time
from collections.abc import Callable
from io import StringIO
from typing import Any

import pytest
from rich.cells import cell_len

from whalesync.store.whale_detail import WhaleDetail
from whalesync.views import tables
from whalesync.views.output import console_on

NOW = 1_772_366_442_000  # 2026-03-01T12:00:42Z
MINUTE, DAY = 60_000, 86_400_000
MOBY = "0x" + "a1" * 20
NASTY = "\x1b[31m[red]evil[/red] :boom:\u202e\nnext"
NASTY_SHOWN = r"\x1b[31m[red]evil[/red] :boom:\u202e\nnext"
LONG_TITLE = "Will the very long question of this market ever come to an end before the decade does?"
CHILD_TITLE = "Gold price at the end of December? › $4,000 or more"


def shown(width: int, render: Callable[..., None], *args: Any, **kwargs: Any) -> list[str]:
    """What ``render`` prints on a console of that width, line by line."""
    out = StringIO()
    render(*args, console=console_on(out, width), **kwargs)
    return out.getvalue().splitlines()


def trade(**fields: Any) -> dict[str, Any]:
    return {
        "id": 1,
        "platform": "opinion_trade",
        "time": "2026-03-01T11:57:42Z",
        "whale_address": MOBY,
        "whale_label": "Moby Dick",
        "market_title": LONG_TITLE,
        "market_category": "Macro",
        "market_external_id": "1001",
        "market_url": "https://example.com/1001",
        "action": "BUY",
        "outcome": "YES",
        "outcome_label": None,
        "amount": 1234.5,
        "price": 0.625,
        "shares": 1975.2,
        "fee": 0.5,
        "profit": None,
        "timestamp": NOW - 3 * MINUTE,
    } | fields


def market(**fields: Any) -> dict[str, Any]:
    return {
        "kind": "market",
        "platform": "opinion_trade",
        "external_id": "1001",
        "market_title": LONG_TITLE,
        "category": "Macro",
        "status": "activated",
        "yes_price": 0.625,
        "no_price": 0.375,
        "volume": 1_234_567.0,
        "volume_24h": 1_234.0,
        "volume_7d": None,
        "liquidity": 500.0,
        "end_date": NOW + 9 * DAY,
        "result": None,
        "url": "https://example.com/1001",
    } | fields


def whale(**fields: Any) -> dict[str, Any]:
    return {
        "platform": "opinion_trade",
        "address": MOBY,
        "label": "Moby Dick",
        "tracked": 1,
        "total_volume": 123_456.78,
        "trade_count": 1234,
        "buy_count": 800,
        "sell_count": 434,
        "last_active_at": NOW - 3 * MINUTE,
        "volume_24h": 1200.0,
        "volume_7d": 8000.0,
        "volume_30d": 45000.0,
        "realized_profit": -378.5,
        "settled_profit": 1500.0,
        "open_profit": 20.0,
        "open_value": 620.0,
        "won_count": 12,
        "lost_count": 7,
        "win_rate": 0.625,
        "profit_complete": 1,
    } | fields


def position(**fields: Any) -> dict[str, Any]:
    return {
        "market_title": "Fed decision in March? › No change",
        "outcome": "NO",
        "outcome_label": "NO",
        "shares": 1000.0,
        "avg_price": 0.6,
        "price": 0.62,
        "value": 620.0,
        "unrealized_profit": 20.0,
        "gap": None,
        "market_external_id": "794",
        "market_url": "https://example.com/794",
    } | fields


def detail(**fields: Any) -> WhaleDetail:
    values: dict[str, Any] = {
        "row": whale(),
        "listed": 1234,
        "unknown": [],
        "decided": 24,
        "positions": [position()],
        "days": [{"day": f"2026-02-{day:02}", "buy": 100.0 * day, "sell": 50.0} for day in range(1, 29)],
        "markets": [market(trades=7)],
        "trades": [trade(), trade(action="SELL", profit=-5.0)],
    }
    return WhaleDetail(**values | fields)


def whale_page(**fields: Any) -> str:
    """What `whales show` prints on 80 columns."""
    return "\n".join(shown(80, tables.render_whale, detail(**fields), now=NOW))


EVERYTHING = [
    (tables.render_activity, [trade(), trade(whale_label=None, action="MERGE", outcome=None, price=None)]),
    (
        tables.render_markets,
        [market(), market(external_id="2", market_title="比特币会在三月突破十五万美元吗 🐋" * 4)],
    ),
    (tables.render_whales, [whale(), whale(label="A very long label of a whale " * 5)]),
    (tables.render_whale, detail()),
]


@pytest.mark.parametrize("width", [80, 100, 120, 200])
@pytest.mark.parametrize(("render", "what"), EVERYTHING)
def test_no_line_is_wider_than_the_console(render: Callable[..., None], what: Any, width: int) -> None:
    """Columns are dropped and titles are cut; rows do not wrap: a header, a rule, and one line a row."""
    lines = shown(width, render, what, now=NOW)
    assert max(map(cell_len, lines)) <= width
    assert not isinstance(what, list) or len(lines) == 2 + len(what)


def test_the_feed_drops_the_least_important_columns() -> None:
    """At 80 columns the price and the id that --market takes stay; at 200 all are shown, and the whole title."""
    header, _, row = shown(80, tables.render_activity, [trade()], now=NOW)
    assert header.split() == ["When", "Whale", "Action", "Side", "Amount", "Price", "ID", "Market"]
    assert row.split()[:9] == ["3", "min", "Moby", "Dick", "BUY", "YES", "$1,234.50", "62.5¢", "1001"]
    assert row.rstrip().endswith("…")
    header, _, row = shown(200, tables.render_activity, [trade(market_title="Will it rain?")], now=NOW)
    for name in ("Time (UTC)", "Shares", "Fee", "Category", "Address", "ID"):
        assert name in header
    for value in ("2026-03-01T11:57:42Z", "1,975.20", "$0.50", "Macro", MOBY, "Will it rain?"):
        assert value in row


def test_a_long_id_is_shortened_to_a_beginning() -> None:
    """At 80 columns; whole where there is room."""
    long = trade(market_external_id="0x12345678" + "a" * 56, whale_label="A whale with a long name", amount=1e6)
    assert "0x12345678…" in shown(80, tables.render_activity, [long], now=NOW)[2]
    assert "0x12345678aaa" in shown(300, tables.render_activity, [long], now=NOW)[2]


def test_local_times_replace_ages(monkeypatch: pytest.MonkeyPatch) -> None:
    """At any width, in the feed and of one whale; the column says so."""
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        for width, expected in ((80, "03-01 20:57 "), (300, "2026-03-01T20:57:42+09:00")):
            header, _, row = shown(width, tables.render_activity, [trade()], now=NOW, local=True)
            assert header.startswith("Time (local)") and "When" not in header
            assert row.startswith(expected)
        page = "\n".join(shown(300, tables.render_whale, detail(), now=NOW, local=True))
        assert "3 min ago (2026-03-01T20:57:42+09:00)" in page and "Time (local)" in page
    finally:
        monkeypatch.undo()
        time.tzset()


def test_a_followed_feed_is_one_table() -> None:
    """Header once, columns and widths as at first; a larger figure takes its room from the title; nothing wraps."""
    out = StringIO()
    table = tables.FollowedTable(local=False)
    rows = [
        trade(),
        trade(whale_label="A very long label of a whale", amount=12_345_678.9),
        trade(market_title="Rain?"),
    ]
    for row in rows:
        table.print([row], console_on(out, 80))
        table.print([], console_on(out, 80))
    header, _, first, second, third = out.getvalue().splitlines()
    assert header.split() == ["Time", "(UTC)", "Whale", "Action", "Side", "Amount", "ID", "Market"]
    assert first.startswith("03-01 11:57  Moby Dick")
    assert second.index("BUY") == first.index("BUY") == third.index("BUY")
    assert third.index("Rain?") == header.index("Market")
    assert "$12,345,678.90" in second and max(map(cell_len, (first, second, third))) <= 80


def test_a_followed_feed_repeats_its_header_at_another_width() -> None:
    """With the columns that fit then."""
    out = StringIO()
    table = tables.FollowedTable(local=False)
    for width in (80, 80, 200, 200, 80):
        table.print([trade()], console_on(out, width))
    lines = out.getvalue().splitlines()
    headers = [number for number, line in enumerate(lines) if line.startswith("Time (UTC)")]
    assert headers == [0, 4, 8]
    assert "Shares" in lines[4] and "Shares" not in lines[8]


class Terminal(StringIO):
    """What looks like a terminal."""

    def isatty(self) -> bool:
        """It is one."""
        return True


@pytest.mark.parametrize(
    ("url", "linked"),
    [
        ("https://example.com/a?b=1&c=2", True),
        ("http://example.com/", False),
        ("javascript:alert(1)", False),
        ("https://example.com/\x1b]0;x\x07", False),
        ("https://example.com/a b", False),
        ("https://example.com/é", False),
        (None, False),
    ],
)
def test_titles_link_to_their_markets_on_a_terminal(
    monkeypatch: pytest.MonkeyPatch, url: str | None, linked: bool
) -> None:
    """Only to https, without characters that a terminal might interpret; never in a file or a pipe."""
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("FORCE_COLOR", "1")
    for name in ("NO_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    for out, is_terminal in ((Terminal(), True), (StringIO(), False)):
        tables.render_activity([trade(market_url=url)], console_on(out, 80), NOW)
        assert ("\x1b]8;" in out.getvalue()) == (linked and is_terminal)
        assert (f";{url}\x1b\\Will" in out.getvalue()) == (linked and is_terminal)
        assert "\x07" not in out.getvalue()


@pytest.mark.parametrize("width", [80, 100])
def test_the_watch_list_keeps_labels_and_profit(width: int) -> None:
    """Addresses are shortened before a figure is dropped or a label is cut."""
    rows = [whale(), whale(label="Keiko"), whale(label="Humphrey")]
    header, _, row, *_ = shown(width, tables.render_whales, rows, now=NOW)
    assert all(name in header for name in ("Active", "Trades", "Realized", "Settled", "Open"))
    assert row.split()[:3] == ["0xa1a1…a1a1", "Moby", "Dick"] and "-$378" in row


def test_a_market_of_a_topic_is_shown_with_its_topic() -> None:
    """In the feed and the market table, whole where there is room and cut within the topic where not."""
    for render, row in (
        (tables.render_activity, trade(market_title=CHILD_TITLE)),
        (tables.render_markets, market(market_title=CHILD_TITLE)),
    ):
        assert CHILD_TITLE in shown(200, render, [row], now=NOW)[2]
        assert "… › $4,000 or more" in shown(80, render, [row], now=NOW)[2]


def test_topics_have_no_prices() -> None:
    """Nor columns of dashes for them."""
    topic = market(kind="topic", yes_price=None, no_price=None, liquidity=None)
    header = shown(300, tables.render_markets, [topic], now=NOW)[0]
    assert "Volume" in header and not {"Yes", "No", "Liquidity"} & set(header.split())


def test_a_buy_and_an_unknown_merge_have_no_profit() -> None:
    """A dash, where the exchange sends 0; a merge with a profit shows it."""
    rows = [
        trade(action=action, profit=profit)
        for action, profit in (("BUY", 0.0), ("MERGE", 0.0), ("MERGE", 2.0), ("SELL", 0.0))
    ]
    header, _, *lines = shown(200, tables.render_activity, rows, now=NOW)
    end = header.index("Profit") + len("Profit")
    assert [line[:end].split()[-1] for line in lines] == ["–", "–", "+$2.00", "$0.00"]


NASTY_TRADE = trade(market_title=NASTY, whale_label=NASTY, action=NASTY, market_category=NASTY)
NASTY_MARKET = market(market_title=NASTY, category=NASTY, status=NASTY, external_id=NASTY, trades=1)
NASTY_WHALE = whale(label=NASTY, address=NASTY)


@pytest.mark.parametrize(
    ("render", "what"),
    [
        (tables.render_activity, [NASTY_TRADE]),
        (tables.render_markets, [NASTY_MARKET]),
        (tables.render_whales, [NASTY_WHALE]),
        (tables.render_whale, detail(row=NASTY_WHALE, trades=[NASTY_TRADE], markets=[NASTY_MARKET])),
    ],
)
def test_text_from_outside_is_only_shown(render: Callable[..., None], what: Any) -> None:
    """Escapes, markup, emoji names, line breaks and direction marks are plain text."""
    text = "\n".join(shown(600, render, what, now=NOW))
    assert NASTY_SHOWN in text
    assert not set(text) & {"\x1b", "\u202e", "💥"}


@pytest.mark.parametrize(
    ("render", "options", "advice"),
    [
        (tables.render_activity, {"tracked": 0}, "whalesync whales add ADDRESS"),
        (tables.render_activity, {"narrowed": True}, "No matching trades"),
        (tables.render_activity, {"tier": "free"}, "15 min after it is made"),
        (tables.render_activity, {}, "whalesync sync-whales"),
        (tables.render_markets, {}, "whalesync sync-markets"),
        (tables.render_markets, {"narrowed": True}, "--search"),
        (tables.render_whales, {}, "whalesync whales add ADDRESS"),
    ],
)
def test_an_empty_table_says_what_to_do(render: Callable[..., None], options: dict[str, Any], advice: str) -> None:
    """The advice fits the reason."""
    (line,) = shown(120, render, [], now=NOW, **options)
    assert advice in line


def test_a_whale_is_shown_in_full() -> None:
    """Label, totals, windows, profit in three figures, win rate with its base, positions, markets and trades."""
    for part in (
        "Moby Dick",
        MOBY,
        "3 min ago (2026-03-01T11:57:42Z)",
        "$123,456.78 in 1,234 trades (800 buys, 434 sells)",
        "$1,200.00 in 24 h, $8,000.00 in 7 days, $45,000.00 in 30 days",
        "-$378.50 realized",
        "+$1,500.00 settled: held to the end, 12 won, 7 lost",
        "+$20.00 open: $620.00 in 1 open position at the latest prices",
        "62.5% of 24 decided positions made money",
        "Open positions (1)",
        "Most traded markets",
        "Last trades",
        "█ bought $40,600.00, above",
        "▒ sold $1,400.00, below",
    ):
        assert part in whale_page()


def test_a_whale_without_trades_says_what_to_do() -> None:
    """There is no chart and no win rate; of a list without trades the exchange's own advice is given."""
    row = whale(last_active_at=None, win_rate=None, settled_profit=None)
    none: dict[str, Any] = {"row": row, "positions": [], "days": [], "markets": [], "trades": [], "decided": 3}
    page = whale_page(**none)
    assert "whalesync sync-whales" in page
    assert "not known: 3 positions decided, 20 are needed" in page and "%" not in page and "never" in page
    assert "– settled: held to the end\n" in page
    unread = whale_page(row=whale(settled_profit=None, open_profit=None, open_value=None), positions=[])
    assert "– open: at the latest prices\n" in unread
    lines = shown(80, tables.render_whale, detail(**none, listed=0), now=NOW, no_trades_hint="Use the owner")
    assert "Use the owner." in lines and "whalesync sync-whales" not in "".join(lines)


def test_what_is_not_known_of_a_profit_is_said() -> None:
    """Each reason on a line of its own, in `whales show`; the watch list says for how many whales."""
    page = whale_page(unknown=["its trades before 2026-02-01 are not stored", "1 open position without a price"])
    assert "not complete: its trades before 2026-02-01 are not stored\n          1 open position without a pr" in page
    rows = [whale(profit_complete=0), whale()]
    assert "of one whale is not complete" in "\n".join(shown(200, tables.render_whales, rows, now=NOW))


def test_of_many_positions_the_most_valuable_are_shown() -> None:
    """How many there are is said; another limit may be asked for, also of the JSON."""
    many = detail(positions=[position(value=1000.0 - n) for n in range(12)])
    for limit, which in ((None, "the most valuable 10 of 12"), (11, "the most valuable 11 of 12"), (12, "12")):
        page = "\n".join(shown(80, tables.render_whale, many, now=NOW, limit=limit))
        assert f"Open positions ({which})" in page and page.count("NO  ") == (limit or 10)
        assert len(tables.whale_as_json(many, limit)["positions"]) == (limit or 12)


def test_a_leaderboard_says_who_is_watched() -> None:
    """Rank, address, name, what it is ranked by, and the label on the watch list."""
    rows = [
        {"rank": 1, "address": MOBY, "name": "moby", "usd": 1234.5, "shares": None, "whale": whale()},
        {"rank": 2, "address": "0x" + "b2" * 20, "name": None, "usd": None, "shares": None, "whale": None},
    ]
    _, _, first, second = shown(120, tables.render_candidates, rows, by="profit")
    assert first.split() == ["1", MOBY, "moby", "+$1,234.50", "Moby", "Dick", "1,234", "trades"]
    assert second.split() == ["2", "0x" + "b2" * 20, "–"]
    by_shares = [{**row, "usd": None, "shares": 1491184.383} for row in rows]
    assert "1,491,184 shares" in shown(120, tables.render_candidates, by_shares, by="volume")[2]


QUIET = [{"day": "2026-03-01", "buy": 0.0, "sell": 0.0}] * 30


@pytest.mark.parametrize(
    ("fields", "part"),
    [
        ({"row": whale(trade_count=None, buy_count=None, total_volume=None)}, "– in – trades (– buys, 434 sells)"),
        ({"row": whale(tracked=0)}, "(no longer tracked)"),
        ({"days": QUIET}, "Nothing bought or sold in the last 30 days."),
    ],
)
def test_what_is_special_about_a_whale_is_said(fields: dict[str, Any], part: str) -> None:
    """That it is not tracked, that its month was quiet."""
    assert part in whale_page(**fields) and part not in whale_page()


def test_figures_that_are_not_known_are_dashes() -> None:
    """And not "never" or $0, in the watch list."""
    uncounted = whale(last_active_at=None, trade_count=None, total_volume=None, realized_profit=None)
    row = shown(100, tables.render_whales, [uncounted], now=NOW)[2]
    assert row.split()[3:7] == ["–", "–", "–", "–"]


def test_a_whale_that_only_merges_has_no_most_traded_market() -> None:
    """Merges are no volume; its trades are shown all the same."""
    page = whale_page(markets=[], trades=[trade(action="MERGE")])
    assert "MERGE" in page and "Most traded" not in page


@pytest.mark.parametrize(
    ("outcome", "label", "shown"),
    [
        ("YES", "Yes", "YES"),
        ("NO", None, "NO"),
        ("NO", "Celtics", "Celtics"),
        ("YES", "A name that is long", "A name th…"),
        (None, "Up", "Up"),
        (None, None, "–"),
    ],
)
def test_the_side_of_a_trade(outcome: str | None, label: str | None, shown: str) -> None:
    """YES or NO, unless the exchange's name of the outcome says more."""
    assert tables.side({"outcome": outcome, "outcome_label": label}) == shown
