"""A hundred kills and a hundred cut connections at random moments, over two hosts with overlapping watch lists."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from support.host import ROOT
from support.postgres import Target, published
from support.proxy import Proxy
from support.publisher import Publisher
from support.rows import MINUTE, NOW, market, trade, whale

pytestmark = pytest.mark.slow

TIMES = 100
SMALL_BATCHES = (
    "from whalesync.jobs import publish\npublish.BATCH_ROWS = 50\nfrom whalesync.__main__ import main\nmain()"
)
WALLETS = ([1, 2, 3], [2, 3, 4])  # of each host


class Hosts:
    """Two hosts, whose files grow and change between the runs as one exchange would make them."""

    def __init__(self, folder: Path, target: Target, stack: ExitStack, seed: int) -> None:
        self.rng = random.Random(seed)
        self.hosts = [
            stack.enter_context(closing(Publisher(folder / f"{name}.db", target, name))) for name in ("one", "two")
        ]
        self.fills = 0
        for host, wallets in zip(self.hosts, WALLETS, strict=True):
            with host.db.write():
                market(host.db, "1", revision=host.db.revision())
                for number in wallets:
                    whale(host.db, f"0x{number:040x}", revision=host.db.revision())

    def grow(self, count: int) -> None:
        """New fills of all wallets, pairs of equal ones among them, on each host that watches the wallet."""
        for _ in range(count):
            self.fills += 1
            number, copies = self.rng.choice((1, 2, 3, 4)), self.rng.choice((1, 1, 2))
            for host, wallets in zip(self.hosts, WALLETS, strict=True):
                if number in wallets:
                    with host.db.write():
                        for copy in range(1, copies + 1):
                            trade(
                                host.db, wallets.index(number) + 1, 1, NOW + self.fills * MINUTE, copy=copy,
                                tx_hash=f"0x{self.fills}", fill_key=self.fills, stored_at=NOW + self.fills * MINUTE,
                                revision=host.db.revision(),
                            )  # fmt: skip

    def correct(self) -> None:
        """The exchange corrects fees: each host sees the same."""
        self.fills += 1
        key = self.rng.randrange(1, self.fills)
        for host in self.hosts:
            with host.db.write():
                host.db.execute(
                    "UPDATE whale_activity SET fee = ?, changed_at = ?, revision = ? WHERE fill_key = ?",
                    (float(self.fills), NOW + self.fills * MINUTE, host.db.revision(), key),
                )

    def start(self, host: Publisher) -> subprocess.Popen[bytes]:
        """Publish in a process of its own."""
        env = {
            "PATH": os.defpath, "PYTHONPATH": str(ROOT), "HOME": str(host.path.parent), "WHALESYNC_DB": str(host.path),
            "WHALESYNC_PUBLISH_URL": host.url, "WHALESYNC_SOURCE": host.name,
        }  # fmt: skip
        command = [sys.executable, "-c", SMALL_BATCHES, "publish"]
        return subprocess.Popen(command, env=env, stderr=subprocess.PIPE)

    def check(self, target: Target) -> None:
        """After one more run of each, the union of the files is what the server has, as multisets."""
        for host in self.hosts:
            process = self.start(host)
            assert (process.communicate(timeout=60)[1], process.returncode) == (b"", 0)
        one, two = (host.stored() for host in self.hosts)
        assert one and one | two == Counter(published(target))


def test_a_hundred_kills(tmp_path: Path, target: Target) -> None:
    """Each run is killed at a moment between its start and its end; both hosts run at once."""
    with ExitStack() as stack:
        hosts = Hosts(tmp_path, target, stack, seed=1)
        hosts.grow(100)
        hosts.check(target)
        killed = 0
        while killed < TIMES:
            hosts.grow(40)
            hosts.correct()
            running = [hosts.start(host) for host in hosts.hosts]
            for process in running:
                time.sleep(hosts.rng.uniform(0.1, 0.6))
                process.send_signal(signal.SIGKILL)
                process.communicate(timeout=60)
                killed += process.returncode == -signal.SIGKILL
            if not hosts.rng.randrange(10):
                hosts.check(target)
        hosts.check(target)


def test_a_hundred_cuts(tmp_path: Path, target: Target) -> None:
    """At a random commit, before or after it happens, or after a random number of bytes."""
    with ExitStack() as stack:
        proxy = stack.enter_context(Proxy(target.server.port))
        hosts = Hosts(tmp_path, target, stack, seed=2)
        hosts.grow(100)
        hosts.check(target)
        for host in hosts.hosts:
            host.url = target.url(port=proxy.port)
        cuts = 0
        while cuts < TIMES:
            hosts.grow(40)
            hosts.correct()
            host = hosts.rng.choice(hosts.hosts)
            proxy.answered = hosts.rng.random() < 0.7
            if hosts.rng.random() < 0.6:
                proxy.cut_at = hosts.rng.randrange(1, 5)
            else:
                proxy.cut_after = int(10 ** hosts.rng.uniform(2, 4))
            process = hosts.start(host)
            _, said = process.communicate(timeout=60)
            assert process.returncode in (0, 1) and said.count(b"\n") == process.returncode, said
            cuts += process.returncode
            proxy.cut_at = proxy.cut_after = None
            if not hosts.rng.randrange(10):
                hosts.check(target)
        hosts.check(target)
