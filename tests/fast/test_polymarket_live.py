"""The checks of what is assumed of the live Polymarket: each finds its assumption kept, and each fault against it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from support.clock import StillClock

from whalesync.cli.main import run
from whalesync.errors import RequestRefused, Unreachable
from whalesync.exchanges.polymarket.live import Check, Memory, Outcome, check_all
from whalesync.sandbox import Sandbox
from whalesync.sandbox.polymarket import Polymarket, build_world

WALLET = "0x" + "7c" * 20
HOUR, DAY = 3_600, 86_400
NOW = 20_700 * DAY + 12 * HOUR
V2, COMBO = "0x02" + 60 * "c" + "00", "0x03" + 60 * "d"


def row(at: int, **fields: Any) -> dict[str, Any]:
    """A purchase of 10 shares at 0.25, with a fee of 0.10."""
    return {
        "transaction_hash": f"0x{at:x}", "timestamp": at, "type": "TRADE", "condition_id": "0x" + 64 * "a",
        "token_id": "1", "side": "BUY", "size": 10.0, "usdc_size": 2.6, "price": 0.25,
    } | fields  # fmt: skip


@dataclass
class Exchange:
    """Polymarket as it is documented, with five days of one wallet's rows; faults are set on it."""

    now: int = NOW
    rows: list[dict[str, Any]] = field(default_factory=list)
    faults: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        for day in range(1, 6):
            self.rows += [row(NOW - day * DAY - minute * 60) for minute in range(60)]
        self.rows.append(row(NOW - 2 * DAY, type="REDEEM", side="", size=4.0, usdc_size=4.0, price=0))
        self.rows.append(row(NOW - 2 * DAY - 30, type="MERGE", side="", token_id="", price=0))
        self.rows += [row(NOW - 3 * DAY, condition_id=V2[:-2]), row(NOW - 3 * DAY - 1, condition_id=COMBO)]
        self.rows += 2 * [row(NOW - 3 * DAY - 2)]  # rows that agree in everything

    def data(self, path: str, params: Mapping[str, str | int]) -> Any:
        """An answer of the Data API."""
        if path in self.faults:
            raise Unreachable("Polymarket did not answer completely within 12 s")
        if path == "/status":
            return {"computed_at": 1, "age_seconds": 3.0, "serving": {"lag_seconds": 8.0}}
        if path == "/user-volume":
            day = int(params["start"]) // DAY
            trades = [each for each in self.rows if each["type"] == "TRADE" and each["timestamp"] // DAY == day]
            count = len(trades) + ("counts" in self.faults)
            return {"data": {"volume": 10.0 * len(trades), "volume_usdc": 2.5 * len(trades), "trade_count": count}}
        rows = self.activity(params) if path == "/activity" else []
        first = int(str(params.get("cursor", "0@0")).split("@")[0])
        if "cursor" in params and "cursors expire" in self.faults:
            raise RequestRefused("Polymarket refused the request (400 invalid_request)")
        page = rows[first : first + int(params["limit"])]
        more = first + len(page) < len(rows)
        cursor = f"{first + len(page)}@{self.now}" if more else None
        return {"data": page, "pagination": {"has_more": more, "next_cursor": cursor}}

    def activity(self, params: Mapping[str, str | int]) -> list[dict[str, Any]]:
        """The rows of a walk."""
        wanted = params.get("type") if "types are ignored" not in self.faults else None
        rows = [
            each
            for each in self.rows
            if int(params.get("start", 1)) <= each["timestamp"] <= int(params.get("end", self.now))
            and (wanted is None or each["type"] in str(wanted).split(","))
        ]
        ascending = params.get("sort_direction") == "ASC"
        rows.sort(key=lambda each: int(each["timestamp"]), reverse=not ascending)
        return rows[1:] if ascending and "a walk loses a row" in self.faults else rows

    def gamma(self, path: str, params: Mapping[str, str | int]) -> Any:
        """An answer of the market data: an open market of each version, and a closed one of V1."""
        markets = [
            {"conditionId": "0x" + 64 * "a", "version": "v1", "closed": False},
            {"conditionId": V2, "version": "v2", "closed": False},
            {"conditionId": "0x" + 64 * "e", "version": "v1", "closed": True},
        ]
        closed = {"true": True, "false": False}[str(params.get("closed", "false"))]
        version = params.get("version", "v1")
        return {
            "markets": [
                each
                for each in markets
                if (each["closed"] == closed or ("closed ones are found" in self.faults and "closed" not in params))
                and (each["version"] == version or "versions are ignored" in self.faults)
                and params.get("condition_ids") in (None, each["conditionId"])
                and ("unknown ids" not in self.faults or each["conditionId"] != V2)
            ]
        }

    def check(self, memory: Memory | None = None) -> dict[str, Check]:
        """Make all checks; by name."""
        memory = Memory() if memory is None else memory
        return {each.name: each for each in check_all(WALLET, self.data, self.gamma, memory, now=self.now)}


def found(checks: Mapping[str, Check], outcome: Outcome) -> set[str]:
    """The checks with an outcome."""
    return {name for name, check in checks.items() if check.outcome is outcome}


def test_an_exchange_that_is_as_assumed() -> None:
    """All checks agree; those that need a later moment say which, and agree an hour and a day later."""
    exchange, memory = Exchange(), Memory()
    first = exchange.check(memory)
    assert found(first, Outcome.LATER) == {"counts after a day", "cursor"}
    assert found(first, Outcome.OK) == first.keys() - {"counts after a day", "cursor"}
    assert first["directions"].text == "both walks show the same 306 rows"
    assert first["counts"].text == "3 days with 184 trades add up"
    assert first["market ids"].text == "2 markets found (version v1: 1, version v2: 1)"
    memory = Memory(**json.loads(json.dumps(vars(memory))))
    exchange.now += HOUR
    assert found(exchange.check(memory), Outcome.LATER) == {"counts after a day"}
    exchange.now += DAY
    last = exchange.check(memory)
    assert found(last, Outcome.OK) == last.keys()
    assert last["cursor"].text == "it shows the same rows after 25 h"


@pytest.mark.parametrize(
    ("fault", "check"),
    [
        ("a walk loses a row", "directions"),
        ("types are ignored", "types"),
        ("counts", "counts"),
        ("closed ones are found", "closed markets"),
        ("versions are ignored", "market versions"),
        ("unknown ids", "market ids"),
    ],
)
def test_what_differs_is_told(fault: str, check: str) -> None:
    """By the check of that assumption alone."""
    exchange = Exchange(faults={fault})
    assert found(exchange.check(), Outcome.DIFFERS) == {check}


def test_what_differs_a_day_later_is_told() -> None:
    """A cursor that is refused, and a row that has appeared on a day that was counted."""
    exchange, memory = Exchange(), Memory()
    exchange.check(memory)
    exchange.now += DAY
    exchange.faults.add("cursors expire")
    exchange.rows.append(row(NOW - 2 * DAY))
    checks = exchange.check(memory)
    assert found(checks, Outcome.DIFFERS) == {"counts after a day", "cursor"}
    assert "after 24 h it is refused" in checks["cursor"].text
    assert checks["counts after a day"].text == "1 of 3 days count otherwise than before"


def test_what_cannot_be_asked_is_no_difference() -> None:
    """A path that does not answer, and a wallet that has no rows; an answer of another form is a difference."""
    unreachable = Exchange(faults={"/user-volume"}).check()
    assert found(unreachable, Outcome.NOT_ASKED) == {"paths", "counts"}
    silent = Exchange()
    silent.rows.clear()
    assert found(silent.check(), Outcome.NOT_ASKED) == {"directions", "types", "counts", "cursor", "market ids"}

    class Changed(Exchange):
        def data(self, path: str, params: Mapping[str, str | int]) -> Any:
            return [] if path == "/status" else super().data(path, params)

    assert found(Changed().check(), Outcome.DIFFERS) == {"status"}


def test_the_command_remembers_beside_the_database(
    clock: StillClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Asked of the simulated exchange: a line for each check; a file that cannot be read is named."""
    world = build_world(7, clock=clock)
    command = ["doctor", "--live", world.whales[0], "--db", str(tmp_path / "new" / "whales.db")]
    monkeypatch.setattr("whalesync.cli.host.now_ms", lambda: int(clock.now * 1000))

    def outcomes() -> dict[str, set[str]]:
        found: dict[str, set[str]] = {}
        for line in capfd.readouterr().out.splitlines():
            found.setdefault(line[:18].strip(), set()).add(line[20:38].strip())
        return found

    with Sandbox(polymarket=Polymarket(world.books)) as sandbox:
        monkeypatch.setenv("WHALESYNC_POLYMARKET_DATA_URL", sandbox.polymarket_data_url)
        monkeypatch.setenv("WHALESYNC_POLYMARKET_GAMMA_URL", sandbox.polymarket_gamma_url)
        monkeypatch.setenv("WHALESYNC_POLYMARKET_RATE_LIMIT", "1000")
        assert run(command) == 0
        first = outcomes()
        assert first.keys() == {"OK", "later"} and first["later"] == {"counts after a day", "cursor"}
        clock.now += HOUR
        assert run(command) == 0
        assert outcomes()["later"] == {"counts after a day"}
    memory = tmp_path / "new" / "whales.db.live.json"
    assert memory.stat().st_mode & 0o777 == 0o600
    memory.write_text("[")
    assert run(command) == 2
    assert f"{memory}, which remembers earlier checks, cannot be used" in capfd.readouterr().err
