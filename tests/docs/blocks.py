"""Read the fenced code blocks of a page, and run them as a reader would: in order, in one empty directory.

- `python` blocks share one interpreter and one namespace, and may `await` at top level. A block that opens
  with `# file: NAME.py` is written to that file instead, and run as a script unless another block names it.
- `console` and `sh` blocks run under bash with the project's environment first on PATH; directory and
  variables carry over. Lines after a `$ command` are what it must print; `...` stands for anything, in a line
  or for whole lines. A `sh` block without `$` is one script. Background processes are ended with the page.
- `sql` runs in the database a first line `-- on: FILE` names, else in an empty one; `-- on: postgresql://…` has
  psql run it there.
- `json` and `toml` must parse.
- `<!-- not run: reason -->` before a fence leaves a block alone; `<!-- exits: 1 -->` says how it ends.

A page with a `postgresql://…` in a block that is run has a new PostgreSQL server to itself: at `localhost`, where the
environment's PGPORT leads URLs without a port, and with its programs on PATH. As on a server just installed there is
nothing on it but the superuser `postgres`, whom it trusts; of everybody else it wants a password.
"""

from __future__ import annotations

import ast
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import textwrap
import tomllib
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Self

import apsw

from tests.servers.postgres import SUPERUSER, PostgresServer

ROOT = Path(__file__).resolve().parents[2]
DRIVER = Path(__file__).with_name("driver.py")
SHOWN = frozenset({"text", "mermaid", "html", "css", "javascript", "yaml", "http", "diff", "ini"})
CONSOLE = frozenset({"console", "sh", "bash"})
LANGUAGES = SHOWN | CONSOLE | {"python", "sql", "json", "toml"}
SECONDS = 60
# What a shell sets for itself, and the next one must not take for an inheritance.
SHELLS_OWN = frozenset({"_", "SHLVL", "PWD", "OLDPWD"})

FENCE = re.compile(r"^(?P<indent> *)(?P<ticks>`{3,}|~{3,}) *(?P<language>[A-Za-z]*)")
NOT_RUN = re.compile(r"<!--\s*not run:?(?P<reason>.*?)-->", re.DOTALL)
EXITS = re.compile(r"<!--\s*exits:\s*(?P<code>\d+)\s*-->")
FILE = re.compile(r"\A# file: (?P<name>\S+)")
DATABASE = re.compile(r"\A-- on: (?P<name>\S+)")
POSTGRES = "postgresql://"
HBA = (f"host all {SUPERUSER} 127.0.0.1/32 trust", "host all all 127.0.0.1/32 scram-sha-256")


@dataclass(frozen=True)
class Block:
    """One fenced block: where it stands, what it holds, and what the comment before it says of it."""

    page: Path
    line: int
    language: str
    text: str
    not_run: str | None
    exits: int

    @property
    def file(self) -> str | None:
        """The file the block is to be written to, if it is one."""
        match = FILE.match(self.text)
        return match["name"] if match else None

    @property
    def place(self) -> str:
        """The block's page and the line of its fence."""
        page = self.page.relative_to(ROOT) if self.page.is_relative_to(ROOT) else self.page
        return f"{page}:{self.line}"


class BlockFailed(Exception):
    """A documented block does not do what its page says; the message shows the block and its line."""

    def __init__(self, block: Block, why: str) -> None:
        super().__init__(f"{block.place}: {why}\n\n{textwrap.indent(block.text, '    ')}")


def pages() -> list[Path]:
    """Every page whose blocks are a promise: those at the top, and the documentation."""
    top = (ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md"))
    return [*(page for page in top if page.is_file()), *sorted((ROOT / "docs").rglob("*.md"))]


def read(page: Path) -> list[Block]:
    """The page's blocks in order."""
    blocks: list[Block] = []
    lines = page.read_text(encoding="utf-8").splitlines()
    number, prose_from = 0, 0
    while number < len(lines):
        opening = FENCE.match(lines[number])
        if opening is None:
            number += 1
            continue
        closing = re.compile(rf"^ *{opening['ticks']}{opening['ticks'][0]}* *$")
        end = next((at for at in range(number + 1, len(lines)) if closing.match(lines[at])), len(lines))
        note = _note_before(lines[prose_from:number])
        marker, exits = NOT_RUN.search(note), EXITS.search(note)
        blocks.append(
            Block(
                page=page,
                line=number + 1,
                language=opening["language"].lower(),
                text="".join(f"{line.removeprefix(opening['indent'])}\n" for line in lines[number + 1 : end]),
                not_run=" ".join(marker["reason"].split()) if marker else None,
                exits=int(exits["code"]) if exits else 0,
            )
        )
        number = prose_from = end + 1
    return blocks


def _note_before(prose: list[str]) -> str:
    """The HTML comments that end the prose before a fence, with nothing but blank lines between."""
    match = re.search(r"((<!--(?:(?!-->).)*-->)\s*)+\Z", "\n".join(prose), re.DOTALL)
    return match.group() if match else ""


def matches(expected: str, real: str) -> bool:
    """Whether real output is what the page shows, blank ends and trailing blanks aside."""
    pattern = ""
    for line in _tidy(expected):
        if line.strip() == "...":
            pattern += r"(?:[^\n]*\n)*?"
        else:
            pattern += "[^\n]*?".join(map(re.escape, line.split("..."))) + r"\n"
    return re.fullmatch(pattern, "".join(f"{line}\n" for line in _tidy(real))) is not None


def _tidy(text: str) -> list[str]:
    return [line.rstrip() for line in text.strip("\n").rstrip().split("\n")]


def commands(block: Block) -> list[tuple[str, str]]:
    """Each command of a console block, with the output shown for it."""
    if not re.search(r"^\$ ", block.text, re.MULTILINE):
        return [(f"set -e\n{block.text}", "")]
    found: list[tuple[str, str]] = []
    command, output = "", ""
    after_blank = True
    for line in block.text.splitlines():
        continues = command.endswith("\\") and not output
        if line.startswith("$ "):
            if command:
                found.append((command, output))
            command, output = line.removeprefix("$ "), ""
        elif command and not output and (continues or line.startswith("> ")):
            command += "\n" + (line if continues else line.removeprefix("> "))
        elif not (after_blank and line.startswith("#")):
            # A comment stands at the block's head or after a blank line; anything else is output.
            output += line + "\n"
        after_blank = not line.strip()
    return [*found, (command, output)]


class Session:
    """One reader at one page: a directory, an interpreter and a shell, kept from block to block."""

    def __init__(self, blocks: list[Block], directory: Path) -> None:
        self.blocks = blocks
        self.directory = directory / "page"
        self.directory.mkdir()
        self._beside = directory
        self._shell_directory = self.directory
        self._resources = ExitStack()
        self._variables = self._first_variables()
        self._interpreter: subprocess.Popen[str] | None = None
        self._groups: list[int] = []

    def _first_variables(self) -> dict[str, str]:
        ours = ("FOLDLINE_", "PG", "PYTEST_")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
        home = self._beside / "home"
        home.mkdir()
        return kept | {
            # Not resolved: the environment's directory is the link's, not the interpreter's it points to.
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{kept.get('PATH', os.defpath)}",
            "HOME": str(home),
            "COLUMNS": "100",
            "NO_COLOR": "1",
            "PYTHONUNBUFFERED": "1",
            "TERM": "dumb",
            "TZ": "UTC",
        }

    def __enter__(self) -> Self:
        if any(
            POSTGRES in block.text for block in self.blocks if block.not_run is None and block.language not in SHOWN
        ):
            server = self._resources.enter_context(PostgresServer(18, hba=HBA, in_memory=True))
            ours, _, theirs = self._variables["PATH"].partition(os.pathsep)
            # Before those of an older PostgreSQL, whose pg_dump refuses a newer server.
            path = os.pathsep.join((ours, str(server.bin), theirs))
            self._variables |= {"PATH": path, "PGHOST": "localhost", "PGPORT": str(server.port), "PGUSER": SUPERUSER}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._resources:
            self._end()

    def _end(self) -> None:
        for group in self._groups:
            try:
                os.killpg(group, signal.SIGKILL)
            except ProcessLookupError:
                continue
        if self._interpreter:
            self._interpreter.wait()
            for pipe in (self._interpreter.stdin, self._interpreter.stdout):
                if pipe:
                    pipe.close()

    def run(self, block: Block) -> None:
        """Run one block, or raise BlockFailed."""
        if block.language not in LANGUAGES:
            raise BlockFailed(block, f"the fence names no known language: {block.language or 'none at all'}")
        if block.not_run is not None:
            return
        if block.language in CONSOLE:
            self._run_console(block)
        elif block.language == "python":
            self._run_python(block)
        elif block.language == "sql":
            self._run_sql(block)
        elif block.language == "json":
            self._parse(block, json.loads)
        elif block.language == "toml":
            self._parse(block, tomllib.loads)

    def finish(self) -> None:
        """Let the interpreter end as a script does, so that what runs at exit is seen too."""
        if self._interpreter and self._interpreter.stdin:
            self._interpreter.stdin.close()
            code = self._interpreter.wait(SECONDS)
            if code:
                last = [block for block in self.blocks if block.language == "python"][-1]
                raise BlockFailed(last, f"the page's interpreter ended with {code}\n{self._python_output()}")

    def _parse(self, block: Block, parser: object) -> None:
        assert callable(parser)
        try:
            parser(block.text)
        except ValueError as error:
            raise BlockFailed(block, f"not {block.language}: {error}") from error

    def _run_sql(self, block: Block) -> None:
        database = DATABASE.match(block.text)
        if database and database["name"].startswith(POSTGRES):
            script = self._beside / "script.sql"
            script.write_text(block.text, encoding="utf-8")
            options = "-X -q -v ON_ERROR_STOP=1"
            code, output = self._shell(
                f"psql {options} -d {shlex.quote(database['name'])} -f {shlex.quote(str(script))}"
            )
            if code != block.exits:
                raise BlockFailed(block, f"psql ended with {code}, printing:\n{output}")
            return
        connection = apsw.Connection(str(self.directory / database["name"]) if database else ":memory:")
        try:
            connection.execute(block.text).fetchall()
        except apsw.Error as error:
            raise BlockFailed(block, f"SQLite refuses it: {error}") from error
        finally:
            connection.close()

    def _run_console(self, block: Block) -> None:
        for command, expected in commands(block):
            code, output = self._shell(command)
            if code != block.exits:
                raise BlockFailed(block, f"`{command}` ended with {code}, printing:\n{output}")
            if expected.strip() and not matches(expected, output):
                raise BlockFailed(block, f"`{command}` printed otherwise:\n{output}")

    def _shell(self, command: str) -> tuple[int, str]:
        directory, variables = self._beside / "directory", self._beside / "variables"
        script = f'trap \'pwd > "{directory}"; env -0 > "{variables}"\' EXIT\n{command}\n'
        # A file, not a pipe: a server left in the background would hold a pipe open.
        with (self._beside / "output").open("w+") as output:
            bash = subprocess.Popen(
                ["bash", "-c", script],
                cwd=self._shell_directory,
                env=self._variables,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            self._groups.append(bash.pid)
            try:
                code = bash.wait(SECONDS)
            except subprocess.TimeoutExpired:
                os.killpg(bash.pid, signal.SIGKILL)
                code = bash.wait()
            output.seek(0)
            printed = output.read()
        if directory.is_file():
            self._shell_directory = Path(directory.read_text().rstrip("\n"))
        if variables.is_file():
            pairs = (entry.partition("=") for entry in variables.read_text().split("\0") if entry)
            self._variables = {name: value for name, _, value in pairs if name not in SHELLS_OWN}
        return code, printed

    def _run_python(self, block: Block) -> None:
        try:
            compile(block.text, block.place, "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        except SyntaxError as error:
            raise BlockFailed(block, f"not Python: {error}") from error
        if block.file is None:
            self._interpret(block)
            return
        target = self.directory / block.file
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(block.text, encoding="utf-8")
        if not self._named_elsewhere(block, Path(block.file).stem):
            code, output = self._shell(f"cd '{self.directory}' && python '{block.file}'")
            if code != block.exits:
                raise BlockFailed(block, f"it ended with {code}, printing:\n{output}")

    def _named_elsewhere(self, block: Block, module: str) -> bool:
        others = (other for other in self.blocks if other is not block and other.not_run is None)
        return any(re.search(rf"\b{re.escape(module)}\b", other.text) for other in others)

    def _interpret(self, block: Block) -> None:
        interpreter = self._interpreter or self._start_interpreter()
        assert interpreter.stdin is not None and interpreter.stdout is not None
        request = {"name": block.place, "line": block.line, "text": block.text}
        _send(interpreter.stdin, json.dumps(request))
        answer = interpreter.stdout.readline().strip()
        if answer != "done":
            raise BlockFailed(block, f"it {answer or 'ended the interpreter'}\n{self._python_output()}")

    def _start_interpreter(self) -> subprocess.Popen[str]:
        # What the blocks print goes to a file; the pipes carry requests and answers alone.
        with (self._beside / "printed").open("w") as printed:
            self._interpreter = subprocess.Popen(
                [sys.executable, str(DRIVER), str(SECONDS)],
                cwd=self.directory,
                env=self._variables,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=printed,
                text=True,
                start_new_session=True,
            )
        self._groups.append(self._interpreter.pid)
        return self._interpreter

    def _python_output(self) -> str:
        return (self._beside / "printed").read_text()


def _send(pipe: IO[str], line: str) -> None:
    pipe.write(line + "\n")
    pipe.flush()


def run_page(page: Path, directory: Path) -> None:
    """Run every block of a page in document order."""
    blocks = read(page)
    with Session(blocks, directory) as session:
        for block in blocks:
            session.run(block)
        session.finish()
