"""`setup` without a terminal, and what it decides: the env file's text, the missing cron lines, answers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import StringIO
from pathlib import Path
from threading import Thread
from typing import Any, ClassVar

import pytest
from dotenv.parser import parse_stream
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from whalesync.cli.main import run
from whalesync.errors import InvalidResponse, NotServed, Unreachable, UsageError
from whalesync.exchanges import all_settings
from whalesync.exchanges.opinion_trade import OPINION_TRADE
from whalesync.host import env_file
from whalesync.host.setup import Verdict, chosen, missing_values, plan_cron, try_key
from whalesync.jobs.table import JOBS
from whalesync.sandbox import Books, Sandbox, make_market, make_trade
from whalesync.settings import Settings, read_env_file
from whalesync.store import whales
from whalesync.store.database import open_existing

KEY = "the-Secret/Key+of_these.tests"
WHALE, OTHER = "0x" + "ab" * 20, "0x" + "cd" * 20

LINES = [
    "# mine",
    "",
    "A=1",
    "B = 'two # 2' # c",
    "export C=3#3",
    'D="4\n5" # d',
    "E",
    "F=",
    "G= # g",
    "'H'=8",
    "  I=9  ",
]
NAMES = "ABCDEFGHI"


def bindings(text: str) -> list[tuple[str | None, str | None]]:
    """What python-dotenv reads, in order."""
    return [(each.key, each.value) for each in parse_stream(StringIO(text.removeprefix("\ufeff"), newline=""))]


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # others run beside it
@given(
    st.lists(st.sampled_from(LINES)),
    st.sampled_from(["\n", "\r\n"]),
    st.sampled_from(["", "\ufeff"]),
    st.booleans(),
    st.sampled_from(NAMES),
    st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1).map(str.strip).filter(bool),
)
def test_one_value_changes_and_nothing_else(
    lines: list[str], end: str, mark: str, ended: bool, name: str, value: str
) -> None:
    """What the parser reads differs in that value alone; comments stay; the same again changes nothing."""
    before = mark + end.join(lines) + (end if ended else "")
    after = env_file.with_values(before, {name: value})
    expected = bindings(before)
    at = [index for index, (key, _) in enumerate(expected) if key == name]
    if at:
        expected[at[-1]] = (name, value)
        read = bindings(after)
    else:
        read = bindings(after)
        assert read.pop() == (name, value)
    assert [each for each in read if each[0]] == [each for each in expected if each[0]]
    for comment in ("# mine", "# c", "# d", "# g"):
        assert after.count(comment) == before.count(comment) + value.count(comment)
    assert env_file.with_values(after, {name: value}) == after


def test_the_env_file_is_private_from_the_first_moment(tmp_path: Path) -> None:
    """Under any umask and behind a link, which stays one."""
    path, link = tmp_path / "new" / "env", tmp_path / "link"
    link.symlink_to(path)
    env_file.write(link, {"A": "1"})
    assert link.is_symlink() and path.read_text() == "A=1\n"
    assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    path.chmod(0o644)
    assert env_file.open_to_others(path) == 0o644
    env_file.write(path, {"A": "2"})
    assert env_file.open_to_others(path) is None and list(path.parent.iterdir()) == [path]


def test_what_the_env_file_lacks() -> None:
    """What was given replaces a value; what is in the environment, which cron does not have, only adds one."""
    missing = missing_values(
        all_settings(),
        in_file={"OPINION_TRADE_API_KEY": "old", "WHALESYNC_DB": "/same", "WHALESYNC_RATE_LIMIT": "5"},
        given={"OPINION_TRADE_API_KEY": "new", "WHALESYNC_DB": "/same"},
        environ={
            "WHALESYNC_RATE_LIMIT": "7",
            "WHALESYNC_RETENTION_DAYS": "30",
            "WHALESYNC_ENV_FILE": "/env",
            "WHALESYNC_PING_URL": "",
            "HOME": "/home/me",
        },
    )
    assert missing == {"OPINION_TRADE_API_KEY": "new", "WHALESYNC_RETENTION_DAYS": "30"}


def test_no_line_is_planned_twice() -> None:
    """One that is active or commented out is not missing; one that is both is active."""
    line = "* * * * * /opt/whalesync {}\n"
    text = line.format("sync-whales") + "#" + line.format("sync-whales") + "#" + line.format("cleanup --if-due")
    plan = plan_cron(f"MAILTO=me\n{text}* * * * * echo cleanup\n")
    names = [[job.command for job in jobs] for jobs in (plan.present, plan.commented_out, plan.missing)]
    assert names == [
        ["sync-whales"],
        ["cleanup"],
        ["sync-markets", "send-alerts", "publish", "sync-positions", "compute-stats"],
    ]


def test_numbers_ranges_and_other_answers() -> None:
    """They may be mixed, in the order in which they are typed; a number beyond the list is refused."""
    assert chosen(" 3, 1-2 x", ["a", "b", "c"], str.upper) == ["c", "a", "b", "X"]
    assert chosen("", ["a"], str) == []
    for answer in ("0", "4", "2-1", "2-4"):
        with pytest.raises(UsageError, match=f"no {answer} in a list of 3"):
            chosen(answer, ["a", "b", "c"], str)


@pytest.mark.parametrize("error", [Unreachable("no route"), NotServed("not from here"), InvalidResponse("HTML")])
def test_a_key_is_not_blamed_for_another_failure(error: Exception) -> None:
    """Only a rejection, or a key that cannot be one, is the key's fault."""

    def fail(*_: object) -> int | None:
        raise error

    settings = Settings(Path("/x/db"), values={"OPINION_TRADE_API_KEY": KEY})
    assert try_key(OPINION_TRADE, settings, fail)[0] is Verdict.UNKNOWN
    assert try_key(OPINION_TRADE, Settings(Path("/x/db"), values={"OPINION_TRADE_API_KEY": "é"}))[0] is Verdict.REJECTED


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine where nothing is set, with a `crontab` that keeps its file in the home folder."""
    programs = tmp_path / "bin"
    programs.mkdir()
    script = programs / "crontab"
    script.write_text(
        f"#!/bin/sh\nPATH=/usr/bin:/bin\ncd '{tmp_path}'\n"
        'case $1 in -l) test -f cron || { echo "no crontab for me" >&2; exit 1; }; cat cron ;; *) cat >cron ;; esac\n'
    )
    script.chmod(0o755)
    for name in ("OPINION_TRADE_API_KEY", "WHALESYNC_API_URL", "WHALESYNC_DB", "WHALESYNC_PING_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", str(programs))  # nothing else: the crontab of whoever runs the tests is out of reach
    monkeypatch.delenv("WHALESYNC_ALERTS_FILE", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("WHALESYNC_ENV_FILE", str(tmp_path / "config" / "env"))
    monkeypatch.setattr("sys.stdin", StringIO())
    return tmp_path


@pytest.fixture
def arguments(home: Path) -> Iterator[list[str]]:
    """The command, with the simulated exchange and a file that holds its key."""
    books = Books()
    books.add_market(make_market(7))
    books.add_trade(WHALE, make_trade(marketId=7, createdAt=int(books.clock()) - 60))
    (home / "key").write_text(f"{KEY}\n")
    (home / "list").write_text(f"{WHALE},Moby\n{OTHER}\n")
    with Sandbox(books, key=KEY) as sandbox:
        yield ["setup", "--api-url", sandbox.url, "--db", str(home / "data" / "whales.db")]


def test_without_a_terminal_and_options_nothing_is_changed(home: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """It says what it needs, with exit code 2."""
    before = sorted(home.rglob("*"))
    assert run(["setup"]) == 2
    assert "--key-file FILE" in capfd.readouterr().err and sorted(home.rglob("*")) == before


def test_set_up_by_options(home: Path, arguments: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    """All is in place after one call; the same call again changes nothing; the key is in no output."""
    options = ["--yes", "--key-file", str(home / "key"), "--import", str(home / "list")]
    kept = []
    for _ in range(2):
        assert run([*arguments, *options]) == 0
        shown = capfd.readouterr()
        assert KEY not in shown.out + shown.err and "WRONG" not in shown.out
        kept.append([(home / name).read_bytes() for name in ("config/env", "cron")])
        with open_existing(home / "data" / "whales.db") as db:
            assert {row["address"]: row["label"] for row in whales.listed(db)} == {WHALE: "Moby", OTHER: None}
    assert kept[0] == kept[1]
    assert Settings.load().values["OPINION_TRADE_API_KEY"] == KEY and kept[0][1].count(b" sync-whales\n") == 1


def test_only_what_options_ask_for_is_changed(home: Path, arguments: list[str]) -> None:
    """Without --yes, each step that no option answers is left out."""
    assert run([*arguments, "--add", WHALE]) == 1
    assert not (home / "cron").exists() and not (home / "config").exists()
    run([*arguments, "--key-file", str(home / "key")])
    assert (home / "config" / "env").exists() and not (home / "cron").exists()
    run([*arguments, "--cron"])
    assert (home / "cron").exists()


def test_a_relative_path_in_the_environment_is_absolute_in_the_env_file(
    home: Path, arguments: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The env file is read from every folder."""
    monkeypatch.chdir(home)
    monkeypatch.setenv("WHALESYNC_DB", "here/whales.db")
    run([*arguments[:3], "--yes", "--key-file", "key", "--import", "list", "--no-cron"])
    assert read_env_file(home / "config" / "env")["WHALESYNC_DB"] == str(home / "here" / "whales.db")


def test_yes_adds_no_jobs_that_would_fail(home: Path, arguments: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    """A rejected key is not written, and without one no line is added, unless --cron asks for it."""
    (home / "key").write_text("another-key")
    assert run([*arguments, "--yes", "--no-whales", "--key-file", str(home / "key")]) == 1
    shown = capfd.readouterr().err
    assert "rejected the API key" in shown and "These jobs would fail: OPINION_TRADE_API_KEY is not set" in shown
    assert "another-key" not in (home / "config" / "env").read_text() and not (home / "cron").exists()
    run([*arguments, "--no-key", "--no-whales", "--cron"])
    assert (home / "cron").read_text().count("whales.db") == len(JOBS)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (("--key-file", "-", "--import", "-"), "only one of"),
        (("--key-file", "key", "--no-key"), "only one of"),
        (("--import", "gone"), "cannot read"),
        (("--add", "0x12"), "40 hex digits"),
        (("--key-file", "list"), "the key and nothing else"),
    ],
)
def test_wrong_options_change_nothing(
    home: Path,
    arguments: list[str],
    options: tuple[str, ...],
    why: str,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """They are found before the first step: one line, exit code 2."""
    monkeypatch.chdir(home)
    assert run([*arguments, "--yes", *options]) == 2
    error = capfd.readouterr().err
    assert why in error and error.count("\n") == 1
    assert not (home / "config").exists() and not (home / "cron").exists() and not (home / "data").exists()


def test_a_crontab_that_cannot_be_read_is_not_replaced(
    home: Path, arguments: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    """What it holds is not known; the other steps are done."""
    script = home / "bin" / "crontab"
    script.write_text(script.read_text().replace("no crontab for me", "you are not allowed to use this program"))
    run([*arguments, "--yes", "--no-whales", "--key-file", str(home / "key"), "--cron"])
    assert "you are not allowed" in capfd.readouterr().err
    assert (home / "config" / "env").exists() and not (home / "cron").exists()
    script.unlink()
    run([*arguments, "--cron"])
    assert "systemd timers" in capfd.readouterr().err


class Hook(BaseHTTPRequestHandler):
    """A webhook that takes everything, and keeps it."""

    taken: ClassVar[list[dict[str, Any]]] = []

    def do_POST(self) -> None:
        self.taken.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(204)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None: ...


def test_a_first_alert_rule_is_written_and_tried(
    home: Path, arguments: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    """Its target gets a sample; the address is in no output; a second run finds the rule in place."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hook)
    Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}/hook/s3cret-token"
    (home / "target").write_text(address)
    options = ["--yes", "--key-file", str(home / "key"), "--import", str(home / "list"), "--no-cron"]
    for _ in range(2):
        run([*arguments, *options, "--alert-file", str(home / "target")])
        shown = capfd.readouterr()
        assert "s3cret-token" not in shown.out + shown.err
    server.shutdown()
    server.server_close()
    assert "Done already: 1 alert rule" in shown.err
    assert [each["sample"] for each in Hook.taken] == [True]
    path = home / "config" / "whalesync" / "alerts.toml"
    assert path.stat().st_mode & 0o777 == 0o600 and address in path.read_text()


def test_an_address_that_no_alert_can_go_to_is_not_written(
    home: Path, arguments: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    """The reason is said, and nothing is made."""
    (home / "target").write_text("http://not-loopback.example/hook")
    run([*arguments, "--yes", "--no-key", "--no-whales", "--no-cron", "--alert-file", str(home / "target")])
    assert "https" in capfd.readouterr().err
    assert not list(home.rglob("alerts.toml"))
