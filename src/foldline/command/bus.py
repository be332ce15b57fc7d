"""The one way in: validates a command, has it decided, records the events, and hands back a receipt."""

from __future__ import annotations

import sys
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, TypeAlias
from uuid import UUID

from uuid_utils.compat import uuid7

from foldline.command.gates import Gates
from foldline.command.handler import Ask, Change, Context, GatesNeeded, HandlerType, Origin
from foldline.command.idempotency import claim_for, first_receipt
from foldline.command.loader import Loaded, Loader
from foldline.command.receipt import Receipt, receipt_of
from foldline.command.snapshots import Snapshots
from foldline.domain.aggregate import AggregateType
from foldline.domain.codec import Codec, check, encode
from foldline.domain.decider import run
from foldline.domain.message import Command, Event, Query, check_id
from foldline.domain.state import copier
from foldline.errors import CommandIdReused, Conflict, FoldlineError, OutcomeUnknown, Rejected, UnknownName
from foldline.observe import CommandExecuted, CommandRefused, Observer
from foldline.store.spi import (
    Append,
    Appended,
    Claim,
    ClaimReused,
    EventStore,
    NewEvent,
    Outcome,
    StreamAppend,
    VersionConflict,
)

MAX_ATTEMPTS = 16
"""How often a command is decided before a conflict is given up on and told to the sender."""

Authorize: TypeAlias = Callable[[str | None, Command | Query[Any]], Awaitable[None] | None]
"""Raises Forbidden if the actor may not give the command or ask the query; after the schema, before the rules."""


class Bus:
    """Carries out commands, each by the aggregate or the application-level handler that takes its type."""

    def __init__(
        self,
        *,
        store: EventStore,
        loader: Loader,
        snapshots: Snapshots,
        codec: Codec,
        aggregates: Iterable[AggregateType[Any]],
        handlers: Iterable[HandlerType],
        services: Callable[[type, str], Any],
        ask: Ask,
        authorize: Authorize | None = None,
        observer: Observer | None = None,
        new_id: Callable[[], UUID] = uuid7,
    ) -> None:
        self._store = store
        self._loader = loader
        self._snapshots = snapshots
        self._codec = codec
        self._aggregates = {command: one for one in aggregates for command in one.commands}
        self._handlers = {command: one for one in handlers for command in one.commands}
        self._services = services
        self._ask = ask
        self._authorize = authorize
        self._observer = observer
        self._new_id = new_id
        self._gates = Gates()

    async def execute(
        self,
        command: Command,
        *,
        command_id: str | None = None,
        expected_version: int | None = None,
        actor: str | None = None,
        correlation_id: str | None = None,
        causation_id: str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> Receipt:
        """Carry out a command.

        A ``command_id`` that the sender chose makes the command idempotent: sent again it adds nothing and yields the
        first receipt. ``expected_version`` is what the sender saw the aggregate at; another version is a Conflict at
        once. ``metadata`` is any JSON-able mapping, kept with every event.

        Raises ValidationFailed, Forbidden, Rejected, Conflict (also after `MAX_ATTEMPTS` lost races), CommandIdReused,
        UnknownName for a type that nothing handles, CodecError for events that could not be read again, StoreError.
        """
        started = time.perf_counter()
        try:
            command, body = check(command)
            if self._authorize is not None and (pending := self._authorize(actor, command)) is not None:
                await pending
            claim = None if command_id is None else claim_for(check_id("The command id", command_id), command, body)
            origin = self._origin(command_id, actor, correlation_id, causation_id, metadata)
            aggregate = self._aggregates.get(type(command))
            if aggregate is not None:
                receipt, events, attempts = await self._decide(aggregate, command, origin, claim, expected_version)
            else:
                receipt, events, attempts = await self._handle(command, origin, claim, expected_version)
        except FoldlineError as error:
            if self._observer is not None:
                spent = time.perf_counter() - started
                self._observer(CommandRefused(type(command).__message_name__, type(error).__name__, spent))
            raise
        if self._observer is not None:
            spent = time.perf_counter() - started
            self._observer(CommandExecuted(type(command).__message_name__, receipt.stream, events, attempts, spent))
        return receipt

    def _origin(
        self,
        command_id: str | None,
        actor: str | None,
        correlation_id: str | None,
        causation_id: str | None,
        metadata: Mapping[str, Any] | None,
    ) -> Origin:
        id_ = command_id or str(self._new_id())
        noted = _trace_context()
        if metadata:
            noted = {**noted, **metadata}
        return Origin(id_, correlation_id or id_, causation_id or id_, actor, encode(noted) if noted else b"{}")

    # --- A command that one aggregate decides on ---------------------------------------------------------------------

    async def _decide(
        self,
        aggregate: AggregateType[Any],
        command: Command,
        origin: Origin,
        claim: Claim | None,
        expected_version: int | None,
    ) -> tuple[Receipt, int, int]:
        stream_id = check_id("The aggregate's id", aggregate.stream_for(command))
        copied = copier(aggregate.state_type)
        await self._gates.enter(stream_id)
        try:
            loaded = self._loader.recall(stream_id)
            fresh = loaded is None
            if loaded is None:
                loaded = await self._loader.load(aggregate, stream_id)
            attempt = 0
            while True:
                attempt += 1
                # A refusal, and a decision that nothing is to be done, are only true of the newest state: one that was
                # remembered may be behind another process.
                try:
                    if expected_version is not None and loaded.version != expected_version:
                        raise VersionConflict(stream_id, expected_version, loaded.version).error()
                    events, state = run(aggregate.decider, command, copied(loaded.state))
                except (Rejected, Conflict):
                    if not fresh and (newer := await self._newer(aggregate, stream_id, loaded)):
                        loaded, fresh = newer, True
                        continue
                    if claim is not None and (receipt := await first_receipt(self._store, claim)) is not None:
                        return receipt, 0, attempt
                    raise
                if not events:
                    if not fresh and (newer := await self._newer(aggregate, stream_id, loaded)):
                        loaded, fresh = newer, True
                        continue
                    if claim is None:
                        return Receipt(origin.command_id, stream_id, loaded.version, loaded.position, ()), 0, attempt
                outcome = await self._append(
                    Append((StreamAppend(stream_id, loaded.version, self._new_events(events, origin)),), claim)
                )
                if isinstance(outcome, Appended):
                    if not outcome.replayed:
                        self._recorded(stream_id, Change(aggregate, loaded, state, events), outcome)
                    return receipt_of(origin.command_id, outcome), len(events), attempt
                if isinstance(outcome, ClaimReused):
                    raise CommandIdReused(outcome.command_id)
                if attempt == MAX_ATTEMPTS or expected_version is not None:
                    raise outcome.error()
                if self._went_back(outcome):
                    loaded = await self._loader.load(aggregate, stream_id)
                else:
                    loaded = await self._loader.catch_up(aggregate, stream_id, loaded)
                fresh = True
        finally:
            self._gates.leave(stream_id)

    def _went_back(self, conflict: VersionConflict) -> bool:
        """Whether a stream has less than was seen of it, as after a failover that lost events; it is then forgotten."""
        remembered = self._loader.recall(conflict.stream_id)
        if remembered is None or conflict.actual >= remembered.version:
            return False
        self._loader.forget(conflict.stream_id)
        return True

    async def _newer(self, aggregate: AggregateType[Any], stream_id: str, loaded: Loaded) -> Loaded | None:
        """The state caught up, or None where nothing had come after it."""
        newer = await self._loader.catch_up(aggregate, stream_id, loaded)
        return newer if newer.version != loaded.version else None

    # --- A command that an application-level handler takes -----------------------------------------------------------

    async def _handle(
        self, command: Command, origin: Origin, claim: Claim | None, expected_version: int | None
    ) -> tuple[Receipt, int, int]:
        handler = self._handlers.get(type(command))
        if handler is None:
            known = [one.__message_name__ for one in (*self._aggregates, *self._handlers)]
            raise UnknownName("command", type(command).__message_name__, known)
        if claim is not None and (receipt := await first_receipt(self._store, claim)) is not None:
            return receipt, 0, 0
        services = {name: self._services(kind, handler.name) for name, kind in handler.services.items()}
        wanted: frozenset[str] = frozenset()
        attempt = 0
        while True:
            held: set[str] = set()
            try:
                for stream_id in sorted(wanted):
                    await self._gates.enter(stream_id)
                    held.add(stream_id)
                context = Context(origin, self._aggregates, self._loader, self._gates, held, self._ask)
                attempt += 1
                try:
                    await self._run(handler, command, context, services)
                    outcome = await self._append_changes(context, origin, claim, expected_version)
                except GatesNeeded as needed:
                    wanted = needed.streams
                    attempt -= 1
                    continue
                except Rejected:
                    # As in _decide: a refusal by states that another process has moved on is none, and neither is
                    # one by what this very command, sent twice at once, has done already.
                    if attempt < MAX_ATTEMPTS and not await self._were_current(context):
                        continue
                    if claim is not None and (receipt := await first_receipt(self._store, claim)) is not None:
                        return receipt, 0, attempt
                    raise
                if isinstance(outcome, Appended):
                    if not outcome.replayed:
                        for stream_id, change in context.changes.items():
                            self._recorded(stream_id, change, outcome)
                    events = sum(len(change.events) for change in context.changes.values())
                    return receipt_of(origin.command_id, outcome), events, attempt
                if isinstance(outcome, ClaimReused):
                    raise CommandIdReused(outcome.command_id)
                if attempt == MAX_ATTEMPTS or expected_version is not None:
                    raise outcome.error()
                wanted = frozenset(context.changes)
                if not self._went_back(outcome):
                    await self._were_current(context)
            finally:
                for stream_id in held:
                    self._gates.leave(stream_id)

    async def _run(self, handler: HandlerType, command: Command, context: Context, services: Mapping[str, Any]) -> None:
        """One attempt of a handler; raises GatesNeeded where it came upon one, in whichever of its tasks."""
        try:
            await handler.function(command, context, **services)
        except (GatesNeeded, BaseExceptionGroup):
            if context.needed is None:
                raise
        finally:
            context.end()
        if context.needed is not None:
            raise GatesNeeded(context.needed)

    async def _append_changes(
        self, context: Context, origin: Origin, claim: Claim | None, expected_version: int | None
    ) -> Outcome:
        """Append what a handler decided; streams that it only looked at are checked too, in the same append."""
        if not context.changes and claim is None:
            return Appended((), await self._store.head(), ())
        streams: list[StreamAppend] = []
        for stream_id, change in context.changes.items():
            expected = change.before.version if expected_version is None or streams else expected_version
            streams.append(StreamAppend(stream_id, expected, self._new_events(change.events, origin)))
        return await self._append(Append(tuple(streams), claim))

    async def _were_current(self, context: Context) -> bool:
        """Catch every aggregate of a failed attempt up; whether none of them had moved on."""
        current = True
        for stream_id, change in context.changes.items():
            newer = await self._loader.catch_up(change.aggregate, stream_id, change.before)
            current = current and newer.version == change.before.version
        return current

    # --- Recording ---------------------------------------------------------------------------------------------------

    def _new_events(self, events: list[Event], origin: Origin) -> list[NewEvent]:
        encode_event, new_id = self._codec.encode_event, self._new_id
        return [
            NewEvent(
                new_id(),
                event.__message_name__,
                event.__message_version__,
                encode_event(event),
                origin.metadata,
                origin.correlation_id,
                origin.causation_id,
                origin.actor,
            )
            for event in events
        ]

    async def _append(self, append: Append) -> Outcome:
        try:
            return await self._store.append(append)
        except OutcomeUnknown:
            # The same event ids again: the store finds them recorded, or records them now; one copy either way.
            return await self._store.append(append)

    def _recorded(self, stream_id: str, change: Change, outcome: Appended) -> None:
        version = change.before.version + len(change.events)
        if change.events:
            self._loader.remember(stream_id, Loaded(change.state, version, outcome.position))
            self._snapshots.offer(
                change.aggregate, stream_id, change.state, change.before.version, version, outcome.position
            )


def _trace_context() -> dict[str, str]:
    """The current trace as W3C trace context. No span can be active in a process that never imported OpenTelemetry."""
    trace = sys.modules.get("opentelemetry.trace")
    if trace is None or not trace.get_current_span().get_span_context().is_valid:
        return {}
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    carrier: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(carrier)
    return carrier
