"""Clocks that jump, machines that have too little of everything, settings that are wrong, output that nobody takes."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable
from functools import partial

import pytest
from machine import DAY, KEY, Host, wait_until, wallet

from whalesync.sandbox import Books, Sandbox, make_market, make_trade

HOUR, YEAR = 3600, 365 * DAY
JUMPS = [-YEAR, -HOUR, HOUR, YEAR, 40 * YEAR]


def clock_ahead(seconds: float) -> str:
    """Python that sets the program's wall clock wrong."""
    return f"import time\nreal = time.time\ntime.time = lambda: real() + {seconds}"


@pytest.mark.parametrize("seconds", JUMPS)
def test_clock_jumps(seconds: int, host: Host, books: Books) -> None:
    """Whatever the clock says, nothing is lost, nothing hangs, and a right clock makes all good again."""
    host.succeed("sync-whales")
    held = [host.stored(number) for number in (1, 2)]
    for job in ("sync-whales", "compute-stats", "cleanup", "sync-whales", "cleanup"):
        ended = host.run(job, code_before=clock_ahead(seconds), timeout=20)
        assert ended.code in (0, 1) and len(ended.lines()) == ended.code, (job, ended)
        assert "unexpected" not in ended.err
    assert [host.stored(number) for number in (1, 2)] == held
    for job in ("sync-whales", "compute-stats", "cleanup"):
        host.succeed(job, timeout=20)
    host.check_exact(books, 2)
    host.check_whole()


def test_cleanup_refuses_a_cut_later_than_all_that_is_known(host: Host, books: Books) -> None:
    """With the clock a year ahead and no exchange to compare it with, cleanup deletes nothing and says why."""
    host.succeed("sync-whales")
    line = host.fail("cleanup", code_before=clock_ahead(YEAR))
    assert "refused" in line and "clock" in line
    host.check_exact(books, 2)
    assert host.last_run()[0] == "failed"


def test_clock_set_during_a_run(host: Host, exchange: Sandbox, books: Books) -> None:
    """Durations and deadlines do not hang on the wall clock."""
    jumping = (
        "import time, itertools\nreal = time.time\ncalls = itertools.count()\n"
        f"time.time = lambda: real() + (-1) ** next(calls) * {YEAR}"
    )
    ended = host.run("sync-whales", code_before=jumping, timeout=20)
    assert (ended.code, ended.err) == (0, "")
    ((started_at, ended_at),) = host.rows("SELECT started_at, ended_at FROM sync_logs")
    assert 0 <= ended_at - started_at < 20_000
    host.succeed("sync-whales")
    host.check_exact(books, 2)


def limited(kind: int, amount: int) -> Callable[[], None]:
    """What a child calls to have so little of something."""
    return partial(resource.setrlimit, kind, (amount, amount))


@pytest.mark.parametrize("files", [4, 6, 8, 10, 12, 16, 24])
def test_few_file_handles(files: int, host: Host, books: Books) -> None:
    """With too few it fails, and its row says so if the file could be opened; with enough again all is well."""
    ended = host.run("sync-whales", preexec_fn=limited(resource.RLIMIT_NOFILE, files))
    assert ended.code == 0 or ended.err, ended
    assert files < 6 or len(ended.lines()) == ended.code, ended  # with fewer, Python itself hardly begins
    print(f"{files}: {ended.code} {ended.err[-200:]}")
    rows = host.rows("SELECT status FROM sync_logs")
    assert rows in ([], [("completed" if ended.code == 0 else "failed",)])
    host.succeed("sync-whales")
    host.check_exact(books, 2)


@pytest.mark.parametrize("megabytes", [20, 30, 40, 60, 80, 120])
def test_little_memory(megabytes: int, host: Host, books: Books) -> None:
    """With too little it fails, and its row says so if the file could be opened; with enough again all is well."""
    ended = host.run("sync-whales", preexec_fn=limited(resource.RLIMIT_AS, megabytes * 2**20), timeout=70)
    rows = host.rows("SELECT status FROM sync_logs")
    assert rows in ([], [("completed" if ended.code == 0 else "failed",)]), ended
    assert len(ended.lines()) == ended.code, ended
    print(f"{megabytes} MB: {ended.code} {rows} {ended.err[-200:]}")
    host.succeed("sync-whales")
    host.check_exact(books, 2)


def test_an_environment_of_nothing_but_a_path(host: Host, exchange: Sandbox) -> None:
    """As cron starts it: with options instead of variables, the key from the env file, no home; in silence."""
    env_file = host.folder.parent / "env"
    env_file.write_text(f"OPINION_TRADE_API_KEY={KEY}\nWHALESYNC_API_URL={exchange.url}\n")
    bare = {
        "PATH": "/usr/bin:/bin", "PYTHONPATH": host.environment()["PYTHONPATH"],
        "WHALESYNC_ENV_FILE": str(env_file),
    }  # fmt: skip
    host.environment = lambda **_: bare  # type: ignore[method-assign]  # nothing but this is set
    for job in ("sync-markets", "sync-whales", "compute-stats", "cleanup"):
        host.succeed(job, "--db", str(host.db))
    del bare["WHALESYNC_ENV_FILE"]
    assert "OPINION_TRADE_API_KEY" in host.fail("sync-whales", "--db", str(host.db), code=2)


def test_a_home_that_may_not_be_entered(host: Host, unprivileged: list[str]) -> None:
    """Another user's HOME, as after su or sudo, is no reason to fail."""
    home = host.folder / "home"
    home.mkdir(mode=0)
    host.succeed("sync-whales", before=unprivileged, env={"HOME": str(home), "WHALESYNC_ENV_FILE": ""})


@pytest.mark.parametrize("job", ["sync-whales", "sync-markets", "compute-stats", "cleanup"])
def test_output_that_nobody_takes(job: str, host: Host) -> None:
    """Standard output and error full or closed: the job is done all the same."""
    with open("/dev/full", "wb") as full:
        assert host.run(job, stdout=full, stderr=full).code == 0
        assert host.run(job, "-v", stdout=full, stderr=full).code == 0
    closed = ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh"]
    assert host.run(job, before=closed).code == 0
    assert host.run(job, "-v", before=closed).code == 0
    assert host.rows("SELECT count(*) FROM sync_logs WHERE status = 'completed'") == [(4,)]
    host.check_whole()


@pytest.mark.parametrize("command", ["status", "activity", "markets"])
def test_reports_that_nobody_takes(command: str, host: Host) -> None:
    """A full or closed output is no reason for a traceback."""
    host.succeed("sync-markets")
    host.succeed("sync-whales")
    with open("/dev/full", "wb") as full:
        ended = host.run(command, stdout=full)
    assert ended.code != 0 and len(ended.lines()) == 1 and "unexpected" not in ended.err, ended
    ended = host.run(command, "--json", before=["sh", "-c", '"$@" | head -c 1 >/dev/null', "sh"])
    assert ended.err == ""


def test_text_from_outside_is_harmless(host: Host, books: Books) -> None:
    """Escapes, markup and formulas are shown as text."""
    title, label = "\x1b]0;owned\x07\x1b[31m[red]bold[/red]\u202e", "=cmd|' /C calc'!A0"
    books.add_market(make_market(99, marketTitle=title, createdAt=int(time.time())))
    books.add_trade(wallet(1), make_trade(marketId=99, marketTitle=title, createdAt=int(time.time()) - 5))
    host.succeed("sync-markets")
    host.succeed("sync-whales")
    host.succeed("compute-stats")
    host.run("whales", "add", wallet(1), "--label", label)
    assert host.rows("SELECT title FROM markets WHERE external_id = '99'") == [(title,)]
    for arguments in (("activity",), ("markets",), ("status",), ("whales", "list"), ("activity", "--csv")):
        ended = (
            host.run(*arguments, "--limit", "200")
            if arguments != ("whales", "list")
            else host.run(*arguments)
        )
        assert ended.code == 0, ended
        assert not {"\x1b", "\x07", "\u202e"} & set(ended.out), arguments
    lines = host.run("activity", "--csv").out.splitlines()
    assert not [line for line in lines if ",=" in line or ',"=' in line]
    assert "[red]" in host.run("markets", "--json").out


def test_missing_key(host: Host, exchange: Sandbox) -> None:
    """One line and 2, a failed row, and no request."""
    for key in (None, "  "):
        host.key = key
        for job in ("sync-whales", "sync-markets"):
            assert "OPINION_TRADE_API_KEY is not set" in host.fail(job, code=2)
            assert host.last_run()[0] == "failed"
    assert exchange.requests == []


@pytest.mark.parametrize(
    "url",
    [
        "http://exchange.example/openapi", "ftp://127.0.0.1/", "nonsense", "https://", "https://a..b/openapi",
        "https://user:password@exchange.example/", "https://exchange.example/?key=1", "http://127.0.0.1:99999/",
        "http://localhost.example/openapi", "http://127.0.0.1.example/", "https://[::1/", "http://127.1 /x",
        "https://xn--a/", "https://" + "a" * 64 + ".example/", "http://0x7f.1/",
    ],
)  # fmt: skip
def test_bad_address(url: str, host: Host, exchange: Sandbox) -> None:
    """One line and 2, a failed row, no request, and no password in the words."""
    host.url = url
    line = host.fail("sync-whales", code=2)
    assert "WHALESYNC_API_URL" in line and "password" not in line
    assert host.last_run()[0] == "failed"
    assert exchange.requests == []


@pytest.mark.parametrize(
    "key", [KEY + "\nX-Evil: 1", KEY + "\r\n\r\nGET /", "ключ", KEY + "\x00"[:0] + "\x7f"]
)
def test_key_that_is_none(key: str, host: Host, exchange: Sandbox) -> None:
    """A key with a line break or other signs never gets into a request."""
    host.key = key
    line = host.fail("sync-whales", code=2)
    assert "OPINION_TRADE_API_KEY" in line and key not in line
    assert exchange.requests == []


@pytest.mark.parametrize("proxy", ["nonsense://x", "socks5://127.0.0.1:1", "http://user:password@[::1"])
def test_bad_proxy(proxy: str, host: Host) -> None:
    """A proxy that cannot be used is told without its address."""
    host.url = "https://exchange.example/openapi"
    line = host.fail("sync-whales", code=2, env={"HTTPS_PROXY": proxy})
    assert "HTTPS_PROXY" in line and "password" not in line


def test_the_key_is_in_no_ping(host: Host, exchange: Sandbox) -> None:
    """Not even when the exchange repeats it in an error."""
    from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
    from threading import Thread

    bodies: list[bytes] = []

    class Monitor(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            bodies.append(self.path.encode() + self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    exchange.fault = lambda request, handler: (
        handler.send(400, f'{{"errno": 400, "errmsg": "key {KEY}"}}'.encode()) or True
    )
    with ThreadingHTTPServer(("127.0.0.1", 0), Monitor) as monitor:
        Thread(target=monitor.serve_forever, daemon=True).start()
        line = host.fail(
            "sync-whales", env={"WHALESYNC_PING_URL": f"http://127.0.0.1:{monitor.server_port}/uuid"}
        )
        monitor.shutdown()
    assert "***" in line
    assert len(bodies) == 2
    assert KEY.encode() not in b"".join(bodies)


def test_the_key_is_not_in_the_process_list(host: Host, exchange: Sandbox) -> None:
    """It stands in no command line, at no time of a run."""
    exchange.latency = 0.3
    running = host.start("sync-whales", "-v")
    wait_until(lambda: exchange.requests)
    with open(f"/proc/{running.pid}/cmdline", "rb") as file:
        assert KEY.encode() not in file.read()
    assert running.wait().code == 0
