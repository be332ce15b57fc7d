"""What views and SQL projections have in common when they are compiled."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Any

import msgspec

from foldline.domain.message import Event
from foldline.errors import DefinitionError
from foldline.store.spi import ProjectionSpec


def digest(*parts: Any) -> str:
    """A short digest of values that JSON can hold: the same for the same values in every process."""
    return hashlib.blake2b(msgspec.json.encode(parts, order="sorted"), digest_size=12).hexdigest()


def field_types(cls: Any) -> dict[str, Any]:
    """The resolved annotation of each field of a struct class; raises DefinitionError for unknown ones."""
    try:
        return {field.name: field.type for field in msgspec.structs.fields(cls)}
    except (NameError, TypeError, AttributeError) as error:
        raise DefinitionError(
            f"{cls.__name__} has a field whose annotation cannot be resolved ({error}): "
            "define or import that type at module level, above this class."
        ) from None


def check_name(cls_name: str, name: str) -> None:
    """Raise DefinitionError for a name that a projection or its table cannot have in every store."""
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]{0,62}", name) or name.lower().startswith(
        ("foldline_", "sqlite_", "pg_")
    ):
        raise DefinitionError(
            f"{cls_name} is named, or has a table named, {name!r}: use 1 to 63 letters, digits and "
            "underscores, a letter first, and nothing that begins with foldline_, sqlite_ or pg_."
        )


def check_version(cls_name: str, version: int) -> None:
    """Raise DefinitionError for a version that is none."""
    if version < 1:
        raise DefinitionError(f"{cls_name} declares version {version}: versions count from 1.")


class Compiled:
    """What a compiled view and a compiled projection in SQL have in common."""

    __slots__ = ()

    spec: ProjectionSpec
    routes: Mapping[type[Event], Any]

    @property
    def fingerprint(self) -> str:
        """Changes with the shape of what is kept or the declared version."""
        return self.spec.fingerprint

    @property
    def events(self) -> tuple[type[Event], ...]:
        """The event types it projects."""
        return tuple(self.routes)

    @property
    def names(self) -> frozenset[str]:
        """The stored names of the event types it projects."""
        return frozenset(event.__message_name__ for event in self.routes)
