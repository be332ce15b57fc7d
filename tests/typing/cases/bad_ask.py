"""What a message does not allow is seen before it runs."""

from foldline import App, Command, Event, Query


class Placed(Event):
    order_id: str


class Place(Command):
    order_id: str


class CountOf(Query[int]):
    customer_id: str


shop = App("shop")


async def main() -> None:
    async with shop.open("memory:") as running:
        answer: str = await running.ask(CountOf("c-1"))  # E: incompatible type "CountOf"
        print(answer)
        await running.ask(Place("o-1"))  # E: incompatible type "Place"
        await running.execute(Placed("o-1"))  # E: incompatible type "Placed"


def message() -> None:
    Place(order_id=1)  # E: incompatible type "int"
    Place()  # E: Missing positional argument "order_id"
    Place("o-1").order_id = "o-2"  # E: is read-only
