"""Mutated copies of our own modules, with which a test must fail."""

from __future__ import annotations

import inspect
import re
from collections.abc import Sequence
from types import ModuleType


def mutant(modules: Sequence[ModuleType], old: str, new: str) -> ModuleType:
    """A copy of some modules, as one module, in which ``new`` stands for ``old``."""
    names = "|".join(re.escape(name) for name in ("__future__", *(module.__name__ for module in modules)))
    source = "\n".join(inspect.getsource(module) for module in modules)
    source = re.sub(rf"from ({names}) import (\([^)]*\)|.*)", "", source)
    assert source.count(old) == 1, f"the mutation fits {source.count(old)} times"
    copy = ModuleType(modules[-1].__name__)  # dataclasses look their module up by name
    code = compile("from __future__ import annotations\n" + source.replace(old, new), "mutated", "exec")
    exec(code, copy.__dict__)  # noqa: S102  (our own source)
    return copy
