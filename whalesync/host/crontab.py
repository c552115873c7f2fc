"""The crontab: printing one for this host, and reading the one that is installed.

Two dialects have to agree on one text. The cron of Debian and cronie turn ``\\%`` into ``%`` and ``\\\\`` into
``\\`` before ``/bin/sh`` sees the command; busybox crond hands it over as it stands, and knows no
``NAME=value`` lines. So settings stand in front of each command, and neither sign ever stands where the
two would read it differently.
"""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import whalesync
from whalesync.errors import SettingsError

MAX_COMMAND = 998  # Debian's cron refuses longer ones (MAX_COMMAND in its cron.h)


@dataclass(frozen=True)
class Entry:
    """One line to be: when, which command with its options, and what it is for."""

    schedule: str
    arguments: tuple[str, ...]
    purpose: str


ENTRIES = (
    Entry(
        "*/5 * * * *", ("sync-markets",), "Every market of the exchange and its prices, every five minutes."
    ),
    Entry("* * * * *", ("sync-whales",), "New trades of every tracked wallet, every minute."),
    Entry("0 * * * *", ("compute-stats",), "The whales' statistics, every hour."),
    Entry(
        "*/15 * * * *",
        ("cleanup", "--if-due"),
        "Prunes what is too old, once a day at 03:00 UTC. Cron knows the host's time zone only, and zones differ by\n"
        "# quarters of an hour and shift in summer: so it asks four times an hour, and the job knows when it is due.",
    ),
)
COMMANDS = tuple(entry.arguments[0] for entry in ENTRIES)

HEADER = """\
# whalesync: every trade of the whales you watch, in one SQLite file.
#
# To append these lines to your crontab:  (crontab -l; whalesync crontab) | crontab -
# To have no other lines than these (REPLACES your crontab):  whalesync crontab | crontab -
# "whalesync doctor" tells whether they are in place. There is no secret in here: the key belongs into the
# env file, which only you may read.
"""


def render(program: Sequence[str] | str, env_file: Path | None, db: Path | None) -> str:
    """The crontab for this host, ready for ``crontab -``.

    What is None is not mentioned: the job then finds its own default. Works under ``PATH=/usr/bin:/bin``.

    Raises:
        SettingsError: a path cannot stand in a crontab.
    """
    words = [program] if isinstance(program, str) else list(program)
    paths = {"WHALESYNC_ENV_FILE": env_file, "WHALESYNC_DB": db}
    before = [f"{name}={_quoted(str(path.absolute()))}" for name, path in paths.items() if path is not None]
    text = HEADER
    for entry in ENTRIES:
        command = " ".join([*before, *map(_quoted, words), *entry.arguments])
        if len(command.encode()) > MAX_COMMAND:
            raise SettingsError(f"the paths are too long: a crontab line takes {MAX_COMMAND} bytes")
        text += f"\n# {entry.purpose}\n{entry.schedule} {command}\n"
    return text


def this_program() -> list[str]:
    """How to start this very program from anywhere, under a bare environment: absolute paths only.

    Knows a console script, a zipapp and ``python -m whalesync``; whatever else started us, the last one works.

    Raises:
        SettingsError: Python does not know where it is itself.
    """
    started = Path(sys.argv[0]).absolute()
    if started.name == "whalesync" and shutil.which(str(started)) and not zipfile.is_zipfile(started):
        return [str(started)]
    if not sys.executable:
        raise SettingsError("cannot tell which Python runs this: install whalesync with pipx or uv")
    if zipfile.is_zipfile(started):
        return [sys.executable, str(started)]
    folder = str(Path(whalesync.__file__).absolute().parent.parent)
    # What is not installed was found through the working folder or PYTHONPATH, and cron has neither.
    installed = Path(folder).name in ("site-packages", "dist-packages")
    path = [] if installed else ["/usr/bin/env", f"PYTHONPATH={folder}"]
    return [*path, sys.executable, "-m", "whalesync"]


def find_lines(text: str) -> dict[str, str]:
    """The lines of a crontab that start our jobs, by command; the last one, if a command has several."""
    lines: dict[str, str] = {}
    for line in text.splitlines():
        words = _words(line)
        if any("whalesync" in word.lower() for word in words):  # in its name, or in a setting in front of it
            lines |= {command: line for command in COMMANDS if command in words}
    return lines


def starts(line: str, program: Sequence[str]) -> bool:
    """Whether the line runs ``program``, whatever stands around it."""
    words, wanted = _words(line), list(program)
    return any(words[at : at + len(wanted)] == wanted for at in range(len(words)))


def setting(line: str, name: str) -> str | None:
    """What the line sets ``name`` to in front of its command, or None."""
    values = [word.removeprefix(f"{name}=") for word in _words(line) if word.startswith(f"{name}=")]
    return values[-1] if values else None


def installed_text() -> str | None:
    """This user's crontab; None if there is none, or no cron here."""
    program = shutil.which("crontab")
    if program is None:
        return None
    try:
        done = subprocess.run([program, "-l"], capture_output=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.decode(errors="replace") if done.returncode == 0 else None


def _quoted(text: str) -> str:
    """``text`` as one word for /bin/sh in every dialect (see the top of this file).

    Raises:
        SettingsError: it holds a line break or another sign that no crontab can carry.
    """
    if not text.isprintable():
        raise SettingsError(f"a path with unprintable signs cannot stand in a crontab: {text!a}")
    # Never "\%" inside quotes, where busybox would keep the backslash; never two backslashes in a row.
    apart = {"%": "\\%", "\\": "'\\'"}
    return "".join(apart.get(part) or shlex.quote(part) for part in re.split(r"([%\\])", text) if part)


def _words(line: str) -> list[str]:
    """The words of a crontab line as /bin/sh would see them; none for a comment or a line with open quotes."""
    if line.lstrip().startswith("#"):
        return []
    try:
        return shlex.split(line.replace("\\%", "%"))
    except ValueError:
        return []
