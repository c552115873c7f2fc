"""Trying it out as a process: ``sandbox`` in the foreground, jobs against it, and its end."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

WHALESYNC = [sys.executable, "-m", "whalesync"]


def test_the_sandbox_prints_what_to_set_and_serves_until_it_is_stopped(tmp_path: Path) -> None:
    """The printed lines are an env file, the printed addresses a watch list; Ctrl-C ends it with 130."""
    base = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "WHALESYNC_DB": str(tmp_path / "w.db")}
    sandbox = subprocess.Popen(
        [*WHALESYNC, "sandbox", "--port", "0"],
        env=base,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert sandbox.stdout is not None and sandbox.stderr is not None
    try:
        printed = [sandbox.stdout.readline().strip() for _ in range(8)]
        env_file = tmp_path / "env"
        env_file.write_text("\n".join(printed[:2]) + "\n")
        (tmp_path / "list").write_text("\n".join(printed[3:]) + "\n")
        assert printed[0].startswith("OPINION_TRADE_API_KEY=") and printed[1].startswith(
            "WHALESYNC_API_URL=http://127.0.0.1:"
        )
        environment = {**base, "WHALESYNC_ENV_FILE": str(env_file)}
        for words in (["whales", "import", str(tmp_path / "list")], ["sync-whales"], ["doctor"]):
            done = subprocess.run(
                [*WHALESYNC, *words], env=environment, capture_output=True, text=True, timeout=90
            )
            if words == ["doctor"]:
                assert "good   key" in done.stdout and "good   address" in done.stdout
            else:
                assert done.returncode == 0, done.stderr
    finally:
        sandbox.send_signal(signal.SIGINT)
        sandbox.wait(timeout=10)
        rest = sandbox.stderr.read()
        sandbox.stdout.close()
        sandbox.stderr.close()
    assert sandbox.returncode == 130
    assert "Traceback" not in rest


def test_the_sandbox_says_when_its_port_is_taken(tmp_path: Path) -> None:
    """A port in use is one line and a way out."""
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        done = subprocess.run(
            [*WHALESYNC, "sandbox", "--port", port], capture_output=True, text=True, timeout=30
        )
    assert done.returncode == 2 and "choose another with --port" in done.stderr


def test_the_demo_refuses_an_existing_file(tmp_path: Path) -> None:
    """--keep never touches what is there."""
    file = tmp_path / "mine.db"
    file.write_text("mine")
    done = subprocess.run(
        [*WHALESYNC, "demo", "--keep", str(file)], capture_output=True, text=True, timeout=30
    )
    assert done.returncode == 2 and file.read_text() == "mine"
