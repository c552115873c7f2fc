"""Ends a command at the Nth system call of a kind, for N spread over its whole run.

The tests that run every time take few of each kind; ``tests/slow/test_kills.py`` sets WHALESYNC_KILLS to hundreds.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from support.host import Ended, Host

KILLS = int(os.environ.get("WHALESYNC_KILLS", "3"))
"""How often each kind is the end."""


@dataclass(frozen=True)
class Stretch:
    """The calls of one kind that a command makes: which the first one of interest is, and which the last."""

    call: str
    first: int
    last: int

    def moments(self, times: int = KILLS) -> list[int]:
        """So many of them, from the first to the last."""
        return sorted({self.first + (self.last - self.first) * i // max(1, times - 1) for i in range(times)})


def stretches(
    strace: str, host: Host, arguments: Sequence[str], calls: Iterable[str], trace: Path, *names: str
) -> Iterator[Stretch]:
    """Run a command once; yields the stretch of each kind of call that it makes for a file with one of these names.

    Of the thread that makes the most, because strace counts each thread's calls by themselves.
    """
    calls = list(calls)
    traced = [strace, "-f", "-qq", "-y", "-o", str(trace), "-e", f"trace={','.join(calls)}"]
    assert host.run(*arguments, before=traced).code == 0
    lines = [line.split(None, 1) for line in trace.read_text().splitlines()]
    for call in calls:
        of_kind = [(thread, text) for thread, text in lines if text.startswith(f"{call}(")]
        if of_kind:
            (thread, count), *_ = Counter(thread for thread, _ in of_kind).most_common(1)
            texts = [text for each, text in of_kind if each == thread]
            first = next((i for i, text in enumerate(texts, 1) if any(name in text for name in names)), None)
            if first is not None:
                yield Stretch(call, first, count)


def end_at(
    strace: str, host: Host, arguments: Sequence[str], call: str, moment: int, end: str = "signal=KILL"
) -> Ended:
    """Run a command that ends so at its Nth call of this kind, or at the Nth of any of its threads."""
    # Without --seccomp-bpf: with it, strace would count wrongly.
    inject = ["-e", f"trace={call}", "-e", f"inject={call}:{end}:when={moment}"]
    return host.run(*arguments, before=[strace, "-f", "-qq", "-o", "/dev/null", *inject])
