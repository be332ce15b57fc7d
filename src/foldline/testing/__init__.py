"""The testing kit for applications: given/when/then, proofs for views, strategies for messages, apps in memory.

Each name is loaded when it is first used, so that a test run which needs none of them pays for none.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from foldline.testing.batches import check_view as check_view
    from foldline.testing.clock import ManualClock as ManualClock
    from foldline.testing.clock import SequentialIds as SequentialIds
    from foldline.testing.history import Happened as Happened
    from foldline.testing.history import happened as happened
    from foldline.testing.projected import Projected as Projected
    from foldline.testing.running import with_running as with_running
    from foldline.testing.scenario import History as History
    from foldline.testing.scenario import Outcome as Outcome
    from foldline.testing.scenario import Scenario as Scenario
    from foldline.testing.scenario import given as given
    from foldline.testing.strategies import event_sequences as event_sequences
    from foldline.testing.strategies import messages as messages

_MODULES = {
    "foldline.testing.batches": ("check_view",),
    "foldline.testing.clock": ("ManualClock", "SequentialIds"),
    "foldline.testing.history": ("Happened", "happened"),
    "foldline.testing.projected": ("Projected",),
    "foldline.testing.running": ("with_running",),
    "foldline.testing.scenario": ("History", "Outcome", "Scenario", "given"),
    "foldline.testing.strategies": ("event_sequences", "messages"),
}
_WHERE = {name: module for module, names in _MODULES.items() for name in names}

__all__ = [  # noqa: RUF022  (in the order a reader meets them)
    "given",
    "Scenario",
    "Outcome",
    "History",
    "Projected",
    "happened",
    "Happened",
    "check_view",
    "messages",
    "event_sequences",
    "with_running",
    "ManualClock",
    "SequentialIds",
]


def __getattr__(name: str) -> Any:
    module = _WHERE.get(name)
    if module is None:
        raise AttributeError(f"module 'foldline.testing' has no attribute {name!r}")
    value = getattr(importlib.import_module(module), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
