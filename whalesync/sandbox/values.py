"""What the records of both exchanges are made of."""

import hashlib
from typing import Any

Record = dict[str, Any]
DAY = 86_400


def digest(*parts: object) -> str:
    """64 hex digits that depend on the parts alone, for hashes and ids."""
    return hashlib.sha256("/".join(map(str, parts)).encode()).hexdigest()
