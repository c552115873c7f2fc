"""Cursors as the Data API makes them: what a walk goes on from, signed, in base64url."""

import base64
import hashlib
import hmac
import json
from collections.abc import Callable

from ..values import Record
from .queries import Problem


class Cursors:
    """Makes and reads them. With a `lifetime` (seconds) they are refused when older; `void` refuses all made so far."""

    def __init__(self, clock: Callable[[], float], lifetime: float | None = None) -> None:
        self._clock = clock
        self._secret = 0
        self.lifetime = lifetime

    def void(self) -> None:
        """Refuse every cursor made so far, as a new deployment may."""
        self._secret += 1

    def make(self, kind: str, params: Record) -> str:
        """A cursor of an endpoint's walk."""
        if self.lifetime is not None:
            params = {**params, "at": self._clock()}
        data = {"type": kind, "params": params}
        document = {"data": data, "sig": self._sign(data)}
        return base64.urlsafe_b64encode(json.dumps(document, separators=(",", ":")).encode()).decode().rstrip("=")

    def read(self, kind: str, cursor: str) -> Record:
        """What a cursor holds; raises Problem if it was altered, is of another endpoint, or is no longer valid."""
        try:
            document = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
            data, signature = document["data"], str(document["sig"])
            params: Record = data["params"]
            genuine = hmac.compare_digest(signature, self._sign(data)) and data["type"] == kind
        except (ValueError, KeyError, TypeError):
            raise Problem(400, "invalid cursor", parameter="cursor") from None
        if not genuine:
            raise Problem(400, "invalid cursor: bad signature", parameter="cursor")
        if self.lifetime is not None and self._clock() - params.get("at", 0) > self.lifetime:
            raise Problem(400, "invalid cursor: expired", parameter="cursor")
        return params

    def _sign(self, data: Record) -> str:
        text = json.dumps(data, separators=(",", ":"), sort_keys=True).encode()
        return hmac.new(f"sandbox {self._secret}".encode(), text, hashlib.sha256).hexdigest()
