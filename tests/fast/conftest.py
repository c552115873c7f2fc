"""A fixture that several tests of the store share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from whalesync.store.database import Database, open_database


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    """An empty file."""
    with open_database(tmp_path / "whalesync.db") as database:
        yield database
