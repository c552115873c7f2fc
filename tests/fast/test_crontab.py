"""The crontab: what is printed must run under every cron, and what is installed must be understood."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

import whalesync
from whalesync.errors import SettingsError
from whalesync.host import crontab

ROOT = Path(__file__).parents[2]
PACKAGE = Path(whalesync.__file__).parent
JOBS = ["sync-markets", "sync-whales", "send-alerts", "publish", "sync-positions", "compute-stats", "cleanup --if-due"]

PROGRAM = """#!/bin/sh
printf '%s\\n' "$*" "$WHALESYNC_ENV_FILE" "$WHALESYNC_DB" "$PATH"
"""


def debian(command: str) -> str:
    r"""Do what Debian's cron and cronie do to a command: "\%" and "\\" lose a backslash, a bare "%" ends it."""
    out, rest = "", iter(command)
    for character in rest:
        if character == "%":
            return out
        following = next(rest, "") if character == "\\" else ""
        out += following if following and following in "%\\" else character + following
    return out


def entries(text: str) -> dict[str, str]:
    """Return the schedule by command, for every line that is not a comment."""
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return {line.split(None, 5)[5]: " ".join(line.split(None, 5)[:5]) for line in lines}


def output(command: list[str], cwd: Path = Path("/"), **environ: str) -> str:
    """Run a command in an almost empty environment; returns what it prints, which is no error."""
    done = subprocess.run(
        command, cwd=cwd, env={"PATH": "/usr/bin:/bin", **environ}, capture_output=True, text=True, check=True
    )
    assert done.stderr == ""
    return done.stdout


def words_of(command: list[str], cwd: Path = Path("/"), **environ: str) -> list[str]:
    """Run a command that prints words as JSON."""
    printed: list[str] = json.loads(output(command, cwd, **environ))
    return printed


@pytest.mark.parametrize("dialect", [debian, str])  # busybox crond passes a command on unchanged
@pytest.mark.parametrize(
    "name",
    ["with space", "it's", 'say "hi"', "%d%%", "$HOME", "`id`", "a;b&c|d", "\\", "a\\\\b", "\\%", "ü~*?"],
)
def test_each_line_runs_as_printed(tmp_path: Path, dialect: Callable[[str], str], name: str) -> None:
    """Every line starts the program with its settings, in a bare environment, whatever the paths contain."""
    folder = tmp_path / name
    folder.mkdir()
    program = folder / "whalesync"
    program.write_text(PROGRAM)
    program.chmod(0o755)
    text = crontab.render([str(program)], folder / "env", folder / "whale.db")
    lines = entries(text)
    settings = [str(folder / "env"), str(folder / "whale.db"), "/usr/bin:/bin"]
    printed = [output(["/bin/sh", "-c", dialect(command)]).splitlines() for command in lines]
    assert printed == [[job, *settings] for job in JOBS]
    every_minute = ["* * * * *"] * 3
    assert list(lines.values()) == ["*/5 * * * *", *every_minute, "3-59/15 * * * *", "0 * * * *", "*/15 * * * *"]
    found = crontab.find_lines(text)
    assert list(found) == [job.split()[0] for job in JOBS]
    assert all(crontab.starts(line, [str(program)]) for line in found.values())
    assert crontab.setting(found["cleanup"], "WHALESYNC_DB") == str(folder / "whale.db")


def test_relative_paths_become_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cron works in the home folder; a path that is not given is not mentioned, since the jobs find their default."""
    monkeypatch.chdir(tmp_path)
    printed = entries(crontab.render(["/x/python", "-m", "whalesync"], None, Path("a.db")))
    assert list(printed) == [f"WHALESYNC_DB={tmp_path}/a.db /x/python -m whalesync {job}" for job in JOBS]


@pytest.mark.parametrize("character", ["\n", "\0", "\udcff"])
def test_paths_that_no_line_can_hold_are_refused(character: str) -> None:
    """A line break in a path would start a line of its own."""
    path = f"/a{character}b"
    for program, env_file, db in ((path, None, None), ("/p", Path(path), None), ("/p", None, Path(path))):
        with pytest.raises(SettingsError, match="cannot be written in a crontab"):
            crontab.render([program], env_file, db)


def test_lines_that_cron_would_cut_are_refused() -> None:
    """Debian's cron takes commands of 998 bytes."""
    longest = "/" + "ü" * 488 + "aa"
    (*_, last) = entries(crontab.render([longest], None, None))
    assert len(last.encode()) == 998
    with pytest.raises(SettingsError, match="too long"):
        crontab.render([longest + "a"], None, None)


def test_the_example_is_what_the_command_prints() -> None:
    """crontab.example is the printed crontab with the paths of a usual host; it says how to append the lines."""
    printed = crontab.render(
        ["/usr/local/bin/whalesync"], Path("/etc/whalesync/env"), Path("/var/lib/whalesync/whalesync.db")
    )
    assert (ROOT / "crontab.example").read_text() == printed
    how = "(crontab -l 2>/dev/null; whalesync crontab) | crontab -"
    assert f"#\n# To append these lines to your crontab:  {how}\n" in printed


OWN = "*/5 * * * * nice -n 5 /opt/whalesync --db '/srv/a b.db' sync-markets -v >>/var/log/whales 2>&1"


def test_lines_written_by_hand_are_found() -> None:
    """Options, wrappers and redirections around the program do not hide a line."""
    lines = crontab.find_lines(f"MAILTO=me\n@hourly /opt/whalesync compute-stats\n\t{OWN}\n")
    assert lines == {"compute-stats": "@hourly /opt/whalesync compute-stats", "sync-markets": "\t" + OWN}
    assert crontab.starts(OWN, ["/opt/whalesync"]) and not crontab.starts(OWN, ["/opt/whale"])
    assert list(crontab.find_lines("0 * * * * WHALESYNC_DB=/x.db /opt/ws.pyz cleanup")) == ["cleanup"]
    assert crontab.setting(OWN, "WHALESYNC_DB") is None


@pytest.mark.parametrize(
    "line",
    ["* * * * * /opt/other sync-whales", "* * * * * /opt/whalesync status", "* * * * * /opt/whalesync 'sync-whales",
     "WHALESYNC_DB=/x", ""],
)  # fmt: skip
def test_other_lines_are_not_taken_for_ours(line: str) -> None:
    """Other programs, other commands and broken lines start none of our jobs, commented out or not."""
    assert crontab.find_lines(line) == crontab.find_lines(f"#{line}", commented_out=True) == {}


@pytest.mark.parametrize("comment", ["#", "  ## "])
def test_lines_that_are_commented_out_are_found_as_such(comment: str) -> None:
    """They start nothing; the comments of the printed crontab are not among them."""
    line = f"{comment}* * * * * /opt/whalesync sync-whales"
    assert crontab.find_lines(line) == {}
    assert crontab.find_lines(line, commented_out=True) == {"sync-whales": line}
    assert crontab.find_lines(crontab.render(["/opt/whalesync"], None, None), commented_out=True) == {}


def test_the_installed_text_is_what_crontab_lists(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a crontab, and without a crontab program, there is none."""
    program = tmp_path / "crontab"
    program.write_text('#!/bin/sh\n[ "$1" = -l ] && echo "* * * * * x"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert crontab.installed_text() == "* * * * * x\n"
    program.write_text("#!/bin/sh\necho no crontab for you >&2\nexit 1\n")
    assert crontab.installed_text() is None
    program.unlink()
    assert crontab.installed_text() is None


PRINT = "import json; from whalesync.host.crontab import this_program; print(json.dumps(this_program()))"


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    """A copy of the package, whose commands all print what this_program returns."""
    folder = tmp_path / "source tree"
    shutil.copytree(PACKAGE, folder / "whalesync", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "whalesync" / "__main__.py").write_text(PRINT)
    return folder


def test_a_module_is_started_by_its_python(sources: Path, tmp_path: Path) -> None:
    """With the folder that holds it, unless it is installed there."""
    words = words_of([sys.executable, "-m", "whalesync"], sources)
    assert words == ["/usr/bin/env", f"PYTHONPATH={sources}", sys.executable, "-m", "whalesync"]
    assert words_of(words) == words
    venv = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", venv], check=True)
    (packages,) = (venv / "lib").glob("python3*/site-packages")
    shutil.move(sources / "whalesync", packages)
    words = words_of([f"{venv}/bin/python", "-m", "whalesync"], tmp_path)
    assert words == [f"{venv}/bin/python", "-m", "whalesync"]
    assert words_of(words) == words


def test_a_console_script_is_named_by_its_path(sources: Path, tmp_path: Path) -> None:
    """Started as a script, found through PATH or by a relative path, the script's own path is enough."""
    script = tmp_path / "bin" / "whalesync"
    script.parent.mkdir()
    script.write_text(f"#!{sys.executable}\nimport sys\nsys.path.insert(0, {str(sources)!r})\n{PRINT}\n")
    script.chmod(0o755)
    by_name = words_of(["/bin/sh", "-c", "whalesync"], tmp_path, PATH=f"{script.parent}:/usr/bin:/bin")
    assert words_of(["bin/whalesync"], tmp_path) == by_name == words_of([str(script)]) == [str(script)]


@pytest.mark.parametrize("name", ["whalesync", "whalesync.pyz"])
def test_a_zipapp_is_started_with_its_python(sources: Path, tmp_path: Path, name: str) -> None:
    """It runs with the Python that runs it now: the one that it names may not be in cron's PATH."""
    archive = tmp_path / name
    with open(archive, "wb") as file:
        file.write(b"#!/usr/bin/env python3\n")
        with zipfile.ZipFile(file, "w") as packed:
            for source in sources.rglob("*.py"):
                packed.write(source, source.relative_to(sources))
            packed.writestr("__main__.py", PRINT)
    archive.chmod(0o755)
    words = words_of([sys.executable, name], tmp_path)
    assert words == [sys.executable, str(archive)]
    assert words_of(words) == words


def test_a_python_that_does_not_know_its_path_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without it no line can be printed that works."""
    monkeypatch.setattr(sys, "executable", "")
    with pytest.raises(SettingsError, match="cannot tell which Python"):
        crontab.this_program()
