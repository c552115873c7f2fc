"""The commands, run in this process: what they print, where, and with which exit code."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from whalesync.cli.main import run
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
    """The command line over a database of its own, without any setting from outside."""
    for name in ("OPINION_TRADE_API_KEY", "WHALESYNC_API_URL", "WHALESYNC_ENV_FILE", "WHALESYNC_PING_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("WHALESYNC_DB", str(tmp_path / "whales.db"))
    monkeypatch.setenv("COLUMNS", "120")

    def call(*words: str) -> Result:
        code = run(words)
        captured = capfd.readouterr()
        assert KEY not in captured.out + captured.err
        assert "Traceback" not in captured.out + captured.err
        return Result(code, captured.out, captured.err)

    return call


@pytest.fixture
def exchange(monkeypatch: pytest.MonkeyPatch) -> Books:
    """An exchange with one market and three trades of one whale, set in the environment."""
    books = Books()
    now = int(books.clock())
    books.add_market(make_market(7, marketTitle="[red]Will it rain?[/red]\x1b[31m", labels=["Weather"]))
    books.set_price(books.market(7)["yesTokenId"], "0.65")
    for age, side in ((7200, "Buy"), (3600, "Sell"), (60, "Merge")):
        books.add_trade(
            WHALE, make_trade(marketId=7, side=side, price="0.6", shares="10", createdAt=now - age)
        )
    with Sandbox(books, key=KEY) as sandbox:
        monkeypatch.setenv("WHALESYNC_API_URL", sandbox.url)
        monkeypatch.setenv("OPINION_TRADE_API_KEY", KEY)
        yield books  # type: ignore[misc]  # pytest resolves the generator


def test_a_whale_is_tracked_listed_and_dropped(cli: Cli) -> None:
    """add, list and remove: the address in lower case, twice is no error, history stays."""
    assert cli("whales", "add", WHALE.upper().replace("0X", "0x"), "--label", "Moby Dick").code == 0
    assert "already" in cli("whales", "add", WHALE).err
    listed = json.loads(cli("whales", "list", "--json").out)
    assert [(row["address"], row["label"], row["tracked"]) for row in listed] == [(WHALE, "Moby Dick", 1)]
    assert cli("whales", "remove", "moby dick").code == 0
    assert json.loads(cli("whales", "list", "--json").out) == []
    assert len(json.loads(cli("whales", "list", "--all", "--json").out)) == 1


def test_a_list_is_imported_whole_or_not_at_all(cli: Cli, tmp_path: Path) -> None:
    """A bad line is named, and none of the others is taken."""
    file = tmp_path / "list.csv"
    file.write_text(f'address,label\n# a comment\n{WHALE},"Moby, Dick"\n\n{OTHER}\n')
    assert cli("whales", "import", str(file)).code == 0
    assert {row["address"]: row["label"] for row in json.loads(cli("whales", "list", "--json").out)} == {
        WHALE: "Moby, Dick",
        OTHER: None,
    }
    file.write_text(f"{'0x' + 'ef' * 20}\n0x12\n")
    refused = cli("whales", "import", str(file))
    assert refused.code == 2 and f"line 2 of {file}" in refused.err
    assert len(json.loads(cli("whales", "list", "--json").out)) == 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("statsu",), "Did you mean 'status'"),
        (("whales", "add", "0x12"), "0x and 40 hex digits"),
        (("activity", "--since", "yesterday"), "24h"),
        (("activity", "--json", "--csv"), "cannot both be"),
        (("activity", "--json", "--follow"), "never ends"),
        (("sync-whales",), "OPINION_TRADE_API_KEY is not set"),
        (("sync-whales", "--api-url", "nonsense"), "OPINION_TRADE_API_KEY"),
    ],
)
def test_wrong_input_gets_one_line_and_code_2(cli: Cli, words: tuple[str, ...], said: str) -> None:
    """What is wrong is said in one line, with the nearest right thing."""
    cli("whales", "add", OTHER)
    result = cli(*words)
    assert result.code == 2
    assert said in result.err and result.err.count("\n") == 1 and result.out == ""


def test_an_unknown_label_gets_the_nearest_one(cli: Cli) -> None:
    """A slip in a label is answered with the label that is near."""
    cli("whales", "add", WHALE, "--label", "Moby Dick")
    assert "did you mean 'Moby Dick'" in cli("whales", "show", "Mobi Dick").err


def test_the_jobs_fill_what_the_views_show(cli: Cli, exchange: Books) -> None:
    """From an empty folder through the four jobs to every view of the result, silently without a terminal."""
    cli("whales", "add", WHALE, "--label", "Moby")
    for command in ("sync-markets", "sync-whales", "compute-stats", "cleanup"):
        assert cli(command) == Result(0, "", "")

    rows = json.loads(cli("activity", "--json").out)
    assert [row["action"] for row in rows] == ["MERGE", "SELL", "BUY"]
    assert [row["timestamp"] for row in rows] == [
        trade["createdAt"] * 1000 for trade in exchange.trades(WHALE)
    ]
    assert len(json.loads(cli("activity", "--tier", "free", "--json").out)) == 2
    assert len(json.loads(cli("activity", "--since", "90m", "--json").out)) == 2
    assert json.loads(cli("activity", "--market", "8", "--json").out) == []
    assert len(list(csv.DictReader(io.StringIO(cli("activity", "--whale", "moby", "--csv").out)))) == 3

    (market,) = json.loads(cli("markets", "--search", "RAIN", "--json").out)
    assert (market["yes_price"], market["no_price"], market["category"]) == (0.65, 0.35, "Weather")
    for view in (("markets",), ("activity",), ("whales", "show", "moby"), ("status",)):
        shown = cli(*view)
        assert shown.code == 0 and "\x1b" not in shown.out
    assert "[red]Will it rain?" in cli("markets").out

    whale = json.loads(cli("whales", "show", WHALE, "--json").out)
    assert (whale["trade_count"], whale["buy_count"], whale["sell_count"]) == (2, 1, 1)
    assert whale["total_volume"] == pytest.approx(12.0)

    status = json.loads(cli("status", "--json").out)
    assert status["ok"] and status["totals"]["trades"] == 3
    assert cli("status", "--check").code == 0
    assert re.search(r'whalesync_\w+\{command="sync-whales"\} \d', cli("status", "--metrics").out)


def test_a_refused_key_fails_the_run_and_shows_in_status(
    cli: Cli, exchange: Books, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line, exit code 1, a failed row; and how often in a row when it happens again."""
    cli("whales", "add", WHALE)
    monkeypatch.setenv("OPINION_TRADE_API_KEY", "another")
    first, second = cli("sync-whales"), cli("sync-whales")
    assert first.code == second.code == 1 and first.out == second.out == ""
    assert "does not accept the key" in first.err and first.err.count("\n") == 1
    assert "failed 2 times in a row" in second.err
    run_ = json.loads(cli("status", "--json").out)["runs"][0]
    assert (run_["status"], "does not accept the key" in run_["error"]) == ("failed", True)
    assert cli("status", "--check").code == 1


def test_an_address_over_plain_http_is_refused_before_any_request(
    cli: Cli, exchange: Books, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The key never crosses a network in the clear."""
    result = cli("sync-markets", "--api-url", "http://example.com/openapi")
    assert result.code == 2 and "must be https" in result.err
    assert json.loads(cli("status", "--json").out)["runs"][0]["status"] == "failed"


def test_status_without_a_file(cli: Cli) -> None:
    """No file is no error to look at, but one to a monitor; JSON stays JSON."""
    assert cli("status").code == 0 and cli("status", "--check").code == 1
    assert json.loads(cli("status", "--json").out)["ok"] is False


def test_cleanup_if_due_leaves_no_row_before_its_time(cli: Cli) -> None:
    """A file made after the last 03:00 UTC is not due yet; cron asks four times an hour."""
    cli("whales", "add", WHALE)
    assert cli("cleanup", "--if-due") == Result(0, "", "")
    assert json.loads(cli("status", "--json").out)["runs"] == []


def test_verbose_tells_the_steps(cli: Cli, exchange: Books) -> None:
    """-v tells each step and the result, before the command or after it."""
    cli("whales", "add", WHALE)
    assert "3 new on page 1" in cli("-v", "sync-whales").err
    assert "0 new trades" in cli("sync-whales", "-v").err


def test_the_crontab_names_no_secret(cli: Cli, exchange: Books) -> None:
    """The printed crontab starts the four jobs; the key is not in it."""
    text = cli("crontab").out
    assert KEY not in text
    assert all(
        f" {job}" in text for job in ("sync-markets", "sync-whales", "compute-stats", "cleanup --if-due")
    )


def test_doctor_names_what_is_wrong(cli: Cli, exchange: Books) -> None:
    """Each check is one line; the exchange is asked with the key, and cron lines are missed."""
    cli("whales", "add", WHALE)
    result = cli("doctor")
    lines = {line.split()[1]: line.split()[0] for line in result.out.splitlines()}
    assert (lines["key"], lines["address"], lines["clock"], lines["database"]) == ("good",) * 4
    assert result.code == (1 if "WRONG" in lines.values() else 0)


def test_backup_is_never_over_an_existing_file(cli: Cli, tmp_path: Path) -> None:
    """Without --force an existing file stays as it is."""
    cli("whales", "add", WHALE)
    target = tmp_path / "copy.db"
    assert cli("backup", str(target)).code == 0
    before = target.read_bytes()
    assert cli("backup", str(target)).code == 1 and target.read_bytes() == before
    assert cli("backup", "--force", str(target)).code == 0


def test_completion_offers_labels_and_addresses(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """The shell completes what is on the watch list."""
    from whalesync.cli.words import complete_whale

    assert complete_whale("mo") == []
    cli("whales", "add", WHALE, "--label", "Moby Dick")
    assert complete_whale("mo") == ["Moby Dick"]
    assert complete_whale("0xab") == [WHALE]
