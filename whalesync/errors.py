"""What can go wrong, as one tree. Every message names the thing, the cause and what to do.

::

    WhalesyncError              exit code 1
    ├── SettingsError           2: the environment or the env file is wrong
    ├── UsageError              2: an argument is wrong
    │   └── Ambiguous           it fits several things
    ├── AnotherRunActive        75: another run of the same job is active
    ├── JobActive               75: a job is running that this command must not meet
    ├── StoreError              the database file cannot be used as it is
    │   ├── NoDatabase          it does not exist yet
    │   ├── ForeignDatabase     another program's, or of a newer version; left untouched
    │   ├── DamagedDatabase     it cannot be read or written as a whole
    │   └── DatabaseBusy        another process keeps the write lock
    ├── PublishError            the PostgreSQL server, or the way to it, failed; what was committed there stays
    ├── JobFailed               a run ended without doing its work
    └── ExchangeError           an exchange, or the way to it, failed; one item's failure unless said otherwise
        ├── Unreachable         no connection, or a deadline passed     (tried again)
        ├── RateLimited         HTTP 429                                (tried again)
        ├── ServerError         HTTP 5xx                                (tried again)
        ├── RequestRefused      any other refusal
        │   └── UnknownMarket   no market has this id
        ├── AuthenticationError ends the exchange's part of the run: no request can succeed
        │   └── NotServed       whatever the key: the exchange does not serve this host's country
        ├── InvalidResponse     not the agreed form
        ├── ContradictoryList   the pages and the total of one list do not fit together
        └── ExchangeChanged     no record of a page is readable: fails the run

    OutOfTime                   the time budget is used up; not a failure
    Interrupted                 SIGINT or SIGTERM; not an ``Exception``, so that nothing swallows it

Exceptions of libraries are translated where they enter. A bug is not wrapped. A text is complete when its exception is
raised, and never edited afterwards.
"""

from __future__ import annotations

import errno
import signal
from collections.abc import Sequence

OUT_OF_RESOURCES = {errno.EMFILE, errno.ENFILE, errno.ENOMEM}


class WhalesyncError(Exception):
    """Base of all failures that a user can do something about. The text is one line."""

    exit_code = 1


class SettingsError(WhalesyncError):
    """The environment or the env file is wrong."""

    exit_code = 2


class UsageError(WhalesyncError):
    """An argument of the command line is wrong."""

    exit_code = 2


class Ambiguous(UsageError):
    """An argument fits several things. ``choices`` has a line for each, with what names it alone."""

    def __init__(self, message: str, choices: Sequence[str]) -> None:
        super().__init__(message)
        self.choices = choices


class AnotherRunActive(WhalesyncError):
    """Another run of the same job holds its lock; this one did nothing."""

    exit_code = 75


class JobActive(WhalesyncError):
    """A job is running that this command must not meet. Unlike a skipped run this is always said: a person waits."""

    exit_code = 75


class StoreError(WhalesyncError):
    """The database file cannot be used as it is."""


class NoDatabase(StoreError):
    """The database file does not exist yet."""


class ForeignDatabase(StoreError):
    """The file belongs to another program, or was written by a newer version. It was not touched."""


class DamagedDatabase(StoreError):
    """The file is ours, but cannot be read or written as a whole."""


class DatabaseBusy(StoreError):
    """Another process kept the write lock for longer than we wait."""


class PublishError(WhalesyncError):
    """The PostgreSQL server that ``publish`` writes to, or the way to it, failed. What was committed there stays."""


class JobFailed(WhalesyncError):
    """A run ended without doing its work."""


class ExchangeError(WhalesyncError):
    """An exchange, or the way to it, failed for one item."""


class Unreachable(ExchangeError):
    """No connection, a broken one, or a deadline that passed."""


class RateLimited(ExchangeError):
    """The exchange answered 429. ``retry_after`` is the pause that it asked for, in seconds, if it named one."""

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class ServerError(ExchangeError):
    """The exchange answered 5xx, or its own error number for the same."""


class RequestRefused(ExchangeError):
    """The exchange refused this request: a bad parameter, or something unknown."""


class UnknownMarket(RequestRefused):
    """The exchange knows no market of this id."""


class AuthenticationError(ExchangeError):
    """The exchange rejected the key."""


class NotServed(AuthenticationError):
    """The exchange does not serve this host, whatever the key."""


class InvalidResponse(ExchangeError):
    """A response that does not have the agreed form."""


class ContradictoryList(ExchangeError):
    """The pages and the total of one list do not fit together."""


class ExchangeChanged(ExchangeError):
    """No record of a page is readable: the exchange has changed, and that must be seen."""


class OutOfTime(Exception):
    """The time budget is used up."""


class Interrupted(BaseException):
    """SIGINT or SIGTERM arrived; ``signum`` says which."""

    def __init__(self, signum: int) -> None:
        super().__init__(f"stopped by signal {signum}")
        self.signum = signum
        self.exit_code = 128 + signum


def describe(exc: BaseException) -> str:
    """What went wrong, in one text: that of the mailed line, the sync log, ``status`` and the monitor."""
    if isinstance(exc, WhalesyncError):
        return str(exc)
    if isinstance(exc, Interrupted):
        return f"stopped by {signal.Signals(exc.signum).name}"
    if isinstance(exc, MemoryError) or (isinstance(exc, OSError) and exc.errno in OUT_OF_RESOURCES):
        return f"the limits of the system are too low ({str(exc) or 'not enough memory'}). See 'ulimit -a'"
    return f"unexpected {type(exc).__name__}: {exc}"


def describe_with_notes(exc: BaseException) -> str:
    """The same, followed by the notes of the exception (``add_note``) in parentheses."""
    return "".join([describe(exc), *(f" ({note})" for note in getattr(exc, "__notes__", ()))])
