"""An application at work, on both stores: races, refusals, several aggregates, shutting down."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from foldline import Conflict, FoldlineError, Forbidden, Rejected, Running, SyncRunning, ValidationFailed
from foldline.command.bus import MAX_ATTEMPTS
from foldline.errors import CommandIdReused, DefinitionError, StoreClosed, UnknownName, ViewBehind
from foldline.observe import CommandExecuted, CommandRefused, Fact, SnapshotWritten
from tests.integration.app.bank import (
    Account,
    Balance,
    Deposit,
    Rich,
    Transfer,
    Withdraw,
    bank,
)


@pytest.fixture(params=["memory", "sqlite"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return "memory:" if request.param == "memory" else f"sqlite:{tmp_path / 'bank.db'}"


@pytest.fixture
def file_url(tmp_path: Path) -> str:
    return f"sqlite:{tmp_path / 'bank.db'}"


def run(work: Awaitable[None]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(60):
            await work

    asyncio.run(bounded())


def test_a_command_shows_in_the_view_it_waits_for(url: str) -> None:
    async def work() -> None:
        async with bank().open(url) as running:
            receipt = await running.execute(Deposit("a", 5))
            assert (receipt.stream, receipt.version, receipt.replayed) == ("account-a", 1, False)
            page = await running.ask(Rich(1), after=receipt.token)
            assert page.items == [Balance("a", 5, 1)]

    run(work())


def test_a_hot_aggregate_serves_all_who_want_it(url: str) -> None:
    async def work() -> None:
        attempts: list[int] = []

        def observe(fact: Fact) -> None:
            if isinstance(fact, CommandExecuted):
                attempts.append(fact.attempts)

        async with bank().open(url, observer=observe) as running:
            await asyncio.gather(*(running.execute(Deposit("a", 1)) for _ in range(64)))
            assert (await running.load(Account, "a")).balance == 64
        assert attempts == [1] * 64  # the gate lets them through one by one, so none conflicts

    run(work())


def test_transfers_all_over_lose_nothing_and_deadlock_never(url: str) -> None:
    seed = random.randrange(2**32)
    print("seed", seed)
    chance = random.Random(seed)

    async def work() -> None:
        async with bank().open(url) as running:
            names = [f"a{number}" for number in range(6)]
            for name in names:
                await running.execute(Deposit(name, 100))

            async def move() -> None:
                for _ in range(10):
                    source, target = chance.sample(names, 2)
                    try:
                        await running.execute(Transfer(source, target, chance.randrange(1, 60)))
                    except Rejected as rejected:
                        assert rejected.code == "insufficient-funds"

            await asyncio.gather(*(move() for _ in range(16)))
            balances = [(await running.load(Account, name)).balance for name in names]
            assert sum(balances) == 600 and min(balances) >= 0

    run(work())


def test_a_refused_transfer_leaves_nothing_in_either_account(url: str) -> None:
    async def work() -> None:
        async with bank().open(url) as running:
            await running.execute(Deposit("a", 10))
            with pytest.raises(Rejected):
                await running.execute(Transfer("a", "b", 11))
            assert await running.position() == 1

    run(work())


def test_a_refusal_is_made_on_the_newest_state(file_url: str) -> None:
    """Two processes, here two openings: one remembers an empty account while the other fills it."""

    async def work() -> None:
        async with bank().open(file_url) as here, bank().open(file_url) as there:
            await here.execute(Deposit("a", 1))
            await there.execute(Deposit("a", 50))
            assert (await here.execute(Withdraw("a", 40))).version == 3
            assert (await there.execute(Transfer("a", "b", 11))).version == 4
            with pytest.raises(Rejected) as refused:
                await here.execute(Withdraw("a", 1))
            assert refused.value.details == {"balance": 0}

    run(work())


def test_nothing_to_do_is_told_of_the_newest_state(file_url: str) -> None:
    async def work() -> None:
        async with bank().open(file_url) as here, bank().open(file_url) as there:
            await here.execute(Deposit("a", 1))
            await there.execute(Deposit("a", 1))
            receipt = await here.execute(Deposit("a", 0))
            assert (receipt.version, receipt.event_ids) == (2, ())

    run(work())


def test_two_openings_race_and_every_command_counts_once(file_url: str) -> None:
    async def work() -> None:
        async with bank().open(file_url) as here, bank().open(file_url) as there:

            async def add(running: Running) -> None:
                for _ in range(25):
                    await running.execute(Deposit("a", 1))

            await asyncio.gather(*(add(running) for running in (here, there) for _ in range(4)))
            assert (await here.load(Account, "a")).balance == 200
            receipt = await there.execute(Deposit("a", 1))
            assert (await here.views_after(receipt).get(Balance, "a")) == Balance("a", 201, 201)

    run(work())


def test_a_command_id_makes_a_command_safe_to_repeat(url: str) -> None:
    async def work() -> None:
        async with bank().open(url) as running:
            first = await running.execute(Deposit("a", 5), command_id="c-1")
            again = await running.execute(Deposit("a", 5), command_id="c-1")
            assert again.replayed and again.event_ids == first.event_ids and again.position == first.position
            with pytest.raises(CommandIdReused):
                await running.execute(Deposit("a", 6), command_id="c-1")
            # A withdrawal that empties the account would be refused the second time, if it were decided again.
            out = await running.execute(Withdraw("a", 5), command_id="c-2")
            assert (await running.execute(Withdraw("a", 5), command_id="c-2")).event_ids == out.event_ids
            # A refused command leaves its id free.
            with pytest.raises(Rejected):
                await running.execute(Withdraw("a", 1), command_id="c-3")
            await running.execute(Deposit("a", 1))
            assert not (await running.execute(Withdraw("a", 1), command_id="c-3")).replayed
            # At the same moment, too.
            many = await asyncio.gather(
                *(running.execute(Deposit("a", 1), command_id="c-4") for _ in range(10)),
                *(running.execute(Transfer("a", "b", 0), command_id="c-5") for _ in range(3)),
            )
            assert len({one.event_ids for one in many[:10]}) == 1
            assert (await running.load(Account, "a")).balance == 1
            # A decision that nothing is to be done takes the id as well.
            assert not (await running.execute(Deposit("a", 0), command_id="c-6")).replayed
            assert (await running.execute(Deposit("a", 0), command_id="c-6")).replayed

    run(work())


def test_an_expected_version_is_kept_to(url: str) -> None:
    async def work() -> None:
        async with bank().open(url) as running:
            await running.execute(Deposit("a", 5), expected_version=0)
            with pytest.raises(Conflict) as lost:
                await running.execute(Deposit("a", 5), expected_version=0)
            assert lost.value.actual == 1
            with pytest.raises(Conflict):
                await running.execute(Transfer("a", "b", 1), expected_version=7)
            await running.execute(Transfer("a", "b", 1), expected_version=1)
            # The retry of a command that was carried out is answered, though the version has moved on.
            done = await running.execute(Deposit("a", 5), expected_version=2, command_id="c")
            again = await running.execute(Deposit("a", 5), expected_version=2, command_id="c")
            assert again.event_ids == done.event_ids

    run(work())


def test_snapshots_change_no_answer(url: str) -> None:
    seed = random.randrange(2**32)
    print("seed", seed)
    chance = random.Random(seed)

    async def work() -> None:
        written: list[int] = []

        def observe(fact: Fact) -> None:
            if isinstance(fact, SnapshotWritten):
                written.append(fact.version)

        app = bank(cache=0)
        async with app.open(url, observer=observe) as running:
            for _ in range(45):
                await running.execute(Deposit("a", chance.randrange(1, 9)))
                now = await running.load(Account, "a")
                version = len(now.movements)
                assert now == await running.load(Account, "a", at_version=version)
            assert now.balance == sum(now.movements)
        assert written and set(written) <= {10, 20, 30, 40}

    run(work())


def test_the_past_can_be_looked_at(url: str) -> None:
    async def work() -> None:
        async with bank().open(url) as running:
            await running.execute(Deposit("a", 1))
            await running.execute(Deposit("a", 2))
            _, second = await running.store.read_stream("account-a")
            assert (await running.load(Account, "a", at_version=1)).balance == 1
            assert (await running.load(Account, "a", at=second.recorded_at)).balance == 3
            shown = await running.show("account-a", at_version=1)
            assert shown is not None and (shown.version, shown.state.balance) == (1, 1)
            assert await running.show("nothing-a") is None
            assert (await running.load(Account, "nobody")).balance == 0

    run(work())


def test_what_is_loaded_is_a_copy(url: str) -> None:
    async def work() -> None:
        async with bank().open(url) as running:
            await running.execute(Deposit("a", 1))
            (await running.load(Account, "a")).movements.append(1000)
            assert (await running.load(Account, "a")).movements == [1]

    run(work())


def test_every_event_tells_whence_it_came(url: str) -> None:
    async def work() -> None:
        async with bank().open(url) as running:
            await running.execute(
                Transfer("a", "b", 0), command_id="c-1", actor="ann", correlation_id="talk", metadata={"ip": "::1"}
            )
            await running.execute(Deposit("a", 3), command_id="c-2", causation_id="e-9", actor="ann")
            recorded = (await running.store.read_stream("account-a"))[-1].envelope
            assert (recorded.actor, recorded.correlation_id, recorded.causation_id) == ("ann", "c-2", "e-9")

    run(work())


def test_the_trace_goes_with_the_events(url: str) -> None:
    from opentelemetry import trace

    async def work() -> None:
        async with bank().open(url) as running:
            await running.execute(Deposit("a", 1))
            context = trace.SpanContext(0xA, 0xB, is_remote=False, trace_flags=trace.TraceFlags(1))
            with trace.use_span(trace.NonRecordingSpan(context)):
                await running.execute(Deposit("a", 2), metadata={"ip": "::1"})
            without, traced = await running.store.read_stream("account-a")
            assert without.metadata == b"{}"
            assert traced.envelope.metadata == {"traceparent": f"00-{0xA:032x}-{0xB:016x}-01", "ip": "::1"}

    run(work())


def test_bad_commands_are_refused_with_their_faults(url: str) -> None:
    async def work() -> None:
        refused: list[str] = []

        def observe(fact: Fact) -> None:
            if isinstance(fact, CommandRefused):
                refused.append(fact.reason)

        async with bank().open(url, observer=observe) as running:
            with pytest.raises(ValidationFailed, match=r"\$.amount"):
                await running.execute(Deposit("a", "five"))  # type: ignore[arg-type]
            with pytest.raises(ValidationFailed, match="control character"):
                await running.execute(Deposit("a\n", 5))
            with pytest.raises(ValidationFailed):
                await running.execute(Deposit("a" * 10_000, 5))
            with pytest.raises(ValidationFailed):
                await running.execute(Deposit("a", 5), command_id="")
            with pytest.raises(ValidationFailed):
                await running.ask(Rich("many"))  # type: ignore[arg-type]
            with pytest.raises(ValidationFailed, match="position"):
                await running.ask(Rich(1), after="soon")
            assert await running.position() == 0
        assert refused == ["ValidationFailed"] * 4

    run(work())


def test_unknown_messages_name_the_known_ones(url: str) -> None:
    class Close(Deposit):
        pass

    class Poor(Rich):
        pass

    async def work() -> None:
        async with bank().open(url) as running:
            with pytest.raises(UnknownName, match="Deposit"):
                await running.execute(Close("a", 1))
            with pytest.raises(UnknownName, match="Rich"):
                await running.ask(Poor(1))

    run(work())


def test_the_authorisation_hook_comes_before_the_rules(url: str) -> None:
    asked: list[tuple[str | None, str]] = []

    async def authorize(actor: str | None, message: object) -> None:
        asked.append((actor, type(message).__name__))
        if actor != "ann":
            raise Forbidden

    async def work() -> None:
        async with bank(authorize=authorize).open(url) as running:
            with pytest.raises(Forbidden):
                await running.execute(Withdraw("a", 1))
            with pytest.raises(Forbidden):
                await running.ask(Rich(1), actor="bob")
            with pytest.raises(Rejected):
                await running.execute(Withdraw("a", 1), actor="ann")
        assert asked == [(None, "Withdraw"), ("bob", "Rich"), ("ann", "Withdraw")]

    run(work())


def test_waiting_for_a_view_ends_at_its_deadline(file_url: str) -> None:
    async def work() -> None:
        async with bank().open(file_url, run_projections=False) as running:
            receipt = await running.execute(Deposit("a", 1))
            with pytest.raises(ViewBehind):
                await running.ask(Rich(1), after=receipt, timeout=0.05)

    run(work())


def test_one_process_reads_the_views_that_another_keeps(file_url: str) -> None:
    async def work() -> None:
        async with bank().open(file_url), bank().open(file_url, run_projections=False) as reader:
            receipt = await reader.execute(Deposit("a", 7))
            assert (await reader.ask(Rich(1), after=receipt)).items == [Balance("a", 7, 1)]

    run(work())


def test_closing_finishes_what_was_accepted(url: str) -> None:
    async def work() -> None:
        app = bank()
        async with app.open(url) as running:
            pending = [asyncio.ensure_future(running.execute(Deposit(f"a{n}", 1))) for n in range(50)]
            while not any(one.done() for one in pending):
                await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
        assert [one.result().version for one in pending] == [1] * 50
        with pytest.raises(StoreClosed):
            await running.execute(Deposit("a", 1))

    run(work())


def test_a_service_is_entered_and_left_with_the_application(url: str) -> None:
    seen: list[str] = []

    class Mailer:
        async def __aenter__(self) -> Mailer:
            seen.append("in")
            return self

        async def __aexit__(self, *_: object) -> None:
            seen.append("out")

    async def work() -> None:
        async with bank(services=[Mailer()]).open(url):
            assert seen == ["in"]
        assert seen == ["in", "out"]

    run(work())


def test_the_blocking_facade_serves_many_threads(url: str) -> None:
    with bank().open_sync(url) as running:
        failures: list[BaseException] = []

        def add() -> None:
            try:
                for _ in range(20):
                    running.execute(Deposit("a", 1))
            except BaseException as error:
                failures.append(error)

        threads = [threading.Thread(target=add) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert not failures
        assert running.load(Account, "a").balance == 160
        receipt = running.execute(Deposit("a", 1))
        assert running.ask(Rich(1), after=receipt).items == [Balance("a", 161, 161)]
        with pytest.raises(Rejected):
            running.execute(Withdraw("a", 1000))

        async def blocks() -> None:
            running.execute(Deposit("a", 1))

        with pytest.raises(FoldlineError, match="await"):
            running.wait_for(blocks())
    with pytest.raises(StoreClosed):
        running.execute(Deposit("a", 1))


def test_the_blocking_facade_tells_why_it_cannot_open(tmp_path: Path) -> None:
    from foldline.errors import CannotOpen

    with pytest.raises(CannotOpen, match="directory"), bank().open_sync(f"sqlite:{tmp_path}"):
        pass


def test_the_blocking_facade_has_every_coroutine_of_the_other() -> None:
    import inspect

    wanted = {
        name
        for name, method in vars(Running).items()
        if inspect.iscoroutinefunction(method) and not name.startswith("_")
    }
    assert wanted <= set(vars(SyncRunning))


def test_an_app_that_does_not_fit_together_is_refused() -> None:
    from foldline import App

    for parts, said in (
        ((Account, Account), "share the name"),
        ((Balance, Balance), "Two projections"),
        ((Deposit,), "give it what handles it"),
        ((object(),), "cannot use"),
        ((run,), "cannot use"),
    ):
        with pytest.raises(DefinitionError, match=said):
            App("bad", *parts)


def test_attempts_are_bounded(file_url: str) -> None:
    """Somebody who is always faster: each attempt finds the version gone."""

    async def work() -> None:
        async with bank().open(file_url) as here, bank().open(file_url) as there:
            append: Callable[..., Awaitable[object]] = here.store.append
            tried = 0

            async def slower(wanted: object) -> object:
                nonlocal tried
                tried += 1
                await there.execute(Deposit("a", 1))
                return await append(wanted)

            here.store.append = slower  # type: ignore[method-assign, assignment]
            with pytest.raises(Conflict):
                await here.execute(Deposit("a", 1000))
            assert tried == MAX_ATTEMPTS
            assert (await there.load(Account, "a")).balance == MAX_ATTEMPTS

    run(work())
