"""Messages from a stored trade to real HTTP receivers that fail by script, over many runs of the job."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest
from standardwebhooks.webhooks import Webhook
from support.alert_host import AlertHost
from support.receiver import Receiver, cut_off, hang, status
from support.rows import MINUTE, NOW

from whalesync.alerts import targets
from whalesync.alerts.model import Target
from whalesync.alerts.targets import target_for
from whalesync.store.database import Database

SECRET = "whsec_" + base64.b64encode(b"a key of the tests, 32 bytes long").decode()
HIDDEN = "s3cr3tPartOfTheAddress42"


class RealTargets(AlertHost):
    """The targets are those of a real run."""

    def target_for(self, address: str, secret: str | None) -> Target:
        return target_for(address, secret)


def test_a_target_that_fails_in_every_way_gets_its_message_once(
    db: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Five attempts with one id, signed each time, at the growing pauses and after the one that it asked for.

    Meanwhile the others had theirs, or refused it; nothing secret is in the file.
    """
    monkeypatch.setattr(targets, "DEADLINE_SECONDS", 0.3)
    failing = Receiver(cut_off, hang, status(500), status(429, {"Retry-After": "600"}), status(204))
    with failing, Receiver() as good, Receiver(status(410)) as gone, Receiver(status(307, {"Location": "/"})) as moved:
        host = RealTargets(tmp_path, db)
        receivers = (failing, good, gone, moved)
        host.write({"to": [f"http://{each.host}/{HIDDEN}" for each in receivers], "secret": SECRET})
        host.run(0)
        host.trade(20_000, at=MINUTE)
        attempts: list[int] = []
        for minute in range(1, 31):
            before = len(failing.received)
            host.run()
            assert host.now == NOW + minute * MINUTE
            attempts += [minute] * (len(failing.received) - before)
        assert attempts == [1, 2, 4, 8, 18]  # after 1, 2 and 4 minutes, then the ten that were asked for
        assert [len(each.received) for each in receivers] == [5, 1, 1, 1]
        for each in failing.received:
            Webhook(SECRET).verify(each.body, each.headers)
        ids = [{each.headers["webhook-id"] for each in receiver.received} for receiver in receivers]
    assert [len(each) for each in ids] == [1, 1, 1, 1] and len(set.union(*ids)) == 4
    assert {json.loads(each.body)["total_usd"] for each in failing.received} == {20_000}
    assert host.deliveries("status, attempts, error") == [
        ("sent", 5, None),
        ("sent", 1, None),
        ("failed", 1, "answered 410 (Gone)"),
        (
            "failed",
            1,
            "answered 307 (Temporary Redirect); redirects are not followed: use the final address",
        ),
    ]
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    stored = b"".join(file.read_bytes() for file in tmp_path.glob("whalesync.db*"))
    assert HIDDEN.encode() not in stored and SECRET.encode() not in stored
