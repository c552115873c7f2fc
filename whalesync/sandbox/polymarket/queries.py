"""The parameters of a request: how each API reads and refuses them."""

import re
from collections.abc import Iterable, Sequence

ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}")
CONDITION = re.compile(r"0x(?:[0-9a-fA-F]{62}|[0-9a-fA-F]{64})")
MOST_CONDITIONS = 20


class Problem(Exception):
    """The exchange declines a request: an HTTP status, and what the error document says."""

    def __init__(
        self, status: int, message: str, *, code: str = "invalid_request", parameter: str | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.parameter = parameter


class Query:
    """The parameters of a request to the Data API, in snake_case however they were written; raises Problem."""

    def __init__(self, pairs: Iterable[tuple[str, str]], aliases: dict[str, str] | None = None) -> None:
        self._values: dict[str, str] = {}
        for given, value in pairs:
            name = re.sub(r"(?<=[a-z])([A-Z])", r"_\1", given).lower()
            name = (aliases or {}).get(name, name)
            if name in self._values:
                raise _unreadable(f"duplicate field `{given}`", given)
            self._values[name] = value
        if "offset" in self._values:
            raise _unreadable("unknown field `offset`: follow `pagination.next_cursor`", "offset")

    def __contains__(self, name: str) -> bool:
        return name in self._values

    def text(self, name: str, default: str = "") -> str:
        """A parameter as it is."""
        return self._values.get(name, default)

    def integer(self, name: str, default: int, least: int = 0, most: int = 10**12) -> int:
        """A whole number within bounds."""
        text = self._values.get(name, "")
        if not text:
            return default
        if not re.fullmatch(r"-?[0-9]{1,18}", text):
            raise _unreadable(f"{name}: invalid digit found in string", name)
        if not least <= int(text) <= most:
            raise _unreadable(f"{name}: {name} must be between {least} and {most}", name)
        return int(text)

    def boolean(self, name: str, default: bool) -> bool:
        """true or false."""
        text = self._values.get(name, "").lower()
        if text not in ("", "true", "false"):
            raise _unreadable(f"{name}: provided string was not `true` or `false`", name)
        return text == "true" if text else default

    def choice(self, name: str, options: Sequence[str], default: str) -> str:
        """One of the options, the default if the parameter is missing or empty."""
        text = self._values.get(name, "")
        if text and text not in options:
            raise Problem(400, f"{name} must be one of {', '.join(options)}", parameter=name)
        return text or default

    def amount(self, name: str, default: float) -> float:
        """A number that is not negative; one that cannot be read means the default."""
        try:
            value = float(self._values.get(name, ""))
        except ValueError:
            return default
        return value if value >= 0 else default

    def items(self, name: str, most: int) -> list[str]:
        """The values of a comma-separated list, each once."""
        found = list(dict.fromkeys(filter(None, (each.strip() for each in self._values.get(name, "").split(",")))))
        if len(found) > most:
            raise Problem(400, f"{name} accepts at most {most} values", parameter=name)
        return found

    def conditions(self, most: int = MOST_CONDITIONS) -> list[str]:
        """The condition ids, in lower case."""
        found = self.items("condition", most)
        for each in found:
            if not CONDITION.fullmatch(each):
                raise Problem(400, f"invalid condition id: {each}", parameter="condition")
        return [each.lower() for each in found]

    def user(self, *, required: bool = True) -> str:
        """The wallet in lower case. One that cannot be a wallet is no error here: it has no rows."""
        if required and not self.text("user"):
            raise Problem(400, "user is required", parameter="user")
        if self.text("user").lower() in CONTRACTS:
            raise Problem(400, "user is a protocol contract", parameter="user")
        return self.text("user").lower()

    def valid_user(self) -> str:
        """The wallet in lower case, of those endpoints that do check it."""
        if not ADDRESS.fullmatch(self.text("user")):
            raise Problem(400, "user must be a 0x-prefixed 20-byte address", parameter="user")
        return self.user()


CONDITION_ALIASES = {"condition_id": "condition", "token_ids": "token_id"}
CONTRACTS = {
    "0x4d97dcd97ec945f40cf65f87097ace5ea0476045",
    "0xe111180000d2663c0091e4f400237545b87b996b",
    "0xe2222d279d744050d28e00520010520000310f59",
    "0xd91e80cf2e7be2e162c6513ced06f1dd0da35296",
}
"""Some contracts of the protocol, which hold tokens and are not users."""


def _unreadable(reason: str, parameter: str) -> Problem:
    return Problem(400, f"Failed to deserialize query string: {reason}", parameter=parameter)
