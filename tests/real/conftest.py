"""Fixtures for the tests with real processes, and what keeps those apart that measure time.

The tests run beside each other, in the processes of pytest-xdist. One that is marked ``alone`` measures rates, and runs
while no other does: it holds a lock that all others share.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.host import KEY, Host, fill_books, wallet

from whalesync.sandbox import Books, Sandbox

LOCKS = Path(tempfile.gettempdir()) / f"whalesync-tests-{os.getuid()}"


@contextmanager
def lock(name: str, kind: int) -> Iterator[None]:
    """Hold a lock among all processes of this user's tests."""
    LOCKS.mkdir(exist_ok=True)
    with open(LOCKS / name, "w") as file:
        fcntl.flock(file, kind)
        yield


@pytest.fixture(autouse=True)
def machine(request: pytest.FixtureRequest) -> Iterator[None]:
    """Share the machine with the other tests, or have it alone."""
    if request.node.get_closest_marker("early"):
        yield
    elif request.node.get_closest_marker("alone"):
        with lock("gate", fcntl.LOCK_EX), lock("machine", fcntl.LOCK_EX):
            yield
    else:
        with lock("gate", fcntl.LOCK_SH):  # whoever waits for the machine alone lets nobody pass
            pass
        with lock("machine", fcntl.LOCK_SH):
            yield


@pytest.fixture
def books() -> Books:
    """Two wallets of 66 trades each: four pages."""
    return fill_books(2, 60)


@pytest.fixture
def exchange(books: Books) -> Iterator[Sandbox]:
    """The simulated exchange with these books, without a rate limit."""
    with Sandbox(books, key=KEY, rate=None) as sandbox:
        yield sandbox


@pytest.fixture
def host(exchange: Sandbox, tmp_path: Path) -> Iterator[Host]:
    """A machine that watches both wallets."""
    folder = tmp_path / "host"
    folder.mkdir()
    made = Host(folder, exchange.url)
    made.watch(wallet(1), wallet(2))
    yield made
    made.end()


@pytest.fixture
def unprivileged() -> list[str]:
    """What to start a program with, so that it may only do what the modes of files say."""
    if os.geteuid() != 0:
        return []
    if shutil.which("setpriv") is None:
        pytest.skip("needs setpriv to give up what root may do")
    return ["setpriv", "--bounding-set=-dac_override,-dac_read_search,-fowner"]


@pytest.fixture(scope="session")
def strace() -> str:
    """The program that makes system calls fail, or kills at one."""
    found = shutil.which("strace")
    if found is None:
        pytest.skip("needs strace")
    return found
