"""What a command loads: a job starts every minute, and imports are most of what it costs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from whalesync.sandbox import Sandbox, build_world
from whalesync.store import whales
from whalesync.store.database import open_database
from whalesync.store.whales import WatchEntry

ROOT = Path(__file__).parents[2]

RUN_AND_LIST = """
import sys
codes, *sys.argv[1:] = sys.argv[1:]
sys.argv[0] = "whalesync"
from whalesync.__main__ import main
try:
    main()
except SystemExit as exc:
    assert str(exc.code or 0) in codes.split(), exc.code
finally:
    sys.stderr.write("\\nLOADED " + " ".join(sys.modules))
"""

NETWORK = {"httpx", "httpcore", "stamina", "ssl", "socket", "whalesync.exchanges.http"}
HEAVY = {
    "sqlite_utils",
    "asyncio",
    "pydantic",
    "unittest",
    "pip",
    "whalesync.sandbox",
    "http.server",
    "apprise",
    "psycopg",
}
# Only a monitor, a terminal or another command needs these.
OPTIONAL = {"urllib.request", "rich", "pygments", "markdown_it"}


@pytest.fixture(scope="module")
def db(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a database with one wallet on the watch list."""
    path = tmp_path_factory.mktemp("start") / "whalesync.db"
    with open_database(path) as database:
        whales.add(database, [WatchEntry("0x" + "a" * 40)], 1)
    return path


def loaded(db: Path, *arguments: str, codes: str = "0", **environ: str) -> set[str]:
    """Run a command and return all modules that it has loaded by its end; ``codes``: how it may end."""
    here = {"PATH": os.defpath, "HOME": str(db.parent), "PYTHONPATH": str(ROOT), "WHALESYNC_DB": str(db)}
    command = [sys.executable, "-c", RUN_AND_LIST, codes, *arguments]
    done = subprocess.run(command, env=here | environ, capture_output=True, text=True, timeout=60, check=True)
    return set(done.stderr.rpartition("LOADED ")[2].split())


def test_the_version_loads_nothing(db: Path) -> None:
    """It takes two modules of this package and none of another's."""
    found = loaded(db, "--version")
    assert {name for name in found if name.startswith("whalesync")} == {"whalesync", "whalesync.__main__"}
    others = {"typer", "click", "httpx", "sqlite_utils", "stamina", "rich", "sqlite3", "platformdirs"}
    assert found & others == set()


@pytest.mark.parametrize(
    ("command", "other"),
    [
        ("compute-stats", "show"),
        ("cleanup", "show"),
        ("status --json", "jobs"),
        ("activity --json", "jobs"),
        ("whales list --json", "show"),
        ("markets --json", "jobs"),
        ("alerts --json", "jobs"),
        ("send-alerts", "show"),
        ("publish", "show"),
    ],
)
def test_what_asks_no_exchange_loads_no_network(db: Path, command: str, other: str) -> None:
    """Nor, without a terminal or for JSON, what prints tables, nor the other commands; nor apprise before it sends."""
    rules = db.with_name("alerts.toml")
    rules.touch(0o600)
    rules.write_text('[[alert]]\nname = "a"\nto = ["discord://1/x", "https://a.example"]')
    found = loaded(db, *command.split(), WHALESYNC_ALERTS_FILE=str(rules))
    assert "typer" in found
    assert found & (NETWORK | HEAVY | OPTIONAL | {f"whalesync.cli.{other}"}) == set()


def test_doctor_loads_no_apprise(db: Path) -> None:
    """It asks whether it is installed."""
    rules = db.with_name("alerts.toml")
    rules.touch(0o600)
    rules.write_text('[[alert]]\nname = "a"\nto = ["discord://1/x"]')
    found = loaded(db, "doctor", codes="0 1", WHALESYNC_API_URL="http://not.example", WHALESYNC_ALERTS_FILE=str(rules))
    assert "whalesync.alerts.targets" in found and "apprise" not in found


def test_an_idle_sync_loads_only_what_it_needs_to_ask(db: Path) -> None:
    """The network, but no retries, and not what httpx loads for its own command line and for asyncio."""
    with Sandbox(build_world(1, whales=0).books) as sandbox:
        found = loaded(db, "sync-whales", OPINION_TRADE_API_KEY=sandbox.key, WHALESYNC_API_URL=sandbox.url)
    assert "httpx" in found
    others = {"stamina", "whalesync.jobs.compute_stats", "whalesync.jobs.sync_markets", "whalesync.cli.show"}
    assert found & ((HEAVY | OPTIONAL | others) - {"urllib.request"}) == set()  # httpx loads it for proxies
    # A module of ours may stand in for anyio; the library itself is not loaded.
    assert not {name for name in found if name.startswith(("anyio._core", "anyio.streams", "sniffio"))}
