"""Fixtures for the tests with real processes."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from machine import KEY, Host, fill_books, wallet

from whalesync.sandbox import Books, Sandbox


@pytest.fixture
def books() -> Books:
    """Two wallets of 66 trades each: four pages."""
    return fill_books(2, 60)


@pytest.fixture
def exchange(books: Books) -> Iterator[Sandbox]:
    """The stand-in exchange with these books, without a rate limit."""
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
