"""Settings: where they come from, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from whalesync.errors import SettingsError
from whalesync.settings import API_URL, Settings, check_url


def load(tmp_path: Path, **environ: str) -> Settings:
    (tmp_path / "empty").touch()
    return Settings.load(
        {"WHALESYNC_DB": str(tmp_path / "db"), "WHALESYNC_ENV_FILE": str(tmp_path / "empty"), **environ}
    )


def test_defaults(tmp_path: Path) -> None:
    """As the README says."""
    settings = load(tmp_path)
    assert (settings.api_url, settings.rate_limit, settings.retention_days) == (API_URL, 15, 90)
    assert (settings.api_key, settings.ping_url, settings.time_budget) == (None, None, None)
    assert (settings.budget("sync-whales"), settings.budget("sync-markets")) == (50, 240)


def test_options_before_environment_before_env_file(tmp_path: Path) -> None:
    """And an empty variable is none."""
    file = tmp_path / "env"
    file.write_text(
        'WHALESYNC_API_URL=https://file.example/x\nexport OPINION_TRADE_API_KEY="a$b#c"\nWHALESYNC_RATE_LIMIT=7\n'
    )
    environ = {"WHALESYNC_ENV_FILE": str(file), "WHALESYNC_DB": "/of/environ", "WHALESYNC_RATE_LIMIT": ""}
    settings = Settings.load(environ, db=str(tmp_path / "option"))
    assert settings.db == tmp_path / "option"
    assert settings.api_url == "https://file.example/x"
    assert settings.checked_key() == "a$b#c"
    assert settings.rate_limit == 7
    environ["WHALESYNC_API_URL"] = "https://environ.example/"
    assert Settings.load(environ).api_url == "https://environ.example"
    assert Settings.load(environ, api_url="https://option.example").api_url == "https://option.example"
    assert Settings.load(environ).db == Path("/of/environ")


def test_no_key_in_a_representation(tmp_path: Path) -> None:
    """Nor the monitor's address."""
    settings = load(tmp_path, OPINION_TRADE_API_KEY="secret", WHALESYNC_PING_URL="https://hc.example/uuid")
    assert "secret" not in repr(settings) and "uuid" not in repr(settings)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("WHALESYNC_RATE_LIMIT", ["0", "-1", "15.5", "many", "nan", "1e3", "10001"]),
        ("WHALESYNC_TIME_BUDGET", ["0", "0.5", "-5", "nan", "inf", "1e400", "soon", "86401"]),
        ("WHALESYNC_RETENTION_DAYS", ["0", "-90", "1.5", "ninety", "36501"]),
    ],
)
def test_numbers_that_cannot_be(name: str, values: list[str], tmp_path: Path) -> None:
    """They are refused by name."""
    for value in values:
        with pytest.raises(SettingsError, match=name):
            load(tmp_path, **{name: value})


@pytest.mark.parametrize("key", ["", "  ", "\n"])
def test_no_key(key: str, tmp_path: Path) -> None:
    """An empty one is none."""
    with pytest.raises(SettingsError, match="not set"):
        load(tmp_path, OPINION_TRADE_API_KEY=key).checked_key()


@pytest.mark.parametrize("key", ["a\nb", "a\r\nX: 1", "a\tb", "a\x00b", "ключ", "a\x7f", "a\u200bb"])
def test_a_key_that_is_no_header(key: str, tmp_path: Path) -> None:
    """It is refused without being shown."""
    with pytest.raises(SettingsError) as caught:
        load(tmp_path, OPINION_TRADE_API_KEY=key).checked_key()
    assert key not in str(caught.value)


def test_white_space_around_a_key(tmp_path: Path) -> None:
    """As a copied line brings it along, it does no harm."""
    assert load(tmp_path, OPINION_TRADE_API_KEY=" key\r\n").checked_key() == "key"


@pytest.mark.parametrize(
    "url", ["https://a.example", "https://a.example:8443/openapi", "http://127.0.0.1:1/x", "http://localhost/",
            "http://[::1]:80/", "http://127.9.9.9/", "https://10.0.0.1/"],
)  # fmt: skip
def test_good_addresses(url: str, tmp_path: Path) -> None:
    """https everywhere, http on loopback."""
    assert load(tmp_path, WHALESYNC_API_URL=url).checked_api_url() == url.rstrip("/")


@pytest.mark.parametrize(
    "url",
    ["http://a.example", "http://10.0.0.1/", "http://localhost.example/", "http://0.0.0.0/", "http://127.0.0.1.example/",
     "http://[::ffff:10.0.0.1]/", "ftp://127.0.0.1", "a.example", "https://", "https:///x", "https://a.example:0/",
     "https://a.example:99999", "https://a.example:x", "https://u:p@a.example", "https://a.example/?q", "https://[::1",
     "https://a.example/#f", "https://a b", "https://a..b/", "https://" + "a" * 64 + ".example", "https://ä.example",
     "https://a.example/\x1b", "file:///etc/passwd", "http://localhost@evil.example/", "http://2130706433/"],
)  # fmt: skip
def test_bad_addresses(url: str, tmp_path: Path) -> None:
    """They are refused without being shown: there may be a password in them."""
    with pytest.raises(SettingsError, match="WHALESYNC_API_URL") as caught:
        load(tmp_path, WHALESYNC_API_URL=url).checked_api_url()
    assert url == "https://" or url not in str(caught.value)


def test_the_name_of_the_setting_is_told() -> None:
    """Whichever it is."""
    with pytest.raises(SettingsError, match="WHALESYNC_PING_URL"):
        check_url("nonsense", "WHALESYNC_PING_URL")


@pytest.mark.parametrize("content", [None, b"\xff\xfe"])
def test_an_env_file_that_cannot_be_read(content: bytes | None, tmp_path: Path) -> None:
    """One that was named must be there and be text."""
    file = tmp_path / "env"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(SettingsError, match=str(file)):
        Settings.load({"WHALESYNC_ENV_FILE": str(file), "WHALESYNC_DB": "/x"})


def test_no_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The usual env file is looked for where the user's settings are; that there is none is no error."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    assert Settings.load({"WHALESYNC_DB": "/x"}).env_file is None
    usual = tmp_path / ".config" / "whalesync" / "env"
    usual.parent.mkdir(parents=True)
    usual.write_text("OPINION_TRADE_API_KEY=of-the-file\n")
    assert Settings.load({"WHALESYNC_DB": "/x"}).checked_key() == "of-the-file"
