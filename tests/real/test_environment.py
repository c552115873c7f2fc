"""Clocks that jump, machines with too little of everything, wrong settings, output that nobody reads."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Callable
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from support.host import DAY, KEY, Host, clock_ahead, wait_until, wallet

from whalesync.sandbox import Books, Handler, Request, Sandbox, make_market, make_trade

HOUR, YEAR = 3600, 365 * DAY
JOBS = ("sync-markets", "sync-whales", "sync-positions", "compute-stats", "cleanup")


def undated(request: Request, handler: Handler) -> bool:
    """The true response, without a date that can be read."""
    sandbox = handler.server.sandbox
    handler.send(200, sandbox.wrap(sandbox.answer(request)), {"Date": "soon"})
    return True


@pytest.mark.parametrize("seconds", [-YEAR, HOUR, 40 * YEAR])
def test_clock_jumps(seconds: int, host: Host, books: Books) -> None:
    """Whatever the clock says, nothing is lost and nothing hangs, and a right clock makes everything right again."""
    host.succeed("sync-whales")
    stored = [host.stored(number) for number in (1, 2)]
    for job in ("sync-whales", "compute-stats", "cleanup", "sync-whales"):
        host.succeed_or_fail(job, code_before=clock_ahead(seconds), timeout=30)
    assert [host.stored(number) for number in (1, 2)] == stored
    for job in ("sync-whales", "compute-stats", "cleanup"):
        host.succeed(job, timeout=30)
    host.check_exact(books)
    host.check_whole()


@pytest.mark.parametrize("seconds", [-YEAR, YEAR])
def test_clock_jumps_and_the_exchange_says_no_time(seconds: int, host: Host, exchange: Sandbox, books: Books) -> None:
    """Even if nothing tells that the clock is wrong, a right clock makes everything right again."""
    exchange.fault = undated
    host.succeed("sync-whales")
    for job in ("sync-whales", "cleanup", "sync-whales"):
        host.succeed_or_fail(job, code_before=clock_ahead(seconds), timeout=30)
    for _ in range(3):
        host.succeed("sync-whales", timeout=30)
    host.check_exact(books)


def test_cleanup_refuses_to_delete_everything(host: Host, books: Books) -> None:
    """With the clock a year ahead and no exchange to compare it with, cleanup deletes nothing and says why."""
    host.succeed("sync-whales")
    assert "clock" in host.fail("cleanup", code_before=clock_ahead(YEAR))
    host.check_exact(books)
    assert host.last_run()[0] == "failed"


def test_clock_set_during_a_run(host: Host, books: Books) -> None:
    """Durations and deadlines do not depend on the wall clock."""
    jumping = (
        "import time, itertools\nreal = time.time\ncalls = itertools.count()\n"
        f"time.time = lambda: real() + (-1) ** next(calls) * {YEAR}"
    )
    host.succeed_or_fail("sync-whales", code_before=jumping, timeout=30)
    ((started_at, ended_at),) = host.rows("SELECT started_at, ended_at FROM sync_logs")
    assert 0 <= ended_at - started_at < 30_000
    host.succeed("sync-whales")
    host.check_exact(books)


def limited(kind: int, amount: int) -> Callable[[], None]:
    """What a new process calls to have so little of something."""
    return partial(resource.setrlimit, kind, (amount, amount))


@pytest.mark.parametrize("files", [4, 6, 8, 12, 24])
def test_few_file_handles(files: int, host: Host, books: Books) -> None:
    """With too few it fails, and its row says so if the file could be opened; with enough, the next run recovers."""
    ended = host.run("sync-whales", preexec_fn=limited(resource.RLIMIT_NOFILE, files))
    assert ended.code == 0 or ended.err
    assert files < 6 or len(ended.lines()) == ended.code  # with fewer, Python itself hardly starts
    assert "unexpected" not in ended.err
    rows = host.rows("SELECT status FROM sync_logs")
    assert rows in ([], [("completed" if ended.code == 0 else "failed",)])
    host.succeed("sync-whales")
    host.check_exact(books)


@pytest.mark.parametrize("megabytes", [20, 40, 80, 120])
def test_little_memory(megabytes: int, host: Host, books: Books) -> None:
    """With too little it fails, and its row says so if the file could be opened; with enough, the next run recovers."""
    ended = host.run("sync-whales", preexec_fn=limited(resource.RLIMIT_AS, megabytes * 2**20), timeout=70)
    rows = host.rows("SELECT status FROM sync_logs")
    assert rows in ([], [("completed" if ended.code == 0 else "failed",)]), ended
    assert len(ended.lines()) == ended.code, ended
    host.succeed("sync-whales")
    host.check_exact(books)


def test_an_environment_of_nothing_but_a_path(host: Host, exchange: Sandbox) -> None:
    """As cron starts it: options instead of variables, the key from the env file, no home; all jobs are silent."""
    env_file = host.folder.parent / "env"
    env_file.write_text(f"OPINION_TRADE_API_KEY={KEY}\nWHALESYNC_API_URL={exchange.url}\n")
    bare = {
        "PATH": "/usr/bin:/bin",
        "PYTHONPATH": host.environment()["PYTHONPATH"],
        "WHALESYNC_ENV_FILE": str(env_file),
    }
    host.environment = lambda **_: bare  # type: ignore[method-assign]  # nothing but this is set
    for job in (*JOBS, "send-alerts", "publish"):
        host.succeed(job, "--db", str(host.db))
    assert host.rows("SELECT count(*) FROM sync_logs WHERE type IN ('alerts', 'publish')") == [(0,)]  # not set up
    del bare["WHALESYNC_ENV_FILE"]
    assert "OPINION_TRADE_API_KEY" in host.fail("sync-whales", "--db", str(host.db), code=2)


def test_a_home_that_may_not_be_entered(host: Host, unprivileged: list[str]) -> None:
    """Another user's HOME, as after su or sudo, is not a reason to fail."""
    home = host.folder / "home"
    home.mkdir(mode=0)
    host.succeed("sync-whales", before=unprivileged, env={"HOME": str(home), "WHALESYNC_ENV_FILE": ""})


def test_an_env_file_that_is_a_pipe(host: Host, tmp_path: Path) -> None:
    """It is refused, and not waited for."""
    os.mkfifo(tmp_path / "pipe")
    line = host.fail("sync-whales", code=2, env={"WHALESYNC_ENV_FILE": str(tmp_path / "pipe")}, timeout=20)
    assert str(tmp_path / "pipe") in line


@pytest.mark.parametrize("job", JOBS)
def test_output_that_nobody_reads(job: str, host: Host) -> None:
    """With standard output and error full or closed, the job is done all the same."""
    closed = ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh"]
    with open("/dev/full", "wb") as full:
        assert host.run(job, "-v", stdout=full, stderr=full).code == 0
    assert host.run(job, "-v", before=closed).code == 0
    assert host.rows("SELECT count(*) FROM sync_logs WHERE status = 'completed'") == [(2,)]
    host.check_whole()


@pytest.mark.parametrize("command", ["status", "activity", "markets"])
def test_reports_that_nobody_reads(command: str, host: Host) -> None:
    """A full or closed output gives one line or none, and never a traceback."""
    host.succeed("sync-markets")
    host.succeed("sync-whales")
    with open("/dev/full", "wb") as full:
        ended = host.run(command, stdout=full)
    assert ended.code != 0 and len(ended.lines()) == 1 and "unexpected" not in ended.err, ended
    ended = host.run(command, "--json", before=["sh", "-c", '"$@" | head -c 1 >/dev/null', "sh"])
    assert ended.err == ""


def test_a_watch_list_from_a_closed_standard_input(host: Host) -> None:
    """It is wrong usage, said in one line."""
    closed = ["sh", "-c", 'exec "$@" <&-', "sh"]
    host.fail("whales", "import", "-", code=2, before=closed)


def test_text_from_outside_is_harmless(host: Host, books: Books) -> None:
    """Escapes, markup and formulas are shown as text."""
    title, label = "\x1b]0;owned\x07\x1b[31m[red]bold[/red]\u202e", "=cmd|' /C calc'!A0"
    books.add_market(make_market(99, marketTitle=title, createdAt=int(time.time())))
    books.add_trade(wallet(1), make_trade(marketId=99, marketTitle=title, createdAt=int(time.time()) - 5))
    for job in JOBS[:3]:
        host.succeed(job)
    host.run("whales", "add", wallet(1), "--label", label)
    assert host.rows("SELECT title FROM markets WHERE external_id = '99'") == [(title,)]
    for arguments in (["activity"], ["markets"], ["status"], ["whales", "list"], ["activity", "--csv"]):
        ended = host.run(*arguments)
        assert ended.code == 0, ended
        assert not {"\x1b", "\x07", "\u202e"} & set(ended.out), arguments
    lines = host.run("activity", "--csv").out.splitlines()
    assert not [line for line in lines if ",=" in line or ',"=' in line]
    assert "[red]" in host.run("markets", "--json").out


@pytest.mark.parametrize("key", [None, "  "])
def test_missing_key(key: str | None, host: Host, exchange: Sandbox) -> None:
    """One line and 2, a failed row, and no request."""
    host.key = key
    for job in ("sync-whales", "sync-markets"):
        assert "OPINION_TRADE_API_KEY is not set" in host.fail(job, code=2)
        assert host.last_run()[0] == "failed"
    assert exchange.requests == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("WHALESYNC_API_URL", "http://exchange.example/openapi"),
        ("WHALESYNC_API_URL", "https://user:password@exchange.example/"),
        ("WHALESYNC_API_URL", "https://exchange.example/?key=password"),
        ("WHALESYNC_API_URL", "https://xn--a/"),
        ("OPINION_TRADE_API_KEY", "password\nX-Evil: 1"),
        ("OPINION_TRADE_API_KEY", "password\r\n\r\nGET /"),
        ("OPINION_TRADE_API_KEY", "пароль-password"),
    ],
)
def test_bad_settings(name: str, value: str, host: Host, exchange: Sandbox) -> None:
    """One line and 2 that names the setting and no secret, a failed row, and no request."""
    line = host.fail("sync-whales", code=2, env={name: value})
    assert name in line and "password" not in line
    assert host.last_run()[0] == "failed"
    assert exchange.requests == []


@pytest.mark.parametrize("proxy", ["nonsense://x", "socks5://127.0.0.1:1", "http://user:password@[::1"])
def test_bad_proxy(proxy: str, host: Host) -> None:
    """A proxy that cannot be used is refused without its address."""
    host.url = "https://exchange.example/openapi"
    line = host.fail("sync-whales", code=2, env={"HTTPS_PROXY": proxy})
    assert "HTTPS_PROXY" in line and "password" not in line


def test_the_key_is_in_no_ping(host: Host, exchange: Sandbox) -> None:
    """Not even when the exchange repeats it in an error."""
    bodies: list[bytes] = []

    class Monitor(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            """Keep what was sent."""
            bodies.append(self.path.encode() + self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            """Print nothing."""

    def echo(request: Request, handler: Handler) -> bool:
        handler.send(400, f'{{"errno": 400, "errmsg": "key {KEY}"}}'.encode())
        return True

    exchange.fault = echo
    with ThreadingHTTPServer(("127.0.0.1", 0), Monitor) as monitor:
        Thread(target=monitor.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{monitor.server_port}/uuid"
        line = host.fail("sync-whales", env={"WHALESYNC_PING_URL": url})
        monitor.shutdown()
    assert "***" in line
    assert len(bodies) == 2
    assert KEY.encode() not in b"".join(bodies)


def test_the_key_is_not_in_the_process_list(host: Host, exchange: Sandbox) -> None:
    """It is in no command line at any time of a run."""
    exchange.latency = 0.3
    running = host.start("sync-whales", "-v")
    wait_until(lambda: exchange.requests)
    assert KEY.encode() not in Path(f"/proc/{running.pid}/cmdline").read_bytes()
    assert running.wait().code == 0
