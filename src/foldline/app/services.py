"""Services: what handlers get from the outside world, found by the type their parameters are annotated with."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from foldline.errors import DefinitionError


class Services:
    """The objects an App was given, each under its own class or under the type it was given for."""

    def __init__(self, given: Mapping[type, Any] | Iterable[Any]) -> None:
        self._declared: dict[type, Any] = dict(given) if isinstance(given, Mapping) else {}
        self._objects = list(self._declared.values()) if isinstance(given, Mapping) else list(given)

    @property
    def objects(self) -> list[Any]:
        """All of them, in the order they were given."""
        return self._objects

    def of(self, wanted: type, where: str) -> Any:
        """The one service of a type; raises DefinitionError where there is none, or more than one."""
        if wanted in self._declared:
            return self._declared[wanted]
        found = [one for one in self._objects if _is_a(one, wanted)]
        if len(found) != 1:
            count = "no service" if not found else f"{len(found)} services"
            raise DefinitionError(
                f"{where} asks for a {wanted.__name__}, and the App has {count} of that type: "
                f"give one as App(…, services={{{wanted.__name__}: …}})."
            )
        return found[0]


def _is_a(one: object, wanted: type) -> bool:
    try:
        return isinstance(one, wanted)
    except TypeError:
        # A Protocol that is not runtime-checkable: only services given for it by name can fill it.
        return False
