"""Doing it again: unknown outcomes are resolved by event ids, and commands by their claims (G1)."""

from __future__ import annotations

import asyncio

import pytest

from foldline.errors import EventIdReused, ValidationFailed
from foldline.store.spi import (
    Append,
    Appended,
    Claim,
    Claimed,
    ClaimReused,
    Expect,
    ExpectedVersion,
    Store,
    StreamAppend,
)
from foldline.testing.contract.harness import (
    StoreCase,
    appended,
    conflict,
    event,
    events,
    kept,
    on_store,
    to,
    together,
    whole_log,
)

EXPECTATIONS: tuple[ExpectedVersion, ...] = (Expect.ANY, Expect.NO_STREAM, 0)


class RetryContract(StoreCase):
    """An append is retried under the same event ids when its outcome is not known."""

    @pytest.mark.parametrize("expected", EXPECTATIONS, ids=str)
    @on_store
    async def test_an_append_that_is_retried_is_there_once(self, store: Store, expected: ExpectedVersion) -> None:
        """It succeeds, tells the first outcome, and adds nothing, also when its stream has moved on since."""
        append = to("a-1", *events(3), expected=expected)
        first = await kept(store, append)
        assert await store.append(append) == first._replace(replayed=True)
        await kept(store, together(to("a-1", *events(2)), to("b-1", event())))
        before = await whole_log(store)
        assert await store.append(append) == first._replace(replayed=True)
        assert await whole_log(store) == before

    @on_store
    async def test_an_append_in_the_middle_of_a_stream_is_retried(self, store: Store) -> None:
        """With the number of the version that it was decided on."""
        await kept(store, to("a-1", *events(2)))
        append = to("a-1", *events(2), expected=2)
        first = await kept(store, append)
        await kept(store, to("a-1", event(), expected=4))
        assert await store.append(append) == first._replace(replayed=True)
        assert len(await store.read_stream("a-1")) == 5

    @on_store
    async def test_an_append_to_several_streams_is_retried(self, store: Store) -> None:
        """As a whole, whatever each of its streams was expected to be at."""
        append = together(
            to("a-1", *events(2), expected=0), to("b-1", event()), to("c-1", event(), expected=Expect.NO_STREAM)
        )
        first = await kept(store, append)
        await kept(store, to("b-1", event()))
        before = await whole_log(store)
        assert await store.append(append) == first._replace(replayed=True)
        assert await whole_log(store) == before

    @on_store
    async def test_retries_in_the_same_moment_yield_one_copy(self, store: Store) -> None:
        """One of them records it and the others are told so, whatever they expect."""
        for number, expected in enumerate(EXPECTATIONS):
            append = together(to(f"a-{number}", *events(2), expected=expected), to(f"b-{number}", event()))
            outcomes = [appended(one) for one in await asyncio.gather(*(store.append(append) for _ in range(16)))]
            assert [one.replayed for one in outcomes].count(False) == 1
            assert len({one._replace(replayed=False) for one in outcomes}) == 1
            assert len(await store.read_stream(f"a-{number}")) == 2

    @on_store
    async def test_a_retry_with_more_events_is_refused(self, store: Store) -> None:
        """What is recorded already cannot be told from what is not, and nothing is added."""
        old = events(2)
        await kept(store, to("a-1", *old))
        before = await whole_log(store)
        for more in (
            to("a-1", *old, event()),
            to("a-1", event(), *old),
            to("a-1", *old, event(), expected=0),
            to("a-1", *old, event(), expected=2),
            together(to("a-1", *old), to("b-1", event())),
            together(to("b-1", event()), to("a-1", old[1])),
        ):
            with pytest.raises(EventIdReused):
                await store.append(more)
        assert await whole_log(store) == before

    @on_store
    async def test_a_retry_with_fewer_events_adds_nothing(self, store: Store) -> None:
        """All its events are recorded in its stream, so it is a success."""
        old = events(3)
        await kept(store, to("a-1", *old))
        before = await whole_log(store)
        fewer = appended(await store.append(to("a-1", *old[:2], expected=0)))
        assert fewer.replayed
        assert fewer.event_ids == tuple(one.event_id for one in old[:2])
        assert await whole_log(store) == before

    @on_store
    async def test_an_event_id_of_another_stream_is_refused(self, store: Store) -> None:
        """The same events elsewhere are something else."""
        old = events(2)
        await kept(store, to("a-1", *old))
        before = await whole_log(store)
        for elsewhere in (
            to("b-1", *old),
            to("b-1", old[0], expected=0),
            together(to("a-1", old[0]), to("b-1", old[1])),
        ):
            with pytest.raises(EventIdReused):
                await store.append(elsewhere)
        assert await whole_log(store) == before

    @on_store
    async def test_event_ids_that_stand_otherwise_are_refused(self, store: Store) -> None:
        """With another event between them in their stream, or in another order than was given."""
        old, pair = events(3), events(2)
        await kept(store, to("a-1", old[0]))
        await kept(store, to("a-1", event()))
        await kept(store, to("a-1", *old[1:]))
        await kept(store, together(to("b-1", pair[0]), to("c-1", pair[1])))
        before = await whole_log(store)
        for otherwise in (
            to("a-1", *old),
            to("a-1", old[0], old[1], expected=0),
            to("a-1", old[2], old[1]),
            together(to("c-1", pair[1]), to("b-1", pair[0])),
        ):
            with pytest.raises(EventIdReused):
                await store.append(otherwise)
        assert await whole_log(store) == before

    @on_store
    async def test_what_stands_between_its_streams_in_the_log_is_no_matter(self, store: Store) -> None:
        """Only in a stream is an append in one piece, so nothing is to be told from what others recorded meanwhile."""
        one, other = events(2), events(2)
        await kept(store, to("a-1", *one))
        await kept(store, to("c-1", event()))
        await kept(store, to("b-1", *other))
        before = await whole_log(store)
        again = appended(await store.append(together(to("a-1", *one), to("b-1", *other))))
        assert again.replayed
        assert again.versions == (("a-1", 2), ("b-1", 2))
        assert again.position == before[-1].position
        assert await whole_log(store) == before

    @on_store
    async def test_an_event_id_twice_in_one_append_is_refused(self, store: Store) -> None:
        """In one stream or in two."""
        one = event()
        for append in (to("a-1", one, one), together(to("a-1", one), to("b-1", one))):
            with pytest.raises(EventIdReused):
                await store.append(append)
        assert await whole_log(store) == []

    @on_store
    async def test_a_refused_append_fails_alone(self, store: Store) -> None:
        """Those that are appended in the same moment are kept."""
        old = event()
        await kept(store, to("old-1", old))
        appends = [to(f"a-{number}", *events(2)) for number in range(30)]
        appends[7] = together(to("a-7", event()), to("b-1", old))
        appends[9] = to("a-9", event(), expected=5)
        appends[11] = to("old-1", old)
        outcomes = await asyncio.gather(*map(store.append, appends), return_exceptions=True)
        assert isinstance(outcomes[7], EventIdReused)
        assert not isinstance(outcomes[9], BaseException)
        assert conflict(outcomes[9]).actual == 0
        for number, outcome in enumerate(outcomes):
            if number not in (7, 9):
                assert isinstance(outcome, Appended), outcome
                assert outcome.replayed is (number == 11)
        assert len(await whole_log(store)) == 1 + 27 * 2


class ClaimContract(StoreCase):
    """A command id is claimed in the append's own transaction."""

    @on_store
    async def test_a_claim_is_remembered(self, store: Store) -> None:
        """With the body's digest and the outcome; an id that was not claimed has none."""
        claim = Claim("command-1", b"\x00digest\xff")
        assert await store.claimed("command-1") is None
        outcome = await kept(store, together(to("a-1", *events(2)), to("b-1", event()), claim=claim))
        assert await store.claimed("command-1") == Claimed(b"\x00digest\xff", outcome)
        assert await store.claimed("command-2") is None

    @on_store
    async def test_the_same_command_again_is_told_its_first_outcome(self, store: Store) -> None:
        """Though its events have other ids now and its streams have moved on: nothing is added."""
        claim = Claim("c", b"body")
        first = await kept(store, to("a-1", *events(2), expected=0, claim=claim))
        await kept(store, to("a-1", event()))
        before = await whole_log(store)
        for again in (
            to("a-1", *events(2), expected=0, claim=claim),
            to("a-1", *events(1), expected=3, claim=claim),
            to("b-1", *events(4), claim=claim),
            Append((), claim),
        ):
            assert await store.append(again) == first._replace(replayed=True)
        assert await whole_log(store) == before

    @on_store
    async def test_another_command_under_the_same_id_is_refused(self, store: Store) -> None:
        """Whatever else may be wrong or right with it, nothing of it is kept."""
        await kept(store, to("a-1", event(), claim=Claim("c", b"body")))
        before = await whole_log(store)
        for expected in (Expect.ANY, 0, 1, 9):
            assert await store.append(to("a-1", event(), expected=expected, claim=Claim("c", b"other"))) == ClaimReused(
                "c"
            )
        known = await store.claimed("c")
        assert known is not None and known.fingerprint == b"body"
        assert await whole_log(store) == before

    @on_store
    async def test_one_command_many_times_at_once_is_carried_out_once(self, store: Store) -> None:
        """Each has decided by itself, on events with ids of their own."""
        claim = Claim("c", b"body")
        outcomes = [
            appended(one)
            for one in await asyncio.gather(*(store.append(to("a-1", *events(2), claim=claim)) for _ in range(32)))
        ]
        assert [one.replayed for one in outcomes].count(False) == 1
        assert len({one._replace(replayed=False) for one in outcomes}) == 1
        assert len(await whole_log(store)) == 2

    @on_store
    async def test_two_commands_under_one_id_at_once(self, store: Store) -> None:
        """One wins; those with its body are told so, and those with the other are refused."""
        outcomes = await asyncio.gather(
            *(store.append(to("a-1", event(), claim=Claim("c", b"ab"[turn % 2 :][:1]))) for turn in range(32))
        )
        known = await store.claimed("c")
        assert known is not None
        for turn, outcome in enumerate(outcomes):
            if b"ab"[turn % 2 :][:1] == known.fingerprint:
                assert appended(outcome)._replace(replayed=False) == known.outcome
            else:
                assert outcome == ClaimReused("c")
        assert len(await whole_log(store)) == 1

    @on_store
    async def test_a_command_without_events_is_claimed_too(self, store: Store) -> None:
        """So that it is not carried out later, when it would have some. Its position is the log's end."""
        end = (await kept(store, to("a-1", *events(3)))).position
        for command_id, streams in (("none", ()), ("some", (StreamAppend("a-1", 3, ()),))):
            claim = Claim(command_id, b"body")
            outcome = await kept(store, Append(streams, claim))
            assert (outcome.position, outcome.event_ids) == (end, ())
            assert outcome.versions == tuple(("a-1", 3) for _ in streams)
            assert await store.append(to("a-1", event(), claim=claim)) == outcome._replace(replayed=True)
        assert await store.head() == end

    @on_store
    async def test_a_conflict_leaves_the_id_free(self, store: Store) -> None:
        """The command is decided again and appended under it."""
        claim = Claim("c", b"body")
        await kept(store, to("a-1", event()))
        conflict(await store.append(to("a-1", event(), expected=0, claim=claim)))
        assert await store.claimed("c") is None
        outcome = await kept(store, to("a-1", event(), expected=1, claim=claim))
        assert await store.claimed("c") == Claimed(b"body", outcome)

    @on_store
    async def test_a_refused_append_leaves_the_id_free(self, store: Store) -> None:
        """Be it refused for its text or for its event ids."""
        old = event()
        await kept(store, to("a-1", old))
        with pytest.raises(ValidationFailed):
            await store.append(to("a-1", event(b"nonsense"), claim=Claim("c", b"body")))
        with pytest.raises(EventIdReused):
            await store.append(to("a-1", old, event(), claim=Claim("c", b"body")))
        assert await store.claimed("c") is None
        for bad in ("", "a\x00", "\ud800", "x" * 10_000):
            with pytest.raises(ValidationFailed):
                await store.append(to("b-1", event(), claim=Claim(bad, b"body")))
        assert len(await whole_log(store)) == 1

    @on_store
    async def test_a_claimed_append_that_is_retried_is_there_once(self, store: Store) -> None:
        """Its claim and its event ids say the same."""
        append = to("a-1", *events(2), expected=0, claim=Claim("c", b"body"))
        first = await kept(store, append)
        assert await store.append(append) == first._replace(replayed=True)
        assert await store.append(append._replace(claim=None)) == first._replace(replayed=True)
        assert len(await whole_log(store)) == 2
