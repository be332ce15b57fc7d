"""Every command on a PostgreSQL database: as on a file, and with nothing but another URL."""

from __future__ import annotations

import re
import signal
import urllib.request

from tests.integration.cli.support import NAMED, PATIENCE, SHOP, Cli, permit_rows, write_csv


def served(cli: Cli, *arguments: str, ask: str = "health", body: str | None = None) -> str:
    """What a server prints, and answers to one request; then it is stopped."""
    process = cli.start(*arguments, "--port", "0")
    assert process.stdout is not None
    said = ""
    while not (found := re.search(r"http://127\.0\.0\.1:\d+", said)):
        line = process.stdout.readline()
        assert line, (said, process.communicate())
        said += line
    data = None if body is None else body.encode()
    request = urllib.request.Request(f"{found[0]}/{ask}", data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
        said += str(answer.read(), "utf-8")
    process.send_signal(signal.SIGINT)
    said += process.stdout.read()  # the line after may have been read ahead, where communicate() would not look
    _, stderr = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, stderr
    assert "Traceback" not in stderr
    return said


def test_every_command_takes_a_database(cli: Cli, empty_database: str) -> None:
    store = ("--store", empty_database)
    write_csv(cli.place / "log.csv", permit_rows(50))
    # Nothing is set up by who only looks.
    for looking in (("events",), ("show", "permit-case-1"), ("projections", "list"), ("export", "no.jsonl")):
        assert "run foldline migrate" in cli(*looking, *store, code=1).stderr
    assert f"Added 200 events in 50 streams to {empty_database}" in cli("import", "log.csv", *NAMED, *store).stdout
    assert "Nothing to add" in cli("import", "log.csv", *NAMED, *store).stdout
    assert len(cli.events(empty_database)) == 200
    assert len(cli.events(empty_database, "--follow", "--limit", "150")) == 150
    assert "4 events" in cli("show", "permit-case-1", *store).stdout
    assert "Exported 200 events" in cli("export", "out.jsonl", *store).stdout
    cli("import", "out.jsonl", "--store", "sqlite:copy.db")
    there, here = cli.streams("sqlite:copy.db"), cli.streams(empty_database)
    for events in (*there.values(), *here.values()):
        for event in events:
            del event["position"]
    assert there == here
    assert "No projection" in cli("projections", "list", *store).stderr


def test_an_application_on_a_database(cli: Cli, empty_database: str) -> None:
    (cli.place / "shop.py").write_text(SHOP)
    store, app = ("--store", empty_database), ("--app", "shop:app")
    said = served(cli, "serve", "shop:app", *store, ask="commands/PlaceOrder", body='{"order_id": "o-1", "total": 5}')
    assert f"shop on {empty_database} is served at" in said
    assert '"total": 5' in cli("show", "order-o-1", *store, *app).stdout
    assert "Rebuilt order_total up to position 1" in cli("projections", "rebuild", "order_total", *store, *app).stdout
    assert "up to date" in cli("projections", "list", *store, *app).stdout
    assert '"total":5' in served(cli, "serve", "shop:app", *store, ask="views/order_total/o-1")


def test_the_demo_on_a_database(cli: Cli, empty_database: str) -> None:
    said = served(cli, "demo", "--store", empty_database, "--orders", "20")
    assert f"Its events are in {empty_database}, kept there" in said
    before = len(cli.events(empty_database))
    assert before > 100
    # It goes on with what is there.
    served(cli, "demo", "--store", empty_database, "--orders", "20")
    assert len(cli.events(empty_database)) == before
    listed = cli("projections", "list", "--store", empty_database, "--app", "foldline.demo.app:shop").stdout
    assert listed.count("up to date") >= 3
