"""Polymarket's two hosts and their rates: one client for each limit of its own.

The limits are per IP address, counted over ten seconds: 20 a second for activity, 20 for positions, 80 for the host of
both, 30 for Gamma's markets. So requests leave at the setting itself, which stands for the first two; all rates
together stay within nine tenths of the host's limit. A 429 holds all rates of its host, as its block does.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from whalesync.errors import AuthenticationError, InvalidResponse, NotServed, RequestRefused
from whalesync.exchanges.http import Client
from whalesync.exchanges.rate import RateLimit
from whalesync.settings import is_loopback, user_folder

LEAST_HOLD = 5.0  # seconds after a 429, whose Retry-After may be 0
ACTIVITY, POSITIONS, DATA, GAMMA = "activity", "positions", "data", "gamma"
SHARES = {ACTIVITY: 1.0, POSITIONS: 1.0, DATA: 2.0, GAMMA: 1.5}  # of the setting


class Clients:
    """The clients, each opened when it is first used. Threads may share them.

    Args:
        data_url, gamma_url: without a trailing slash.
        per_second: the setting; see SHARES.
        db: the database file, beside which the rates are kept where the user's cache folder cannot be used.
        title, first_backoff, until, log_step: see ``whalesync.exchanges.http.Client``.
    """

    def __init__(
        self,
        data_url: str,
        gamma_url: str,
        per_second: float,
        db: Path,
        *,
        title: str,
        first_backoff: float,
        until: float,
        log_step: Callable[[str], None],
    ) -> None:
        self._data_url = data_url
        self._gamma_url = gamma_url
        self._per_second = per_second
        self._db = db.resolve()
        self._title = title
        self._first_backoff = first_backoff
        self._until = until
        self._log_step = log_step
        self._lock = threading.Lock()
        self._opened: dict[str, Client] = {}

    @property
    def activity(self) -> Client:
        """For ``/activity``."""
        return self._get(ACTIVITY)

    @property
    def positions(self) -> Client:
        """For ``/positions``."""
        return self._get(POSITIONS)

    @property
    def data(self) -> Client:
        """For all other paths of the Data API."""
        return self._get(DATA)

    @property
    def gamma(self) -> Client:
        """For Gamma."""
        return self._get(GAMMA)

    @property
    def latest_date(self) -> int | None:
        """The exchange's clock now (ms), as a response gave it; None if none did."""
        dates = [client.latest_date for client in list(self._opened.values())]
        return next((date for date in dates if date is not None), None)

    def close(self) -> None:
        """Close all of them."""
        with self._lock:
            for client in self._opened.values():
                client.close()

    def _get(self, name: str) -> Client:
        with self._lock:
            if name not in self._opened:
                self._opened[name] = self._open(name)
            return self._opened[name]

    def _open(self, name: str) -> Client:
        url = self._gamma_url if name == GAMMA else self._data_url
        held_with = () if name == GAMMA else {ACTIVITY, POSITIONS, DATA} - {name}
        file = rate_file(url, self._db)
        rate = RateLimit(
            file(name),
            self._per_second * SHARES[name],
            share=1.0,
            held_with=[file(other) for other in held_with],
            least_hold=LEAST_HOLD,
        )
        return Client(
            url,
            {},
            rate,
            unwrap,
            first_backoff=self._first_backoff,
            until=self._until,
            log_step=self._log_step,
            title=self._title,
            loopback=is_loopback(url),
        )


def rate_file(url: str, db: Path) -> Callable[[str], Path]:
    """Where the rates of a host are kept, by name: in the user's cache folder, for all files of the user.

    Beside the database where that cannot be written, and for an address on this machine.
    """
    parts = urlsplit(url)
    if not is_loopback(url):
        folder = user_folder("user_cache_path")
        try:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{parts.hostname}.{ACTIVITY}.rate").touch()
        except OSError:
            pass
        else:
            return lambda name: folder / f"{parts.hostname}.{name}.rate"
    with suppress(OSError):  # the first use of a rate says what is wrong
        db.parent.mkdir(parents=True, exist_ok=True)  # before the first job there may be none
    return lambda name: db.with_name(f"{db.name}.polymarket.{name}.rate")


def unwrap(status: int, body: Any) -> Any:
    """The body, or the error in it: ``{error, code, retryable, trace_id}``.

    Raises:
        ExchangeError: the exchange refuses the request, or the body is not an object.
    """
    if status < 400:
        if not isinstance(body, dict):
            raise InvalidResponse("Polymarket: the response is not an object")
        return body
    fields = body if isinstance(body, dict) else {}
    said = " ".join(json.dumps(fields[name])[:200].strip('"') for name in ("code", "error") if fields.get(name))
    reason = f"{status} {said}".rstrip()
    if status == 451:
        raise NotServed(f"Polymarket does not serve the country of this host ({reason}). Run it elsewhere.")
    if status == 401:
        raise AuthenticationError(f"Polymarket wants a key ({reason}), which it did not when this was written.")
    raise RequestRefused(f"Polymarket refused the request ({reason})")
