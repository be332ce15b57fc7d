"""The application that these tests run: accounts, transfers between two of them, and a view."""

from __future__ import annotations

from collections.abc import Iterator

from foldline import (
    Aggregate,
    App,
    Command,
    Context,
    Event,
    Page,
    Query,
    Rejected,
    View,
    Views,
    answers,
    applies,
    handles,
    projects,
)


class Deposited(Event):
    account_id: str
    amount: int


class Withdrawn(Event):
    account_id: str
    amount: int


class Deposit(Command):
    account_id: str
    amount: int


class Withdraw(Command):
    account_id: str
    amount: int


class Transfer(Command):
    source: str
    target: str
    amount: int


class Account(Aggregate, id="account_id", snapshot_every=10):
    balance: int = 0
    movements: list[int] = []

    @handles
    def deposit(self, command: Deposit) -> Iterator[Event]:
        if command.amount:
            yield Deposited(command.account_id, command.amount)

    @handles
    def withdraw(self, command: Withdraw) -> Iterator[Event]:
        if command.amount > self.balance:
            raise Rejected("insufficient-funds", balance=self.balance)
        yield Withdrawn(command.account_id, command.amount)

    @applies
    def deposited(self, event: Deposited) -> None:
        self.balance += event.amount
        self.movements.append(event.amount)

    @applies
    def withdrawn(self, event: Withdrawn) -> None:
        self.balance -= event.amount
        self.movements.append(-event.amount)


class Balance(View, key="account_id"):
    account_id: str
    amount: int = 0
    movements: int = 0

    @projects
    def moved(self, event: Deposited | Withdrawn) -> None:
        self.amount += event.amount if isinstance(event, Deposited) else -event.amount
        self.movements += 1


class Rich(Query[Page[Balance]]):
    at_least: int


@answers
async def rich(query: Rich, views: Views) -> Page[Balance]:
    return await views.page(Balance, amount__gte=query.at_least, order_by="-amount")


@handles
async def transfer(command: Transfer, ctx: Context) -> None:
    await ctx.decide(Withdraw(command.source, command.amount))
    await ctx.decide(Deposit(command.target, command.amount))


def bank(**options: object) -> App:
    """A bank of its own for each test."""
    return App("bank", Account, Balance, rich, transfer, **options)  # type: ignore[arg-type]
