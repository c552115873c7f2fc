"""The alerts file: what it may say, and how a fault in it is told."""

from __future__ import annotations

import zoneinfo
from pathlib import Path

import pytest
from support import rows
from support.rows import HOUR, MINUTE

from whalesync.alerts.model import Quiet, Rule
from whalesync.alerts.rules import are_set_up, check_whales, load, read, secrets_of, whales_of
from whalesync.errors import SettingsError
from whalesync.settings import Settings
from whalesync.store import whales
from whalesync.store.database import Database

SECRET = "whsec_" + "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
HOOK = "https://example.com/hook/T0ken"
LEAST = f'name = "big"\nto = "{HOOK}"\n'


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "alerts.toml"
    file.touch(mode=0o600)
    return file


def rules(path: Path, text: str) -> list[Rule]:
    """Read rules of this text."""
    path.write_text(text, encoding="utf-8")
    return read(path)


def fault(path: Path, text: str) -> str:
    """The one line about a file with this text; it never has the token or the secret."""
    with pytest.raises(SettingsError) as caught:
        rules(path, text)
    line = str(caught.value)
    begun, _, cause = line.partition(str(path))
    assert begun == "the alerts file "
    assert "\n" not in cause
    assert "T0ken" not in cause
    assert SECRET.removeprefix("whsec_") not in cause
    return cause


def test_a_rule_with_everything(path: Path) -> None:
    """As in the documentation."""
    text = f"""
        [[alert]]
        name = "big buys"
        to = ["{HOOK}", "discord://1/abc"]
        secret = "{SECRET}"
        min_usd = 10000
        whales = ["Moby Dick", "0xabc"]
        exchanges = ["opinion_trade"]; markets = ["1234"]; categories = ["Macro"]; actions = ["buy"]
        min_price = 0.05; max_price = 0.95
        tier = "pro"
        fold = "30m"
        quiet = "22:00-07:00 Europe/Berlin"
        max_age = "6h"
    """.replace("; ", "\n")
    assert rules(path, text) == [
        Rule(
            name="big buys",
            targets=(HOOK, "discord://1/abc"),
            secret=SECRET,
            min_usd=10_000.0,
            whales=("Moby Dick", "0xabc"),
            exchanges=("opinion_trade",),
            markets=("1234",),
            categories=("Macro",),
            actions=("BUY",),
            min_price=0.05,
            max_price=0.95,
            tier="pro",
            fold_ms=30 * MINUTE,
            quiet=Quiet(22 * 60, 7 * 60, "Europe/Berlin"),
            max_age_ms=6 * HOUR,
        )
    ]


def test_a_rule_with_the_least(path: Path) -> None:
    """Every trade of everybody, of the last six hours, as it is made."""
    (rule,) = rules(path, f"[[alert]]\n{LEAST}")
    assert (rule.min_usd, rule.actions, rule.tier, rule.max_age_ms) == (0.0, ("BUY", "SELL"), "pro-plus", 6 * HOUR)
    assert (rule.whales, rule.exchanges, rule.markets, rule.categories, rule.fold_ms, rule.quiet) == (None,) * 6


def test_no_text_of_a_rule_shows_its_secrets(path: Path) -> None:
    """Such as that of a traceback."""
    (rule,) = rules(path, f'[[alert]]\n{LEAST}secret = "{SECRET}"')
    assert repr(rule) == "Rule('big')"
    assert secrets_of([rule]) == [HOOK, SECRET]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("min_usds = 5", "'min_usds' is not a setting of rules: did you mean 'min_usd'?"),
        ('min_usd = "5"', "min_usd: must be a number from 0"),
        ("min_usd = true", "min_usd: must be a number from 0"),
        ("min_usd = -1", "min_usd: must be a number from 0"),
        ("min_usd = nan", "min_usd: must be a number from 0"),
        ("min_usd = inf", "min_usd: must be a finite number"),
        ("max_price = 95", "max_price: must be a number from 0 to 1"),
        ("min_price = 0.9\nmax_price = 0.1", "min_price: is above max_price"),
        ('whales = "Moby"', 'whales: must be a list of texts, such as ["one", "two"]'),
        ("whales = []", 'whales: must be a list of texts, such as ["one", "two"]'),
        ("markets = [1234]", 'markets: must be a list of texts, such as ["one", "two"]'),
        ('exchanges = ["nasdaq"]', "exchanges: must be one of opinion_trade, polymarket"),
        ('tier = "gold"', "tier: must be one of pro-plus, pro, free"),
        ('fold = "soon"', 'fold: must be a time such as "30m", at most "24h"'),
        ('fold = "25h"', 'fold: must be a time such as "30m", at most "24h"'),
        ("fold = 30", 'fold: must be a time such as "30m", at most "24h"'),
        ('max_age = "0h"', 'max_age: must be a time such as "6h"'),
        (
            'tier = "free"\nmax_age = "15m"',
            "max_age: must be a minute longer than the delay of the tier 'free', or more",
        ),
        ('quiet = "22-7"', 'quiet: must be hours and a time zone, such as "22:00-07:00 Europe/Berlin"'),
        ('quiet = "24:00-07:00"', 'quiet: must be hours and a time zone, such as "22:00-07:00 Europe/Berlin"'),
        ('quiet = "07:00-07:00"', "quiet: starts and ends at the same time"),
        ('quiet = "22:00-07:00 Berlin"', "quiet: 'Berlin' is not a time zone, such as Europe/Berlin"),
        (
            'quiet = "22:00-07:00 ../../etc/passwd"',
            "quiet: '../../etc/passwd' is not a time zone, such as Europe/Berlin",
        ),
        ('secret = "T0ken"', 'secret: must be "whsec_" and 24 to 64 bytes in base64, as of: openssl rand -base64 32'),
        (
            'secret = "whsec_AAAA"',
            'secret: must be "whsec_" and 24 to 64 bytes in base64, as of: openssl rand -base64 32',
        ),
        ("secret = 5", 'secret: must be "whsec_" and 24 to 64 bytes in base64, as of: openssl rand -base64 32'),
    ],
)
def test_a_wrong_value(path: Path, line: str, expected: str) -> None:
    """One line: file, rule, and cause."""
    assert fault(path, f"[[alert]]\n{LEAST}{line}") == f", rule 'big': {expected}"


@pytest.mark.parametrize(
    ("to", "expected"),
    [
        ('"T0ken"', "the address must be like https://example.com/hook, or one that apprise knows"),
        ('"http://example.com/T0ken"', "the address must be https; http is allowed on loopback only"),
        ('"https:///T0ken"', "the address must be like https://example.com/hook"),
        ('"https://user:T0ken@example.com"', "the address must have neither a user nor a fragment"),
        (
            '["https://example.com", "https://exa mple.com/T0ken"]',
            "address 2 must be like https://example.com/hook, or one that apprise knows",
        ),
        ('["https://example.com", "https://example.com"]', "an address is there twice"),
        ("[]", 'must be a list of texts, such as ["one", "two"]'),
    ],
)
def test_a_wrong_address(path: Path, to: str, expected: str) -> None:
    """Named by its number, never shown."""
    assert fault(path, f'[[alert]]\nname = "big"\nto = {to}') == f", rule 'big': to: {expected}"


@pytest.mark.parametrize(
    "to", ["http://127.0.0.1:8000/x", "http://localhost/x", "https://example.com/x?key=y", "ntfy://topic"]
)
def test_a_good_address(path: Path, to: str) -> None:
    """https, http on loopback, and whatever apprise may know."""
    (rule,) = rules(path, f'[[alert]]\nname = "big"\nto = "{to}"')
    assert rule.targets == (to,)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f'[[alert]]\nto = "{HOOK}"', ", rule number 1: name: is missing"),
        ('[[alert]]\nname = "big"', ", rule 'big': to: is missing"),
        (f'[[alert]]\nname = ""\nto = "{HOOK}"', ", rule number 1: name: must be text"),
        (f"[[alert]]\n{LEAST}[[alert]]\n{LEAST}", ", rule 'big': name: another rule has the same"),
        (f"[alert]\n{LEAST}", " has [alert]: write [[alert]] for each rule"),
        (f"[[alerts]]\n{LEAST}", " has 'alerts', which is not [[alert]]"),
        (f"[[alert]]\n{LEAST}fold = T0ken", " is not valid TOML (at line 4, column 8)"),
        ("x = " + "[" * 100_000, " is not valid TOML"),
    ],
)
def test_a_wrong_file(path: Path, text: str, expected: str) -> None:
    """As a whole: one fault, and no rule counts."""
    assert fault(path, text) == expected


def test_a_file_that_others_may_read_is_refused(path: Path) -> None:
    """It holds secrets; the message says what to do."""
    path.chmod(0o640)
    assert fault(path, f"[[alert]]\n{LEAST}").endswith(f"others than its owner may use it: 'chmod 600 {path}'")


def test_a_file_that_is_not_there(path: Path, tmp_path: Path) -> None:
    """One that is named must be there; without a name there need be none."""
    with pytest.raises(SettingsError, match="cannot read the alerts file"):
        load(Settings(tmp_path / "db", values={"WHALESYNC_ALERTS_FILE": str(tmp_path / "other.toml")}))


def test_the_usual_file_need_not_be_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without one there are no rules."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    settings = Settings(tmp_path / "db")
    assert load(settings) == []
    assert are_set_up(settings) is False
    usual = tmp_path / "whalesync" / "alerts.toml"
    usual.parent.mkdir()
    usual.touch(mode=0o600)
    usual.write_text(f"[[alert]]\n{LEAST}", encoding="utf-8")
    assert len(load(settings)) == 1


def test_a_file_that_is_not_text(path: Path) -> None:
    """Named as such."""
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(SettingsError, match="is not UTF-8 text"):
        read(path)


def test_a_system_without_time_zones(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message says what to install; UTC needs nothing."""

    def find_nothing(name: str) -> None:
        raise zoneinfo.ZoneInfoNotFoundError(name)

    monkeypatch.setattr(zoneinfo, "ZoneInfo", find_nothing)
    monkeypatch.setattr(zoneinfo, "available_timezones", set)
    assert fault(path, f'[[alert]]\n{LEAST}quiet = "22:00-07:00 Europe/Berlin"') == (
        ", rule 'big': quiet: this system has no time zones: 'pip install tzdata', or give the hours in UTC"
    )
    assert len(rules(path, f'[[alert]]\n{LEAST}quiet = "22:00-07:00"')) == 1


def test_a_whale_that_nobody_watches(path: Path, db: Database) -> None:
    """One line with file, rule and name; whales that are watched go by label or address, in any case."""
    watched = rows.whale(db, label="Moby Dick")
    rows.whale(db, rows.OTHER, label="Willy", tracked=0)
    known = whales.addresses(db)
    (good, bad) = rules(
        path,
        f'[[alert]]\n{LEAST}whales = ["moby dick", "{rows.MOBY}"]\n'
        f'[[alert]]\nname = "gone"\nto = "{HOOK}"\nwhales = ["Willy"]',
    )
    assert whales_of(good, known, path) == {watched}
    with pytest.raises(SettingsError) as caught:
        check_whales([good, bad], known, path)
    assert str(caught.value) == (
        f"the alerts file {path}, rule 'gone': whales: 'Willy' is not on the watch list; see 'whalesync whales list'"
    )
