"""Commands that one aggregate decides on: states, conflicts, refusals, unknown outcomes, what is told of it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast
from uuid import UUID

import pytest

from foldline import Command, Conflict, Forbidden, Rejected, ValidationFailed
from foldline.command.bus import MAX_ATTEMPTS
from foldline.command.receipt import Receipt, position_of
from foldline.errors import CodecError, OutcomeUnknown, StoreFull, UnknownName
from foldline.observe import CommandExecuted, CommandRefused
from foldline.store.spi import Append, Outcome, Store
from tests.unit.bank import Account, Bank, Deposit, Deposited, Settle, Spoil, Withdraw, Wrapped, bank, elsewhere, run
from tests.unit.stores import STORES, open_store

stores = pytest.mark.parametrize("kind", STORES)


@asynccontextmanager
async def wrapped(kind: str, **options: Any) -> AsyncIterator[tuple[Bank, Wrapped]]:
    async with open_store(kind) as inner:
        store = Wrapped(inner)
        async with bank(cast(Store, store), **options) as opened:
            yield opened, store


@stores
@run
async def test_events_are_recorded_and_told(kind: str) -> None:
    async with open_store(kind) as store, bank(store) as it:
        first = await it.bus.execute(Deposit("a", 5))
        second = await it.bus.execute(Withdraw("a", 2))
        assert (first.stream, first.version, first.replayed) == ("account-a", 1, False)
        assert (second.version, await it.balance("a")) == (2, 3)
        events = await it.events("a")
        assert [event.type for event in events] == ["Deposited", "Withdrawn"]
        assert first.event_ids == (events[0].event_id,) and events[0].event_id.version == 7
        assert position_of(first) == position_of(first.token) == events[0].position == first.position
        assert second.position > first.position
        UUID(first.command_id)


@stores
@run
async def test_a_rejection_leaves_nothing_behind(kind: str) -> None:
    async with open_store(kind) as store, bank(store) as it:
        await it.bus.execute(Deposit("a", 5, ("x",)))
        for _ in range(3):
            with pytest.raises(Rejected, match="overdrawn") as failure:
                await it.bus.execute(Withdraw("a", 6))
            assert failure.value.details == {"balance": -1}
        known = it.loader.recall("account-a")
        assert known is not None and known.state == Account(5, ["x"]) and known.version == 1
        await it.bus.execute(Withdraw("a", 5))
        assert await it.balance("a") == 0


@stores
@run
async def test_an_event_that_could_not_be_read_is_not_recorded(kind: str) -> None:
    async with open_store(kind) as store, bank(store) as it:
        with pytest.raises(CodecError, match="Deposited cannot be recorded"):
            await it.bus.execute(Spoil("a"))
        assert await it.events("a") == []
        await it.bus.execute(Deposit("a", 1))
        assert await it.balance("a") == 1


@run
async def test_a_remembered_aggregate_is_not_read_again() -> None:
    async with wrapped("memory") as (it, store):
        await it.bus.execute(Deposit("a", 1))
        store.reads.clear()
        for _ in range(5):
            await it.bus.execute(Deposit("a", 1))
        assert store.reads == [] and len(store.appends) == 6


@run
async def test_the_memory_of_aggregates_is_bounded() -> None:
    async with wrapped("memory", size=2) as (it, store):
        for id_ in "abc":
            await it.bus.execute(Deposit(id_, 1))
        store.reads.clear()
        for id_ in "bca":
            await it.bus.execute(Deposit(id_, 1))
        assert store.reads == [("account-a", 0)]
    async with wrapped("memory", size=0) as (it, store):
        for _ in range(3):
            await it.bus.execute(Deposit("a", 1))
        assert len(store.reads) == 3 and await it.balance("a") == 3


@stores
@run
async def test_a_conflict_reads_only_what_is_new_and_decides_again(kind: str) -> None:
    async with wrapped(kind) as (it, store):
        await it.bus.execute(Deposit("a", 10))
        await elsewhere(store.inner, Deposited("a", 1), Deposited("a", 1))
        store.reads.clear()
        receipt = await it.bus.execute(Withdraw("a", 12))
        assert receipt.version == 4 and await it.balance("a") == 0
        assert store.reads[0] == ("account-a", 1)
        executed = it.facts[-1]
        assert isinstance(executed, CommandExecuted) and executed.attempts == 2


@run
async def test_lost_races_are_bounded_and_told() -> None:
    async with wrapped("memory") as (it, store):

        async def somebody_else(append: Append) -> None:
            await elsewhere(store.inner, Deposited("a", 1))

        store.before_append = somebody_else
        with pytest.raises(Conflict, match=f"is at version {MAX_ATTEMPTS}, not at version {MAX_ATTEMPTS - 1}"):
            await it.bus.execute(Deposit("a", 100))
        assert len(store.appends) == MAX_ATTEMPTS and await it.balance("a") == MAX_ATTEMPTS
        store.before_append = None
        await it.bus.execute(Deposit("a", 100))
        assert await it.balance("a") == MAX_ATTEMPTS + 100


@stores
@run
async def test_a_refusal_and_a_nothing_are_only_told_of_the_newest_state(kind: str) -> None:
    async with open_store(kind) as store, bank(store) as it:
        await it.bus.execute(Deposit("a", 1))
        await elsewhere(store, Deposited("a", 9))
        await it.bus.execute(Withdraw("a", 10))
        assert (await it.bus.execute(Settle("a"))).event_ids == ()
        await elsewhere(store, Deposited("a", 3))
        settled = await it.bus.execute(Settle("a"))
        assert len(settled.event_ids) == 1 and await it.balance("a") == 0


@stores
@run
async def test_nothing_to_do_has_a_receipt_of_where_things_stand(kind: str) -> None:
    async with open_store(kind) as store, bank(store) as it:
        first = await it.bus.execute(Deposit("a", 1))
        await it.bus.execute(Withdraw("a", 1))
        nothing = await it.bus.execute(Settle("a"))
        assert (nothing.stream, nothing.version, nothing.event_ids) == ("account-a", 2, ())
        assert nothing.position > first.position
        new = await it.bus.execute(Settle("new"))
        assert (new.version, new.event_ids) == (0, ())


@stores
@run
async def test_an_expected_version_is_kept_to(kind: str) -> None:
    async with open_store(kind) as store, bank(store) as it:
        await it.bus.execute(Deposit("a", 1), expected_version=0)
        await it.bus.execute(Deposit("a", 1), expected_version=1)
        for wrong in (0, 1, 3, 99, -1):
            with pytest.raises(Conflict, match="is at version 2") as failure:
                await it.bus.execute(Deposit("a", 1), expected_version=wrong)
            assert failure.value.actual == 2
        await elsewhere(store, Deposited("a", 1))
        with pytest.raises(Conflict, match="is at version 3"):
            await it.bus.execute(Deposit("a", 1), expected_version=2)
        await elsewhere(store, Deposited("a", 1))
        # What was remembered is behind, but the sender has seen the newest.
        assert (await it.bus.execute(Deposit("a", 1), expected_version=4)).version == 5
        with pytest.raises(Conflict):
            await it.bus.execute(Deposit("new", 1), expected_version=1)


@stores
@run
async def test_commands_at_once_lose_nothing(kind: str) -> None:
    async with open_store(kind) as store, bank(store) as it, bank(store, size=1) as other:

        async def surely(number: int) -> None:
            # Whoever loses too many races is told, and may send the command again.
            while True:
                try:
                    await (it if number % 2 else other).bus.execute(
                        Deposit("a" if number % 3 else "b", number), command_id=str(number)
                    )
                except Conflict:
                    continue
                return

        await asyncio.gather(*(surely(number) for number in range(1, 61)))
        assert await it.balance("a") + await it.balance("b") == sum(range(1, 61))
        versions = [event.version for event in await it.events("a")]
        assert versions == list(range(1, len(versions) + 1))


@stores
@run
async def test_an_unknown_outcome_is_resolved_by_the_same_event_ids(kind: str) -> None:
    async with wrapped(kind) as (it, store):
        lost = [True]

        def lose_the_answer(append: Append, outcome: Outcome) -> None:
            if lost.pop() if lost else False:
                raise OutcomeUnknown

        store.after_append = lose_the_answer
        receipt = await it.bus.execute(Deposit("a", 5))
        assert len(store.appends) == 2 and store.appends[0] == store.appends[1]
        assert receipt.version == 1 and len(await it.events("a")) == 1
        store.after_append = None
        await it.bus.execute(Deposit("a", 5))
        assert await it.balance("a") == 10


@run
async def test_an_outcome_that_stays_unknown_is_told() -> None:
    async with wrapped("memory") as (it, store):

        def lose(append: Append, outcome: Outcome) -> None:
            raise OutcomeUnknown

        store.after_append = lose
        with pytest.raises(OutcomeUnknown):
            await it.bus.execute(Deposit("a", 5))
        store.after_append = None
        await it.bus.execute(Deposit("a", 5))
        assert await it.balance("a") == 10


@run
async def test_a_store_s_trouble_comes_through_and_frees_the_aggregate() -> None:
    async with wrapped("memory") as (it, store):

        async def full(append: Append) -> None:
            raise StoreFull

        store.before_append = full
        with pytest.raises(StoreFull):
            await it.bus.execute(Deposit("a", 5))
        assert isinstance(it.facts[-1], CommandRefused) and it.facts[-1].reason == "StoreFull"
        store.before_append = None
        assert (await it.bus.execute(Deposit("a", 5))).version == 1


@run
async def test_a_cancelled_command_frees_the_aggregate() -> None:
    async with wrapped("memory") as (it, store):
        entered, release = asyncio.Event(), asyncio.Event()

        async def wait(append: Append) -> None:
            entered.set()
            await release.wait()

        store.before_append = wait
        first = asyncio.create_task(it.bus.execute(Deposit("a", 1)))
        await entered.wait()
        second = asyncio.create_task(it.bus.execute(Deposit("a", 2)))
        await asyncio.sleep(0)
        store.before_append = None
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        await second
        assert await it.balance("a") == 2 and not it.bus._gates._queues


# --- What comes before the decision -------------------------------------------------------------------------------


class Unheard(Command):
    id: str


@stores
@run
async def test_bad_commands_never_reach_the_store(kind: str) -> None:
    async with wrapped(kind) as (it, store):
        bad: list[tuple[Command, str]] = [
            (Deposit("a", 0), "$.amount"),
            (Deposit(5, 1), "$.id"),  # type: ignore[arg-type]
            (Deposit("", 1), "$"),
            (Deposit("x" * 10_000, 1), "$"),
            (Deposit("a\0", 1), "$"),
            (Deposit("a\n", 1), "$"),
            (Deposit("\ud800", 1), "$"),
            (Deposit("a", 1, (float("nan"),)), "$.tags[0]"),
        ]
        for command, path in bad:
            if command == Deposit("", 1):
                # An empty id is text like any other to the schema; "account-" is a stream of its own.
                continue
            with pytest.raises(ValidationFailed) as failure:
                await it.bus.execute(command)
            assert failure.value.faults[0].path == path
        assert store.appends == [] and all(isinstance(fact, CommandRefused) for fact in it.facts)
        with pytest.raises(UnknownName, match=r"no command named 'Unheard'\. Known are: Deposit, Settle"):
            await it.bus.execute(Unheard("a"))


@stores
@pytest.mark.parametrize("id_", ["o/1", "50%", "it's", 'a"b', "ä-🦀", "x" * 500, " ", "-", "--"])
@run
async def test_strange_ids_are_kept(kind: str, id_: str) -> None:
    async with open_store(kind) as store, bank(store) as it:
        receipt = await it.bus.execute(Deposit(id_, 1))
        assert receipt.stream == f"account-{id_}"
        assert [event.stream_id for event in await it.events(id_)] == [receipt.stream]


@run
async def test_authorisation_comes_between_schema_and_rules() -> None:
    asked: list[tuple[str | None, Command]] = []

    def authorize(actor: str | None, command: Command) -> None:
        asked.append((actor, command))
        if actor != "ann":
            raise Forbidden("Only Ann may.")

    async def later(actor: str | None, command: Command) -> None:
        await asyncio.sleep(0)
        authorize(actor, command)

    for hook in (authorize, later):
        asked.clear()
        async with open_store("memory") as store, bank(store, authorize=hook) as it:
            with pytest.raises(ValidationFailed):
                await it.bus.execute(Deposit("a", 0))
            assert asked == []
            with pytest.raises(Forbidden):
                await it.bus.execute(Withdraw("a", 1))
            with pytest.raises(Rejected):
                await it.bus.execute(Withdraw("a", 1), actor="ann")
            await it.bus.execute(Deposit("a", 1), actor="ann")
            assert asked[-1] == ("ann", Deposit("a", 1))


# --- What is written on every event -------------------------------------------------------------------------------


@stores
@run
async def test_events_tell_whence_they_came(kind: str) -> None:
    async with open_store(kind) as store, bank(store) as it:
        plain = await it.bus.execute(Deposit("a", 1))
        await it.bus.execute(
            Deposit("a", 1),
            command_id="c-1",
            actor="ann",
            correlation_id="k",
            causation_id="e",
            metadata={"b": [1, "ä"]},
        )
        await it.bus.execute(Deposit("a", 1), command_id="c-2")
        first, second, third = await it.events("a")
        assert (first.correlation_id, first.causation_id, first.actor) == (plain.command_id, plain.command_id, None)
        assert first.metadata == b"{}"
        assert (second.correlation_id, second.causation_id, second.actor) == ("k", "e", "ann")
        assert json.loads(second.metadata) == {"b": [1, "ä"]}
        assert (third.correlation_id, third.causation_id) == ("c-2", "c-2")


@stores
@run
async def test_what_cannot_be_written_on_an_event_is_refused(kind: str) -> None:
    async with open_store(kind) as store, bank(store) as it:
        with pytest.raises(CodecError):
            await it.bus.execute(Deposit("a", 1), metadata={"x": object()})
        with pytest.raises(CodecError):
            await it.bus.execute(Deposit("a", 1), metadata={"x": "\ud800"})
        for name in ("actor", "correlation_id", "causation_id", "command_id"):
            with pytest.raises(ValidationFailed, match="control character"):
                await it.bus.execute(Deposit("a", 1), **{name: "a\nb"})  # type: ignore[arg-type]
        assert await it.events("a") == []


@run
async def test_observers_are_told() -> None:
    async with open_store("memory") as store, bank(store) as it:
        await it.bus.execute(Deposit("a", 1))
        with pytest.raises(Rejected):
            await it.bus.execute(Withdraw("a", 2))
        done, refused = it.facts
        assert isinstance(done, CommandExecuted) and isinstance(refused, CommandRefused)
        assert done[:4] == ("Deposit", "account-a", 1, 1) and 0 <= done.seconds < 60
        assert refused[:2] == ("Withdraw", "Rejected")


@pytest.mark.parametrize("token", ["", "x", "1.5"])
def test_a_token_that_is_none(token: str) -> None:
    with pytest.raises(ValueError, match="invalid literal"):
        position_of(token)


def test_a_receipt_travels_as_its_token() -> None:
    assert position_of(Receipt("c", "s", 1, 42, ()).token) == position_of(42) == 42
