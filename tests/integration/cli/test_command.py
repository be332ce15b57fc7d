"""The command itself: help, versions, wrong usage, what it costs to start, what it looks like on a terminal."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import signal
import statistics
import struct
import subprocess
import sys
import termios
import time
import urllib.request
from pathlib import Path

import pytest

import foldline
from foldline.cli.program import COMMANDS
from tests.integration.cli.support import NAMED, PATIENCE, Cli, permit_rows, write_csv


def on_terminal(cli: Cli, *arguments: str, columns: int = 100) -> tuple[int, str]:
    """The exit code of a command and what it wrote to a terminal of that width."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(cli.place)
        os.execve(sys.executable, cli.command(*arguments), {**cli.environment, "TERM": "xterm-256color"})
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    written = b""
    while True:
        try:
            some = os.read(terminal, 65536)
        except OSError:
            break
        if not some:
            break
        written += some
    os.close(terminal)
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status), written.decode()


def test_help_and_version(cli: Cli) -> None:
    assert cli("--version").stdout == f"foldline {foldline.__version__}\n"
    told = cli("--help").stdout
    assert all(f" {name} " in told for name in COMMANDS)
    assert cli().stdout == told
    for name in COMMANDS:
        assert COMMANDS[name][1].split("\n")[0] in cli(name, "--help").stdout


def test_help_imports_little(cli: Cli) -> None:
    script = (
        "import sys\nfrom foldline.cli import main\nassert main(['--help']) == 0\n"
        "heavy = {'litestar', 'uvicorn', 'apsw', 'opentelemetry', 'asyncio', 'foldline.app', 'foldline.store.sqlite'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", script], env=cli.environment, check=True, timeout=PATIENCE, stdout=-3)


def test_help_is_quick(cli: Cli) -> None:
    def once() -> float:
        started = time.perf_counter()
        cli("--help")
        return time.perf_counter() - started

    once()
    # The target is 0.25 s on a machine at rest; this only notices when somebody imports a server at the top.
    assert statistics.median(once() for _ in range(5)) < 0.75


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("evnts",), 'Unknown command "evnts". Did you mean "events"?'),
        (("events", "--bogus"), "Unknown option"),
        (("events", "--limit", "many"), 'unable to convert "many" into int'),
        (("import",), "FILE"),
        (("projections", "rebuild"), "NAME"),
        (("serve", "--port", "70000", "x:y"), "--port"),
        (("serve",), "No application was named"),
        (("serve", "shop:app"), "No store was named"),
        (("new", "Not A Name"), "is no name for a project"),
    ],
)
def test_wrong_usage(cli: Cli, arguments: tuple[str, ...], message: str) -> None:
    done = cli(*arguments, code=2)
    assert message in done.stderr
    assert done.stdout == ""


def test_without_the_extra(cli: Cli) -> None:
    (cli.place / "sitecustomize.py").write_text("import sys\nsys.modules['cyclopts'] = None\n")
    done = cli("--help", code=1, env={"PYTHONPATH": str(cli.place)})
    assert done.stderr.count("\n") == 1
    assert "pip install 'foldline[cli]'" in done.stderr


def test_without_the_server(cli: Cli, shop: str) -> None:
    (cli.place / "sitecustomize.py").write_text("import sys\nsys.modules['litestar'] = None\n")
    done = cli("serve", shop, "--store", "sqlite:shop.db", code=1, env={"PYTHONPATH": str(cli.place)})
    assert "pip install 'foldline[server]'" in done.stderr


def test_a_table_fits_the_terminal(cli: Cli) -> None:
    write_csv(cli.place / "log.csv", permit_rows(2))
    cli("import", "log.csv", *NAMED, "--store", "sqlite:a.db")
    for columns in (80, 100, 160):
        code, written = on_terminal(cli, "events", "--store", "sqlite:a.db", columns=columns)
        assert code == 0
        assert "\x1b[" in written
        lines = re.sub(r"\x1b\[[0-9;]*m", "", written).splitlines()
        assert max(map(len, lines)) <= columns
        assert any(line.endswith("\u2026") for line in lines) or columns < 100


def test_progress_on_a_terminal(cli: Cli) -> None:
    write_csv(cli.place / "log.csv", permit_rows(5_000))
    code, written = on_terminal(cli, "import", "log.csv", *NAMED, "--store", "sqlite:a.db")
    assert code == 0
    plain = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", written)
    assert "Importing log.csv" in plain
    assert re.search(r"\d+% +[\d,]+ rows +[\d,]+/s \S+ left", plain), plain
    assert "Added 20,000 events in 5,000 streams" in plain


def test_serving(cli: Cli, shop: str) -> None:
    process = cli.start("serve", shop, "--store", "sqlite:shop.db", "--port", "0")
    assert process.stdout is not None
    line = process.stdout.readline()
    found = re.search(r"shop on sqlite:shop.db is served at (http://127\.0\.0\.1:\d+)\n", line)
    assert found, (line, process.stderr and process.stderr.read())
    with urllib.request.urlopen(f"{found[1]}/streams/order-o-1", timeout=PATIENCE) as answer:
        assert b'"version":3' in answer.read()
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=PATIENCE)
    assert "Traceback" not in stderr
    assert process.returncode == 0


def test_a_store_that_cannot_be_opened(cli: Cli, shop: str) -> None:
    (cli.place / "folder").mkdir()
    (cli.place / "letter.db").write_text("Dear reader, this is no database at all, nor was it ever meant to be one.\n")
    for name in ("folder", "letter.db"):
        for command in (("events",), ("serve", shop), ("show", "order-o-1", "--app", shop)):
            done = cli(*command, "--store", f"sqlite:{name}", code=1)
            assert name in done.stderr
            assert done.stderr.startswith("foldline: ")


def test_a_new_project(cli: Cli) -> None:
    done = cli("new", "my-shop")
    assert "foldline serve my_shop.app:app --store sqlite:my-shop.db" in done.stdout
    project = cli.place / "my-shop"
    made = sorted(str(path.relative_to(project)) for path in project.rglob("*") if path.is_file())
    assert made == [
        ".gitignore",
        "README.md",
        "pyproject.toml",
        "src/my_shop/__init__.py",
        "src/my_shop/app.py",
        "tests/test_app.py",
    ]
    assert not any("{{" in (project / name).read_text() for name in made)
    tested = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        cwd=project,
        env=cli.environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert tested.returncode == 0, tested.stdout + tested.stderr
    assert " passed" in tested.stdout
    # What is served is what was made: found in src without being installed.
    inside = Cli(project)
    process = inside.start("serve", "my_shop.app:app", "--store", "sqlite:my-shop.db", "--port", "0")
    assert process.stdout is not None
    address = process.stdout.readline().split()[-1]
    request = urllib.request.Request(
        f"{address}/commands/Deposit",
        data=b'{"account_id": "a-1", "amount": 100}',
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
        assert answer.status == 200
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=PATIENCE)
    shown = inside("show", "account-a-1", "--app", "my_shop.app:app", "--store", "sqlite:my-shop.db").stdout
    assert '"balance": 100' in shown


def test_a_new_project_hides_nothing(cli: Cli) -> None:
    for name in ("json", "class", "foldline", "tests", "a/b", "..", "Shop", "1st", "a" * 100, "", "caf\u00e9"):
        assert "name" in cli("new", name, code=2).stderr
    (cli.place / "taken").mkdir()
    (cli.place / "taken" / "letter").write_text("precious")
    assert "not an empty directory" in cli("new", "taken", code=1).stderr
    (cli.place / "empty").mkdir()
    cli("new", "empty")
    assert sorted(path.name for path in cli.place.iterdir()) == ["empty", "taken"]


def test_the_module_is_the_command() -> None:
    script = Path(sys.executable).with_name("foldline")
    done = subprocess.run([str(script), "--version"], capture_output=True, text=True, timeout=PATIENCE, check=True)
    assert done.stdout == f"foldline {foldline.__version__}\n"
