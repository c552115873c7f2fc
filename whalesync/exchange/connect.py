"""One way to be connected to the exchange, for jobs and for the doctor."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from whalesync.exchange.client import Client
from whalesync.exchange.opinion import KEY_HEADER, OpinionTrade, unwrap
from whalesync.exchange.pace import Pace
from whalesync.settings import Settings, is_loopback


@contextmanager
def connect(
    settings: Settings,
    key: str,
    url: str,
    *,
    first_backoff: float,
    until: float,
    say: Callable[[str], None] = lambda _: None,
) -> Iterator[OpinionTrade]:
    """The exchange at ``url``, at the rate that all processes with this database share.

    Args:
        first_backoff: seconds before the second try of a request.
        until: monotonic seconds; nothing is sent or tried again after.
    """
    db = settings.db.resolve()  # one rate for all who come to the file, be it by a link
    pace = Pace(db.with_name(db.name + ".rate"), settings.rate_limit)
    client = Client(
        url,
        {KEY_HEADER: key},
        pace,
        unwrap,
        first_backoff=first_backoff,
        until=until,
        say=say,
        loopback=is_loopback(url),
    )
    try:
        yield OpinionTrade(client)
    finally:
        client.close()
        pace.close()
