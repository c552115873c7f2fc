"""Fixtures that several suites share."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pytest
from support.clock import StillClock
from support.postgres import Postgres, Target, binaries

from whalesync.sandbox import Books


@pytest.fixture
def clock() -> StillClock:
    """A clock that stands still."""
    return StillClock()


@pytest.fixture
def books(clock: StillClock) -> Books:
    """Empty books of an exchange whose clock stands still."""
    return Books(clock)


@contextmanager
def _users(path: Path) -> Iterator[IO[str]]:
    """The file in which the processes of pytest-xdist count who uses the server, locked."""
    with open(path, "a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        yield file


@pytest.fixture(scope="session")
def postgres_programs() -> Path:
    """The folder of PostgreSQL's programs."""
    found = binaries()
    if found is None:
        pytest.skip("needs a PostgreSQL server: Debian's package postgresql")
    return found


@pytest.fixture(scope="session")
def postgres(postgres_programs: Path, tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Iterator[Postgres]:
    """A PostgreSQL server, one for all processes of this run of tests."""
    base = tmp_path_factory.getbasetemp()
    path = (base if worker_id == "master" else base.parent) / "postgres"
    with _users(path) as file:
        lines = file.read().split()
        if lines:
            server = Postgres(postgres_programs, Path(lines[1]), int(lines[2]))
        else:
            server = Postgres.make(postgres_programs)
            server.start()
        users = int(lines[0]) + 1 if lines else 1
        file.truncate(0)
        file.write(f"{users} {server.folder} {server.port}")
    yield server
    with _users(path) as file:
        users = int(file.read().split()[0]) - 1
        file.truncate(0)
        if users:
            file.write(f"{users} {server.folder} {server.port}")
        else:
            server.remove()


@pytest.fixture
def target(postgres: Postgres) -> Iterator[Target]:
    """An empty database that hosts may publish into."""
    made = postgres.make_database()
    yield made
    made.drop()


def pytest_configure(config: pytest.Config) -> None:
    """Register what the real tests are marked with."""
    config.addinivalue_line("markers", "alone: measures rates, so no other test may run meanwhile")
    config.addinivalue_line("markers", "early: waits most of the time, beside whatever runs, so it begins first")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the tests that wait, so that all others run meanwhile; then the real ones, which take longest."""
    items.sort(key=lambda item: (item.get_closest_marker("early") is None, "fast" in item.path.parts))
