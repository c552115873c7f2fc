"""What can be set: one table of settings, and where their values come from.

Options of the command line win over the environment, which wins over the env file, which wins over the defaults.
An exchange declares its own settings in its package (``Exchange.settings``), in the same form.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, TypeVar
from urllib.parse import urlsplit

from whalesync.errors import SettingsError

Value = TypeVar("Value")


@dataclass(frozen=True)
class Setting(Generic[Value]):
    """One setting.

    Args:
        name: of the environment variable.
        meaning: one line for the reference in the README, the unit included.
        parse: makes the value of the text; raises ValueError with what the text must be, without secrets.
        default: the value where nothing is set; None where there is none.
        shown_default: the default in words, where the value does not say it.
        secret: redacted in every output.
    """

    name: str
    meaning: str
    parse: Callable[[str], Value]
    default: Value
    shown_default: str = ""
    secret: bool = False


def number(least: float, most: float) -> Callable[[str], float]:
    """A parser of numbers from ``least`` to ``most``."""

    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = float("nan")
        if not least <= value <= most:
            raise ValueError(f"must be a number from {least:g} to {most:g}, not {text[:40]!r}")
        return value

    return parse


def whole_number(least: int, most: int) -> Callable[[str], int]:
    """A parser of whole numbers from ``least`` to ``most``."""

    def parse(text: str) -> int:
        digits = text.strip()
        value = int(digits) if digits.isascii() and digits.isdigit() and len(digits) < 10 else -1
        if not least <= value <= most:
            raise ValueError(f"must be a whole number from {least} to {most}, not {text[:40]!r}")
        return value

    return parse


def file_path(text: str) -> Path:
    """A path; ``~`` and variables are expanded, as the shell would have done."""
    path = Path(os.path.expandvars(text)).expanduser()
    if "$" in str(path) and "$" in text:
        raise ValueError("names a variable that is not set")
    return path.absolute()


def base_url(text: str) -> str:
    """A base address without a trailing slash: https, or http on loopback; no user, query or fragment."""
    url = text.rstrip("/")
    check_url(url)
    if urlsplit(url).scheme == "http" and not is_loopback(url):
        raise ValueError("must be https; http is allowed on loopback only")
    return url


DB = Setting[Path | None]("WHALESYNC_DB", "the SQLite file", file_path, None, "whalesync.db in the user data folder")
TIME_BUDGET = Setting[float | None](
    "WHALESYNC_TIME_BUDGET",
    "seconds after which a sync job starts no new work",
    number(1, 86_400),
    None,
    "50 for sync-whales, 55 for send-alerts, 240 for the other sync jobs",
)
RETENTION_DAYS = Setting[int]("WHALESYNC_RETENTION_DAYS", "days that cleanup keeps", whole_number(1, 36_500), 90)
PING_URL = Setting[str | None]("WHALESYNC_PING_URL", "dead-man's switch, see Monitoring", str, None, "off", secret=True)
ENV_FILE = Setting[Path | None](
    "WHALESYNC_ENV_FILE",
    "the env file",
    file_path,
    None,
    "whalesync/env in the user config folder",
)
ALERTS_FILE = Setting[Path | None](
    "WHALESYNC_ALERTS_FILE",
    "the alert rules, TOML, see Alerts",
    file_path,
    None,
    "whalesync/alerts.toml in the user config folder",
)
PUBLISH_URL = Setting[str | None](
    "WHALESYNC_PUBLISH_URL", "postgresql://…; where publish writes, see PostgreSQL", str, None, "off", secret=True
)
SOURCE = Setting[str | None](
    "WHALESYNC_SOURCE", "this host's name in a shared PostgreSQL database", str, None, "an id made with the file"
)

SETTINGS: tuple[Setting[object], ...] = (  # type: ignore[assignment]  # of any value
    DB, TIME_BUDGET, RETENTION_DAYS, PUBLISH_URL, SOURCE, PING_URL, ALERTS_FILE, ENV_FILE,
)  # fmt: skip


@dataclass(frozen=True)
class Settings:
    """The values of one command.

    ``db`` is absolute. ``env_file`` is the file that was read, None if there was none.
    """

    db: Path
    env_file: Path | None = None
    values: Mapping[str, str] = field(default_factory=dict, repr=False)

    @classmethod
    def load(
        cls,
        environ: Mapping[str, str] | None = None,
        overrides: Mapping[str, str | None] | None = None,
        *,
        may_be_missing: bool = False,
    ) -> Settings:
        """Read the settings.

        Args:
            environ: the environment; None: that of this process.
            overrides: the options of the command line, by the setting's name.
            may_be_missing: an env file that is named but does not exist counts as empty.

        Raises:
            SettingsError: the env file cannot be read, or a value of SETTINGS is wrong. What an exchange has
                declared is checked by that exchange.
        """
        real = os.environ if environ is None else environ
        env_file = _env_file(real)
        given = {name: text for name, text in (overrides or {}).items() if text is not None}
        in_file = {} if may_be_missing and env_file and not env_file.exists() else read_env_file(env_file)
        values = {**in_file, **{name: text for name, text in real.items() if text}, **given}
        loaded = cls(Path(), env_file, values)
        for setting in SETTINGS:
            loaded.get(setting)
        db = loaded.get(DB) or user_folder("user_data_path") / "whalesync.db"
        return cls(db.absolute(), env_file, values)

    def get(self, setting: Setting[Value]) -> Value:
        """The value of a setting.

        Raises:
            SettingsError: it is not what its name promises.
        """
        text = self.values.get(setting.name)
        if not text:
            return setting.default
        try:
            return setting.parse(text)
        except ValueError as exc:
            raise SettingsError(f"{setting.name} {exc}") from exc


def publishing_is_set_up(settings: Settings) -> bool:
    """Return whether there is a server for ``publish`` to write to."""
    return settings.get(PUBLISH_URL) is not None


def check_url(url: str) -> None:
    """Refuse what is not a plain http or https address.

    Raises:
        ValueError: what it must be, never the address itself, which may hold a secret.
    """
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and parts.hostname and (parts.port is None or parts.port)
        (parts.hostname or "").encode("idna").decode("idna")  # or the look-up fails: "a..b", "xn--a"
    except ValueError:
        usable = False
    if not usable or not url.isascii() or not url.isprintable() or " " in url:
        raise ValueError("must be an address such as https://example.com/path")
    if parts.query or parts.fragment or "@" in parts.netloc:
        raise ValueError("must be a plain address, without user, query or fragment")


def is_loopback(url: str) -> bool:
    """Whether the address names this machine, so that nothing crosses a network."""
    from ipaddress import ip_address  # only for http addresses: not worth loading in every run

    host = urlsplit(url).hostname or ""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def default_env_file() -> Path:
    """Where the env file is looked for when WHALESYNC_ENV_FILE is not set."""
    return user_folder("user_config_path") / "env"


def default_alerts_file() -> Path:
    """Where the alert rules are looked for when WHALESYNC_ALERTS_FILE is not set."""
    return user_folder("user_config_path") / "alerts.toml"


def read_env_file(path: Path | None) -> dict[str, str]:
    """Return what the env file sets; nothing for None. Of several values of one name the last counts.

    Raises:
        SettingsError: it cannot be read, or a line is not NAME=VALUE.
    """
    if path is None:
        return {}
    from io import StringIO

    try:
        if path.exists() and not path.is_file():  # reading a pipe would wait for ever
            raise SettingsError(f"the env file {path} is not a regular file")
        text = path.read_text(encoding="utf-8")
    except OSError as exc:
        raise SettingsError(f"cannot read the env file {path} ({exc.strerror})") from exc
    except UnicodeDecodeError as exc:
        raise SettingsError(f"the env file {path} is not UTF-8 text") from exc
    # The parser alone: no interpolation, so that a "$" in a key is a "$", and no warnings of its own.
    from dotenv.parser import parse_stream

    found: dict[str, str] = {}
    for binding in parse_stream(StringIO(text)):
        if binding.error:
            raise SettingsError(f"line {binding.original.line} of the env file {path} is not NAME=VALUE")
        if binding.key and binding.value:
            found[binding.key] = binding.value
    return found


def user_folder(kind: str) -> Path:
    """One of this user's folders for this program, by the name of ``platformdirs``."""
    import platformdirs  # a set-up with both paths set never needs it

    folder: Path = getattr(platformdirs, kind)("whalesync", appauthor=False)
    return folder


def _env_file(environ: Mapping[str, str]) -> Path | None:
    if named := environ.get(ENV_FILE.name):
        try:
            return file_path(named)
        except ValueError as exc:
            raise SettingsError(f"{ENV_FILE.name} {exc}") from exc
    usual = default_env_file()
    # Path.exists() would raise where the folder may not be entered, as with another user's HOME.
    return usual if os.path.exists(usual) else None  # noqa: PTH110  (a folder that may not be entered is no error here)
