"""What a target's answer means for a message, over real connections; and that no secret is in what is said of it."""

from __future__ import annotations

import base64
import json
import logging
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from standardwebhooks.webhooks import Webhook
from support.messages import HOSTILE, digest, fill, hostile, trade
from support.receiver import Answer, Receiver, cut_off, drip, hang, huge_body, not_http, slow_body, status

from whalesync.alerts import targets
from whalesync.alerts.message import body, details, heading, whole_text
from whalesync.alerts.model import Outcome, Refused, Retry, Sent
from whalesync.alerts.targets import target_for
from whalesync.errors import SettingsError

HIDDEN = "s3cr3tPartOfTheAddress42"
SECRET = "whsec_" + base64.b64encode(b"a key of the tests, 32 bytes long").decode()


def send(address: str, seconds: float = 5.0, secret: str | None = SECRET) -> tuple[Outcome, float]:
    """Send one message; return the outcome and how long it took (seconds)."""
    began = time.monotonic()
    outcome = target_for(address, secret).send(trade(), began + seconds)
    return outcome, time.monotonic() - began


@pytest.fixture(scope="module", autouse=True)
def apprise_is_loaded() -> None:
    """Load it before a test that measures time; in a run it is loaded before the first message too."""
    target_for("json://127.0.0.1", None)


def test_a_webhook_is_signed_as_the_specification_says() -> None:
    """The specification's own package verifies it, and rejects it with another secret; the body is the message."""
    with Receiver() as receiver:
        assert send(f"http://{receiver.host}/{HIDDEN}?key={HIDDEN}")[0] == Sent()
        (request,) = receiver.received
    assert request.path == f"/{HIDDEN}?key={HIDDEN}" and request.headers["webhook-id"] == "msg_1"
    assert Webhook(SECRET).verify(request.body, request.headers) == json.loads(body(trade()))
    with pytest.raises(Exception, match="signature"):
        Webhook("whsec_" + base64.b64encode(b"another key").decode()).verify(request.body, request.headers)
    assert request.headers["content-type"] == "application/json"
    assert abs(int(request.headers["webhook-timestamp"]) - request.at) <= 1.5


def test_without_a_secret_a_webhook_is_not_signed() -> None:
    """It has its id all the same."""
    with Receiver() as receiver:
        assert send(f"http://{receiver.host}", secret=None)[0] == Sent()
        headers = receiver.received[0].headers
    assert headers["webhook-id"] == "msg_1" and "webhook-signature" not in headers


ANSWERS: list[tuple[Answer, Outcome]] = [
    (status(200, content=b"ok"), Sent()),
    (status(202), Sent()),
    (huge_body, Sent()),
    (slow_body, Sent()),
    (status(500), Retry(None, "answered 500 (Internal Server Error)")),
    (status(503, {"Retry-After": "120"}), Retry(120.0, "answered 503 (Service Unavailable)")),
    (status(429, {"Retry-After": "7"}), Retry(7.0, "answered 429 (Too Many Requests)")),
    (status(429, {"Retry-After": "inf"}), Retry(86_400.0, "answered 429 (Too Many Requests)")),
    (status(429, {"Retry-After": "-1"}), Retry(None, "answered 429 (Too Many Requests)")),
    (status(429), Retry(None, "answered 429 (Too Many Requests)")),
    (status(410, content=HIDDEN.encode()), Refused("answered 410 (Gone)")),
    (status(404), Refused("answered 404 (Not Found)")),
    (status(499), Refused("answered 499")),
    (hang, Retry(None, "no response within 1 s")),
    (drip, Retry(None, "no response within 1 s")),
    (cut_off, Retry(None, "the connection was closed, or the response is not HTTP")),
    (not_http, Retry(None, "the connection was closed, or the response is not HTTP")),
]


@pytest.mark.parametrize(("answer", "expected"), ANSWERS)
def test_each_answer_of_a_webhook_has_its_meaning(answer: Answer, expected: Outcome) -> None:
    """One request each, within the time that was given, and no secret in the outcome."""
    with Receiver(answer) as receiver:
        outcome, took = send(f"http://{receiver.host}/{HIDDEN}", 1.0)
        assert (outcome, len(receiver.received)) == (expected, 1)
    assert took < 1.3


def test_a_redirect_is_not_followed() -> None:
    """The message is for the address in the rules alone."""
    with Receiver() as other, Receiver(status(307, {"Location": f"http://{other.host}/"})) as receiver:
        outcome, _ = send(f"http://{receiver.host}/{HIDDEN}")
        assert other.received == [] and isinstance(outcome, Refused)
    assert outcome.reason.startswith("answered 307 (Temporary Redirect); redirects are not followed")


def test_a_connection_that_is_refused_is_tried_again_later() -> None:
    """The reason is the system's; after the time is up nothing is sent."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{taken.getsockname()[1]}/{HIDDEN}"
        assert send(address)[0] == Retry(None, "Connection refused")
        assert send(address, 0.0)[0] == Retry(None, "no time was left")


def test_a_name_that_cannot_be_found_is_tried_again_later() -> None:
    """Without the address in the reason."""
    outcome, _ = send(f"https://no-such-host.invalid/{HIDDEN}")
    assert isinstance(outcome, Retry) and HIDDEN not in outcome.reason


def test_secrets_are_in_no_name_and_no_repr() -> None:
    """Of a webhook the host is shown, of a service its scheme."""
    webhook = target_for(f"https://user:{HIDDEN}@a.example/{HIDDEN}?key={HIDDEN}", SECRET)
    service = target_for(f"discord://123456/{HIDDEN}", None)
    assert (webhook.name, service.name) == ("https://a.example/…", "discord://…")
    assert HIDDEN not in f"{webhook!r}{service!r}" and SECRET not in repr(webhook)


def test_nothing_is_logged_or_printed(caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> None:
    """By us, httpx, requests or apprise, when a target takes a message, refuses it, or is not there."""
    caplog.set_level(logging.INFO)
    with Receiver(status(204), status(401), status(204), status(401)) as receiver:
        for address in (f"http://{receiver.host}/{HIDDEN}", f"json://{receiver.host}/{HIDDEN}"):
            send(address)
            send(address)
            send(address.replace(receiver.host, "127.0.0.1:9"))
    assert HIDDEN not in caplog.text
    assert capfd.readouterr() == ("", "")


SERVICES: dict[str, tuple[str, Callable[[bytes], tuple[str, str]]]] = {
    "json": (f"json://{{host}}/{HIDDEN}", lambda sent: (json.loads(sent)["title"], json.loads(sent)["message"])),
    "gotify": (
        f"gotify://{{host}}/{HIDDEN}",
        lambda sent: (json.loads(sent)["title"], json.loads(sent)["message"]),
    ),
    "ntfy": (f"ntfy://{{host}}/{HIDDEN}", lambda sent: (json.loads(sent)["title"], json.loads(sent)["message"])),
    "mattermost": (
        f"mmost://{{host}}/{HIDDEN}",
        lambda sent: (json.loads(sent)["text"].split("\r\n", 1)[0], json.loads(sent)["text"].split("\r\n", 1)[-1]),
    ),
}


@pytest.mark.parametrize("service", SERVICES)
def test_what_a_service_gets_is_the_text_and_nothing_hostile(service: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In its own format, with our link as it is; a digest too."""
    monkeypatch.setattr(targets, "PACE_SECONDS", 0.0)
    address, read = SERVICES[service]
    with Receiver(status(200, content=b"{}")) as receiver:
        target = target_for(address.format(host=receiver.host), None)
        messages = [*map(hostile, HOSTILE), trade(), digest(fill(1), fill(2, market_id=2))]
        assert [target.send(each, time.monotonic() + 5) for each in messages] == [Sent()] * len(messages)
        shown = [read(request.body) for request in receiver.received]
    assert shown == [(heading(each), details(each)) for each in messages]


@pytest.mark.parametrize(
    "address",
    ["discord://123456789/{hidden}", "tgram://123456789:abcdefg_hijklmnop/12315544/", "slack://{slack}/#general",
     "discord://123456789/{hidden}?format=markdown", "tgram://123456789:abcdefg_hijklmnop/12315544/?format=markdown",
     "mailto://user:{hidden}@a.example"],
)  # fmt: skip
@pytest.mark.parametrize("text", HOSTILE)
def test_services_that_are_not_on_loopback_get_nothing_hostile(
    address: str, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What apprise makes of the message for Discord, Telegram, Slack and mail has no mention and no foreign markup."""
    import apprise

    sent: list[str] = []
    full = address.format(hidden=HIDDEN, slack="T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ")
    service = type(apprise.Apprise.instantiate(full))

    def record(self: object, body: str, title: str = "", **kwargs: object) -> bool:
        sent.append(f"{title}\n{body}")
        return True

    monkeypatch.setattr(service, "send", record)
    message = hostile(text)
    assert target_for(full, None).send(message, time.monotonic() + 5) == Sent()
    (shown,) = sent
    assert [part for part in ("@", "://evil", "<!", "<#", "||", "```", "<a", "<script", "<img") if part in shown] == []
    assert whole_text(message).count("＠") == shown.count("＠") and len(shown) < 4096


SERVICE_ANSWERS: list[tuple[Answer, Outcome]] = [
    (status(401, content=HIDDEN.encode()), Refused("answered 401 (Unauthorized)")),
    (status(429, {"Retry-After": "7"}), Retry(None, "answered 429 (Too Many Requests)")),
    (status(500), Retry(None, "answered 500 (Internal Server Error)")),
    (hang, Retry(None, "no response within 1 s")),
    (huge_body, Retry(None, "no response within 1 s")),
    (cut_off, Retry(None, "JSON could not be reached, or did not take it")),
]


@pytest.mark.parametrize(("answer", "expected"), SERVICE_ANSWERS)
def test_each_answer_of_a_service_has_its_meaning(answer: Answer, expected: Outcome) -> None:
    """As that of a webhook, as far as apprise says it; within the time that was given."""
    with Receiver(answer) as receiver:
        outcome, took = send(f"json://{receiver.host}/{HIDDEN}", 1.0)
        assert outcome == expected
    assert took < 1.3


def test_a_service_follows_no_redirect_either() -> None:
    """Even if its address asks for it."""
    with Receiver() as other, Receiver(status(302, {"Location": f"http://{other.host}/"})) as receiver:
        outcome, _ = send(f"json://{receiver.host}/{HIDDEN}?redirect=yes")
        assert other.received == [] and isinstance(outcome, Refused)


def test_an_address_that_apprise_does_not_know_is_named_by_its_scheme() -> None:
    """Whether the scheme is wrong or what follows it."""
    for address in (f"nonsense://{HIDDEN}", f"tgram://{HIDDEN}"):
        with pytest.raises(SettingsError, match=r"apprise does not know the address \w+://…") as raised:
            target_for(address, None)
        assert HIDDEN not in str(raised.value)


def test_without_apprise_the_message_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Webhooks do not need it."""
    monkeypatch.setitem(sys.modules, "apprise", None)
    with pytest.raises(SettingsError, match=r"discord://… need apprise: pipx inject whalesync 'apprise"):
        target_for(f"discord://1/{HIDDEN}", None)
    target_for("https://a.example/hook", SECRET)


def test_apprise_keeps_nothing_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No cache, no key, no configuration in the home folder."""
    monkeypatch.setenv("HOME", str(tmp_path))
    with Receiver() as receiver:
        assert send(f"json://{receiver.host}")[0] == Sent()
    assert list(tmp_path.iterdir()) == []
