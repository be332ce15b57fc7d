"""Customers: who orders, under which name, and where their parcels go."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import msgspec

from foldline import Aggregate, Command, Event, Meta, Rejected, applies, handles

Text = Annotated[str, Meta(min_length=1, max_length=200)]
Email = Annotated[str, Meta(pattern=r"^[^@\s]+@[^@\s]+\.[^@\s]+$", max_length=200)]


class Address(msgspec.Struct, frozen=True):
    """Where something is delivered or billed to."""

    street: Text
    postcode: Text
    city: Text
    country: Text


class CustomerRegistered(Event):
    customer_id: str
    name: str
    email: str
    address: Address


class CustomerRenamed(Event):
    customer_id: str
    name: str
    email: str


class CustomerMoved(Event):
    customer_id: str
    address: Address


class RegisterCustomer(Command):
    customer_id: Text
    name: Text
    email: Email
    address: Address


class RenameCustomer(Command):
    customer_id: Text
    name: Text
    email: Email


class MoveCustomer(Command):
    customer_id: Text
    address: Address


class Customer(Aggregate, id="customer_id"):
    """One customer. Orders copy what they need of it, so that an order stays as it was when it was placed."""

    name: str = ""
    email: str = ""
    address: Address | None = None

    @handles
    def register(self, command: RegisterCustomer) -> Iterator[Event]:
        if self.address is not None:
            raise Rejected("customer-exists", f"{self.name} is registered under this number already.")
        yield CustomerRegistered(command.customer_id, command.name, command.email, command.address)

    @handles
    def rename(self, command: RenameCustomer) -> Iterator[Event]:
        self.known()
        if (command.name, command.email) != (self.name, self.email):
            yield CustomerRenamed(command.customer_id, command.name, command.email)

    @handles
    def move(self, command: MoveCustomer) -> Iterator[Event]:
        if command.address != self.known():
            yield CustomerMoved(command.customer_id, command.address)

    @applies
    def registered(self, event: CustomerRegistered) -> None:
        self.name, self.email, self.address = event.name, event.email, event.address

    @applies
    def renamed(self, event: CustomerRenamed) -> None:
        self.name, self.email = event.name, event.email

    @applies
    def moved(self, event: CustomerMoved) -> None:
        self.address = event.address

    def known(self) -> Address:
        """The address of a registered customer; rejects where nobody registered."""
        if self.address is None:
            raise Rejected("customer-unknown", "There is no customer of that number. Register them first.")
        return self.address
