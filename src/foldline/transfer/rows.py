"""Reads files row by row, a chunk at a time: CSV, JSON Lines, and what ``export`` wrote."""

from __future__ import annotations

import csv
import io
import operator
import threading
from collections import deque
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, Literal, TypeAlias

import msgspec

from foldline.domain.message import check_id
from foldline.errors import CodecError, UnknownName, ValidationFailed
from foldline.store.spi import MAX_DATA_BYTES, check_event
from foldline.transfer.columns import Bad, Candidate, Columns, Maker, reason_of
from foldline.transfer.lines import read_line

Format: TypeAlias = Literal["csv", "jsonl"]
"""What a file is: CSV with a header line, or JSON Lines (an object a line)."""

CHUNK_ROWS = 5_000
"""The most rows that are appended together."""

CHUNK_BYTES = 8 * 1024 * 1024
"""About how many bytes of data are appended together, where rows are large."""

MAX_LINE_BYTES = 3 * MAX_DATA_BYTES
"""The longest line of JSON that is looked at: an event's data and metadata, and room for escapes."""

_encode = msgspec.json.Encoder().encode
_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_value = msgspec.json.Decoder(str).decode


class Rows:
    """A file open for reading, in chunks. `chunk` and `close` may be called from different threads.

    Without ``columns`` the file must be what `export` wrote. Raises OSError where it cannot be read,
    CodecError where it is not of the format, UnknownName where it has no such column.
    """

    def __init__(self, path: Path, columns: Columns | None, format: Format | None = None) -> None:
        self.path = path
        self.size = path.stat().st_size
        self.header: list[str] | None = None
        self._lock = threading.Lock()
        self._file = io.BufferedReader(path.open("rb", buffering=0), 1024 * 1024)
        try:
            kind = format or _format_of(path, self._file)
            if columns is None:
                if kind == "csv":
                    raise CodecError(f"{path} is CSV: name the columns of stream, type and time, and a category.")
                self._rows = _exported(self._file)
            elif kind == "csv":
                self._rows = self._open_csv(columns)
            else:
                self._rows = _json_lines(self._file, columns, Maker(columns), path)
        except BaseException:
            self._file.close()
            raise

    def chunk(self) -> tuple[list[Candidate | Bad], int]:
        """The next rows and how far into the file they reach, in bytes; no rows at its end. Blocks."""
        with self._lock:
            rows: list[Candidate | Bad] = []
            if self._file.closed:
                return rows, self.size
            size = 0
            try:
                for row in islice(self._rows, CHUNK_ROWS):
                    rows.append(row)
                    size += len(row.event.data) if isinstance(row, Candidate) else len(row.reason)
                    if size > CHUNK_BYTES:
                        break
            except UnicodeError as error:
                raise CodecError(f"{self.path} is not in the encoding it is said to be in: {error}") from None
            return rows, self._file.tell() if self._file.seekable() else 0

    def close(self) -> None:
        """Let go of the file, once a chunk that is being read has been."""
        with self._lock:
            self._file.close()

    def _open_csv(self, columns: Columns) -> Iterator[Candidate | Bad]:
        encoding = columns.encoding.lower().replace("_", "-")
        try:
            # Kept, for a wrapper that nobody refers to closes the file.
            self._text = io.TextIOWrapper(
                # A byte-order mark is no part of the first column's name; bytes that are no text reject their
                # row alone.
                self._file,
                encoding="utf-8-sig" if encoding in ("utf-8", "utf8") else encoding,
                errors="surrogateescape",
                newline="",
            )
        except LookupError:
            raise CodecError(f"There is no encoding named {columns.encoding!r}.") from None
        delimiter = columns.delimiter or ("\t" if self.path.suffix.lower() == ".tsv" else ",")
        # The module's own limit, 128 KiB a cell, is set for the whole process and is less than an event may
        # hold.
        csv.field_size_limit(MAX_DATA_BYTES)
        feed = _Feed(self._text)
        records = csv.reader(feed, delimiter=delimiter, strict=True)
        try:
            self.header = next(records, [])
        except csv.Error as error:
            raise CodecError(f"The header of {self.path} cannot be read: {error}.") from None
        _check_header(self.path, self.header, columns, delimiter)
        return _csv_rows(feed, records, self.header, columns, Maker(columns))


# --- CSV ----------------------------------------------------------------------------------------------------


class _Feed:
    """Hands lines to a CSV reader and remembers those of the current record, so that it can be read again."""

    def __init__(self, lines: Iterator[str]) -> None:
        self._lines = lines
        self._again: deque[str] = deque()
        self.line = 0
        self.record: list[str] = []

    def __iter__(self) -> _Feed:
        return self

    def __next__(self) -> str:
        line = self._again.popleft() if self._again else next(self._lines)
        self.line += 1
        self.record.append(line)
        return line

    def put_back(self) -> None:
        """Read all lines of the record but its first one again."""
        again = self.record[1:]
        self._again.extendleft(reversed(again))
        self.line -= len(again)


def _check_header(path: Path, header: list[str], columns: Columns, delimiter: str) -> None:
    if not header:
        raise CodecError(f"{path} is empty: CSV begins with a line that names the columns.")
    doubled = next((name for name in header if header.count(name) > 1), None)
    if doubled is not None:
        raise CodecError(f"{path} names the column {doubled!r} twice: give each column a name of its own.")
    for wanted in (columns.stream, columns.type, columns.time, columns.id):
        if wanted is not None and wanted not in header:
            other = next((mark for mark in ";\t|," if mark != delimiter and mark in header[0]), None)
            if len(header) == 1 and other is not None:
                raise CodecError(f"The columns of {path} seem to be separated by {other!r}: give it as the delimiter.")
            raise UnknownName("column", wanted, header)


def _csv_rows(
    feed: _Feed, records: Iterator[list[str]], header: list[str], columns: Columns, maker: Maker
) -> Iterator[Candidate | Bad]:
    width = len(header)
    stream, kind, time = (header.index(name) for name in (columns.stream, columns.type, columns.time))
    key = None if columns.id is None else header.index(columns.id)
    kept = [index for index in range(width) if index not in (stream, kind, time)]
    names = [header[index] for index in kept]
    rest = _getter(kept)
    make = maker.make
    while True:
        feed.record.clear()
        line = feed.line + 1
        try:
            row = next(records)
        except StopIteration:
            return
        except csv.Error as error:
            # A quote that is never closed would swallow the rest of the file: only the line that opened it is
            # bad.
            feed.put_back()
            yield Bad(line, f"it is no CSV: {error}", [_line(feed.record[0])] if feed.record else [])
            continue
        if len(row) != width:
            if row:
                yield Bad(line, f"it has {len(row)} fields; the header has {width}", row)
            continue
        try:
            data = _encode(dict(zip(names, rest(row), strict=True)))
        except UnicodeEncodeError:
            yield Bad(line, "it is not text in the file's encoding", row)
            continue
        yield make(line, row[stream], row[kind], row[time], None if key is None else row[key], data, row)


def _line(text: str) -> str:
    return text.rstrip("\r\n")


def _getter(indices: list[int]) -> Callable[[list[str]], tuple[str, ...]]:
    if len(indices) > 1:
        return operator.itemgetter(*indices)
    return lambda row: tuple(row[index] for index in indices)


# --- JSON Lines ---------------------------------------------------------------------------------------------


def _lines(file: io.BufferedReader[Any]) -> Iterator[tuple[int, bytes]]:
    number = 0
    while line := file.readline(MAX_LINE_BYTES):
        number += 1
        cut = line
        while len(cut) == MAX_LINE_BYTES and not cut.endswith(b"\n"):
            # Too long to be an event: its end is skipped, its beginning is reported.
            cut = file.readline(MAX_LINE_BYTES)
        if number == 1:
            line = line.removeprefix(b"\xef\xbb\xbf")
        line = line.rstrip(b"\r\n")
        if line.strip():
            yield number, line


def _json_lines(file: io.BufferedReader[Any], columns: Columns, maker: Maker, path: Path) -> Iterator[Candidate | Bad]:
    left_out = (columns.stream, columns.type, columns.time)
    for number, line in _lines(file):
        try:
            line.decode()
            found = _object(line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            if number == 1 and line.lstrip().startswith(b"["):
                raise CodecError(
                    f"{path} is one JSON array: write one object a line, as `jq -c '.[]' {path}` does."
                ) from None
            yield Bad(number, f"it is no JSON object: {error}", line)
            continue
        try:
            stream, kind, time = (_text_at(found, name) for name in left_out)
            key = None if columns.id is None else _text_at(found, columns.id)
        except ValueError as error:
            yield Bad(number, str(error), line)
            continue
        for name in left_out:
            found.pop(name, None)
        yield maker.make(number, stream, kind, time, key, _encode(found), line)


def _text_at(found: dict[str, msgspec.Raw], name: str) -> str:
    """The text of a key, or of a path of keys such as ``case.id``; raises ValueError where there is none."""
    raw = found.get(name)
    if raw is None:
        outer, dot, inner = name.partition(".")
        if not dot or outer not in found or bytes(found[outer])[:1] != b"{":
            raise ValueError(f"it has no {name!r}")
        return _text_at(_object(found[outer]), inner)
    text = bytes(raw)
    if text[:1] == b'"':
        value: str = _value(text)
        return value
    if text[:1] in b"-0123456789":
        return text.decode()
    raise ValueError(f"its {name!r} is neither text nor a number: {text[:80].decode(errors='replace')}")


# --- What export wrote --------------------------------------------------------------------------------------


def _exported(file: io.BufferedReader[Any]) -> Iterator[Candidate | Bad]:
    for number, line in _lines(file):
        try:
            stream_id, version, event = read_line(line)
            check_id("its stream", stream_id)
            check_event(event)
        except ValidationFailed as error:
            yield Bad(number, reason_of(error), line)
        except ValueError as error:
            yield Bad(number, str(error), line)
        else:
            yield Candidate(number, stream_id, event, version, line)


def _format_of(path: Path, file: io.BufferedReader[Any]) -> Format:
    suffix = path.suffix.lower()
    if suffix in (".csv", ".tsv"):
        return "csv"
    if suffix in (".jsonl", ".ndjson", ".json"):
        return "jsonl"
    start = file.peek(4096)
    return "jsonl" if start.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] in (b"{", b"[") else "csv"
