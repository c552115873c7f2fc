"""What can go wrong, as one tree; every message says what failed and what to do next.

::

    WhalesyncError              exit code 1
    ├── SettingsError           2: an option, an address or the environment is wrong
    ├── AnotherRunActive        75: the same job is already running
    ├── StoreError              the database file
    │   ├── NoDatabase          there is none yet
    │   ├── ForeignDatabase     not ours, or written by a newer version; left untouched
    │   ├── DamagedDatabase     it cannot be read
    │   └── DatabaseBusy        another process keeps the write lock
    ├── JobFailed               a run ended without doing its work
    └── ExchangeError           the other side; one item's failure unless said otherwise
        ├── Unreachable         no connection, or the deadline passed   (tried again)
        ├── RateLimited         429                                      (tried again)
        ├── ServerFault         5xx                                      (tried again)
        ├── RequestRefused      any other refusal
        ├── KeyRefused          ends the run: no request can succeed
        ├── UnreadableAnswer    not the shape that was agreed; what came is in ``payload``
        ├── ContradictoryList   pages and total of one list do not fit together
        └── ExchangeChanged     every record of a page is bad: fails the run

    Interrupted                 SIGINT or SIGTERM; not an ``Exception``, so that nothing swallows it
    OutOfTime                   the time budget is used up; no failure

Exceptions of libraries are translated where they enter; a bug is not wrapped and stays visible as itself.
"""

from __future__ import annotations


class WhalesyncError(Exception):
    """Base of all failures that a user can do something about; the text is one line."""

    exit_code = 1


class SettingsError(WhalesyncError):
    """An option, an address or the environment is wrong."""

    exit_code = 2


class AnotherRunActive(WhalesyncError):
    """Another run of the same job holds its lock; this one did nothing."""

    exit_code = 75


class StoreError(WhalesyncError):
    """The database file cannot be used as it is."""


class NoDatabase(StoreError):
    """The database file does not exist yet."""


class ForeignDatabase(StoreError):
    """The file is not ours, or was written by a newer version. It was not touched."""


class DamagedDatabase(StoreError):
    """The file is ours, but cannot be read or written as a whole."""


class DatabaseBusy(StoreError):
    """Another process kept the write lock for longer than we wait."""


class JobFailed(WhalesyncError):
    """A run ended without doing its work; its row in the sync log says the same."""


class ExchangeError(WhalesyncError):
    """The exchange, or the way to it, failed for one item."""


class Unreachable(ExchangeError):
    """No connection, a broken one, or a total deadline that passed."""


class RateLimited(ExchangeError):
    """The exchange answered 429. ``retry_after`` is what it asked for, in seconds, if it said so."""

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class ServerFault(ExchangeError):
    """The exchange answered 5xx, or its error number for the same."""


class RequestRefused(ExchangeError):
    """The exchange refused this request (a bad parameter, something unknown)."""

    def __init__(self, message: str, number: int) -> None:
        super().__init__(message)
        self.number = number


class KeyRefused(ExchangeError):
    """The exchange does not accept the key."""


class UnreadableAnswer(ExchangeError):
    """An answer that is not what was agreed. ``payload`` is the beginning of it, for the record."""

    def __init__(self, message: str, payload: str = "") -> None:
        super().__init__(message)
        self.payload = payload


class ContradictoryList(ExchangeError):
    """Pages and total of one list do not fit together; nothing of the page was stored."""


class ExchangeChanged(ExchangeError):
    """Every record of a page is bad: the exchange has changed, and that must be seen."""


class OutOfTime(Exception):
    """The time budget is used up."""


class Interrupted(BaseException):
    """SIGINT or SIGTERM arrived. ``signum`` tells which."""

    def __init__(self, signum: int) -> None:
        super().__init__(f"stopped by signal {signum}")
        self.signum = signum
        self.exit_code = 128 + signum
