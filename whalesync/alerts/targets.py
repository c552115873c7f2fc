"""Deliver messages: to webhooks over our own HTTP, signed as Standard Webhooks are; to all else by apprise.

The addresses hold secrets: nothing here puts one, or any text that a target sent, into an outcome.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import logging
import re
import threading
import time
from collections.abc import Callable, Iterable
from http import HTTPStatus
from importlib.util import find_spec
from queue import Empty, SimpleQueue
from typing import Any

from whalesync.alerts.message import body, details, heading
from whalesync.alerts.model import Message, Outcome, Refused, Retry, Rule, Sent, Target, is_webhook, redacted
from whalesync.errors import SettingsError, Unreachable

DEADLINE_SECONDS = 10.0
HAND_OVER_SECONDS = 0.25  # for a thread to say what became of a request that ended at its deadline
PACE_SECONDS = 1.0  # between two messages to a service; apprise's own, up to 5.5, would delay twenty by two minutes
LONGEST_PAUSE = 86_400.0  # seconds; a target may ask for more, but no delivery is tried for longer
SECRET_PREFIX = "whsec_"  # noqa: S105  (what each secret begins with)
INSTALL = "pipx inject whalesync 'apprise>=2.3,<3' (without pipx: README, Upgrade)"

_STATUS = re.compile(r"\berror=(\d{3})\b")  # how apprise logs the HTTP status of a refusal


def target_for(address: str, secret: str | None, clock: Callable[[], float] = time.time) -> Target:
    """Return what delivers to an address.

    Args:
        address: of a webhook, or any that apprise knows.
        secret: signs webhooks (``whsec_`` and base64); None: they are not signed.
        clock: seconds since 1970, for the time of the signature.

    Raises:
        SettingsError: apprise is needed and not installed, or does not know the address. The text holds no secret.
    """
    return _Webhook(address, secret, clock) if is_webhook(address) else _Service(address)


def check_installed(rules: Iterable[Rule]) -> None:
    """Check that what delivers is installed, without loading it.

    Raises:
        SettingsError: a rule needs apprise, which is not.
    """
    needed = next((address for rule in rules for address in rule.targets if not is_webhook(address)), None)
    if needed is not None and find_spec("apprise") is None:
        raise _not_installed(needed)


def signature(secret: str, message_id: str, timestamp: int, content: bytes) -> str:
    """Return the ``webhook-signature`` of the Standard Webhooks specification; ``timestamp`` in seconds."""
    key = base64.b64decode(secret.removeprefix(SECRET_PREFIX))
    signed = b".".join([message_id.encode(), str(timestamp).encode(), content])
    return f"v1,{base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()}"


def outcome_of(status: int, retry_after: float | None = None) -> Outcome:
    """Return what an HTTP status means for a message; ``retry_after``: the pause that was asked for (seconds)."""
    if 200 <= status < 300:
        return Sent()
    reason = f"answered {status}{_phrase(status)}"
    if status == HTTPStatus.TOO_MANY_REQUESTS or status >= 500:
        return Retry(None if retry_after is None else min(retry_after, LONGEST_PAUSE), reason)
    if 300 <= status < 400:
        return Refused(f"{reason}; redirects are not followed: use the final address")
    return Refused(reason)


def _phrase(status: int) -> str:
    try:
        return f" ({HTTPStatus(status).phrase})"
    except ValueError:
        return ""


def _not_installed(address: str) -> SettingsError:
    return SettingsError(f"alerts to {redacted(address)} need apprise: {INSTALL}")


class _Bounded:
    """A target whose deliveries end in time."""

    def __init__(self, address: str) -> None:
        self._address = address

    @property
    def name(self) -> str:
        return redacted(self._address)

    def send(self, message: Message, until: float) -> Outcome:
        """Deliver in a thread, because neither a name look-up nor all that apprise does obeys a deadline."""
        seconds = min(DEADLINE_SECONDS, until - time.monotonic() - HAND_OVER_SECONDS)
        if seconds <= 0:
            return Retry(None, "no time was left")
        result: SimpleQueue[Outcome] = SimpleQueue()

        def deliver() -> None:
            try:
                result.put(self._deliver(message, seconds))
            except Exception as exc:  # noqa: BLE001  (a service's bug; its text may hold the address)
                result.put(Retry(None, f"could not be sent ({type(exc).__name__})"))

        threading.Thread(target=deliver, daemon=True).start()
        try:
            return result.get(timeout=seconds + HAND_OVER_SECONDS)
        except Empty:
            return Retry(None, f"no response within {seconds:.0f} s")

    def _deliver(self, message: Message, seconds: float) -> Outcome:
        raise NotImplementedError


class _Webhook(_Bounded):
    def __init__(self, address: str, secret: str | None, clock: Callable[[], float]) -> None:
        from whalesync.exchanges.http import Poster
        from whalesync.settings import is_loopback

        super().__init__(address)
        self._secret = secret
        self._clock = clock
        self._poster = Poster(address, loopback=is_loopback(address))

    def _deliver(self, message: Message, seconds: float) -> Outcome:
        content, moment = body(message), int(self._clock())
        headers = {
            "Content-Type": "application/json",
            "webhook-id": message.id,
            "webhook-timestamp": str(moment),
        }
        if self._secret is not None:
            headers["webhook-signature"] = signature(self._secret, message.id, moment, content)
        try:
            return outcome_of(*self._poster.post(content, headers, seconds))
        except Unreachable as exc:
            return Retry(None, str(exc))


class _Service(_Bounded):
    def __init__(self, address: str) -> None:
        super().__init__(address)
        self._apprise, self._service = _load_service(address)

    def _deliver(self, message: Message, seconds: float) -> Outcome:
        sender = self._apprise.Apprise()
        sender.add(self._service)
        result = sender.notify(title=heading(message), body=details(message), body_format="text")
        if result:
            return Sent()
        statuses = [int(found[1]) for entry in result.logs() if (found := _STATUS.search(entry.message))]
        if not statuses or outcome_of(statuses[-1]) == Sent():
            return Retry(None, f"{self._service.service_name} could not be reached, or did not take it")
        return outcome_of(statuses[-1])


def _load_service(address: str) -> tuple[Any, Any]:
    """Return apprise, and its service of an address."""
    try:
        import apprise
    except ModuleNotFoundError as exc:
        raise _not_installed(address) from exc
    # It logs addresses and what it was sent; what it logs of a delivery is in its result too.
    logging.getLogger("apprise").propagate = False
    asset = apprise.AppriseAsset(
        app_id="whalesync",
        app_desc="whalesync",
        app_url="",
        image_url_mask="",
        image_url_logo="",
        async_mode=False,  # in the thread that called, which may be left behind; a pool's threads would be waited for
        service_timeout=0,
        interpret_emojis=False,
    )
    service = apprise.Apprise.instantiate(address, asset=asset)
    if service is None:
        raise SettingsError(f"apprise does not know the address {redacted(address)}: compare it with its documentation")
    service.redirects = False  # whatever the address says
    service.request_rate_per_sec = min(service.request_rate_per_sec, PACE_SECONDS)
    return apprise, service
