"""How messages read, and that text from outside is only text in them."""

from __future__ import annotations

import json

import pytest
from support.messages import HOSTILE, LINK, NOW, WHALE, digest, fill, hostile, trade

from whalesync.alerts.message import MAX_CHARS, body, link, sample, whole_text
from whalesync.store.feed import ACTIVITY_COLUMNS


def test_a_trade_of_forty_fills_reads_as_one() -> None:
    """Who, what, where, the figures, the whale's record, the time in UTC, the rule and the link, line by line."""
    message = trade(*(fill(number) for number in range(1, 41)))
    assert whole_text(message).splitlines() == [
        "Whale Moby Dick bought YES for $20,000.00",
        "Market: Gold price? › $4,000 or more",
        "Average price 62.5¢, 32,000.00 shares, 40 fills",
        "Win rate 61.5%, profit realized +$1,234.50, settled -$20.00",
        "2026-03-01 12:00:42 UTC to 2026-03-01 12:01:21 UTC",
        "Alert: big buys",
        LINK,
    ]


def test_what_is_not_known_is_left_out() -> None:
    """No label, price, record or link; an action that is neither BUY nor SELL, and an outcome with a name."""
    row = fill(
        whale_label=None, price=None, shares=None, market_url=None, action="MERGE", outcome="NO", outcome_label="Trump"
    )
    assert whole_text(trade(row, whale={"win_rate": None})).splitlines() == [
        "Whale 0x5a5a…5a5a made a MERGE of Trump (NO) for $500.00",
        "Market: Gold price? › $4,000 or more",
        "1 fill",
        "2026-03-01 12:00:42 UTC",
        "Alert: big buys",
    ]


def test_a_profit_with_gaps_says_so() -> None:
    """And the average price is of shares: 800 at 62.5 and 200 at 50 cents cost 600 dollars."""
    message = trade(fill(1), fill(2, amount=100.0, shares=200.0, price=0.5), whale=WHALE | {"profit_complete": 0})
    assert "Average price 60.0¢, 1,000.00 shares, 2 fills" in whole_text(message)
    assert "settled -$20.00 (not complete)" in whole_text(message)


def test_the_end_of_a_fold_says_what_followed() -> None:
    """One message for several trades of a whale in one market and outcome."""
    heading = whole_text(trade(fill(1), fill(2), reason="fold", trade_count=2)).splitlines()[0]
    assert heading == "Whale Moby Dick bought YES for $1,000.00 in 2 further trades"


def test_a_digest_has_a_line_for_each_trade() -> None:
    """Fills of one trade are together; SELL reads as sold."""
    other = fill(3, whale_label="Keiko", whale_id=2, action="SELL", tx_hash="0xcd", market_url=None)
    assert whole_text(digest(fill(1), fill(2), other, trade_count=2)).splitlines() == [
        "Quiet hours are over: 2 trades, $1,500.00",
        "• Moby Dick bought YES for $1,000.00 at 62.5¢ (2 fills), 2026-03-01 12:00:42 UTC: "
        f"Gold price? › $4,000 or more {LINK}",
        "• Keiko sold YES for $500.00 at 62.5¢, 2026-03-01 12:00:44 UTC: Gold price? › $4,000 or more",
        "Alert: big buys",
    ]


def test_a_long_digest_ends_with_the_number_of_the_others() -> None:
    """It fits the shortest service; what has no line or no row is counted."""
    rows = [fill(number, market_id=number, market_title="x" * 400) for number in range(1, 31)]
    found = whole_text(digest(*rows, reason="limit", trade_count=37, more=7))
    lines = found.splitlines()
    assert lines[0] == "And 37 more trades, beyond the limit of messages: $15,000.00"
    shown = sum(line.startswith("• ") for line in lines)
    assert shown >= 3 and lines[-2:] == [f"and {37 - shown} more", "Alert: big buys"]
    assert len(found) <= MAX_CHARS


@pytest.mark.parametrize("text", HOSTILE)
def test_text_from_outside_is_only_text(text: str) -> None:
    """No service finds a mention, markup, a link, a control character or the start of a line in it."""
    for message in (hostile(text), digest(*hostile(text).trades), trade(alert=text)):
        shown = whole_text(message)
        own = shown.replace(LINK, "")
        assert not set("@<>[]*_`~|\\") & set(own) and "://" not in own
        assert all(line == "" or line[0] in "WMPQA•a2" for line in own.splitlines())
        assert all(line.isprintable() for line in shown.splitlines())
        assert len(shown) <= MAX_CHARS


def test_the_letters_of_a_hostile_title_stay_readable() -> None:
    """A person sees what was written."""
    found = whole_text(trade(fill(market_title="@everyone [x](https://evil.example) S&P_500 > 5%?")))
    assert "Market: ＠everyone ［x］(https:／／evil.example) S&P＿500 ＞ 5%?" in found


@pytest.mark.parametrize(
    "url",
    ["javascript:alert(1)", "http://a.example/", "https://a.example@evil.example/", "https://a.example/)[x](y",
     "https://a.example/ x", "https://a.example/<b>", "https://a.example/" + "x" * 200, "", None],
)  # fmt: skip
def test_only_a_plain_https_address_is_a_link(url: str | None) -> None:
    """Any other is left out."""
    assert (link(url), link(LINK)) == ("", LINK)


def test_the_body_of_a_webhook_has_the_agreed_fields() -> None:
    """Titles as they came, since JSON is data; the text is harmless; the bytes are the same each time."""
    message = hostile(HOSTILE[0])
    document = json.loads(body(message))
    assert list(document) == ["type", "id", "alert", "trades", "total_usd", "whale", "text"]
    assert document["type"] == "whale.trade" and document["id"] == "msg_1" and document["total_usd"] == 500.0
    assert document["trades"][0]["market_title"] == HOSTILE[0] and "@" not in document["text"]
    assert tuple(document["trades"][0]) == ACTIVITY_COLUMNS
    assert body(message) == body(type(message).from_json(message.to_json()))


def test_the_body_of_a_digest_has_no_whale() -> None:
    """It says how many trades it is about, and how many of them have no rows."""
    document = json.loads(body(digest(fill(), trade_count=38, more=37, reason="limit")))
    assert document["type"] == "whale.digest" and "whale" not in document
    assert (document["trade_count"], document["more"]) == (38, 37)


def test_a_sample_is_marked() -> None:
    """For people in the text, for programs in the JSON."""
    message = sample("big buys", "msg_2", NOW)
    assert whole_text(message).startswith("Sample: whale Sample bought YES")
    assert "This is a sample, no trade was made" in whole_text(message)
    assert json.loads(body(message))["sample"] is True
