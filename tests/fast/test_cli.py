"""The commands, run in this process: what they print, where, and with which exit code."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from whalesync.cli.main import run
from whalesync.exchanges import EXCHANGES
from whalesync.jobs.table import JOBS
from whalesync.sandbox import Books, Sandbox, make_market, make_trade

WHALE = "0x" + "ab" * 20
OTHER = "0x" + "cd" * 20
KEY = "k-3f9c1e"


@dataclass(frozen=True)
class Result:
    """How a command ended."""

    code: int
    out: str
    err: str


Cli = Callable[..., Result]


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Cli:
    """Run the command line on a database of its own, without any setting from outside."""
    for name in ("OPINION_TRADE_API_KEY", "WHALESYNC_API_URL", "WHALESYNC_ENV_FILE", "WHALESYNC_PING_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("WHALESYNC_DB", str(tmp_path / "whales.db"))
    monkeypatch.setenv("COLUMNS", "120")

    def call(*arguments: str) -> Result:
        code = run(arguments)
        captured = capfd.readouterr()
        assert KEY not in captured.out + captured.err
        assert "Traceback" not in captured.out + captured.err
        return Result(code, captured.out, captured.err)

    return call


@pytest.fixture
def exchange(monkeypatch: pytest.MonkeyPatch) -> Iterator[Books]:
    """Serve an exchange with one market and three trades of one whale, set in the environment."""
    books = Books()
    now = int(books.clock())
    books.add_market(make_market(7, marketTitle="[red]Will it rain?[/red]\x1b[31m", labels=["Weather"]))
    books.set_price(books.market(7)["yesTokenId"], "0.65")
    for age, side in ((7200, "Buy"), (3600, "Sell"), (60, "Merge")):
        books.add_trade(WHALE, make_trade(marketId=7, side=side, price="0.6", shares="10", createdAt=now - age))
    with Sandbox(books, key=KEY) as sandbox:
        monkeypatch.setenv("WHALESYNC_API_URL", sandbox.url)
        monkeypatch.setenv("WHALESYNC_OPINION_WEB_URL", sandbox.web_url)
        monkeypatch.setenv("OPINION_TRADE_API_KEY", KEY)
        yield books


def watch_list(cli: Cli, *options: str) -> dict[str, str | None]:
    """The labels of the watch list by address."""
    return {row["address"]: row["label"] for row in json.loads(cli("whales", "list", "--json", *options).out)}


def test_a_whale_is_added_relabelled_and_removed(cli: Cli) -> None:
    """The address is stored in lower case, adding again is no error, a label changes, and history stays."""
    added = cli("whales", "add", WHALE.upper().replace("0X", "0x"), "--label", "Moby")
    assert added == Result(0, "", f"Added {WHALE} of Opinion.Trade to the watch list.\n")
    assert cli("whales", "add", WHALE).err == f"{WHALE} of Opinion.Trade was already on the watch list.\n"
    assert "Changed the label" in cli("whales", "add", WHALE, "--label", "Moby Dick").err
    assert watch_list(cli) == {WHALE: "Moby Dick"}
    assert cli("whales", "remove", "moby dick").code == 0
    assert (watch_list(cli), watch_list(cli, "--all")) == ({}, {WHALE: "Moby Dick"})
    assert cli("whales", "remove", WHALE).code == 2
    cli("whales", "add", WHALE)
    assert "Removed the label" in cli("whales", "add", WHALE, "--label", "").err
    assert watch_list(cli) == {WHALE: None}


def test_a_list_is_imported_whole_or_not_at_all(cli: Cli, tmp_path: Path) -> None:
    """A bad line is named, and nothing changes."""
    file = tmp_path / "list.csv"
    file.write_text(f'address,label\n# a comment\n{WHALE},"Moby, Dick"\n\n{OTHER},,opinion_trade\n')
    assert cli("whales", "import", str(file)).err == "Added 2 wallets; 0 were already there.\n"
    assert watch_list(cli) == {WHALE: "Moby, Dick", OTHER: None}
    for line, why in (
        ("0x12", "has 2 digits"),
        (f"{WHALE},{'x' * 131_073}", "field larger than field limit"),
        (f"{WHALE},,nasdaq", "no exchange 'nasdaq'"),
    ):
        file.write_text(f"{'0x' + 'ef' * 20}\n{line}\n")
        refused = cli("whales", "import", str(file))
        assert refused.code == 2 and refused.err.count("\n") == 1
        assert f"line 2 of {file}" in refused.err and why in refused.err
    assert len(watch_list(cli)) == 2


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("statsu",), "Did you mean 'status'"),
        (("whales", "add", "0x12"), "40 hex digits: this one has 2 digits"),
        (("whales", "add", "0x" + "g" * 40), "40 hex digits: this one contains 'g'"),
        (("whales", "add", WHALE, "--exchange", "nasdaq"), "'nasdaq' is not"),
        (("whales", "show", "Mobi Dick"), "did you mean 'Moby Dick'"),
        (("activity", "--since", "yesterday"), "24h"),
        (("activity", "--limit", "9223372036854775808"), "is not in the range"),
        (("activity", "--json", "--csv"), "use only one of --json and --csv"),
        (("whales", "list", "--json", "--csv"), "use only one of --json and --csv"),
        (("whales", "list", "--by", "luck"), "'luck' is not"),
        (("whales", "remove", "Moby"), "did you mean 'Moby Dick'"),
        (("activity", "--min-usd", "-1"), "is not in the range"),
        (("activity", "--market", "Will it rain?"), "no market 'Will it rain?': 'whalesync markets --search TEXT'"),
        (("markets", "show", "7"), "no market '7'"),
        (("markets", "--json", "show", "7"), "'show' takes its options after it"),
        (("markets", "--status", "open"), "'open' is not"),
        (("sync-whales",), "OPINION_TRADE_API_KEY"),
        (("sync-whales", "--api-url", "http://example.com/openapi"), "must be https"),
    ],
)
def test_wrong_input_gets_one_line_and_code_2(cli: Cli, arguments: tuple[str, ...], error: str) -> None:
    """The line names the command, what is wrong, and the nearest right thing."""
    cli("whales", "add", OTHER, "--label", "Moby Dick")
    result = cli(*arguments)
    assert result.code == 2
    assert error in result.err and result.err.count("\n") == 1 and result.out == ""
    assert result.err.startswith("whalesync" if arguments[0] == "statsu" else f"whalesync {arguments[0]}")


def test_of_several_matches_each_is_listed(cli: Cli, exchange: Books) -> None:
    """Below the error, one a line, with what names it alone; nothing of it is interpreted."""
    cli("whales", "add", WHALE, "--label", "Moby Dick")
    cli("whales", "add", OTHER, "--label", "Moby Doll")
    exchange.add_market(make_market(8, marketTitle="Will it rain in May?", labels=["Weather"]))
    cli("sync-markets")
    whales, markets = cli("whales", "show", "moby"), cli("activity", "--market", "rain")
    assert whales == Result(2, "", "whalesync whales show: 2 whales match 'moby'; use one of these addresses:\n"
                            f"  {WHALE}  Moby Dick\n  {OTHER}  Moby Doll\n")  # fmt: skip
    assert (markets.code, markets.out) == (2, "")
    first, *choices = markets.err.splitlines()
    assert first == "whalesync activity: 2 markets match 'rain'; use one of these ids:"
    assert sorted(choices) == ["  7  [red]Will it rain?[/red]\\x1b[31m", "  8  Will it rain in May?"]
    for text in (f"{WHALE[:6]}…{WHALE[-4:]}", f"{WHALE[:6]}...{WHALE[-4:]}", "dick", WHALE[:8]):
        assert "Moby Dick" in cli("whales", "show", text).out


def test_following_prints_bit_by_bit(cli: Cli, exchange: Books, monkeypatch: pytest.MonkeyPatch) -> None:
    """Oldest first: JSON as one object a line, CSV and the table with one header; ended here by an interruption."""
    cli("whales", "add", WHALE, "--label", "Moby")
    now, ticks = int(exchange.clock()), iter((1, 2, 3, 4, 5, 6))

    def tick(_: float) -> None:
        if next(ticks) % 2 == 0:
            raise KeyboardInterrupt
        exchange.add_trade(WHALE, make_trade(marketId=7, side="Buy", price="0.6", shares="99", createdAt=now - 5))
        run(["sync-whales"])

    cli("sync-whales")
    monkeypatch.setattr("whalesync.cli.show.time.sleep", tick)
    ended = cli("activity", "--follow", "--json")
    rows = [json.loads(line) for line in ended.out.splitlines()]
    assert ended.code == 130 and [row["action"] for row in rows] == ["BUY", "SELL", "MERGE", "BUY"]
    assert [row["action"] for row in csv.DictReader(io.StringIO(cli("activity", "--follow", "--csv").out))][-1] == "BUY"
    header, _, *lines = cli("activity", "--follow", "--min-usd", "60").out.splitlines()
    assert header.startswith("Time (UTC)") and len(lines) == 3  # 2 fills of $59.40 were there, a third came


def test_no_command_prints_the_help(cli: Cli) -> None:
    """On standard error with exit code 2, since it is no data; with --help it is."""
    bare, asked = cli(), cli("--help")
    assert (bare.code, bare.out, asked.code, asked.err) == (2, "", 0, "")
    for command in ("demo", "activity", "whales", "doctor", *(job.command for job in JOBS)):
        assert command in bare.err and command in asked.out


def test_adding_a_wallet_without_trades_gives_the_advice_of_its_exchange(cli: Cli, exchange: Books) -> None:
    """Where the exchange cannot be asked, adding works all the same."""
    assert cli("whales", "add", WHALE).err == f"Added {WHALE} of Opinion.Trade to the watch list.\n"
    assert "track its owner instead" in cli("whales", "add", OTHER).err
    assert "track its owner instead" in cli("whales", "show", OTHER).out or cli("sync-whales").code == 0
    assert "track its owner instead" in cli("whales", "show", OTHER).out


def test_figures_agree_with_the_trades_after_a_sync(cli: Cli, exchange: Books) -> None:
    """Without waiting for the next full hour: totals, windows, profit and the last activity."""
    cli("whales", "add", WHALE)
    assert cli("sync-whales").code == 0
    (row,) = json.loads(cli("whales", "list", "--json").out)
    trades = json.loads(cli("activity", "--json").out)
    assert row["last_active_at"] == trades[0]["timestamp"]
    assert (row["trade_count"], row["total_volume"], row["volume_24h"]) == (2, pytest.approx(12), pytest.approx(12))
    assert row["settled_profit"] is None and "–" in cli("whales", "list").out
    assert cli("compute-stats").code == 0
    (again,) = json.loads(cli("whales", "list", "--json").out)
    assert again == row


def test_wallets_of_the_leaderboard_are_shown_and_added(cli: Cli, exchange: Books) -> None:
    """Those that are watched are marked; a label that is there stays."""
    cli("whales", "add", WHALE, "--label", "Moby")
    exchange.add_trade(OTHER, make_trade(marketId=7, amount="500", createdAt=int(exchange.clock()) - 60))
    assert cli("whales", "discover", "--by", "volume", "--json").out.count('"address"') == 3  # one is watched
    shown = cli("whales", "discover", "--by", "volume").out
    assert [line.split()[1] for line in shown.splitlines()[2:]] == [OTHER, WHALE] and "Moby" in shown
    added = cli("whales", "discover", "--by", "volume", "--add")
    assert added.err == "Added 1 wallet; 1 was already there.\n"
    assert watch_list(cli)[WHALE] == "Moby" and OTHER in watch_list(cli)


def test_the_jobs_fill_what_the_views_show(cli: Cli, exchange: Books) -> None:
    """From an empty folder through all jobs to every view of the result, silently without a terminal."""
    cli("whales", "add", WHALE, "--label", "Moby")
    for job in JOBS:
        assert cli(job.command) == Result(0, "", "")

    rows = json.loads(cli("activity", "--json").out)
    assert [row["action"] for row in rows] == ["MERGE", "SELL", "BUY"]
    assert [row["timestamp"] // 1000 for row in rows] == [trade["createdAt"] for trade in exchange.trades(WHALE)]
    for option, value, actions in (
        ("--tier", "free", ["SELL", "BUY"]),
        ("--since", "90m", ["MERGE", "SELL"]),
        ("--exchange", "opinion_trade", ["MERGE", "SELL", "BUY"]),
        ("--market", "7", ["MERGE", "SELL", "BUY"]),
        ("--market", "rain will", ["MERGE", "SELL", "BUY"]),
        ("--min-usd", "6", ["MERGE", "SELL", "BUY"]),
        ("--min-usd", "6.01", []),
        ("--whale", "0xabab…abab", ["MERGE", "SELL", "BUY"]),
        ("--whale", "moby", ["MERGE", "SELL", "BUY"]),
    ):
        found = json.loads(cli("activity", option, value, "--json").out)
        assert [row["action"] for row in found] == actions
    assert len(list(csv.DictReader(io.StringIO(cli("activity", "--csv").out)))) == 3

    (market,) = json.loads(cli("markets", "--search", "RAIN", "--json").out)
    assert (market["yes_price"], market["no_price"], market["category"]) == (0.65, 0.35, "Weather")
    assert json.loads(cli("markets", "--kind", "topic", "--json").out) == []
    for view in (("markets",), ("activity",), ("whales", "show", "moby"), ("status",)):
        shown = cli(*view)
        assert shown.code == 0 and "\x1b" not in shown.out
    assert "[red]Will it rain?" in cli("markets").out

    shown = json.loads(cli("markets", "show", "it rain", "--json").out)
    assert (shown["external_id"], shown["yes_price"], shown["children"]) == ("7", 0.65, [])
    assert [(row["whale_label"], row["trades"], row["bought"], row["sold"]) for row in shown["traders"]] == [
        ("Moby", 2, pytest.approx(6.0), pytest.approx(6.0))
    ]
    assert "YES 65.0¢" in cli("markets", "show", "7").out
    (listed,) = csv.DictReader(io.StringIO(cli("whales", "list", "--by", "profit", "--csv").out))
    assert (listed["label"], listed["trade_count"]) == ("Moby", "2")
    limited = json.loads(cli("whales", "show", "moby", "--limit", "1", "--json").out)
    assert [len(limited[part]) for part in ("trades", "markets")] == [1, 1]

    whale = json.loads(cli("whales", "show", WHALE, "--json").out)
    assert (whale["trade_count"], whale["buy_count"], whale["sell_count"]) == (2, 1, 1)
    assert whale["total_volume"] == pytest.approx(12.0)
    assert (whale["win_rate"], whale["decided_positions"], whale["positions"]) == (None, 0, [])
    assert (len(whale["volume_by_day"]), len(whale["markets"]), whale["trades"]) == (30, 1, rows)

    status = json.loads(cli("status", "--json").out)
    assert status["ok"] and status["totals"]["trades"] == 3
    assert cli("status", "--check").code == 0
    assert re.search(r'whalesync_\w+\{command="sync-whales"\} \d', cli("status", "--metrics").out)


def test_verify_says_whether_the_file_is_complete(cli: Cli, exchange: Books, tmp_path: Path) -> None:
    """A line for each wallet, or JSON; exit 1 with the reason where one does not add up; a run that status names."""
    assert "no database" in cli("verify").err
    cli("whales", "add", WHALE, "--label", "Moby")
    cli("whales", "add", OTHER)
    cli("sync-whales")
    for options in ((), ("--deep",), ("--repair",)):
        found = cli("verify", *options)
        assert (found.code, found.err) == (0, "") and "Every wallet adds up." in found.out
    with closing(sqlite3.connect(tmp_path / "whales.db")) as db, db:
        db.execute("DELETE FROM whale_activity WHERE id = 1")
    table = cli("verify")
    assert table.code == 1 and "! Moby: 1 fewer are stored than were listed at the last sync" in table.out
    assert re.search(r"^Moby +3 +2 +does not add up", table.out, re.MULTILINE)
    assert cli("verify", "--whale", OTHER).code == 0
    asked = cli("verify", "--whale", "moby", "--deep", "--json")
    (wallet,) = json.loads(asked.out)["wallets"]
    assert (asked.code, wallet["ok"], wallet["listed"], wallet["accounted"], wallet["missing"]) == (1, False, 3, 2, 1)
    repaired = cli("verify", "--repair")
    assert repaired.code == 0 and "- Moby: 1 row added (4)" in repaired.out
    assert cli("verify", "--deep").code == 0
    newest = json.loads(cli("status", "--json").out)["runs"][1]
    assert (newest["job"], newest["status"], newest["item_count"]) == ("verify", "completed", 1)
    assert newest["error"].endswith(": repaired: 1 row added (4)")


def test_verify_without_a_key_or_with_a_wrong_one(cli: Cli, exchange: Books, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line on standard error and nothing else: 2 without a key, 1 with one that is rejected."""
    cli("whales", "add", WHALE)
    for key, code, why in (("another", 1, "rejected the API key"), ("", 2, "OPINION_TRADE_API_KEY is not set")):
        monkeypatch.setenv("OPINION_TRADE_API_KEY", key)
        result = cli("verify", "--json")
        assert (result.code, result.out) == (code, "") and why in result.err and result.err.count("\n") == 1
    cli("whales", "remove", WHALE)
    assert "is not tracked any more" in cli("verify", "--whale", WHALE).err


def test_a_rejected_key_fails_the_run_and_shows_in_status(
    cli: Cli, exchange: Books, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line, exit code 1, a failed row; how often in a row when it happens again; and a fault for doctor."""
    cli("whales", "add", WHALE)
    monkeypatch.setenv("OPINION_TRADE_API_KEY", "another")
    first, second = cli("sync-whales"), cli("sync-whales")
    assert first.code == second.code == 1 and first.out == second.out == ""
    assert "rejected the API key" in first.err and first.err.count("\n") == 1
    assert "failed 2 times in a row" in second.err
    newest = json.loads(cli("status", "--json").out)["runs"][0]
    assert (newest["status"], "rejected the API key" in newest["error"]) == ("failed", True)
    assert cli("status", "--check").code == 1
    doctor = cli("doctor")
    assert doctor.code == 1 and re.search(r"^WRONG +key", doctor.out, re.MULTILINE)


def test_status_without_a_file(cli: Cli) -> None:
    """It is no error for a person, but one for a monitor; JSON stays JSON."""
    assert cli("status").code == 0 and cli("status", "--check").code == 1
    assert json.loads(cli("status", "--json").out)["ok"] is False


def test_cleanup_if_due_leaves_no_row_before_its_time(cli: Cli) -> None:
    """A file made after the last 03:00 UTC is not due yet; cron asks four times an hour."""
    cli("whales", "add", WHALE)
    assert cli("cleanup", "--if-due") == Result(0, "", "")
    assert json.loads(cli("status", "--json").out)["runs"] == []


def test_verbose_prints_the_steps(cli: Cli, exchange: Books) -> None:
    """-v prints each step and the result, before the command or after it."""
    cli("whales", "add", WHALE)
    for arguments in (("-v", "sync-whales"), ("sync-whales", "-v")):
        lines = cli(*arguments).err.splitlines()
        assert len(lines) > 1 and lines[-1].startswith("sync-whales: ")


def test_crontab_and_doctor_see_the_host(cli: Cli, exchange: Books) -> None:
    """The crontab starts all jobs; each check is one line, and the exchange is asked with the key."""
    text = cli("crontab").out
    assert [job.command for job in JOBS if f" {job.command}" not in text] == []
    cli("whales", "add", WHALE)
    lines = {line.split()[1]: line.split()[0] for line in cli("doctor").out.splitlines()}
    assert (lines["key"], lines["address"], lines["clock"], lines["database"]) == ("good",) * 4


def test_backup_never_replaces_a_file_unasked(cli: Cli, tmp_path: Path) -> None:
    """Without --force an existing file stays as it is."""
    cli("whales", "add", WHALE)
    target = tmp_path / "copy.db"
    assert cli("backup", str(target)).code == 0
    before = target.read_bytes()
    assert cli("backup", str(target)).code == 1 and target.read_bytes() == before
    assert cli("backup", "--force", str(target)).code == 0


@pytest.mark.parametrize(
    ("typed", "completed"),
    [
        ("Mo", r"Moby\ Dick"),
        ('"Mo', "Moby Dick"),
        (r"moby\ d", r"Moby\ Dick"),
        ("0xab", WHALE),
        ("x", ""),
    ],
)
def test_bash_completes_labels_and_addresses(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], typed: str, completed: str
) -> None:
    """A label with a space is completed with the space escaped, unless a quote is open."""
    cli("whales", "add", WHALE, "--label", "Moby Dick")
    monkeypatch.setenv("_WHALESYNC_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", f"whalesync whales show {typed}")
    monkeypatch.setenv("COMP_CWORD", "3")
    with pytest.raises(SystemExit):
        run([])
    assert capfd.readouterr().out == f"{completed}\n"


@pytest.mark.parametrize(
    ("typed", "completed"),
    [
        (["markets", "--category", ""], ["other", r"US\ politics", "Weather"]),
        (["markets", "--category", r"us\ p"], [r"US\ politics"]),
        (["markets", "--status", "r"], ["resolving", "resolved"]),
        (["markets", "--exchange", ""], list(EXCHANGES)),
        (["whales", "add", "--exchange", "opi"], ["opinion_trade"]),
        (["activity", "--tier", "pro"], ["pro", "pro-plus"]),
        (["activity", "--whale", '"moby'], ["Moby Dick"]),
    ],
)
def test_bash_completes_the_values_of_options(
    cli: Cli, exchange: Books, tmp_path: Path, typed: list[str], completed: list[str]
) -> None:
    """A real bash, with the function that --install-completion installs, offers what the file or the program knows."""
    for number, labels in ((8, ["US politics"]), (9, [])):
        exchange.add_market(make_market(number, labels=labels))
    cli("whales", "add", WHALE, "--label", "Moby Dick")
    cli("sync-markets")
    program = tmp_path / "whalesync"
    program.write_text(f"#!/bin/sh\nexec '{sys.executable}' -m whalesync \"$@\"\n")
    program.chmod(0o755)
    script = """
    eval "$(_WHALESYNC_COMPLETE=source_bash "$0")"
    COMP_WORDS=("$0" "$@") COMP_CWORD=$#
    _whalesync_completion "$0"
    printf '%s\\n' "${COMPREPLY[@]}"
    """
    command = ["bash", "-c", script, str(program), *typed]
    environ = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=30, check=True)
    assert sorted(done.stdout.splitlines()) == sorted(completed)
