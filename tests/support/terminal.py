"""A person at a terminal: a command on a pseudo-terminal, what it shows, and what is typed."""

from __future__ import annotations

import fcntl
import os
import select
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class Terminal:
    """A command of the program that reads from a terminal and writes to it, standard error included."""

    def __init__(self, arguments: tuple[str, ...], environ: dict[str, str]) -> None:
        self.ours, theirs = os.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "whalesync", *arguments],
            env={**environ, "TERM": "dumb"},
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
            cwd="/",
        )
        os.close(theirs)
        self.shown = ""
        self._read = 0  # so much of it has been expected

    def expect(self, text: str, timeout: float = 20) -> str:
        """Wait until a text is shown, after what was expected before; returns what was shown up to it."""
        end = time.monotonic() + timeout
        while text not in self.shown[self._read :]:
            assert self._more(end - time.monotonic()), f"{text!r} is not shown: {self.shown}"
        begin, self._read = self._read, self.shown.index(text, self._read) + len(text)
        return self.shown[begin : self._read]

    def type(self, text: str) -> None:
        """Type a text as it is."""
        os.write(self.ours, text.encode())

    def answer(self, question: str, answer: str) -> None:
        """Wait for a question and type a line."""
        self.expect(question)
        self.type(f"{answer}\n")

    def interrupt(self, question: str) -> None:
        """Wait for a question, until the command waits for the answer, and press Ctrl-C."""
        self.expect(question)
        stat = Path(f"/proc/{self.process.pid}/stat")
        # A signal between the question and the system call that reads would be noticed after the next line only.
        while stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "S":
            time.sleep(0.005)
        self.type("\x03")

    def end(self, timeout: float = 30) -> int:
        """Wait for the end; returns the exit code."""
        end = time.monotonic() + timeout
        while self._more(end - time.monotonic()):
            pass
        return self.process.wait(timeout=max(1, end - time.monotonic()))

    def _more(self, timeout: float) -> bool:
        readable, _, _ = select.select([self.ours], [], [], max(0, timeout))
        try:
            data = os.read(self.ours, 65_536) if readable else b""
        except OSError:  # Linux says so when the other side is closed
            data = b""
        self.shown += data.decode(errors="replace").replace("\r\n", "\n")
        return bool(data)


@contextmanager
def at_terminal(*arguments: str, environ: dict[str, str]) -> Iterator[Terminal]:
    """Start a command on a terminal of its own; one that is left running is killed."""
    terminal = Terminal(arguments, environ)
    try:
        yield terminal
    finally:
        if terminal.process.poll() is None:
            os.killpg(terminal.process.pid, signal.SIGKILL)
            terminal.process.wait()
        os.close(terminal.ours)
