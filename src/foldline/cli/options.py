"""What several commands take alike: the store, the application, moments in time."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, TypeAlias

from cyclopts import Parameter

from foldline.cli.console import Stop

StoreOption: TypeAlias = Annotated[
    str | None,
    Parameter(
        name="--store",
        env_var="FOLDLINE_STORE",
        help="URL of the store, such as sqlite:shop.db or postgresql://user@host/shop.",
        show_default=False,
    ),
]
AppOption: TypeAlias = Annotated[
    str | None,
    Parameter(
        name="--app",
        env_var="FOLDLINE_APP",
        help="The application, as MODULE:APP, such as shop.app:app.",
        show_default=False,
    ),
]
Flag: TypeAlias = Annotated[bool, Parameter(negative="", show_default=False)]


def store_url(given: str | None) -> str:
    """The store's URL, or a Stop that says how to name one."""
    if not given:
        raise Stop("No store was named: give --store URL, such as sqlite:shop.db, or set FOLDLINE_STORE.", 2)
    return given


def app_name(given: str | None) -> str:
    """The application's place, or a Stop that says how to name one."""
    if not given:
        raise Stop("No application was named: give MODULE:APP, such as shop.app:app, or set FOLDLINE_APP.", 2)
    return given


def moment(text: str) -> datetime:
    """A moment in ISO 8601; one without a UTC offset is in UTC, as all times are shown."""
    try:
        found = datetime.fromisoformat(text.strip())
    except ValueError:
        raise Stop(f"{text!r} is no time: write it as 2026-03-31T12:00 or 2026-03-31T14:00+02:00.", 2) from None
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)
