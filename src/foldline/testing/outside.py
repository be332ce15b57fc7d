"""What a view's handlers could keep outside of their rows: found, put back as a restart would, and watched for change.

A row is all that a restart leaves. Module globals, class attributes, closures and defaults that the handlers (and the
functions which these call, in the same code base) reach are noted with their values, so that a simulated restart can
put them back, and a failure can name what changed. The clock and random numbers come from outside too.
"""

from __future__ import annotations

import _random
import copy
import dis
import gc
import os
import sys
import time
import types
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import date
from typing import Any

import msgspec

from foldline.domain.routing import role_of
from foldline.projection.view import ViewType

_MISSING: Any = object()
_OURS = {"foldline", "msgspec"}
_CLOCKS = {
    time.time, time.time_ns, time.monotonic, time.monotonic_ns, time.perf_counter, time.perf_counter_ns,
    time.process_time, time.localtime, time.gmtime, os.urandom,
}  # fmt: skip


class Outside:
    """The state outside of a view's rows that its handlers can reach, as it was when this was made."""

    def __init__(self, view: ViewType[Any]) -> None:
        self._seen: set[int] = set()
        # Kept, so that no other object gets the id of one that was seen.
        self._kept: list[object] = []
        self._bound: set[tuple[int, str]] = set()
        self._bindings: list[tuple[str, Callable[[], Any], Callable[[Any], None], Any]] = []
        self._values: list[tuple[str, Any, Any]] = []
        self._caches: list[Any] = []
        self._told: dict[str, None] = {}
        for cls in view.cls.__mro__:
            self._class(cls)
        for route in view.routes.values():
            self._anything(route.where, route.handler)
            role = role_of(route.handler)
            if role is not None:
                self._anything(f"keys= of {route.where}", role.options.get("keys"))
        for field in msgspec.structs.fields(view.cls):
            self._anything(f"the default of {view.cls.__name__}.{field.name}", field.default_factory)

    def restore(self) -> None:
        """Put everything back as it was."""
        self.restart()
        self._told.clear()

    def restart(self) -> None:
        """Put everything back, as a new process would have it, but remember what had changed."""
        self._told.update(dict.fromkeys(self._differing()))
        for _, get, put, value in self._bindings:
            if get() is not value:
                put(value)
        for _, value, before in self._values:
            _refill(value, before)
        for cached in self._caches:
            cached.cache_clear()

    def changed(self) -> list[str]:
        """The names of what has changed since `restore`."""
        return list(dict.fromkeys([*self._told, *self._differing()]))

    def _differing(self) -> list[str]:
        names = [name for name, get, _, value in self._bindings if get() is not value]
        return names + [name for name, value, before in self._values if not _alike(_contents(value), before)]

    # --- Finding -----------------------------------------------------------------------------------------------------

    def _anything(self, name: str, value: Any) -> None:
        if id(value) in self._seen:
            return
        if isinstance(value, (types.FunctionType, type, types.ModuleType)) or hasattr(value, "cache_clear"):
            self._code(name, value)
            return
        contents = _contents(value)
        if contents is None:
            return
        self._note(value)
        try:
            before = copy.deepcopy(contents)
        except Exception:
            # Locks, sockets and the like cannot be copied, by errors of many types; then there is no putting back.
            return
        self._values.append((name, value, before))

    def _code(self, name: str, value: Any) -> None:
        if hasattr(value, "cache_clear"):
            self._note(value)
            self._caches.append(value)
            self._anything(name, getattr(value, "__wrapped__", None))
        elif isinstance(value, types.FunctionType) and _is_users(value.__module__):
            self._function(value)
        elif isinstance(value, type):
            self._class(value)

    def _function(self, function: types.FunctionType) -> None:
        self._note(function)
        name = function.__qualname__
        self._anything(f"attributes of {name}", function.__dict__)
        for default in (*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()):
            self._anything(f"a default of {name}", default)
        for variable, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
            self._cell(f"{variable}, which {name} encloses", cell)
        for code in _codes(function.__code__):
            stored = {one.argval for one in dis.get_instructions(code) if one.opname == "STORE_GLOBAL"}
            for one in code.co_names:
                self._name(function.__globals__, function.__module__, one, code.co_names, one in stored)

    def _name(self, namespace: dict[str, Any], module: str, name: str, names: Iterable[str], stored: bool) -> None:
        value = namespace.get(name, _MISSING)
        if value is _MISSING and not stored:
            return
        called = f"{module}.{name}"
        if (id(namespace), name) not in self._bound:
            self._bound.add((id(namespace), name))
            self._bindings.append((called, *_item(namespace, name), value))
        if isinstance(value, types.ModuleType) and _is_users(value.__name__) and id(value) not in self._seen:
            for attribute in names:
                self._name(vars(value), value.__name__, attribute, (), False)
        else:
            self._anything(called, value)

    def _cell(self, name: str, cell: types.CellType) -> None:
        if id(cell) in self._seen:
            return
        self._note(cell)

        def get() -> Any:
            try:
                return cell.cell_contents
            except ValueError:
                return _MISSING

        def put(value: Any) -> None:
            if value is _MISSING:
                del cell.cell_contents
            else:
                cell.cell_contents = value

        self._bindings.append((name, get, put, get()))
        self._anything(name, get())

    def _class(self, cls: type) -> None:
        if id(cls) in self._seen or not _is_users(cls.__module__):
            return
        self._note(cls)
        for name, value in list(vars(cls).items()):
            function = getattr(value, "__func__", None) or getattr(value, "fget", None) or value
            if isinstance(function, types.FunctionType) or hasattr(function, "cache_clear"):
                self._anything(f"{cls.__name__}.{name}", function)
            elif not (name.startswith("__") or hasattr(value, "__get__")):
                self._bindings.append((f"{cls.__name__}.{name}", *_attribute(cls, name), value))
                self._anything(f"{cls.__name__}.{name}", value)

    def _note(self, value: object) -> None:
        self._seen.add(id(value))
        self._kept.append(value)


def _item(namespace: dict[str, Any], name: str) -> tuple[Callable[[], Any], Callable[[Any], None]]:
    def put(value: Any) -> None:
        if value is _MISSING:
            del namespace[name]
        else:
            namespace[name] = value

    return lambda: namespace.get(name, _MISSING), put


def _attribute(cls: type, name: str) -> tuple[Callable[[], Any], Callable[[Any], None]]:
    def put(value: Any) -> None:
        setattr(cls, name, value)

    return lambda: vars(cls).get(name, _MISSING), put


def _codes(code: types.CodeType) -> Iterator[types.CodeType]:
    """A function's code, and that of the functions, lambdas and comprehensions inside it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _codes(constant)


def _is_users(module: str) -> bool:
    """Whether a module may hold application code, rather than the standard library, Foldline or a package."""
    root = module.partition(".")[0]
    if root in _OURS:
        return module.startswith("foldline.demo")
    file = getattr(sys.modules.get(module), "__file__", None) or ""
    return root not in sys.stdlib_module_names and "site-packages" not in file and "dist-packages" not in file


def _contents(value: Any) -> Any:
    """What a mutable value holds, in a form that can be copied and compared; None for one that is none."""
    if isinstance(value, (dict, list, set, deque, bytearray)):
        return dict(value) if isinstance(value, dict) else list(value)
    if isinstance(value, msgspec.Struct):
        frozen = value.__struct_config__.frozen
        return None if frozen else {name: getattr(value, name) for name in value.__struct_fields__}
    if _is_users(type(value).__module__) and hasattr(value, "__dict__"):
        return dict(vars(value))
    return None


def _refill(value: Any, before: Any) -> None:
    """Give a mutable value back what it held, in place, for others may refer to it."""
    held = copy.deepcopy(before)
    if isinstance(value, msgspec.Struct):
        for name, one in held.items():
            setattr(value, name, one)
        return
    place_ = value if isinstance(value, (dict, list, set, deque, bytearray)) else vars(value)
    place_.clear()
    if isinstance(place_, (list, deque, bytearray)):
        place_.extend(held)
    else:
        place_.update(held)


def _alike(left: Any, right: Any) -> bool:
    try:
        return bool(left == right)
    except Exception:
        # An == of somebody's own may raise anything; such a value is not named.
        return True


# --- The clock and random numbers ---------------------------------------------------------------------------------


@contextmanager
def watched() -> Iterator[list[str]]:
    """Notes each call that reads a clock or draws a random number while the block runs, with where it was made.

    Logging may look at the clock. Nothing is noted where a profiler is at work, for there can be but one.
    """
    found: list[str] = []
    if sys.getprofile() is not None:
        yield found
        return

    def look(frame: types.FrameType, event: str, called: Any) -> None:
        if event != "c_call" or not _is_impure(called):
            return
        caller: types.FrameType | None = frame
        while caller is not None and not _is_users(module := caller.f_globals.get("__name__", "")):
            if module == "logging" or module.startswith("foldline."):
                return
            caller = caller.f_back
        if caller is not None:
            owner = getattr(called, "__self__", None)
            name = getattr(owner, "__name__", type(owner).__name__)
            code = caller.f_code
            told = f"{name}.{called.__name__} in {code.co_qualname} ({code.co_filename}:{caller.f_lineno})"
            if told not in found:
                found.append(told)

    # A garbage collection may begin anywhere, and call back those who take its time.
    collects = gc.isenabled()
    gc.disable()
    sys.setprofile(look)
    try:
        yield found
    finally:
        sys.setprofile(None)
        if collects:
            gc.enable()


def _is_impure(called: Any) -> bool:
    owner, name = getattr(called, "__self__", None), getattr(called, "__name__", "")
    if isinstance(owner, _random.Random):
        return name in ("random", "getrandbits")
    if isinstance(owner, type) and issubclass(owner, date):
        return name in ("now", "utcnow", "today")
    if name in ("uuid1", "uuid4", "uuid6", "uuid7"):
        return True
    try:
        return called in _CLOCKS
    except TypeError:
        return False
