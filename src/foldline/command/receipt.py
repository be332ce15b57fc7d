"""What a command's sender gets back: where its events are, and a token to read one's own writes by."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

import msgspec

if TYPE_CHECKING:
    from foldline.store.spi import Appended


class Receipt(msgspec.Struct, frozen=True):
    """A command was carried out, and its events are durable.

    ``stream`` and ``version`` are those of the aggregate it was for (of the first one, where a handler decided in
    several; empty and 0 where it decided in none). ``replayed`` says that the command id had been used before, for the
    same command, and this is the first receipt again.
    """

    command_id: str
    stream: str
    version: int
    position: int
    event_ids: tuple[UUID, ...]
    replayed: bool = False

    @property
    def token(self) -> str:
        """The position as text, for ``ask(…, after=token)`` in this or another process."""
        return str(self.position)


def receipt_of(command_id: str, outcome: Appended) -> Receipt:
    """The receipt for what an append came to."""
    stream, version = outcome.versions[0] if outcome.versions else ("", 0)
    return Receipt(command_id, stream, version, outcome.position, outcome.event_ids, outcome.replayed)


def position_of(token: Receipt | int | str) -> int:
    """The position a receipt, a token or a number stands for; raises ValueError for other text."""
    return token.position if isinstance(token, Receipt) else int(token)
