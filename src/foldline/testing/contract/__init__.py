"""The contract that every store adapter fulfils, as tests: written once, run over each.

An adapter's test file says how its store is opened, and inherits the parts for what its capabilities declare:

    class TestMyStore(StoreContract, DurableContract, SharedContract, SqlContract):
        @asynccontextmanager
        async def store_at(self, folder, *, clock=utc_now):
            store = await MyStore.open(folder / "my.db", clock=clock)
            try:
                yield store
            finally:
                await store.close()

        def tamper(self, folder, store, event): ...  # ways to change a recorded event, all of which must fail
        def unrelated(self, folder): ...  # transactions that have nothing to do with appending, held open

A store that records several appends at the same time says so with ``serial = False``.

It needs pytest and hypothesis (``pip install foldline[testing]``), and no plugin.
"""

from __future__ import annotations

import pytest

# So that a test that fails shows the values it compared.
pytest.register_assert_rewrite(
    *(
        f"{__name__}.{module}"
        for module in (
            "capabilities", "follow", "harness", "kinds", "log", "processes", "projections", "queries", "races",
            "reading", "restoring", "retries", "snapshots", "text", "views",
        )
    )
)  # fmt: skip

from foldline.testing.contract.capabilities import (  # noqa: E402
    CapabilitiesContract,
    DurableContract,
    SqlContract,
)
from foldline.testing.contract.follow import FollowContract  # noqa: E402
from foldline.testing.contract.harness import StoreCase, utc_now  # noqa: E402
from foldline.testing.contract.kinds import KindContract  # noqa: E402
from foldline.testing.contract.log import AppendContract  # noqa: E402
from foldline.testing.contract.processes import SharedContract  # noqa: E402
from foldline.testing.contract.projections import ProjectionContract, WaitContract  # noqa: E402
from foldline.testing.contract.queries import QueryContract  # noqa: E402
from foldline.testing.contract.races import RaceContract  # noqa: E402
from foldline.testing.contract.reading import ReadingContract  # noqa: E402
from foldline.testing.contract.restoring import RestoreContract  # noqa: E402
from foldline.testing.contract.retries import ClaimContract, RetryContract  # noqa: E402
from foldline.testing.contract.snapshots import SnapshotContract  # noqa: E402
from foldline.testing.contract.text import TextContract  # noqa: E402
from foldline.testing.contract.views import TransactionContract  # noqa: E402

__all__ = [
    "AppendContract",
    "CapabilitiesContract",
    "ClaimContract",
    "DurableContract",
    "EventStoreContract",
    "FollowContract",
    "KindContract",
    "ProjectionContract",
    "QueryContract",
    "RaceContract",
    "ReadingContract",
    "RestoreContract",
    "RetryContract",
    "SharedContract",
    "SnapshotContract",
    "SqlContract",
    "StoreCase",
    "StoreContract",
    "TextContract",
    "TransactionContract",
    "ViewStoreContract",
    "WaitContract",
    "utc_now",
]


class EventStoreContract(
    AppendContract,
    RaceContract,
    RetryContract,
    ClaimContract,
    ReadingContract,
    TextContract,
    FollowContract,
    RestoreContract,
):
    """The log: G1, G2, G3, G4, G5 and G7."""


class ViewStoreContract(TransactionContract, ProjectionContract, KindContract, QueryContract, WaitContract):
    """Read models and their checkpoints: G6."""


class StoreContract(EventStoreContract, SnapshotContract, ViewStoreContract, CapabilitiesContract):
    """All that every store does; the parts for what only some can do are inherited beside it."""
