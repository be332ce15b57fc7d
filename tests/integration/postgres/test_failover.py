"""Failover to a standby that was behind: what was lost is lost, and what is there agrees with itself all the same."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from foldline import Receipt, Running
from foldline.errors import OutcomeUnknown, StoreUnavailable
from tests.integration.app.bank import Account, Balance, Deposit, bank
from tests.servers.fixtures import MakeServer
from tests.servers.postgres import PostgresServer

WITHIN = 60.0


class Pair(NamedTuple):
    """A primary and its asynchronous standby."""

    primary: PostgresServer
    standby: PostgresServer

    @property
    def url(self) -> str:
        """Both, in one URL."""
        return f"postgresql://postgres@127.0.0.1:{self.primary.port},127.0.0.1:{self.standby.port}/bank"

    async def leave_behind(self) -> None:
        """Have the standby take in all that there is, and nothing of what comes."""
        await asyncio.to_thread(self._leave_behind)

    def _leave_behind(self) -> None:
        while not self.primary.caught_up():
            time.sleep(0.01)
        self.standby.psql("ALTER SYSTEM SET primary_conninfo = ''")
        self.standby.reload()
        while self.standby.psql("SELECT count(*) FROM pg_stat_wal_receiver") != "0":
            time.sleep(0.01)

    async def fail_over(self) -> None:
        """Lose the primary at once, and go on with the standby."""
        await asyncio.to_thread(self.primary.crash)
        await asyncio.to_thread(self.standby.promote)

    async def table(self, sql: str) -> list[str]:
        """The rows of a query on what was the standby."""
        return (await asyncio.to_thread(self.standby.psql, sql, "bank")).splitlines()


@pytest.fixture
def pair(own_server: MakeServer) -> Iterator[Pair]:
    """Two servers of the test's own."""
    primary = own_server(18)
    with primary.standby() as standby:
        primary.create_database("bank")
        yield Pair(primary, standby)


async def deposit(running: Running, account_id: str) -> Receipt:
    """Deposit 1, again as long as the database is away."""
    while True:
        try:
            return await running.execute(Deposit(account_id, 1))
        except (OutcomeUnknown, StoreUnavailable):
            await asyncio.sleep(0.05)


def test_a_stream_has_no_hole(pair: Pair) -> None:
    """Though the process remembers versions, and a state, that the new primary never had (G2)."""

    async def main() -> None:
        async with asyncio.timeout(WITHIN), bank().open(pair.url) as running:
            for _ in range(2):
                await deposit(running, "a")
            await pair.leave_behind()
            for _ in range(3):
                await deposit(running, "a")
            await pair.fail_over()
            for _ in range(4):
                await deposit(running, "a")
            assert (await running.load(Account, "a")).balance == 6
            versions = await pair.table("SELECT version FROM foldline_events ORDER BY position")
            assert versions == ["1", "2", "3", "4", "5", "6"]

    asyncio.run(main())


def test_a_view_skips_nothing(pair: Pair) -> None:
    """Though the process had committed further on the old primary (G6)."""

    async def main() -> None:
        async with asyncio.timeout(WITHIN), bank().open(pair.url) as running:
            for number in range(2):
                await deposit(running, f"early{number}")
            await pair.leave_behind()
            for number in range(3):
                receipt = await deposit(running, f"lost{number}")
            assert await running.views_after(receipt).get(Balance, "lost2") is not None
            await pair.fail_over()
            for number in range(4):
                receipt = await deposit(running, f"late{number}")
                assert await running.views_after(receipt).get(Balance, f"late{number}") is not None
            streams = await pair.table("SELECT stream_id FROM foldline_events ORDER BY 1")
            rows = await pair.table("SELECT account_id FROM balance ORDER BY 1")
            assert rows == [stream.removeprefix("account-") for stream in streams]
            assert len(rows) == 6

    asyncio.run(main())
