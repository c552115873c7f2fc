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

ROOT = Path(__file__).parents[2]

DUMP = """
import sys
sys.argv = ["whalesync", *sys.argv[1:]]
from whalesync.__main__ import main
try:
    main()
except SystemExit as exc:
    assert not exc.code, exc.code
finally:
    sys.stderr.write("\\nLOADED " + " ".join(sys.modules))
"""

WIRE = {"httpx", "httpcore", "stamina", "ssl"}
HEAVY = {
    "sqlite_utils",
    "asyncio",
    "pydantic",
    "click",
    "unittest",
    "pip",
    "whalesync.sandbox",
    "http.server",
}
# Only a monitor, a terminal or another command needs these.
SELDOM = {"urllib.request", "rich", "pygments", "markdown_it"}


@pytest.fixture(scope="module")
def db(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("start") / "whalesync.db"
    with open_database(path) as database:
        whales.add(database, [("0x" + "a" * 40, None)], 1)
    return path


def loaded(db: Path, *words: str, **more: str) -> set[str]:
    """All modules that a command has loaded by its end."""
    env = {
        "PATH": os.defpath,
        "HOME": str(db.parent),
        "PYTHONPATH": str(ROOT),
        "WHALESYNC_DB": str(db),
        **more,
    }
    done = subprocess.run(
        [sys.executable, "-c", DUMP, *words], env=env, capture_output=True, text=True, timeout=60, check=True
    )
    return set(done.stderr.rpartition("LOADED ")[2].split())


def test_the_version_loads_nothing(db: Path) -> None:
    """Of this package two modules, of others none."""
    found = loaded(db, "--version")
    assert {name for name in found if name.startswith("whalesync")} == {"whalesync", "whalesync.__main__"}
    assert (
        sorted(
            found
            & {
                "typer",
                "httpx",
                "sqlite_utils",
                "stamina",
                "rich",
                "sqlite3",
                "dataclasses",
                "platformdirs",
            }
        )
        == []
    )


@pytest.mark.parametrize("command", ["compute-stats", "cleanup"])
def test_jobs_that_ask_no_exchange_load_no_network(db: Path, command: str) -> None:
    """Nor anything for tables."""
    found = loaded(db, command)
    assert "typer" in found
    assert sorted(found & (WIRE | HEAVY | SELDOM | {"socket"})) == []
    assert not {name for name in found if name.startswith(("whalesync.exchange", "whalesync.sandbox"))}


@pytest.mark.parametrize(
    "words",
    [["status", "--json"], ["activity", "--json"], ["whales", "list", "--json"], ["markets", "--json"]],
)
def test_commands_that_look_load_no_network(db: Path, words: list[str]) -> None:
    """Nor, as JSON, anything for tables."""
    found = loaded(db, *words)
    assert sorted(found & (WIRE | HEAVY | SELDOM)) == []
    assert not {name for name in found if name.startswith("whalesync.exchange")}


def test_an_idle_sync_loads_what_it_takes_to_ask_and_no_more(db: Path) -> None:
    """The network, but not what httpx brings for its own command line and for asyncio."""
    with Sandbox(build_world(1, whales=0).books) as sandbox:
        found = loaded(db, "sync-whales", OPINION_TRADE_API_KEY=sandbox.key, WHALESYNC_API_URL=sandbox.url)
    assert "httpx" in found
    assert (
        sorted(found & (HEAVY | {"rich", "pygments", "whalesync.jobs.stats", "whalesync.jobs.markets"})) == []
    )
    # A stand-in of ours may bear the name of anyio; the library itself does not come in.
    assert not {name for name in found if name.startswith(("anyio._core", "anyio.streams", "sniffio"))}
