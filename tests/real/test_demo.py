"""Trying it out, and looking at the result in Datasette: ``sandbox`` and ``demo`` as processes."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

WHALESYNC = [sys.executable, "-m", "whalesync"]
# Also where this very process was started in the background of a shell, which ignores SIGINT.
HEEDING_SIGINT = [
    sys.executable,
    "-c",
    "import runpy, signal; signal.signal(signal.SIGINT, signal.default_int_handler);"
    " runpy.run_module('whalesync', run_name='__main__')",
]


def run(*arguments: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    command = [*WHALESYNC, *arguments]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=90, check=False)


def test_the_sandbox_prints_what_to_set_and_serves_until_it_is_stopped(tmp_path: Path) -> None:
    """The printed lines, pasted into a shell with other settings, lead its commands there; Ctrl-C ends it with 130."""
    base = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "WHALESYNC_DB": str(tmp_path / "w.db")}
    sandbox = subprocess.Popen(
        [*HEEDING_SIGINT, "sandbox", "--port", "0"],
        env=base,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with sandbox:
        assert sandbox.stdout is not None and sandbox.stderr is not None
        try:
            lines = [sandbox.stdout.readline() for _ in range(21)]
            paste = "".join([*lines, "env >shown\n"])
            mine = {"OPINION_TRADE_API_KEY": "mine", "WHALESYNC_PUBLISH_URL": "postgresql://example.com/mine"}
            other = {**base, **mine, "WHALESYNC_API_URL": "https://example.com"}
            subprocess.run(["/bin/sh", "-ec", paste], env=other, cwd=tmp_path, check=True, timeout=60)
            shown = dict(line.split("=", 1) for line in (tmp_path / "shown").read_text().splitlines())
            environ = {**{name: shown[name] for name in base if name in shown}, "WHALESYNC_TIME_BUDGET": "3"}
            environ["WHALESYNC_ENV_FILE"] = shown["WHALESYNC_ENV_FILE"]
            assert Path(environ["WHALESYNC_ENV_FILE"]).stat().st_mode & 0o777 == 0o600
            assert not (tmp_path / "w.db").exists() and not mine.keys() & shown.keys()
            assert run("sync-whales", env=environ).returncode == 0
            watched = [
                (row["platform"], row["label"])
                for row in json.loads(run("whales", "list", "--json", env=environ).stdout)
            ]
            assert Counter(platform for platform, _ in watched) == {"opinion_trade": 5, "polymarket": 5}
            assert {("opinion_trade", "Moby Dick"), ("polymarket", "Moby Dick")} < set(watched)
            assert len(json.loads(run("whales", "discover", "--json", env=environ).stdout)) >= 5
            assert "/sandbox-alerts.toml" in "".join(run("alerts", env=environ).stdout.split())
            doctor = run("doctor", env=environ).stdout
            sandbox.send_signal(signal.SIGINT)
            assert sandbox.wait(timeout=20) == 130
        finally:
            sandbox.kill()
        assert "Traceback" not in sandbox.stderr.read()
    assert re.search(r"^good +key", doctor, re.MULTILINE) and re.search(r"^good +address", doctor, re.MULTILINE)


def test_the_sandbox_says_that_its_port_is_taken() -> None:
    """A port in use is wrong usage; the line says what to do."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        done = run("sandbox", "--port", str(taken.getsockname()[1]))
    assert done.returncode == 2 and "--port" in done.stderr


def test_the_demo_refuses_an_existing_file(tmp_path: Path) -> None:
    """--keep never touches what is there."""
    file = tmp_path / "mine.db"
    file.write_text("mine")
    assert run("demo", "--keep", str(file)).returncode == 2
    assert file.read_text() == "mine"


def get(file: Path, address: str) -> str:
    """What Datasette answers; it exits with an error for anything but 200."""
    command = [sys.executable, "-W", "ignore", "-m", "datasette", str(file), "--get", address]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_demo_s_file_reads_well_in_datasette(tmp_path: Path, subtests: pytest.Subtests) -> None:
    """Tables, views and facets need no logic of a web page's own."""
    path = tmp_path / "whales.db"
    done = run("demo", "--keep", str(path))
    assert done.returncode == 0, done.stderr
    assert "Moby Dick" in done.stdout

    with subtests.test("foreign keys are declared, so a trade's row leads to its whale and its market"):
        document = json.loads(get(path, "/whales/whale_activity.json?_size=1&_shape=objects&_labels=on"))
        (row,) = document["rows"]
        assert document["primary_keys"] == ["id"]
        assert set(row["whale_id"]) == set(row["market_id"]) == {"value", "label"}

    with subtests.test("a tier's feed has names and ISO times, newest first, and can be faceted"):
        facets = "_facet=action&_facet=whale_label"
        document = json.loads(get(path, f"/whales/activity_pro_plus.json?{facets}&_size=50&_shape=objects"))
        assert {"time", "whale_label", "market_title", "amount", "visible_at"} <= set(document["columns"])
        times = [row["time"] for row in document["rows"]]
        assert times[0].endswith("Z") and times == sorted(times, reverse=True)
        results = document["facet_results"]
        assert {"BUY", "SELL"} <= {result["value"] for result in results["action"]["results"]}
        labels = {result["label"] for result in results["whale_label"]["results"]}
        assert labels == {"Moby Dick", "Keiko", "Humphrey", "Tilikum", "Migaloo"}

    with subtests.test("the page of a view is served without an error"):
        assert "<table" in get(path, "/whales/activity_free")
