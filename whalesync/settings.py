"""What is set, and where from: options, then the environment, then the env file, then the defaults."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import urlsplit

from whalesync.errors import SettingsError

API_URL = "https://openapi.opinion.trade/openapi"
RATE_LIMIT = 15
RETENTION_DAYS = 90
TIME_BUDGETS = {"sync-whales": 50.0, "sync-markets": 240.0}

NO_KEY = "OPINION_TRADE_API_KEY is not set: put OPINION_TRADE_API_KEY=… into {}, or into the environment"


@dataclass(frozen=True)
class Settings:
    """All that a command may need to know. ``time_budget`` is None unless set: each job has its own default."""

    db: Path
    api_url: str = API_URL
    api_key: str | None = field(default=None, repr=False)
    rate_limit: int = RATE_LIMIT
    time_budget: float | None = None
    retention_days: int = RETENTION_DAYS
    ping_url: str | None = field(default=None, repr=False)
    env_file: Path | None = None

    @classmethod
    def load(
        cls, environ: Mapping[str, str] | None = None, *, db: str | None = None, api_url: str | None = None
    ) -> Settings:
        """Read the settings; the key and the address are checked by those who need them.

        Raises:
            SettingsError: a value cannot be what its name promises, or the env file cannot be read.
        """
        real = os.environ if environ is None else environ
        env_file = _env_file(real)
        values = {**_read_env_file(env_file, real), **{name: value for name, value in real.items() if value}}
        return cls(
            db=Path(
                db or values.get("WHALESYNC_DB") or _user_dir("user_data_path") / "whalesync.db"
            ).absolute(),
            api_url=(api_url or values.get("WHALESYNC_API_URL") or API_URL).rstrip("/"),
            api_key=(values.get("OPINION_TRADE_API_KEY") or "").strip() or None,
            rate_limit=int(
                _number(values, "WHALESYNC_RATE_LIMIT", RATE_LIMIT, least=1, most=10_000, whole=True)
            ),
            time_budget=_number(values, "WHALESYNC_TIME_BUDGET", 0, least=1, most=86_400) or None,
            retention_days=int(
                _number(values, "WHALESYNC_RETENTION_DAYS", RETENTION_DAYS, least=1, most=36_500, whole=True)
            ),
            ping_url=values.get("WHALESYNC_PING_URL") or None,
            env_file=env_file,
        )

    def budget(self, command: str) -> float:
        """Seconds after which the sync job ``command`` takes up no new work."""
        return self.time_budget or TIME_BUDGETS[command]

    def checked_key(self) -> str:
        """The exchange's key.

        Raises:
            SettingsError: there is none, or it cannot be a header's value.
        """
        if not self.api_key:
            raise SettingsError(NO_KEY.format(self.env_file or default_env_file()))
        if not (self.api_key.isascii() and self.api_key.isprintable()):
            raise SettingsError("OPINION_TRADE_API_KEY holds characters that no key has: copy it anew")
        return self.api_key

    def checked_api_url(self) -> str:
        """The exchange's base address.

        Raises:
            SettingsError: it is no address, or the key would cross a network in the clear.
        """
        check_url(self.api_url, "WHALESYNC_API_URL")
        if urlsplit(self.api_url).scheme == "http" and not is_loopback(self.api_url):
            raise SettingsError(
                "WHALESYNC_API_URL must be https: over http the key would cross the network in the clear "
                "(http is for loopback only)"
            )
        return self.api_url

    def without_pings(self) -> Settings:
        """The same, with monitoring off."""
        return replace(self, ping_url=None)


def check_url(url: str, name: str) -> None:
    """Refuse what is no plain http or https address.

    Raises:
        SettingsError: naming the setting, never its value (an address may hold a secret).
    """
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and parts.hostname and (parts.port is None or parts.port)
        (parts.hostname or "").encode("idna")  # or the look-up fails: "a..b"
    except ValueError:
        usable = False
    if not usable or not url.isascii() or not url.isprintable() or " " in url:
        raise SettingsError(f"{name} is no address such as {API_URL}")
    if parts.query or parts.fragment or "@" in parts.netloc:
        raise SettingsError(f"{name} must be a plain address, without user, query or fragment")


def is_loopback(url: str) -> bool:
    """Whether the address names this very machine, so that nothing crosses a network."""
    from ipaddress import ip_address  # only for http addresses: not worth loading in every run

    host = urlsplit(url).hostname or ""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def default_env_file() -> Path:
    """Where the env file is looked for when WHALESYNC_ENV_FILE is not set."""
    return _user_dir("user_config_path") / "env"


def _user_dir(kind: str) -> Path:
    import platformdirs  # a set-up with both paths set never needs it

    folder: Path = getattr(platformdirs, kind)("whalesync", appauthor=False)
    return folder


def _env_file(environ: Mapping[str, str]) -> Path | None:
    if named := environ.get("WHALESYNC_ENV_FILE"):
        return Path(named).absolute()
    usual = default_env_file()
    # Path.exists() would raise where the folder may not be entered, as with another user's HOME.
    return usual if os.path.exists(usual) else None  # noqa: PTH110  (a folder that may not be entered is no error here)


def _read_env_file(path: Path | None, environ: Mapping[str, str]) -> dict[str, str]:
    if path is None:
        return {}
    from io import StringIO

    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as exc:
        raise SettingsError(f"the env file {path} cannot be read ({_reason(exc)})") from exc
    # The parser alone: no interpolation, so that a "$" in a key is a "$", and no warnings of its own.
    from dotenv.parser import parse_stream

    found: dict[str, str] = {}
    for binding in parse_stream(StringIO(text)):
        if binding.error:
            raise SettingsError(f"line {binding.original.line} of the env file {path} is not NAME=VALUE")
        if binding.key and binding.value:
            found[binding.key] = binding.value
    return found


def _reason(exc: Exception) -> str:
    return exc.strerror or str(exc) if isinstance(exc, OSError) else "it is not UTF-8 text"


def _number(
    values: Mapping[str, str], name: str, default: float, *, least: float, most: float, whole: bool = False
) -> float:
    text = values.get(name)
    if not text:
        return default
    try:
        number = int(text) if whole else float(text)
    except ValueError:
        number = -1
    if not least <= number <= most:
        kind = "a whole number" if whole else "a number"
        raise SettingsError(f"{name} must be {kind} from {least} to {most}, not {text[:40]!r}")
    return number
