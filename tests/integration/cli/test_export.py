"""``foldline export``: what it writes, import makes the very same streams of."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from uuid import UUID

from foldline.app import open_store
from foldline.store.spi import Append, Expect, NewEvent, StreamAppend
from tests.integration.cli.support import NAMED, Cli, permit_rows, write_csv

ODD_DATA = (
    b'{"b":1,"a":2,  "big":123456789012345678901234567890,"f":1.10e5}',
    b'{\n  "spread": "over lines"\r\n}',
    b' {"led": "by space"}',
    b'{"followed": "by space"}\n',
    '{"text":"\u2028 \u00e9 \U0001f600 \\u0000 \\n"}'.encode(),
    b'"only text"',
    b"null",
    b"[]",
)


def fill(path: Path) -> None:
    """A store of events that have all there is to have."""

    def event(number: int, data: bytes) -> NewEvent:
        return NewEvent(
            UUID(int=number + 1),
            f"Type {number}",
            number + 1,
            data,
            b'{ "m":\t1 }' if number % 2 else b"{}",
            f"correlation {number}",
            f"causation {number}" if number % 3 else None,
            "\u00e4nn" if number % 2 else None,
            1_000_000 * number - 3,
        )

    async def append() -> None:
        async with open_store(f"sqlite:{path}") as store:
            for number, data in enumerate(ODD_DATA):
                stream = f"a-{number % 3}/\u00e9%20'\""
                await store.append(Append((StreamAppend(stream, Expect.ANY, [event(number, data)]),)))

    asyncio.run(append())


def without_position(store: Cli, url: str) -> list[dict[str, object]]:
    return [{key: value for key, value in one.items() if key != "position"} for one in store.events(url)]


def test_out_and_in_again(cli: Cli) -> None:
    fill(cli.place / "a.db")
    cli("export", "a.jsonl", "--store", "sqlite:a.db")
    done = cli("import", "a.jsonl", "--store", "sqlite:b.db")
    assert "Added 8 events in 3 streams" in done.stdout
    assert without_position(cli, "sqlite:b.db") == without_position(cli, "sqlite:a.db")
    cli("export", "b.jsonl", "--store", "sqlite:b.db")
    assert (cli.place / "b.jsonl").read_bytes() == (cli.place / "a.jsonl").read_bytes()

    async def stored(name: str) -> list[tuple[bytes, bytes]]:
        async with open_store(f"sqlite:{cli.place / name}") as store:
            return [(one.data, one.metadata) for one in (await store.read_all()).events]

    assert [data for data, _ in asyncio.run(stored("b.db"))] == list(ODD_DATA)
    assert asyncio.run(stored("b.db")) == asyncio.run(stored("a.db"))
    assert "Nothing to add" in cli("import", "a.jsonl", "--store", "sqlite:b.db").stdout
    assert "Nothing to add" in cli("import", "a.jsonl", "--store", "sqlite:a.db").stdout


def test_in_parts(cli: Cli) -> None:
    fill(cli.place / "a.db")
    cli("export", "whole.jsonl", "--store", "sqlite:a.db")
    lines = (cli.place / "whole.jsonl").read_bytes().splitlines(keepends=True)
    (cli.place / "early.jsonl").write_bytes(b"".join(lines[:5]))
    cli("export", "late.jsonl", "--store", "sqlite:a.db", "--after", "5")
    assert (cli.place / "late.jsonl").read_bytes() == b"".join(lines[5:])
    # The later part alone would leave holes.
    done = cli("import", "late.jsonl", "--store", "sqlite:b.db", code=3)
    assert "3 rows were rejected" in done.stderr
    cli("import", "early.jsonl", "--store", "sqlite:b.db")
    assert "Added 3 events" in cli("import", "whole.jsonl", "--store", "sqlite:b.db").stdout
    assert without_position(cli, "sqlite:b.db") == without_position(cli, "sqlite:a.db")


def test_into_a_store_that_went_another_way(cli: Cli) -> None:
    fill(cli.place / "a.db")
    cli("export", "a.jsonl", "--store", "sqlite:a.db")
    lines = (cli.place / "a.jsonl").read_text().split("\n")[:-1]
    changed = json.loads(lines[0])
    (cli.place / "changed.jsonl").write_text(json.dumps({**changed, "type": "Other"}) + "\n")
    done = cli("import", "changed.jsonl", "--store", "sqlite:a.db", code=3)
    assert "1 row was rejected" in done.stderr
    other = {**changed, "event_id": str(UUID(int=99))}
    (cli.place / "other.jsonl").write_text(json.dumps(other) + "\n{}\n" + lines[1] + "\n")
    done = cli("import", "other.jsonl", "--store", "sqlite:a.db", code=3)
    side = (cli.place / "other.jsonl.rejected.jsonl").read_text().split("\n")[:-1]
    assert [json.loads(line)["line"] for line in side] == [1, 2]
    assert json.loads(side[0])["reason"] == "its stream has another event as version 1"
    assert len(cli.events("sqlite:a.db")) == 8


def test_an_imported_log_travels(cli: Cli) -> None:
    write_csv(cli.place / "log.csv", permit_rows(3_000))
    cli("import", "log.csv", *NAMED, "--store", "sqlite:a.db")
    done = cli("export", "-", "--store", "sqlite:a.db")
    assert "Exported 12,000 events" in done.stderr
    (cli.place / "a.jsonl").write_text(done.stdout, encoding="utf-8")
    cli("import", "a.jsonl", "--store", "sqlite:b.db")
    assert cli.events("sqlite:b.db") == cli.events("sqlite:a.db")
    # The same rows are the same events, whichever way they came.
    assert "Nothing to add" in cli("import", "log.csv", *NAMED, "--store", "sqlite:b.db").stdout


def test_no_file_is_replaced_unasked(cli: Cli) -> None:
    fill(cli.place / "a.db")
    (cli.place / "a.jsonl").write_text("precious")
    assert "--force" in cli("export", "a.jsonl", "--store", "sqlite:a.db", code=1).stderr
    assert (cli.place / "a.jsonl").read_text() == "precious"
    cli("export", "a.jsonl", "--store", "sqlite:a.db", "--force")
    assert len((cli.place / "a.jsonl").read_text().split("\n")[:-1]) == 8
    assert "nodir" in cli("export", "nodir/a.jsonl", "--store", "sqlite:a.db", code=1).stderr
    assert "There is no store" in cli("export", "b.jsonl", "--store", "sqlite:none.db", code=1).stderr
    assert not (cli.place / "b.jsonl").exists()
