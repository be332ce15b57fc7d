"""Command ids: a command sent twice under one id is carried out once, and answered alike."""

from __future__ import annotations

import hashlib

from foldline.command.receipt import Receipt, receipt_of
from foldline.domain.message import Command
from foldline.errors import CommandIdReused
from foldline.store.spi import Claim, EventStore


def claim_for(command_id: str, command: Command, body: bytes) -> Claim:
    """The claim of a command id for a command with that JSON body."""
    digest = hashlib.blake2b(body, digest_size=16, person=b"foldline.command")
    digest.update(command.__message_name__.encode())
    return Claim(command_id, digest.digest())


async def first_receipt(store: EventStore, claim: Claim) -> Receipt | None:
    """The receipt of the command that took this id before; raises CommandIdReused where it was another command."""
    known = await store.claimed(claim.command_id)
    if known is None:
        return None
    if known.fingerprint != claim.fingerprint:
        raise CommandIdReused(claim.command_id)
    return receipt_of(claim.command_id, known.outcome._replace(replayed=True))
