"""``foldline events``, ``show`` and ``projections``: what a person sees of a store, with an application or without."""

from __future__ import annotations

import json
import signal
import subprocess

import pytest

from tests.integration.cli.support import NAMED, PATIENCE, Cli, permit_rows, write_csv

SHOP = "sqlite:shop.db"


def test_events_as_a_table(cli: Cli, shop: str) -> None:
    lines = cli("events", "--store", SHOP).stdout.splitlines()
    assert lines[0].split() == ["position", "stream", "version", "type", "time", "(UTC)", "actor", "data"]
    assert len(lines) == 10
    assert lines[1].split()[:4] == ["1", "order-o-0", "1", "OrderPlaced"]
    assert lines[1].endswith('ann    {"order_id":"o-0","total":0}')
    lines = cli("events", "order-o-1", "--store", SHOP).stdout.splitlines()
    assert len(lines) == 4
    assert "order-o-1" not in lines[1].split('{"')[0]


def test_events_chosen(cli: Cli, shop: str) -> None:
    write_csv(cli.place / "log.csv", permit_rows(3))
    cli("import", "log.csv", *NAMED, "--store", SHOP)
    assert [one["position"] for one in cli.events(SHOP, "--after", "7", "--limit", "3")] == [8, 9, 10]
    assert [one["version"] for one in cli.events(SHOP, "order-o-2", "--after", "1")] == [2, 3]
    chosen = cli.events(SHOP, "--types", "OrderPlaced,T02 Check confirmation of receipt")
    assert len(chosen) == 12
    # A comma is part of some types: those are asked for as JSON and filtered by other means, or by what is before it.
    assert len(cli.events(SHOP, "permit-case-1", "--types", "Confirmation of receipt", "--types", "OrderPlaced")) == 1
    assert cli.events(SHOP, "--types", "Nothing") == []


def test_events_as_json_hold_the_stored_bytes(cli: Cli) -> None:
    (cli.place / "log.jsonl").write_text('{"s":"1","t":"T","at":"2020-01-01T00:00:00Z","n":1.50,"b":{ "x" : 1e2 }}\n')
    cli("import", "log.jsonl", "--stream", "s", "--type", "t", "--time", "at", "--category", "c", "--store", SHOP)
    (line,) = cli("events", "--json", "--store", SHOP).stdout.splitlines()
    assert '"data":{"n":1.50,"b":{ "x" : 1e2 }},' in line
    assert list(json.loads(line)) == [
        "event_id", "stream_id", "category", "version", "position", "type", "schema_version", "data", "metadata",
        "recorded_at", "correlation_id", "causation_id", "actor",
    ]  # fmt: skip


def test_control_characters_do_not_reach_the_terminal(cli: Cli) -> None:
    row = {"s": "1\u202e", "t": "T", "at": "2020-01-01T00:00:00Z", "x": "\x9b31m\u2028"}
    (cli.place / "log.jsonl").write_text(json.dumps(row, ensure_ascii=False) + "\n")
    cli("import", "log.jsonl", "--stream", "s", "--type", "t", "--time", "at", "--category", "c", "--store", SHOP)
    shown = cli("events", "--store", SHOP).stdout
    assert "c-1\\u202e" in shown
    assert "\\u009b31m\\u2028" in shown
    assert not set(shown) & set("\x9b\u2028\u202e\x1b")


def test_following(cli: Cli, shop: str) -> None:
    process = cli.start("events", "--follow", "--json", "--store", SHOP)
    assert process.stdout is not None
    assert [json.loads(process.stdout.readline())["position"] for _ in range(9)] == list(range(1, 10))
    write_csv(cli.place / "log.csv", permit_rows(1))
    cli("import", "log.csv", *NAMED, "--store", SHOP)
    assert [json.loads(process.stdout.readline())["position"] for _ in range(4)] == list(range(10, 14))
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=PATIENCE)
    assert (process.returncode, stdout, stderr) == (130, "", "")


def test_following_a_stream_from_now_on(cli: Cli, shop: str) -> None:
    process = cli.start("events", "permit-case-0", "--follow", "--json", "--limit", "4", "--store", SHOP)
    write_csv(cli.place / "log.csv", permit_rows(1))
    cli("import", "log.csv", *NAMED, "--store", SHOP)
    stdout, stderr = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, stderr
    assert [json.loads(line)["version"] for line in stdout.splitlines()] == [1, 2, 3, 4]


def test_a_reader_that_has_seen_enough(cli: Cli) -> None:
    write_csv(cli.place / "log.csv", permit_rows(2_000))
    cli("import", "log.csv", *NAMED, "--store", SHOP)
    for arguments in (("events",), ("events", "--json"), ("export", "-")):
        process = cli.start(*arguments, "--store", SHOP)
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.wait(timeout=PATIENCE) == 141
        assert process.stderr.read() == ""
        process.stderr.close()


def test_show_without_an_application(cli: Cli, shop: str) -> None:
    lines = cli("show", "order-o-1", "--store", SHOP).stdout.splitlines()
    assert lines[0] == "order-o-1  3 events"
    assert [line.split()[0] for line in lines[2:]] == ["version", "1", "2", "3"]
    lines = cli("show", "order-o-1", "--at-version", "2", "--store", SHOP).stdout.splitlines()
    assert lines[0] == "order-o-1  2 events of 3"
    output = cli("show", "order-o-1", "--at-version", "2", "--json", "--store", SHOP).stdout
    assert [json.loads(line)["version"] for line in output.splitlines()] == [1, 2]


def test_show_with_an_application(cli: Cli, shop: str) -> None:
    shown = cli("show", "order-o-1", "--app", shop, "--store", SHOP).stdout
    assert shown.startswith("order-o-1  Order at version 3, position 8\n")
    assert '"total": 12' in shown
    shown = cli("show", "order-o-1", "--at-version", "2", "--store", SHOP, "--json", "--app", shop).stdout
    assert json.loads(shown) == {
        "stream_id": "order-o-1",
        "version": 2,
        "position": 5,
        "aggregate": "Order",
        "state": {"total": 5},
    }
    by_environment = cli("show", "order-o-1", "--json", env={"FOLDLINE_STORE": SHOP, "FOLDLINE_APP": shop}).stdout
    assert json.loads(by_environment)["version"] == 3


def test_show_at_a_time(cli: Cli, shop: str) -> None:
    write_csv(cli.place / "log.csv", permit_rows(1))
    cli("import", "log.csv", *NAMED, "--store", SHOP)
    shown = cli("show", "permit-case-0", "--at", "2011-01-11T12:01:30+01:00", "--json", "--store", SHOP, "--app", shop)
    assert [json.loads(line)["version"] for line in shown.stdout.splitlines()] == [1, 2]
    assert "no aggregate" in shown.stderr
    # Without an offset a time is in UTC, as it is shown.
    shown = cli("show", "permit-case-0", "--at", "2011-01-11 11:01:30", "--json", "--store", SHOP)
    assert len(shown.stdout.splitlines()) == 2
    early = cli("show", "permit-case-0", "--at", "2010-12-31", "--store", SHOP, code=1)
    assert "its first is of 2011-01-11 11:00:00.276 UTC" in early.stderr
    early = cli("show", "order-o-0", "--at", "2010-12-31", "--store", SHOP, "--app", shop, code=1)
    assert "had no events at that time" in early.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("show", "order-o-9"), 1, "Did you mean order-o-"),
        (("show", "o-1"), 1, "Did you mean order-o-1?"),
        (("show", "x" * 10_000), 1, "There is no stream"),
        (("events", "nothing-like-it"), 1, "There is no stream 'nothing-like-it'. There is, for one, 'order-o-0'."),
        (("show", "order-o-1", "--at-version", "9"), 1, "is at version 3: there is no version 9 yet"),
        (("show", "order-o-1", "--at-version", "0"), 2, "--at-version"),
        (("show", "order-o-1", "--at-version", "1", "--at", "2020-01-01"), 2, "not both"),
        (("show", "order-o-1", "--at", "teatime"), 2, "is no time"),
        (("events", "--after", "-1"), 2, "--after"),
        (("projections", "rebuild", "order_total"), 2, "No application was named"),
        (("projections", "rebuild", "nothing", "--app", "shop:app"), 1, "Known are: order_total."),
        (("show", "order-o-1", "--app", "shop"), 2, "MODULE:APP"),
        (("show", "order-o-1", "--app", "shop:nothing"), 1, "There is shop:app."),
        (("show", "order-o-1", "--app", "shop:not_an_app"), 1, "is no foldline.App, but an int"),
        (("show", "order-o-1", "--app", "shop:App"), 1, "the class App"),
        (("show", "order-o-1", "--app", "nowhere.shop:app"), 1, "There is no module 'nowhere'"),
        (("show", "order-o-1", "--app", "broken:app"), 1, "broken.py:2: ZeroDivisionError: division by zero"),
        (("show", "order-o-1", "--app", "leaving:app"), 1, "leaving.py:1: SystemExit: 3"),
        (("show", "order-o-1", "--app", "unwritten:app"), 1, "unwritten.py:1: SyntaxError"),
        (("show", "order-o-1", "--app", "needy:app"), 1, "needy.py:1: ModuleNotFoundError: No module named 'not_here'"),
        (("show", "order-o-1", "--app", "doubled:app"), 1, "doubled.py:2: foldline.errors.DefinitionError: "),
    ],
)
def test_what_cannot_be_done(cli: Cli, shop: str, arguments: tuple[str, ...], code: int, message: str) -> None:
    (cli.place / "broken.py").write_text("one = 1\napp = one / 0\n")
    (cli.place / "leaving.py").write_text("raise SystemExit(3)\n")
    (cli.place / "unwritten.py").write_text("app = App(\n")
    (cli.place / "needy.py").write_text("import not_here\n")
    (cli.place / "doubled.py").write_text("from shop import *\napp = App('x', Order, Order)\n")
    done = cli(*arguments, "--store", SHOP, code=code)
    assert message in done.stderr
    assert done.stderr.startswith("foldline: ")
    assert done.stdout == ""


@pytest.mark.parametrize("command", ["events", "show x", "projections list", "export out", "events --follow"])
def test_looking_makes_no_store(cli: Cli, command: str) -> None:
    assert "There is no store at 'typo.db'" in cli(*command.split(), "--store", "sqlite:typo.db", code=1).stderr
    assert "memory" in cli(*command.split(), "--store", "memory:", code=1).stderr
    assert "No store was named" in cli(*command.split(), code=2).stderr
    assert "is no store URL" in cli(*command.split(), "--store", "typo.db", code=1).stderr
    assert list(cli.place.iterdir()) == []


def test_projections(cli: Cli, shop: str) -> None:
    with_app = cli("projections", "list", "--store", SHOP, "--app", shop).stdout.splitlines()
    assert with_app[0].split() == ["projection", "kind", "position", "head", "behind"]
    assert with_app[1].split()[:2] == ["order_total", "view"]
    done = cli("projections", "rebuild", "order_total", "--store", SHOP, "--app", shop)
    assert "Rebuilt order_total up to position 9" in done.stdout
    (listed,) = cli("projections", "list", "--json", "--store", SHOP).stdout.splitlines()
    found = json.loads(listed)
    assert (found["name"], found["position"], found["lag"]) == ("order_total", 9, 0)


def test_a_rebuild_that_is_interrupted(cli: Cli, shop: str) -> None:
    # Slow enough to be met in the middle: each event waits for the test, which never comes.
    text = (cli.place / "shop.py").read_text()
    slow = text.replace(
        "        self.total += event.total\n\n\napp",
        "        self.total += event.total\n        import sys, time\n        print('at work', flush=True)\n"
        "        time.sleep(0.2)\n\n\napp",
    )
    assert slow != text
    (cli.place / "shop.py").write_text(slow)
    process = cli.start("projections", "rebuild", "order_total", "--store", SHOP, "--app", shop)
    assert process.stdout is not None
    assert process.stdout.readline() == "at work\n"
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130, stderr
    assert "Traceback" not in stderr
    assert "order_total is consistent" in stderr
    (cli.place / "shop.py").write_text(text)
    cli("projections", "rebuild", "order_total", "--store", SHOP, "--app", shop)
    script = (
        "from shop import *\n"
        "with app.open_sync('sqlite:shop.db') as running:\n"
        "    print(running.wait_for(running.running.views.find(OrderTotal, order_by='order_id')))\n"
    )
    done = subprocess.run(
        [cli.command()[0], "-c", script], cwd=cli.place, capture_output=True, text=True, timeout=PATIENCE, check=True
    )
    assert [part.split(")")[0] for part in done.stdout.split("total=")[1:]] == ["9", "12", "15"]
