"""The dead-man's switch: a monitor that is pinged by every run, and that raises the alarm when pings stop.

The addresses are those of healthchecks (https://healthchecks.io/docs/http_api/): ``<url>/<command>/start``,
then ``<url>/<command>`` or ``<url>/<command>/fail``, both with the ``rid`` of the run, so that the monitor
can tell which end belongs to which start.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection
from queue import Empty, SimpleQueue

from whalesync import __version__
from whalesync.redact import redact
from whalesync.settings import PING_URL, check_url

CONNECT_SECONDS = 2.0  # for each step on the socket; only the deadline bounds their sum
DEADLINE_SECONDS = 5.0
MAX_BODY_BYTES = 1_000


class Pinger:
    """Pings the monitor at ``base_url`` for one run of ``command``; without an address it does and loads nothing.

    Nothing that happens here fails the job, and all it can cost is ``deadline`` seconds at the end of it.
    Pings are sent in a thread, because neither a name look-up nor a response that drips obeys a socket's timeout.

    Args:
        base_url: the monitor's address; None turns pings off.
        secrets: what is redacted in every body.
        log_step: called with one line for each ping; never with the address, nor with anything that the monitor sends.
        deadline: seconds for one ping in all.
    """

    def __init__(
        self,
        base_url: str | None,
        command: str,
        *,
        secrets: Collection[str] = (),
        log_step: Callable[[str], None] = lambda _: None,
        deadline: float = DEADLINE_SECONDS,
    ) -> None:
        self._command = command
        self._secrets = secrets
        self._log_step = log_step
        self._deadline = deadline
        self._under_way: tuple[str, SimpleQueue[str], float] | None = None  # path, outcome, when it must be there
        self._base_url = self._run_id = ""
        if base_url:
            from uuid import uuid4

            self._run_id = str(uuid4())
            try:
                check_url(base_url)
                self._base_url = base_url.rstrip("/")
            except ValueError as exc:
                log_step(f"no pings are sent: {PING_URL.name} {exc}")

    def start(self) -> None:
        """Say that the run has begun. Returns at once: the job does not wait for the monitor."""
        self._send(f"{self._command}/start", "")

    def success(self, body: str) -> None:
        """Say that the run was successful."""
        self._send(self._command, body)
        self._finish()

    def fail(self, body: str) -> None:
        """Say that the run failed."""
        self._send(f"{self._command}/fail", body)
        self._finish()

    def _send(self, path: str, body: str) -> None:
        if not self._base_url:
            return
        self._finish()  # a start that arrives after its end would leave the monitor waiting for another end
        url = f"{self._base_url}/{path}?rid={self._run_id}"
        # Redacted before it is cut: half a key is a secret too.
        text = redact(body, self._secrets).encode("utf-8", "replace")[:MAX_BODY_BYTES]
        outcome: SimpleQueue[str] = SimpleQueue()
        self._under_way = path, outcome, time.monotonic() + self._deadline
        try:
            # Daemon: a request that hangs must not keep the program from ending.
            threading.Thread(target=_request, args=(url, text, outcome), daemon=True).start()
        except RuntimeError as exc:  # the system has no thread left: no reason to fail the job
            outcome.put(f"failed ({exc})")

    def _finish(self) -> None:
        if self._under_way is None:
            return
        path, outcome, end = self._under_way
        self._under_way = None
        try:
            became = outcome.get(timeout=max(0.0, end - time.monotonic()))
        except Empty:
            became = f"failed (no response within {self._deadline:g} s)"
        self._log_step(f"ping {path}: {became}")


def _request(url: str, body: bytes, outcome: SimpleQueue[str]) -> None:
    # urllib, because it loads in 57 ms where httpx takes 186 (of which the jobs that ask the exchange have paid
    # most already, but compute-stats and cleanup nothing), and http.client alone (43) knows no proxies.
    from urllib.request import Request, urlopen

    headers = {"User-Agent": f"whalesync/{__version__}", "Content-Type": "text/plain; charset=utf-8"}
    try:
        with urlopen(Request(url, data=body, headers=headers), timeout=CONNECT_SECONDS):  # noqa: S310  (checked)
            outcome.put("done")
    except Exception as exc:  # noqa: BLE001  (whatever it is: a thread's traceback would be mailed by cron)
        outcome.put(f"failed ({_cause(exc)})")


def _cause(exc: Exception) -> str:
    """Return why a ping failed, without the exception's text: a monitor may repeat the address there, or redirect."""
    from urllib.error import HTTPError

    if isinstance(exc, HTTPError):
        return f"HTTP {exc.code}"
    reason = getattr(exc, "reason", exc)  # of a URLError: what made it fail, which may be a text
    if isinstance(reason, OSError) and reason.errno:
        return reason.strerror or type(reason).__name__
    return type(reason if isinstance(reason, Exception) else exc).__name__
