"""The read side: views and projections, what keeps them up to date, and the questions they answer."""

from __future__ import annotations

from typing import Any, TypeAlias

from foldline.errors import DefinitionError
from foldline.projection.sql import Projection, SqlType, sql_type
from foldline.projection.view import View, ViewType, view_type

ProjectionType: TypeAlias = ViewType[Any] | SqlType
"""What the runtime keeps up to date: a compiled view, or a compiled projection in SQL."""


def projection_type(cls: type[Any]) -> ProjectionType:
    """What a `View` or `Projection` class was compiled to; raises DefinitionError for any other."""
    if issubclass(cls, View):
        return view_type(cls)
    if issubclass(cls, Projection):
        return sql_type(cls)
    raise DefinitionError(f"{cls.__name__} is no projection: derive it from View or Projection.")
