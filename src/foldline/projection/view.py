"""Views as classes: a typed row with `@projects` methods, compiled to a table and its routes."""

from __future__ import annotations

import enum
import inspect
import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar, cast, dataclass_transform, overload

import msgspec

from foldline.domain.message import Envelope, Event, snake_case
from foldline.domain.routing import Routed, first_parameter, mark, message_types, routed
from foldline.errors import DefinitionError
from foldline.projection.columns import FITS, ColumnType, column_type, strip
from foldline.projection.spec import Compiled, check_name, check_version, digest, field_types
from foldline.store.spi import Kind, ProjectionSpec, Row, Table

F = TypeVar("F", bound=Callable[..., Any])
V = TypeVar("V", bound="View")

KEY_KINDS = frozenset({Kind.TEXT, Kind.INTEGER, Kind.UUID, Kind.DATE})


class Delete(enum.Enum):
    """The type of `DELETE`, for annotations: ``def closed(self, event: Closed) -> Delete | None``."""

    DELETE = "delete"


DELETE: Final = Delete.DELETE
"""What a view's handler returns to remove the row."""


class Index:
    """Marks a view's field that is searched or sorted by: ``customer_id: Annotated[str, Index()] = ""``."""


@overload
def projects(function: F, /) -> F: ...
@overload
def projects(*, keys: Callable[[Any], Iterable[Any]]) -> Callable[[F], F]: ...
def projects(function: Any = None, /, *, keys: Any = None) -> Any:
    """Mark what a view, or a projection in SQL, makes of an event.

    On a view's method ``(self, event[, envelope: Envelope])``: it changes the row in place and returns None,
    or returns `DELETE`. The row is the one whose key the event's field of that name holds; ``keys=`` tells
    the rows of an event that has no such field, or touches many: ``@projects(keys=lambda event: [line.sku
    for line in event.lines])``. A row that is not there yet starts from the defaults.
    """

    def marked(wanted: F) -> F:
        mark(wanted, "projects", keys=keys)
        return wanted

    return marked if function is None else marked(function)


@dataclass(frozen=True, slots=True, eq=False)
class Route:
    """One handler of a view: what to call, with or without the envelope, and which rows an event is about."""

    handler: Callable[..., Any]
    envelope: bool
    key: Callable[[Any], Any] | None
    keys: Callable[[Any], list[Any]] | None
    where: str


@dataclass(frozen=True, slots=True, eq=False)
class ViewType(Compiled, Generic[V]):
    """What a view class was compiled to; two are equal only if they are the same."""

    name: str
    cls: type[V]
    version: int
    columns: tuple[ColumnType, ...]
    table: Table
    spec: ProjectionSpec
    routes: Mapping[type[Event], Route]
    struct: Callable[[Row], V]
    """A row of the table as the view's struct."""
    row: Callable[[V], Row]
    """The view's struct as a row of the table; raises ValueError, naming the field, for what does not fit."""

    @property
    def kind(self) -> str:
        """What sort of projection it is."""
        return "view"

    @property
    def key(self) -> ColumnType:
        """The key's column."""
        return self.columns[0]

    def keys_of(self, event: Event) -> list[Any]:
        """The keys of the rows that an event touches; none for an event that the view does not project."""
        route = self.routes.get(type(event))
        if route is None:
            return []
        return route.keys(event) if route.keys is not None else [cast(Any, route.key)(event)]


@dataclass_transform(field_specifiers=(msgspec.field,))
class ViewMeta(msgspec.StructMeta):
    """Adds ``key=``, ``name=``, ``version=`` and ``indexes=`` to a view's class line."""

    def __new__(
        mcls,
        cls_name: str,
        bases: tuple[type, ...],
        namespace: dict[str, Any],
        /,
        *,
        key: str | None = None,
        name: str | None = None,
        version: int = 1,
        indexes: Sequence[Sequence[str]] = (),
        **config: Any,
    ) -> ViewMeta:
        """Create and compile the class; raises DefinitionError saying what is wrong and what to do."""
        cls = super().__new__(mcls, cls_name, bases, namespace, **config)
        if key is not None:
            cls.__view_type__ = _compile(  # type: ignore[attr-defined]
                cls, key, snake_case(cls_name) if name is None else name, version, indexes
            )
        return cls


class View(msgspec.Struct, metaclass=ViewMeta):
    """A read model: a table with a typed column for each field and one row a key, folded from events.

    ``class OrderSummary(View, key="order_id")`` is kept in the table ``order_summary`` (``name=`` names
    another). The key comes first and has no default; all other fields have one. ``version=`` is raised when
    handlers change their meaning: the view is then built anew. ``indexes=(("status", "total"),)`` declares
    indexes over several fields; `Index` marks one. A class without ``key=`` is a base for others.
    """


def view_type(cls: type[V]) -> ViewType[V]:
    """What a view class was compiled to; raises DefinitionError for a class that is none."""
    found = vars(cls).get("__view_type__")
    if not isinstance(found, ViewType):
        raise DefinitionError(
            f'{cls.__name__} is no view: write class {cls.__name__}(View, key="…") with the name of its key field.'
        )
    return found


def _compile(cls: Any, key: str, name: str, version: int, indexes: Sequence[Sequence[str]]) -> ViewType[Any]:
    check_name(cls.__name__, name)
    check_version(cls.__name__, version)
    columns, marked = _columns(cls, key)
    known = [column.name for column in columns]
    composites = []
    for index in indexes:
        if isinstance(index, str) or not set(index) or not set(index) <= set(known):
            raise DefinitionError(
                f"{cls.__name__} declares the index {index!r}: give tuples of its fields, as in "
                f'indexes=(("{known[-1]}", "{known[0]}"),).'
            )
        composites.append(tuple(index))
    for column in columns:
        if column.kind is Kind.JSON and any(column.name in index for index in (*marked, *composites)):
            raise DefinitionError(f"{cls.__name__}.{column.name} is kept as JSON, which cannot be indexed.")
    table = Table(name, tuple(column.column for column in columns), key, tuple(dict.fromkeys((*marked, *composites))))
    shapes = [column.shape for column in columns]
    spec = ProjectionSpec(name, digest("view", name, version, table, shapes), (table,))
    routes = _routes(cls, columns[0])
    if not routes:
        raise DefinitionError(f"{cls.__name__} projects no event: give it a method decorated with @projects.")
    return ViewType(name, cls, version, columns, table, spec, routes, _struct_of(cls, columns), _row_of(cls, columns))


def _columns(cls: Any, key: str) -> tuple[tuple[ColumnType, ...], list[tuple[str, ...]]]:
    annotations = field_types(cls)
    if key not in annotations:
        raise DefinitionError(
            f"{cls.__name__} has no field {key!r}, which its key= names: declare it first, without a default."
        )
    fields = {field.name: field for field in msgspec.structs.fields(cls)}
    if next(iter(fields)) != key or not fields[key].required:
        raise DefinitionError(f"{cls.__name__}.{key} is the key: declare it first, and without a default.")
    if len(cls.__match_args__) < len(fields) or cls.__struct_config__.frozen:
        raise DefinitionError(
            f"{cls.__name__} is kw_only or frozen, but rows are made by position and changed in place: leave that out."
        )
    marked: list[tuple[str, ...]] = []
    columns: list[ColumnType] = []
    seen: dict[str, str] = {}
    for field in fields.values():
        where = f"{cls.__name__}.{field.name}"
        if field.required and field.name != key:
            raise DefinitionError(f"{where} has no default: a new row starts from the key and the defaults.")
        other = seen.setdefault(field.name.lower(), field.name)
        if other != field.name:
            raise DefinitionError(f"{where} and {other!r} differ only in case, which columns may not.")
        columns.append(column_type(where, field.name, annotations[field.name]))
        markers = strip(annotations[field.name])[1]
        if any(isinstance(marker, Index) or marker is Index for marker in markers):
            marked.append((field.name,))
    if columns[0].kind not in KEY_KINDS or columns[0].nullable:
        raise DefinitionError(
            f"{cls.__name__}.{key} is {annotations[key]}: "
            "a key is a str, int, UUID, date, or an enum of text or whole numbers."
        )
    return tuple(columns), marked


def _routes(cls: Any, key: ColumnType) -> dict[type[Event], Route]:
    routes: dict[type[Event], Route] = {}
    for found in routed(cls, "projects"):
        if inspect.iscoroutinefunction(found.function) or inspect.isgeneratorfunction(found.function):
            raise DefinitionError(
                f"{found.where} is async or yields, but a view's handler is a plain method on its row: "
                "use a Projection for what needs SQL."
            )
        name, annotation, others = first_parameter(found.function)
        if others and list(others.values()) != [Envelope]:
            raise DefinitionError(
                f"{found.where} takes {', '.join(others)} besides its event: only one more is given, "
                "`envelope: Envelope`."
            )
        for event in message_types(found.function, name, annotation, Event):
            if event in routes:
                raise DefinitionError(
                    f"{cls.__name__} projects {event.__name__} twice, in {routes[event].where} "
                    f"and {found.where}: keep one of them."
                )
            keys = found.options["keys"]
            routes[event] = Route(
                found.function,
                bool(others),
                _key_of(cls, key, event, found) if keys is None else None,
                None if keys is None else _keys_of(key, keys, found),
                found.where,
            )
    return routes


def _key_of(cls: Any, key: ColumnType, event: type[Event], found: Routed) -> Callable[[Any], Any]:
    annotation = field_types(event).get(key.name)
    if annotation is None:
        raise DefinitionError(
            f"{cls.__name__} is kept by {key.name!r}, but {event.__name__}, which {found.where} projects, "
            "has no such field: say which rows it is about, as in @projects(keys=lambda event: [event.…])."
        )
    same = column_type(f"{event.__name__}.{key.name}", key.name, annotation)
    if same.base != key.base:
        raise DefinitionError(
            f"{cls.__name__}.{key.name} is {key.base}, but {event.__name__}.{key.name}, "
            f"which {found.where} projects, is {annotation}: "
            "give both one type, or turn one into the other in @projects(keys=…)."
        )
    get = operator.attrgetter(key.name)
    if not same.nullable:
        return get

    def present(event: Any) -> Any:
        value = get(event)
        if value is None:
            raise ValueError(f"the event's {key.name} is None, so it is about no row: use @projects(keys=…)")
        return value

    return present


def _keys_of(key: ColumnType, keys: Callable[[Any], Any], found: Routed) -> Callable[[Any], list[Any]]:
    def several(event: Any) -> list[Any]:
        told = keys(event)
        if told is None or isinstance(told, (str, bytes)):
            raise ValueError(f"keys= of {found.where} returned {told!r:.80}: return a list of keys")
        listed = list(dict.fromkeys(told))
        for one in listed:
            try:
                key.stored(one)
            except ValueError as error:
                raise ValueError(f"keys= of {found.where} returned a key that {error}") from None
        return listed

    return several


def _struct_of(cls: Any, columns: tuple[ColumnType, ...]) -> Callable[[Row], Any]:
    decoders = [(index, column.decode) for index, column in enumerate(columns) if column.decode is not None]
    if not decoders:
        return lambda row: cls(*row)

    def struct(row: Row) -> Any:
        values = list(row)
        for index, decode in decoders:
            if values[index] is not None:
                values[index] = decode(values[index])
        return cls(*values)

    return struct


def _row_of(cls: Any, columns: tuple[ColumnType, ...]) -> Callable[[Any], Row]:
    astuple = msgspec.structs.astuple
    plain = [(index, column) for index, column in enumerate(columns) if column.encode is None]
    encoded = [(index, column.stored) for index, column in enumerate(columns) if column.encode is not None]
    looks = [(index, FITS[column.kind]) for index, column in plain if column.kind in FITS]
    # Rows of types that were found right before need no look at each value's type again.
    good: set[tuple[type, ...]] = set()

    def slowly(values: tuple[Any, ...]) -> Row:
        result = []
        for column, value in zip(columns, values, strict=True):
            try:
                result.append(column.stored(value))
            except ValueError as error:
                raise ValueError(f"{cls.__name__}.{column.name} {error}") from None
        return tuple(result)

    def row(struct: Any) -> Row:
        values: tuple[Any, ...] = astuple(struct)
        kinds = tuple(map(type, values))
        if kinds not in good:
            result = slowly(values)
            if all(values[index] is None or kinds[index] is column.value_type for index, column in plain):
                good.add(kinds)
            return result
        for index, fits in looks:
            value = values[index]
            if value is not None and not fits(value):
                return slowly(values)
        if not encoded:
            return values
        changed = list(values)
        try:
            for index, encode in encoded:
                changed[index] = encode(changed[index])
        except ValueError:
            return slowly(values)
        return tuple(changed)

    return row
