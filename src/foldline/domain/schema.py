"""Which stored name means which type: the registry that keeps storage free of module paths."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from foldline.domain.message import Message
from foldline.errors import DefinitionError


class Registry:
    """Types by their declared names, for one kind of message; two types of one name are refused."""

    def __init__(self, kind: str, types: Iterable[type[Message]] = ()) -> None:
        self.kind = kind
        self._types: dict[str, type[Message]] = {}
        for one in types:
            self.add(one)

    def add(self, message: type[Message]) -> None:
        """Make a type known; once more is harmless."""
        name = message.__message_name__
        known = self._types.setdefault(name, message)
        if known is not message:
            raise DefinitionError(
                f"Two {self.kind} types are named {name!r}: {_where(known)} and {_where(message)}. "
                f'Give one of them another name, as in class {message.__name__}(…, name="…").'
            )

    @property
    def types(self) -> Mapping[str, type[Message]]:
        """All known types, by name."""
        return MappingProxyType(self._types)


def _where(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"
