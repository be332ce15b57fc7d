"""Reading: windows of a stream and pages of the log, against a list."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from hypothesis import strategies as st

from foldline.store.spi import (
    Append,
    Appended,
    Claim,
    ClaimReused,
    Expect,
    NewEvent,
    RecordedEvent,
    Store,
    StreamAppend,
    VersionConflict,
)
from foldline.testing.contract.harness import (
    StoreCase,
    event,
    events,
    kept,
    new_id,
    on_examples,
    on_store,
    to,
    together,
    whole_log,
)

TYPES = ("placed", "paid", "shipped")
_ENDS = st.one_of(st.integers(-2, 15), st.sampled_from([2**31, 2**53, 2**63 - 1, 2**63, 2**80]))


class ReadingContract(StoreCase):
    """What is there is read, in order, and nothing else."""

    @on_store
    async def test_there_is_nothing_at_first(self, store: Store) -> None:
        """An empty log ends at 0, and a stream that does not exist has no events."""
        assert await store.head() == 0
        assert await store.read_all() == ([], 0)
        assert await store.read_stream("a-1") == []
        assert await store.read_stream("a-1", backwards=True, limit=1) == []
        assert await store.read_stream("no such stream, nor could there be\n") == []

    @on_examples(
        150,
        size=st.integers(0, 12),
        after=_ENDS,
        upto=st.none() | _ENDS,
        limit=st.none() | _ENDS,
        backwards=st.booleans(),
    )
    async def test_a_window_of_a_stream(
        self, store: Store, size: int, after: int, upto: int | None, limit: int | None, backwards: bool
    ) -> None:
        """``after < version <= upto``, at most ``limit``, in either direction."""
        stream_id = f"a-{new_id()}"
        await kept(store, together(to(stream_id, *events(size)), to(f"{stream_id}-b", *events(3))))
        model = [version for version in range(1, size + 1) if version > after and (upto is None or version <= upto)]
        if backwards:
            model.reverse()
        if limit is not None:
            model = model[: max(limit, 0)]
        read = await store.read_stream(stream_id, after=after, upto=upto, limit=limit, backwards=backwards)
        assert [one.version for one in read] == model
        assert {one.stream_id for one in read} <= {stream_id}

    @on_examples(
        150,
        written=st.lists(st.lists(st.sampled_from(TYPES), min_size=1, max_size=4), max_size=5),
        start=st.integers(-1, 12),
        limit=st.integers(0, 12) | st.sampled_from([2**31, 2**63, 2**80]),
        types=st.none() | st.sets(st.sampled_from([*TYPES, "never"])),
    )
    async def test_a_page_of_the_log(
        self, store: Store, written: list[list[str]], start: int, limit: int, types: Collection[str] | None
    ) -> None:
        """The next events of these types, and a position up to which there is nothing else of them."""
        base = await store.head()
        for kinds in written:
            await kept(store, to(f"a-{new_id()}", *(event(type=kind) for kind in kinds)))
        added = await whole_log(store, base)
        assert [one.type for one in added] == [kind for kinds in written for kind in kinds]
        after = ([base, *(one.position for one in added)])[min(start, len(added))] if start >= 0 else max(base - 1, 0)
        await _check_pages(store, after, limit, types)

    @on_store
    async def test_a_page_beyond_the_end_stays_where_it_is(self, store: Store) -> None:
        """A position that the log has not come to yet is no place to go back from."""
        await kept(store, to("a-1", *events(3)))
        for after in (await store.head(), 2**31, 2**53):
            assert await store.read_all(after=after) == ([], after)
            assert await store.read_all(after=after, types=["happened"]) == ([], after)

    @on_store
    async def test_the_last_position_covers_what_is_of_other_types(self, store: Store) -> None:
        """So that a follower of rare events does not read the rest again and again."""
        await kept(store, to("a-1", event(type="rare"), *events(50)))
        head = await store.head()
        batch = await store.read_all(types={"rare"})
        assert [one.type for one in batch.events] == ["rare"]
        assert batch.position == head
        assert await store.read_all(types=["never"]) == ([], head)
        assert await store.read_all(types=()) == ([], head)

    @on_store
    async def test_a_page_is_a_thousand_events_unless_told(self, store: Store) -> None:
        """And never more than what is asked for."""
        await kept(store, to("a-1", *events(1500)))
        first = await store.read_all()
        assert len(first.events) == 1000
        assert first.position == first.events[-1].position
        second = await store.read_all(after=first.position)
        assert [one.version for one in second.events] == list(range(1001, 1501))
        assert len(await store.read_stream("a-1")) == 1500

    @on_examples(
        40,
        steps=st.lists(
            st.tuples(
                st.sampled_from(["append", "retry"]),
                st.lists(
                    st.tuples(
                        st.integers(0, 2),
                        st.sampled_from([Expect.ANY, Expect.NO_STREAM, 0, 1, 2, 3]),
                        st.integers(0, 3),
                    ),
                    min_size=1,
                    max_size=3,
                    unique_by=lambda part: part[0],
                ),
                st.none() | st.tuples(st.integers(0, 2), st.sampled_from([b"one", b"other"])),
            ),
            max_size=25,
        ),
    )
    async def test_the_store_is_as_a_list(self, store: Store, steps: list[Any]) -> None:
        """Any appends, retries and claims, one after the other, come to what they come to on a list."""
        run, base = new_id(), await store.head()
        model = _Model(base)
        for kind, parts, claimed in steps:
            if kind == "retry" and model.done:
                append = model.done[len(parts) % len(model.done)]
            else:
                claim = None if claimed is None else Claim(f"{run}-{claimed[0]}", claimed[1])
                streams = tuple(StreamAppend(f"{which}-{run}", expected, events(n)) for which, expected, n in parts)
                append = Append(streams, claim)
            outcome = await store.append(append)
            wanted = model.append(append)
            if not isinstance(wanted, Appended) or not isinstance(outcome, Appended):
                assert outcome == wanted
                continue
            assert (outcome.event_ids, outcome.replayed) == (wanted.event_ids, wanted.replayed)
            # What a retry tells of streams to which it adds nothing is left to the adapter.
            added = {stream.stream_id for stream in append.streams if stream.events or not wanted.replayed}
            assert [one for one in outcome.versions if one[0] in added] == [
                one for one in wanted.versions if one[0] in added
            ]
        log = await whole_log(store, base)
        assert [(one.stream_id, one.version, one.event_id) for one in log] == model.log
        for which in range(3):
            read = await store.read_stream(f"{which}-{run}")
            assert read == [one for one in log if one.stream_id == f"{which}-{run}"]


class _Model:
    """A store as a list of (stream, version, event id)."""

    def __init__(self, base: int) -> None:
        self.base = base
        self.log: list[tuple[str, int, Any]] = []
        self.done: list[Append] = []
        self.first: dict[int, Appended] = {}
        self.claims: dict[str, tuple[bytes, Appended]] = {}

    def append(self, append: Append) -> Appended | VersionConflict | ClaimReused:
        if append.claim is not None and append.claim.command_id in self.claims:
            digest, outcome = self.claims[append.claim.command_id]
            return (
                outcome._replace(replayed=True)
                if digest == append.claim.fingerprint
                else ClaimReused(append.claim.command_id)
            )
        if id(append) in self.first and any(stream.events for stream in append.streams):
            return self.first[id(append)]._replace(replayed=True)
        for stream_id, expected, _ in append.streams:
            actual = self.version(stream_id)
            if expected is not Expect.ANY and actual != (0 if expected is Expect.NO_STREAM else expected):
                return VersionConflict(stream_id, expected, actual)
        for stream_id, _, added in append.streams:
            self.add(stream_id, added)
        versions = tuple((stream.stream_id, self.version(stream.stream_id)) for stream in append.streams)
        outcome = Appended(versions, 0, tuple(one.event_id for stream in append.streams for one in stream.events))
        if append.claim is not None:
            self.claims[append.claim.command_id] = (append.claim.fingerprint, outcome)
        self.first[id(append)] = outcome
        self.done.append(append)
        return outcome

    def version(self, stream_id: str) -> int:
        return sum(1 for name, _, _ in self.log if name == stream_id)

    def add(self, stream_id: str, added: Collection[NewEvent]) -> None:
        for one in added:
            self.log.append((stream_id, self.version(stream_id) + 1, one.event_id))


async def _check_pages(store: Store, after: int, limit: int, types: Collection[str] | None) -> None:
    wanted = [one for one in await whole_log(store, after) if types is None or one.type in types]
    head = await store.head()
    batch = await store.read_all(after=after, limit=limit, types=types)
    assert batch.events == wanted[:limit]
    _check_position(after, limit, batch.events, batch.position, wanted, head)
    if limit:
        # Going on after each batch's position, a follower sees all of them once.
        seen: list[RecordedEvent] = []
        while batch.position > after:
            seen += batch.events
            after = batch.position
            batch = await store.read_all(after=after, limit=limit, types=types)
        assert seen == wanted
        assert after >= head


def _check_position(
    after: int, limit: int, found: list[RecordedEvent], position: int, wanted: list[RecordedEvent], head: int
) -> None:
    assert after <= position
    if limit == 0:
        assert position == after, "who asks for nothing comes nowhere"
    elif found:
        assert position >= found[-1].position
    rest = wanted[len(found) :]
    if rest:
        assert position < rest[0].position, "the position passes over an event that was not handed out"
    elif len(found) < limit:
        assert position >= head
