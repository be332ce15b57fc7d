"""``foldline import``: any file, any number of times, interrupted or not, the same events come of it."""

from __future__ import annotations

import json
import random
import signal
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.integration.cli.support import HEADER, NAMED, Cli, permit_rows, write_csv

STORE = "sqlite:permits.db"


def rejected(path: Path) -> list[tuple[int, str]]:
    return [(one["line"], one["reason"]) for one in map(json.loads, path.read_text().splitlines())]


def test_rows_become_events(cli: Cli) -> None:
    rows = list(permit_rows(50))
    write_csv(cli.place / "log.csv", rows)
    done = cli("import", "log.csv", *NAMED, "--store", STORE)
    assert "Added 200 events in 50 streams" in done.stdout
    events = cli.events(STORE)
    assert [event["position"] for event in events] == list(range(1, 201))
    for row, event in zip(rows, events, strict=True):
        assert event["stream_id"] == f"permit-{row[0]}"
        assert event["category"] == "permit"
        assert event["type"] == row[1]
        assert datetime.fromisoformat(event["recorded_at"]) == datetime.fromisoformat(row[2])
        assert event["data"] == {"org:resource": row[3], "case:note": row[4]}
    assert not (cli.place / "log.csv.rejected.jsonl").exists()


def test_again_adds_nothing(cli: Cli) -> None:
    write_csv(cli.place / "log.csv", permit_rows(50))
    cli("import", "log.csv", *NAMED, "--store", STORE)
    before = cli("events", "--json", "--store", STORE).stdout
    done = cli("import", "log.csv", *NAMED, "--store", STORE)
    assert "Nothing to add" in done.stdout
    assert "200 events in 50 streams there already" in done.stdout
    assert cli("events", "--json", "--store", STORE).stdout == before


def test_a_file_that_grew(cli: Cli) -> None:
    rows = list(permit_rows(40))
    write_csv(cli.place / "log.csv", rows[:101])
    cli("import", "log.csv", *NAMED, "--store", STORE)
    write_csv(cli.place / "log.csv", rows)
    done = cli("import", "log.csv", *NAMED, "--store", STORE)
    assert "Added 59 events" in done.stdout
    assert "101 of the file's were there already" in done.stdout
    assert [event["data"]["org:resource"] for event in cli.events(STORE, "permit-case-25")] == [
        "Resource00",
        "Resource01",
        "Resource02",
        "Resource03",
    ]
    assert len(cli.events(STORE)) == 160


def test_ids_do_not_depend_on_the_file(cli: Cli) -> None:
    rows = list(permit_rows(30))
    write_csv(cli.place / "a.csv", rows)
    shuffled = list(rows)
    random.Random(7).shuffle(shuffled)
    columns = [2, 4, 0, 3, 1]
    write_csv(
        cli.place / "b.csv",
        [[row[index] for index in columns] for row in shuffled],
        [HEADER[index] for index in columns],
    )
    cli("import", "a.csv", *NAMED, "--store", STORE)
    # The order of the data's keys is that of the columns, and stored data is kept byte for byte.
    cli("import", "b.csv", *NAMED, "--store", "sqlite:b.db")
    assert {one["event_id"] for one in cli.events(STORE)} != {one["event_id"] for one in cli.events("sqlite:b.db")}
    write_csv(cli.place / "c.csv", shuffled)
    assert "Nothing to add" in cli("import", "c.csv", *NAMED, "--store", STORE).stdout


def test_identical_rows_are_events_each(cli: Cli) -> None:
    row = next(permit_rows(1))
    write_csv(cli.place / "log.csv", [row, row, row])
    assert "Added 3 events" in cli("import", "log.csv", *NAMED, "--store", STORE).stdout
    assert "Nothing to add" in cli("import", "log.csv", *NAMED, "--store", STORE).stdout
    write_csv(cli.place / "log.csv", [row, row, row, row])
    assert "Added 1 event " in cli("import", "log.csv", *NAMED, "--store", STORE).stdout


def test_bad_rows_are_set_aside(cli: Cli) -> None:
    lines = [
        ",".join(HEADER),
        "c1,Opened,2020-01-01T00:00:00Z,r,n",
        "c1,Opened,yesterday,r,n",
        "c1,Opened,2020-01-01T00:00:00,r,n",
        ",Opened,2020-01-01T00:00:00Z,r,n",
        "c1,,2020-01-01T00:00:00Z,r,n",
        "c1,Opened,2020-01-01T00:00:00Z,r",
        "c1,Opened,2020-01-01T00:00:00Z,r,n,m",
        "",
        'c1,Opened,2020-01-01T00:00:00Z,"two\nlines",n',
        f"{'x' * 600},Opened,2020-01-01T00:00:00Z,r,n",
        "c1,Op\x00ened,2020-01-01T00:00:00Z,r,n",
        'c1,Opened,2020-01-01T00:00:00Z,"r"x,n',
        "c1,Opened,0001-01-01T00:00:00+14:00,r,n",
        "c1,Closed,2020-01-02T00:00:00Z,r,n",
        'c2,Opened,2020-01-01T00:00:00Z,"never closed,n',
        "c2,Closed,2020-01-02T00:00:00Z,r,n",
    ]
    text = "\n".join(lines).encode() + b"\nc3,Opened,2020-01-01T00:00:00Z,\xff\xfe,n\n"
    (cli.place / "log.csv").write_bytes(text)
    done = cli("import", "log.csv", *NAMED, "--store", STORE, code=3)
    assert "12 rows were rejected" in done.stderr
    assert "log.csv.rejected.jsonl" in done.stderr
    side = cli.place / "log.csv.rejected.jsonl"
    assert rejected(side) == [
        (3, "its 'time:timestamp' is no ISO 8601 time: 'yesterday'"),
        (4, "its 'time:timestamp' has no UTC offset, and no time zone was given: '2020-01-01T00:00:00'"),
        (5, "its 'case:id' is empty"),
        (6, "its 'concept:name' is empty"),
        (7, "it has 4 fields; the header has 5"),
        (8, "it has 6 fields; the header has 5"),
        (12, "its stream: it is 607 bytes long; 512 is the most"),
        (13, "its type: it holds a control character, such as NUL or a newline"),
        (14, "it is no CSV: ',' expected after '\"'"),
        (15, "its 'time:timestamp' lies outside the years 1 to 9999: '0001-01-01T00:00:00+14:00'"),
        (17, "it is no CSV: unexpected end of data"),
        (19, "it is not text in the file's encoding"),
    ]
    assert json.loads(side.read_text().splitlines()[0])["row"] == dict(
        zip(HEADER, ["c1", "Opened", "yesterday", "r", "n"], strict=True)
    )
    assert [(one["stream_id"], one["type"], one["data"]["org:resource"]) for one in cli.events(STORE)] == [
        ("permit-c1", "Opened", "r"),
        ("permit-c1", "Opened", "two\nlines"),
        ("permit-c1", "Closed", "r"),
        ("permit-c2", "Closed", "r"),
    ]
    # The same again: nothing is added, and the same rows are rejected, not twice as many.
    assert "Nothing to add" in cli("import", "log.csv", *NAMED, "--store", STORE, code=3).stdout
    assert len(rejected(side)) == 12
    # Mended, they come in, and the list is gone.
    write_csv(
        cli.place / "log.csv",
        [
            ["c1", "Opened", "2020-01-01T00:00:00Z", "r", "n"],
            ["c9", "Opened", "2020-01-01T00:00:00Z", "r", "n"],
        ],
    )
    assert "Added 1 event " in cli("import", "log.csv", *NAMED, "--store", STORE).stdout
    assert not side.exists()


def test_the_side_file_replaces_nothing_else(cli: Cli) -> None:
    write_csv(cli.place / "log.csv", [["c1", "Opened", "never", "r", "n"]])
    (cli.place / "mine.txt").write_text("precious\n")
    done = cli("import", "log.csv", *NAMED, "--store", STORE, "--rejects", "mine.txt", code=1)
    assert "lists no rejected rows" in done.stderr
    assert (cli.place / "mine.txt").read_text() == "precious\n"
    cli("import", "log.csv", *NAMED, "--store", STORE, "--rejects", "other.jsonl", code=3)
    assert rejected(cli.place / "other.jsonl")[0][0] == 2


def test_json_lines_of_any_shape(cli: Cli) -> None:
    lines = [
        (
            '{"ts": "2020-01-01T00:00:00+01:00", "case": {"no": 17, "kind": "x"}, "what": "It began", '
            '"n": 12345678901234567890123, "f": 1.10}'
        ),
        '  {"what": "It ended", "case": {"no": "17"}, "ts": "2020-01-02T00:00:00Z", "a": [1,  2]}  ',
        '{"what": "It ended", "case": {"no": null}, "ts": "2020-01-02T00:00:00Z"}',
        '{"what": "It ended", "ts": "2020-01-02T00:00:00Z"}',
        '{"what": "It ended", "case": {"no": 1}, "ts": 1577923200}',
        '{"what": "It ended", "case": {"no": 1}, "ts": "2020-01-02T00:00:00Z"',
        "[1, 2]",
        '{"what": "\\ud800", "case": {"no": 1}, "ts": "2020-01-02T00:00:00Z"}',
        "[" * 100_000,
    ]
    (cli.place / "log.jsonl").write_text("\ufeff" + "\n\n".join(lines) + "\n", encoding="utf-8")
    named = ("--stream", "case.no", "--type", "what", "--time", "ts", "--category", "thing")
    done = cli("import", "log.jsonl", *named, "--store", STORE, code=3)
    assert "Added 2 events in 1 stream " in done.stdout
    output = cli("events", "--json", "--store", STORE).stdout
    assert '"data":{"case":{"no": 17, "kind": "x"},"n":12345678901234567890123,"f":1.10}' in output
    assert '"data":{"case":{"no": "17"},"a":[1,  2]}' in output
    assert {one["stream_id"] for one in cli.events(STORE)} == {"thing-17"}
    assert [line for line, _ in rejected(cli.place / "log.jsonl.rejected.jsonl")] == [5, 7, 9, 11, 13, 15, 17]
    assert "Nothing to add" in cli("import", "log.jsonl", *named, "--store", STORE, code=3).stdout


def test_rows_with_ids_of_their_own(cli: Cli) -> None:
    header = ["id", "case:id", "concept:name", "time:timestamp"]
    first = ["1", "a", "Opened", "2020-01-01T00:00:00Z"]
    uuid = "0132f2cd-67b4-4baa-8624-aff741405230"
    rows = [
        first,
        ["2", "a", "Closed", "2020-01-01T00:00:00Z"],
        first,
        ["1", "a", "Another", "2020-01-01T00:00:00Z"],
        ["1", "b", "Opened", "2020-01-01T00:00:00Z"],
        [uuid, "b", "Closed", "2020-01-01T00:00:00Z"],
        [uuid, "c", "Closed", "2020-01-01T00:00:00Z"],
        ["", "c", "Closed", "2020-01-01T00:00:00Z"],
    ]
    write_csv(cli.place / "log.csv", rows, header)
    done = cli("import", "log.csv", *NAMED, "--id", "id", "--store", STORE, code=3)
    assert "Added 4 events" in done.stdout
    expected = [
        (5, "its id is that of another event, on line 2"),
        (8, "its id is that of another event, on line 7"),
        (9, "its 'id' is empty"),
    ]
    side = cli.place / "log.csv.rejected.jsonl"
    assert rejected(side) == expected
    assert uuid in [one["event_id"] for one in cli.events(STORE)]
    assert [one["data"] for one in cli.events(STORE, "permit-a")] == [{"id": "1"}, {"id": "2"}]
    assert "Nothing to add" in cli("import", "log.csv", *NAMED, "--id", "id", "--store", STORE, code=3).stdout
    assert rejected(side) == expected
    # An id stands for its event, also when the row says something else later.
    write_csv(
        cli.place / "log.csv",
        [
            ["1", "a", "Changed", "2020-01-01T00:00:00Z"],
            [uuid, "d", "Closed", "2020-01-01T00:00:00Z"],
            ["3", "a", "Reopened", "2020-01-01T00:00:00Z"],
        ],
        header,
    )
    done = cli("import", "log.csv", *NAMED, "--id", "id", "--store", STORE, code=3)
    assert "Added 1 event " in done.stdout
    assert rejected(side) == [
        (2, "its id is recorded already, for another event: version 1"),
        (3, "its id is recorded already, in another stream"),
    ]


def test_other_csv(cli: Cli) -> None:
    text = "case;what;when\n\u00e9t\u00e9;Ge\u00f6ffnet;2020-07-01 12:00\n"
    (cli.place / "log.txt").write_text(text, encoding="cp1252")
    named = ("--stream", "case", "--type", "what", "--time", "when", "--category", "c", "--store", STORE)
    done = cli("import", "log.txt", *named, code=1)
    assert "separated by ';'" in done.stderr
    more = ("--delimiter", ";", "--encoding", "cp1252", "--timezone", "Europe/Amsterdam")
    cli("import", "log.txt", *named, *more)
    (event,) = cli.events(STORE)
    assert (event["stream_id"], event["type"], event["data"]) == ("c-\u00e9t\u00e9", "Ge\u00f6ffnet", {})
    assert datetime.fromisoformat(event["recorded_at"]) == datetime(2020, 7, 1, 10, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "arguments", "code", "message"),
    [
        ("", NAMED, 1, "is empty"),
        ("a,a\n1,2\n", NAMED, 1, "'a' twice"),
        ("a,b\n1,2\n", NAMED, 1, "There is no column named 'case:id'. Known are: a, b."),
        ("a,b\n1,2\n", NAMED[:4], 2, "--time and --category must be given"),
        ("a,b\n1,2\n", (), 1, "name the columns"),
        ("a,b\n1,2\n", (*NAMED[:6], "--category", "a-b"), 1, "without a hyphen"),
        ("a,b\n1,2\n", (*NAMED, "--timezone", "Nowhere/None"), 2, "no time zone"),
        ("a,b\n1,2\n", (*NAMED, "--encoding", "utf-99"), 1, "no encoding named"),
        ("a,b\n1,2\n", (*NAMED, "--delimiter", "::"), 1, "must be one character"),
        ('[{"a": 1}]', (*NAMED, "--format", "jsonl"), 1, "JSON array"),
    ],
)
def test_files_that_are_not_what_they_are_said_to_be(
    cli: Cli, text: str, arguments: tuple[str, ...], code: int, message: str
) -> None:
    (cli.place / "log.csv").write_text(text)
    assert message in cli("import", "log.csv", *arguments, "--store", STORE, code=code).stderr


def test_a_file_that_is_not_there_makes_no_store(cli: Cli) -> None:
    assert "none.csv" in cli("import", "none.csv", *NAMED, "--store", STORE, code=1).stderr
    assert not (cli.place / "permits.db").exists()


def test_interrupted_and_run_again(cli: Cli) -> None:
    write_csv(cli.place / "log.csv", permit_rows(20_000, 4))
    process = cli.start("import", "log.csv", *NAMED, "--store", STORE)
    deadline = time.monotonic() + 30
    wal = cli.place / "permits.db-wal"
    while not (wal.exists() and wal.stat().st_size > 2_000_000):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "Traceback" not in stderr
    assert "run the same command again" in stderr
    some = len(cli.events(STORE))
    assert 0 < some < 80_000
    done = cli("import", "log.csv", *NAMED, "--store", STORE)
    assert f"Added {80_000 - some:,} events" in done.stdout
    streams = cli.streams(STORE)
    assert len(streams) == 20_000
    assert all(
        [one["data"]["org:resource"] for one in events] == ["Resource00", "Resource01", "Resource02", "Resource03"]
        for events in streams.values()
    )


def test_killed_and_run_again(cli: Cli) -> None:
    write_csv(cli.place / "log.csv", permit_rows(20_000, 2))
    process = cli.start("import", "log.csv", *NAMED, "--store", STORE)
    deadline = time.monotonic() + 30
    wal = cli.place / "permits.db-wal"
    while not (wal.exists() and wal.stat().st_size > 2_000_000):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.kill()
    process.communicate(timeout=30)
    cli("import", "log.csv", *NAMED, "--store", STORE)
    assert sorted(map(len, cli.streams(STORE).values())) == [2] * 20_000


def test_the_log_has_the_order_of_the_file(cli: Cli) -> None:
    rows = list(permit_rows(300, 6))
    random.Random(3).shuffle(rows)
    write_csv(cli.place / "log.csv", rows[:1_000])
    cli("import", "log.csv", *NAMED, "--store", STORE)
    write_csv(cli.place / "log.csv", rows)
    cli("import", "log.csv", *NAMED, "--store", STORE)
    assert [(one["stream_id"], one["data"]["org:resource"]) for one in cli.events(STORE)] == [
        (f"permit-{row[0]}", row[3]) for row in rows
    ]


def test_two_imports_of_one_file_at_once(cli: Cli) -> None:
    write_csv(cli.place / "log.csv", permit_rows(3_000, 4))
    (cli.place / "events.csv").write_bytes((cli.place / "log.csv").read_bytes())
    both = [cli.start("import", name, *NAMED, "--store", STORE) for name in ("log.csv", "events.csv")]
    for process in both:
        _, stderr = process.communicate(timeout=60)
        assert process.returncode == 0, stderr
    assert [len(events) for events in cli.streams(STORE).values()] == [4] * 3_000
