"""The dead-man's switch: a monitor that is told of every run, and that speaks up when it hears nothing.

The addresses are those of healthchecks (https://healthchecks.io/docs/http_api/): ``<url>/<command>/start``,
then ``<url>/<command>`` or ``<url>/<command>/fail``, both with the ``rid`` of the run, so that the monitor
can tell which end belongs to which start.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection
from urllib.parse import quote

from whalesync import __version__
from whalesync.settings import check_url

CONNECT_SECONDS = 2.0  # for each step on the socket; only the deadline bounds their sum
DEADLINE_SECONDS = 5.0
MAX_BODY_BYTES = 1_000
SHORTEST_SECRET = 8  # anything shorter stands in other words too


class Pinger:
    """Tells the monitor at ``base_url`` of one run; without an address it does nothing and loads nothing.

    Nothing that happens here fails the job, and all it can cost is ``deadline`` seconds at the end of it.
    Pings leave in a thread, because neither a name look-up nor an answer that drips obeys a socket's timeout.

    Args:
        base_url: the monitor's address; None turns all of this off.
        secrets: what is blotted out of every body.
        say: told in one line what became of each ping; never the address, which may be a secret.
        deadline: seconds for one ping in all.
    """

    def __init__(
        self,
        base_url: str | None,
        *,
        secrets: Collection[str] = (),
        say: Callable[[str], None] = lambda _: None,
        deadline: float = DEADLINE_SECONDS,
    ) -> None:
        self._base_url = (base_url or "").rstrip("/")
        self._secrets = secrets
        self._say = say
        self._deadline = deadline
        self._under_way: _Ping | None = None

    def start(self, command: str, rid: str) -> None:
        """The run ``rid`` has begun. Returns at once: the job does not wait for the monitor."""
        self._send(f"{command}/start", "", rid)

    def success(self, command: str, body: str, rid: str) -> None:
        """The run ended well."""
        self._send(command, body, rid)
        self._finish()

    def fail(self, command: str, body: str, rid: str) -> None:
        """The run failed."""
        self._send(f"{command}/fail", body, rid)
        self._finish()

    def _send(self, path: str, body: str, rid: str) -> None:
        if self._base_url:
            self._finish()  # a start that arrives after its end would leave the monitor waiting for another end
            url = f"{self._base_url}/{path}?rid={quote(rid)}"
            # Blotted out before it is cut: half a key is a secret too.
            text = hide(body, self._secrets).encode("utf-8", "replace")[:MAX_BODY_BYTES]
            self._under_way = _Ping(path, url, text, self._deadline)

    def _finish(self) -> None:
        if self._under_way is not None:
            outcome = hide(self._under_way.wait(), {self._base_url, *self._secrets})
            self._say(f"ping {self._under_way.path}: {outcome}")
            self._under_way = None


class _Ping:
    """One request in a thread of its own."""

    def __init__(self, path: str, url: str, body: bytes, deadline: float) -> None:
        self.path = path
        self._outcome = ""
        self._deadline = deadline
        self._end = time.monotonic() + deadline
        # Daemon: a request that hangs must not keep the program from ending.
        self._thread = threading.Thread(target=self._request, args=(url, body), daemon=True)
        try:
            self._thread.start()
        except RuntimeError as exc:  # the system has no thread left: no reason to fail the job
            self._outcome = f"failed ({exc})"

    def wait(self) -> str:
        """What became of it, after ``deadline`` seconds from its beginning at the latest."""
        if self._thread.ident is not None:
            self._thread.join(max(0.0, self._end - time.monotonic()))
        return self._outcome or f"failed (no answer within {self._deadline:g} s)"

    def _request(self, url: str, body: bytes) -> None:
        # urllib, because it loads in 57 ms where httpx takes 186 (of which the jobs that ask the exchange have paid
        # most already, but compute-stats and cleanup nothing), and http.client alone (43) knows no proxies.
        from urllib.request import Request, urlopen

        headers = {"User-Agent": f"whalesync/{__version__}", "Content-Type": "text/plain; charset=utf-8"}
        try:
            check_url(url.partition("?")[0], "WHALESYNC_PING_URL")  # urlopen would read file: addresses too
            with urlopen(Request(url, data=body, headers=headers), timeout=CONNECT_SECONDS):  # noqa: S310
                self._outcome = "done"
        except Exception as exc:  # noqa: BLE001  (whatever it is: a thread's traceback would be mailed by cron)
            self._outcome = f"failed ({exc})"


def hide(text: str, secrets: Collection[str]) -> str:
    """``text`` with every secret replaced by asterisks; the longest first, since one may be a part of another."""
    for secret in sorted((each for each in secrets if len(each) >= SHORTEST_SECRET), key=len, reverse=True):
        text = text.replace(secret, "***")
    return text
