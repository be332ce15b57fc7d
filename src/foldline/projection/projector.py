"""The pure part of projecting: a batch of events decoded once, and what each view makes of it.

Nothing here awaits or touches a store, so a big batch can be folded on a worker thread. First the keys that a
batch touches are known, then their rows are loaded by somebody else, then the events are folded into them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any, NamedTuple, TypeAlias

from foldline.domain.codec import Codec
from foldline.domain.message import Event
from foldline.errors import CodecError
from foldline.projection.sql import SqlRoute, SqlType
from foldline.projection.view import DELETE, Route, ViewType
from foldline.store.spi import RecordedEvent, Row


class Undecodable(NamedTuple):
    """Stands for an event whose bytes do not fit the code's type: those who project it fail on it."""

    name: str
    error: CodecError


Decoded: TypeAlias = tuple[Event | Undecodable, RecordedEvent]


class FoldFailed(Exception):
    """A projection could not handle its share of a batch.

    ``position`` is that of the event it failed on, or None where only the share as a whole is known to be at
    fault.
    """

    def __init__(self, position: int | None, error: BaseException) -> None:
        self.position = position
        self.error = error
        super().__init__(f"{type(error).__name__}: {error}")


def decode(codec: Codec, events: Iterable[RecordedEvent], names: Collection[str]) -> list[Decoded]:
    """The events of some types, decoded; those of others, or that no code knows, are left out undecoded."""
    decoded: list[Decoded] = []
    add = decoded.append
    decode_event = codec.decode_event
    for recorded in events:
        name = recorded.type
        if name in names:
            try:
                event = decode_event(name, recorded.schema_version, recorded.data)
            except CodecError as error:
                add((Undecodable(name, error), recorded))
            else:
                if event is not None:
                    add((event, recorded))
    return decoded


class Changes(NamedTuple):
    """What a batch makes of a view's table."""

    upserts: list[Row]
    deletes: list[Any]


class ViewShare:
    """One view's share of a batch: which of its events concern it, and which rows they touch.

    ``limit`` and ``before`` bound it, for a projection that feels its way towards an event it fails on; what
    is left out comes again in a later batch. ``position`` is how far the share reaches. Raises FoldFailed
    where the keys of an event cannot be told.
    """

    __slots__ = ("_decoded", "_keys", "_routes", "keys", "position", "view")

    def __init__(
        self,
        view: ViewType[Any],
        events: Sequence[Decoded],
        position: int,
        *,
        after: int = 0,
        before: int | None = None,
        limit: int | None = None,
    ) -> None:
        self.view = view
        self.position = position
        # One step each: three lists instead of tuples, which are a million objects for the garbage collector to visit.
        self._keys: list[Any] = []
        self._routes: list[Route] = []
        self._decoded: list[Decoded] = []
        self.keys: dict[Any, None] = {}
        routes, names = view.routes, view.names
        add_key, add_route, add_decoded, keys = self._keys.append, self._routes.append, self._decoded.append, self.keys
        events, self.position = _bounded(events, routes, names, position, after, before, limit)
        recorded: RecordedEvent | None = None
        try:
            for decoded in events:
                event, recorded = decoded
                route = routes.get(type(event))  # type: ignore[arg-type]
                if route is None:
                    if isinstance(event, Undecodable) and event.name in names:
                        raise event.error
                    continue
                touched = (route.key(event),) if route.key is not None else route.keys(event)  # type: ignore[misc]
                for key in touched:
                    keys[key] = None
                    add_key(key)
                    add_route(route)
                    add_decoded(decoded)
        except Exception as error:
            raise FoldFailed(recorded.position if recorded else None, error) from error

    @property
    def count(self) -> int:
        """How many handler calls it takes."""
        return len(self._keys)

    def positions(self) -> list[int]:
        """Where its events are in the log."""
        return list(dict.fromkeys(recorded.position for _, recorded in self._decoded))

    def stored_keys(self, known: Collection[Any]) -> list[Any]:
        """The keys, as the table has them, of the rows to load: those that are not known already."""
        encode = self.view.key.encode
        missing = [key for key in self.keys if key not in known] if known else list(self.keys)
        return missing if encode is None else [encode(key) for key in missing]

    def fold(self, loaded: Iterable[Row], states: dict[Any, Any], *, careful: bool = False) -> Changes:
        """Fold the events into the rows, and tell what changed.

        ``states`` holds rows known from before (None: there is none) and is changed in place; where this
        raises FoldFailed it must be thrown away. ``careful`` looks at each row after each event rather than
        at the end, to find the event after which a row does not fit its table.
        """
        view = self.view
        key_name = view.key.name
        struct = view.struct
        for row in loaded:
            state = struct(row)
            states[getattr(state, key_name)] = state
        new, get = view.cls, states.get
        recorded: RecordedEvent | None = None
        try:
            for key, route, (event, recorded) in zip(self._keys, self._routes, self._decoded, strict=True):
                state = get(key)
                if state is None:
                    state = states[key] = new(key)
                result = (
                    route.handler(state, event, recorded.envelope) if route.envelope else route.handler(state, event)
                )
                if result is not None:
                    if result is not DELETE:
                        raise TypeError(f"{route.where} returned {result!r:.80}: return None or DELETE")
                    states[key] = None
                elif careful:
                    self._row(key, state)
        except Exception as error:
            raise FoldFailed(recorded.position if recorded else None, error) from error
        return self._changes(states)

    def _changes(self, states: dict[Any, Any]) -> Changes:
        encode = self.view.key.encode
        upserts: list[Row] = []
        deletes: list[Any] = []
        try:
            for key in self.keys:
                state = states.get(key)
                if state is None:
                    deletes.append(key if encode is None else encode(key))
                else:
                    upserts.append(self._row(key, state))
        except Exception as error:
            raise FoldFailed(None, error) from error
        return Changes(upserts, deletes)

    def _row(self, key: Any, state: Any) -> Row:
        row = self.view.row(state)
        encode = self.view.key.encode
        if row[0] != (key if encode is None else encode(key)):
            raise ValueError(
                f"{self.view.cls.__name__}.{self.view.key.name} was changed from {key!r} to {row[0]!r}: "
                "a handler must leave the key alone"
            )
        return row


class SqlShare:
    """One SQL projection's share of a batch, bounded as a `ViewShare` is."""

    __slots__ = ("position", "projection", "steps")

    def __init__(
        self,
        projection: SqlType,
        events: Sequence[Decoded],
        position: int,
        *,
        after: int = 0,
        before: int | None = None,
        limit: int | None = None,
    ) -> None:
        routes, names = projection.routes, projection.names
        events, self.position = _bounded(events, routes, names, position, after, before, limit)
        self.projection = projection
        self.steps: list[tuple[SqlRoute, Event, RecordedEvent]] = []
        for event, recorded in events:
            if isinstance(event, Undecodable):
                if event.name in names:
                    raise FoldFailed(recorded.position, event.error)
            elif (route := routes.get(type(event))) is not None:
                self.steps.append((route, event, recorded))

    @property
    def count(self) -> int:
        """How many handler calls it takes."""
        return len(self.steps)

    def positions(self) -> list[int]:
        """Where its events are in the log."""
        return [recorded.position for _, _, recorded in self.steps]


def _bounded(
    events: Sequence[Decoded],
    routes: Any,
    names: Collection[str],
    position: int,
    after: int,
    before: int | None,
    limit: int | None,
) -> tuple[Sequence[Decoded], int]:
    """The events above ``after``, fewer where a bound says so, and how far they reach."""
    if events and events[0][1].position <= after:
        events = [one for one in events if one[1].position > after]
    if before is not None and before <= position:
        events = [one for one in events if one[1].position < before]
        position = before - 1
    if limit is not None:
        mine = [one for one in events if type(one[0]) in routes or one[1].type in names]
        if len(mine) > limit:
            events = mine[:limit]
            position = events[-1][1].position
    return events, position
