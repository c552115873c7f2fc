"""Settings: where they come from, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from whalesync.errors import SettingsError
from whalesync.exchanges.opinion_trade import API_KEY, API_URL, OPINION_TRADE, RATE_LIMIT
from whalesync.settings import PING_URL, RETENTION_DAYS, TIME_BUDGET, Settings, default_env_file


def load(folder: Path, **environ: str) -> Settings:
    (folder / "empty").touch()
    return Settings.load({"WHALESYNC_DB": str(folder / "db"), "WHALESYNC_ENV_FILE": str(folder / "empty"), **environ})


def load_checked(folder: Path, **environ: str) -> Settings:
    """Load the settings and check those of the exchange, as a job does."""
    settings = load(folder, **{"OPINION_TRADE_API_KEY": "key", **environ})
    OPINION_TRADE.check_settings(settings)
    return settings


def test_defaults(tmp_path: Path) -> None:
    """They are those of the README."""
    settings = load(tmp_path)
    assert settings.get(API_URL) == "https://openapi.opinion.trade/openapi"
    assert (settings.get(RATE_LIMIT), settings.get(RETENTION_DAYS)) == (15, 90)
    assert [settings.get(API_KEY), settings.get(PING_URL), settings.get(TIME_BUDGET)] == [None, None, None]


def test_options_before_environment_before_env_file(tmp_path: Path) -> None:
    """An empty variable does not count, and a dollar sign in the env file is a dollar sign."""
    file = tmp_path / "env"
    file.write_text(
        'WHALESYNC_API_URL=https://file.example/x\nexport OPINION_TRADE_API_KEY="a$b#c"\nWHALESYNC_RATE_LIMIT=7\n'
    )
    environ = {"WHALESYNC_ENV_FILE": str(file), "WHALESYNC_DB": "/of/environ", "WHALESYNC_RATE_LIMIT": ""}
    settings = Settings.load(environ, overrides={"WHALESYNC_DB": str(tmp_path / "option")})
    found = (settings.db, settings.get(API_URL), settings.get(API_KEY), settings.get(RATE_LIMIT))
    assert found == (tmp_path / "option", "https://file.example/x", "a$b#c", 7)
    environ["WHALESYNC_API_URL"] = "https://environ.example/"
    assert Settings.load(environ).get(API_URL) == "https://environ.example"
    option = {"WHALESYNC_API_URL": "https://option.example", "WHALESYNC_DB": None}
    assert Settings.load(environ, overrides=option).get(API_URL) == "https://option.example"
    assert Settings.load(environ, overrides=option).db == Path("/of/environ")


@pytest.mark.parametrize("written", ["~/my.db", "$HOME/my.db"])
def test_a_path_in_the_env_file_is_read_as_by_a_shell(
    written: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The home folder is meant, not folders of these names; a variable that is not set is refused."""
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "env").write_text(f"WHALESYNC_DB={written}\n")
    settings = Settings.load({"WHALESYNC_ENV_FILE": "~/env"})
    assert (settings.db, settings.env_file) == (tmp_path / "my.db", tmp_path / "env")
    with pytest.raises(SettingsError, match="WHALESYNC_DB names a variable that is not set"):
        load(tmp_path, WHALESYNC_DB="$NO_SUCH_VARIABLE/db")


def test_the_representation_hides_values(tmp_path: Path) -> None:
    """Neither the key nor the monitor's address."""
    settings = load(tmp_path, OPINION_TRADE_API_KEY="secret", WHALESYNC_PING_URL="https://a.example/secret")
    assert "secret" not in repr(settings)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("WHALESYNC_RATE_LIMIT", ["0", "-1", "15.5", "many", "nan", "1e3", "10001"]),
        ("WHALESYNC_TIME_BUDGET", ["0.5", "-5", "nan", "inf", "1e400", "soon", "86401"]),
        ("WHALESYNC_RETENTION_DAYS", ["0", "36501"]),
    ],
)
def test_wrong_numbers(name: str, values: list[str], tmp_path: Path) -> None:
    """They are refused by name, and quoted."""
    for value in values:
        with pytest.raises(SettingsError, match=f"{name} must be .* not '{value}'"):
            load_checked(tmp_path, **{name: value})


@pytest.mark.parametrize("key", ["a\tb", "a\x00b", "ключ", "a\x7f", "a\u200bb"])
def test_a_key_that_cannot_be_a_header(key: str, tmp_path: Path) -> None:
    """It is refused without being quoted; white space around it does no harm, since it is easily copied along."""
    assert load_checked(tmp_path, OPINION_TRADE_API_KEY=" key\r\n").get(API_KEY) == "key"
    with pytest.raises(SettingsError) as caught:
        load_checked(tmp_path, OPINION_TRADE_API_KEY=key)
    assert key not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["https://a.example:8443/openapi", "http://127.9.9.9:1/x", "http://localhost/", "http://[::1]:80/",
            "https://10.0.0.1/"],
)  # fmt: skip
def test_good_addresses(url: str, tmp_path: Path) -> None:
    """https everywhere, http on loopback."""
    assert load_checked(tmp_path, WHALESYNC_API_URL=url).get(API_URL) == url.rstrip("/")


@pytest.mark.parametrize(
    "url",
    ["http://10.0.0.1/", "http://localhost.example/", "http://0.0.0.0/", "http://127.0.0.1.example/",
     "http://[::ffff:10.0.0.1]/", "ftp://127.0.0.1", "a.example", "https:///x", "https://a.example:0/",
     "https://a.example:99999", "https://a.example:x", "https://u:p@a.example", "https://a.example/?q", "https://[::1",
     "https://a.example/#f", "https://a b", "https://a..b/", "https://" + "a" * 64 + ".example", "https://ä.example",
     "https://a.example/\x1b", "file:///etc/passwd", "http://localhost@evil.example/", "http://2130706433/"],
)  # fmt: skip
def test_bad_addresses(url: str, tmp_path: Path) -> None:
    """They are refused by the name of the setting, and not quoted: the text goes into the sync log."""
    with pytest.raises(SettingsError, match="WHALESYNC_API_URL must be") as caught:
        load_checked(tmp_path, WHALESYNC_API_URL=url)
    assert url not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "text"), [(None, "No such file"), (b"\xff\xfe", "not UTF-8"), (b"A=1\nB='x\n", "line 2 of")]
)
def test_an_env_file_that_cannot_be_read(content: bytes | None, text: str, tmp_path: Path) -> None:
    """One that was named must exist and hold lines of text."""
    file = tmp_path / "env"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(SettingsError, match=text) as caught:
        Settings.load({"WHALESYNC_ENV_FILE": str(file), "WHALESYNC_DB": "/x"})
    assert str(file) in str(caught.value)


def test_the_usual_places(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The env file and the database are looked for in the user's folders; that there is no env file is no error."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    usual = tmp_path / ".config" / "whalesync" / "env"
    assert (default_env_file(), Settings.load({}).env_file) == (usual, None)
    usual.parent.mkdir(parents=True)
    usual.write_text("OPINION_TRADE_API_KEY=of-the-file\n")
    settings = Settings.load({})
    assert (settings.get(API_KEY), settings.env_file) == ("of-the-file", usual)
    assert settings.db == tmp_path / ".local" / "share" / "whalesync" / "whalesync.db"
