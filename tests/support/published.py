"""Many trades on a server, made there, and what a page of the feed costs."""

from __future__ import annotations

import re

from support.postgres import Target


def fill(target: Target, trades: int, *, wallets: int, markets: int) -> None:
    """Trades of so many wallets and markets over the last 90 days, in a schema that is there."""
    with target.server.connect(target.name) as connection:
        connection.execute(
            "INSERT INTO whalesync.wallets (platform, address)"
            f" SELECT 'p', 'w' || n FROM generate_series(1, {wallets}) AS n"
        )
        connection.execute(
            "INSERT INTO whalesync.markets (platform, kind, external_id, title, category, created_at, updated_at)"
            f" SELECT 'p', 'market', 1000 + n, 't', 'c', now(), now() FROM generate_series(1, {markets}) AS n"
        )
        connection.execute(
            "INSERT INTO whalesync.whale_activity (whale_id, market_id, timestamp, visible_to_pro_plus_at,"
            " visible_to_pro_at, visible_to_free_at, observed_at, fill_key, amount, copy, platform, tx_hash, action)"
            f" SELECT (SELECT max(id) FROM whalesync.wallets) - n * 7 % {wallets},"
            f" (SELECT max(id) FROM whalesync.markets) - n * 13 % {markets},"
            " t, t, t, t, t, n, 1, 1, 'p', md5(n::text) || md5(n::text), 'BUY'"
            f" FROM (SELECT n, now() - interval '90 days' * (1 - n / {trades}.0) AS t"
            f" FROM generate_series(1, {trades}) AS n) AS made"
        )
        connection.execute("VACUUM ANALYZE")


def plan_of(target: Target, where: str, tier: str = "free") -> tuple[str, int]:
    """The plan of a page of the feed, and how many pages of the database it reads."""
    sql = f"SELECT * FROM whalesync.activity_{tier} {where} LIMIT 50"
    explained = target.rows(f"EXPLAIN (ANALYZE, BUFFERS, COSTS OFF, TIMING OFF) {sql}", role=f"whalesync_{tier}")
    text = "\n".join(str(row[0]) for row in explained)
    (pages,) = re.findall(r"^ *Buffers: shared (.*)$", text, re.MULTILINE)[:1]
    return text, sum(map(int, re.findall(r"(?:hit|read)=(\d+)", pages)))
