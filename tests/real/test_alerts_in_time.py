"""``send-alerts`` and ``sync-whales`` started by cron at the same moment."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from support.fills import query
from support.host import Host, wallet
from support.receiver import Receiver

from whalesync.sandbox import Books, Sandbox, make_trade
from whalesync.store.database import open_database


@pytest.mark.parametrize("first", ["send-alerts", "sync-whales"])
def test_what_a_sync_stores_is_sent_after_its_end(
    first: str, host: Host, books: Books, exchange: Sandbox, tmp_path: Path
) -> None:
    """Within ten seconds, though the sync takes some, and whichever of the two takes its lock first."""
    with Receiver() as target:
        file = tmp_path / "alerts.toml"
        file.touch(mode=0o600)
        file.write_text(f'[[alert]]\nname = "big"\nto = "http://{target.host}/hook"\nmin_usd = 10000')
        host.environ["WHALESYNC_ALERTS_FILE"] = str(file)
        host.succeed("sync-whales")
        host.succeed("send-alerts")
        with open_database(host.db) as db:
            db.execute("UPDATE sync_logs SET started_at = started_at - 60000, ended_at = ended_at - 60000")
        time.sleep(1)  # the exchange tells whole seconds: the trade must not be older than the rule
        for _ in range(40):
            trade = make_trade(marketId=1, price="0.5", shares="1000", createdAt=int(time.time()), txHash="0xorder")
            books.add_trade(wallet(1), trade)
        exchange.latency = 0.7
        second = next(job for job in ("send-alerts", "sync-whales") if job != first)
        begun = {first: host.start(first)}
        time.sleep(0.7)
        begun[second] = host.start(second)
        ended = {job: running.wait() for job, running in begun.items()}
        assert {each.code for each in ended.values()} == {0}
        assert "".join(each.err for each in ended.values()) == ""
        (message,) = target.received
    (sync_ended,) = query(host.db, "SELECT max(ended_at) FROM sync_logs WHERE type = 'whales'")[0]
    assert 0 <= message.at * 1000 - sync_ended < 3_000
    content = json.loads(message.body)
    assert (content["total_usd"], len(content["trades"])) == (20_000, 40)
