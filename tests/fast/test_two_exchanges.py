"""What a person types and sees when wallets of two exchanges are watched; the second one needs no key."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.rows import insert
from support.second_exchange import SecondExchange, Server

from whalesync.cli import main
from whalesync.exchanges import EXCHANGES
from whalesync.store import whales
from whalesync.store.database import Database, open_database

BOTH = "0x" + "b" * 40  # on both exchanges
OTHER = "0x" + "c" * 40


class Cli:
    """A machine without a key, with default paths."""

    def __init__(self, folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
        self.db = folder / "data" / "whalesync" / "whalesync.db"
        self._capfd = capfd

    def __call__(self, *arguments: str) -> tuple[int, str, str]:
        """Run a command; returns its exit code and what it printed."""
        code = main.run(arguments)
        out, err = self._capfd.readouterr()
        return code, out, err

    def watched(self) -> list[tuple[str, str, str | None]]:
        """Exchange, address and label of what is on the watch list."""
        with open_database(self.db) as db:
            return [(row["platform"], row["address"], row["label"]) for row in whales.addresses(db)]


@pytest.fixture
def second(monkeypatch: pytest.MonkeyPatch) -> Server:
    """Takes the place of Polymarket."""
    server = Server()
    exchange = SecondExchange(server)
    exchange.name = "polymarket"
    monkeypatch.setitem(EXCHANGES, exchange.name, exchange)
    return server


@pytest.fixture
def cli(tmp_path: Path, second: Server, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Cli:
    found = Cli(tmp_path, capfd)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("COLUMNS", "120")
    for name in ("DB", "ENV_FILE", "API_URL", "ALERTS_FILE"):
        monkeypatch.delenv(f"WHALESYNC_{name}", raising=False)
    monkeypatch.delenv("OPINION_TRADE_API_KEY", raising=False)  # without it, Opinion.Trade is not asked
    return found


def watch_both(cli: Cli) -> None:
    """Put the same address on the watch list for both exchanges, and another one for the second."""
    cli.db.parent.mkdir(parents=True)
    lines = f"{BOTH},Moby\n{BOTH},Moby too,polymarket\n{OTHER},,polymarket\n"
    file = cli.db.with_name("wallets.csv")
    file.write_text(lines)
    assert cli("whales", "import", str(file)) == (0, "", "Added 3 wallets; 0 were already there.\n")


def test_a_wallet_is_added_to_one_exchange(cli: Cli) -> None:
    """Which one is said, and whether that lists trades of it."""
    code, _, err = cli("whales", "add", OTHER, "--exchange", "polymarket")
    assert (code, err.splitlines()) == (
        0, [f"Added {OTHER} of Second to the watch list.", "Second lists no trades of it."]
    )  # fmt: skip
    again = cli("whales", "add", OTHER, "--exchange", "polymarket")[2]
    assert again == f"{OTHER} of Second was already on the watch list.\n"
    assert cli.watched() == [("polymarket", OTHER, None)]


def test_imported_lines_may_name_an_exchange(cli: Cli) -> None:
    """In the third column; the others are of that of the option, else of Opinion.Trade."""
    watch_both(cli)
    assert cli.watched() == [
        ("opinion_trade", BOTH, "Moby"),
        ("polymarket", BOTH, "Moby too"),
        ("polymarket", OTHER, None),
    ]
    file = cli.db.with_name("more.csv")
    file.write_text(f"{OTHER},here,opinion_trade\n{'0x' + 'd' * 40}\n")
    assert cli("whales", "import", str(file), "--exchange", "polymarket")[0] == 0
    assert cli.watched()[3:] == [("opinion_trade", OTHER, "here"), ("polymarket", "0x" + "d" * 40, None)]


def test_an_address_on_both_exchanges_is_told_apart_by_the_exchange(cli: Cli) -> None:
    """The error says what names each; with the option, one of them is meant."""
    watch_both(cli)
    for command in (("whales", "show"), ("whales", "remove"), ("activity", "--whale"), ("verify", "--whale")):
        code, out, err = cli(*command, BOTH)
        assert (code, out) == (2, "")
        name = " ".join(["whalesync", *command]).partition(" --")[0]
        assert err.splitlines() == [
            f"{name}: '{BOTH}' is a wallet of 2 exchanges; name one of them:",
            f"  {BOTH} --exchange opinion_trade  Moby",
            f"  {BOTH} --exchange polymarket  Moby too",
        ]
    shown = cli("whales", "show", BOTH, "--exchange", "polymarket")[1]
    assert "Moby too" in shown and "Exchange  Second" in shown
    assert cli("whales", "remove", BOTH, "--exchange", "polymarket")[0] == 0
    assert cli.watched() == [("opinion_trade", BOTH, "Moby"), ("polymarket", OTHER, None)]


def add_trade(db: Database, platform: str, whale_id: int) -> None:
    """A stored trade with its market."""
    market = insert(
        db, "markets", platform=platform, kind="market", external_id="1", title=f"Of {platform}?", category="x",
        status="activated", created_at=1, updated_at=1,
    )  # fmt: skip
    insert(
        db, "whale_activity", whale_id=whale_id, market_id=market, platform=platform, tx_hash="0x1", action="BUY",
        amount=5.0, timestamp=1_790_000_000_000, visible_to_pro_plus_at=1, visible_to_pro_at=1, visible_to_free_at=1,
        stored_at=1,
    )  # fmt: skip


@pytest.mark.parametrize("command", ["activity", "markets", "whales list"])
def test_lists_name_the_exchange_where_there_are_several(cli: Cli, command: str) -> None:
    """With the option they are of one, and need not."""
    watch_both(cli)
    with open_database(cli.db) as db:
        for row in whales.addresses(db)[:2]:
            add_trade(db, row["platform"], row["id"])
    both = cli(*command.split())[1]
    assert both.splitlines()[0].split().count("Exchange") == both.count("Opinion.Trade") == 1 and "Second" in both
    options = [*command.split(), "--exchange", "polymarket"]
    assert "Exchange" not in cli(*options)[1]
    assert {row["platform"] for row in json.loads(cli(*options, "--json")[1])} == {"polymarket"}


def test_no_key_is_needed_while_only_wallets_of_the_other_exchange_are_watched(cli: Cli, second: Server) -> None:
    """Every job and verify do all their work. With a wallet of the first, that alone is not served."""
    cli("whales", "add", OTHER, "--exchange", "polymarket")
    second.add_fill(OTHER, 1_790_000_000)
    second.markets = [{"condition": "0xc0", "question": "Rain?"}]
    for job in ("sync-markets", "sync-whales", "sync-positions", "compute-stats", "verify"):
        assert cli(job)[0] == 0, job
    cli("whales", "add", BOTH)
    second.add_fill(OTHER, 1_790_000_060)
    code, _, err = cli("sync-whales")
    assert (code, err.count("\n"), "OPINION_TRADE_API_KEY is not set" in err) == (2, 1, True)
    with open_database(cli.db) as db:
        assert db.value("SELECT count(*) FROM whale_activity") == 2


def test_setup_for_an_exchange_without_a_key(cli: Cli, tmp_path: Path) -> None:
    """No key and no env file are asked for, and the crontab names none; what doctor checks is right at once."""
    options = ("--yes", "--no-cron", "--no-alerts")
    _, out, err = cli("setup", "--exchange", "polymarket", "--add", OTHER, *options)
    assert "Second needs no key." in err and "Not done: cron." in err
    assert cli.watched() == [("polymarket", OTHER, None)]
    faults = [line.split()[1] for line in out.splitlines() if line.startswith("WRONG")]
    assert faults == ["cron"] and not (tmp_path / "config" / "whalesync" / "env").exists()
    text = cli("crontab")
    assert (text[0], text[2], "WHALESYNC_ENV_FILE" in text[1]) == (0, "", False)


def test_setup_is_for_the_exchanges_of_the_wallets(cli: Cli, tmp_path: Path) -> None:
    """Those of the file and those that are watched, unless the option says otherwise."""
    file = tmp_path / "wallets.csv"
    file.write_text(f"{OTHER},,polymarket\n")
    options = ("--yes", "--no-cron", "--no-alerts")
    assert "  Wallets of Second.\n" in cli("setup", "--import", str(file), *options)[2]
    assert "  Wallets of Second.\n" in cli("setup", *options)[2]
    file.write_text(f"{OTHER},,polymarket\n{BOTH}\n")
    both = cli("setup", "--import", str(file), *options)[2]
    assert (
        "  Wallets of Opinion.Trade and Second.\n" in both and "Give --key-file FILE for a key of Opinion.Trade" in both
    )
    assert sorted(cli.watched()) == [("opinion_trade", BOTH, None), ("polymarket", OTHER, None)]
