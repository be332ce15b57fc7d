"""What goes in comes out: JSON text is kept byte for byte, and what is none is refused (G7)."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from foldline.errors import ValidationFailed
from foldline.store.spi import MAX_DATA_BYTES, Store
from foldline.testing.contract.harness import StoreCase, event, kept, new_id, on_examples, on_store, to, whole_log

GOOD_TEXTS = {
    "key order": b'{"b":1,"a":2,"":3}',
    "keys twice": b'{"a":1,"a":2}',
    "whitespace": b' \t\r\n{ "a" :\n[ 1 , 2 ] }\r\n',
    "big integer": b'{"n":123456789012345678901234567890123456789012345678901234567890}',
    "2**63": b"[9223372036854775807,9223372036854775808,-9223372036854775809,18446744073709551616]",
    "digits": b"[1.0,1.00,0.1e1,1E+2,1e-999,1e999,-0,-0.0,0.1000000000000000055511151231257827]",
    "scalars": b"null",
    "a text": b'"x"',
    "escapes": rb'"\"\\\/\b\f\n\r\t\u00e9\u00E9\uD83D\uDE00"',
    "NUL escape": rb'{"a\u0000b":"\u0000"}',
    "raw Unicode": '{"ключ":"значение, 値, \N{GRINNING FACE}, e\u0301, \u2028\u2029\ufeff\uffff\x7f\x85"}'.encode(),
    "looks like SQL": b'"\'; DELETE FROM foldline_events; -- %s ? :a $1"',
    "deep": b"[" * 200 + b"]" * 200,
    "wide": b"[" + b",".join([b"0"] * 10_000) + b"]",
}
"""JSON text that every store keeps as it is."""

BAD_TEXTS = {
    "empty": b"",
    "blank": b"  ",
    "half": b'{"a":',
    "two": b"1 2",
    "word": b"hello",
    "Python": b"{'a': 1}",
    "comma": b"[1,]",
    "NaN": b"NaN",
    "Infinity": b'{"a":-Infinity}',
    "leading zero": b"01",
    "raw NUL": b'"\x00"',
    "raw newline": b'"\n"',
    "bad escape": rb'"\x41"',
    "high surrogate": rb'"\ud800"',
    "low surrogate": rb'{"\udc00":1}',
    "surrogates the wrong way": rb'"\ude00\ud83d"',
    "surrogate in bytes": b'"\xed\xa0\x80"',
    "no UTF-8": b'"\xff"',
    "overlong": b'"\xc0\x80"',
    "beyond Unicode": b'{"a":"\xf4\x90\x80\x80"}',
    "cut off": '"é"'.encode()[:-2] + b'"',
    "latin-1 key": '{"é":1}'.encode("latin-1"),
    "UTF-16": "{}".encode("utf-16"),
    "byte order mark": b"\xef\xbb\xbf{}",
    "too deep": b"[" * 100_000 + b"]" * 100_000,
    "too deep by objects": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
}
"""Bytes that every store refuses."""

_PLAIN = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
_NUMBERS = st.one_of(
    st.integers().map(str),
    st.integers(-(10**80), 10**80).map(str),
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.from_regex(
        r"-?(0|[1-9][0-9]{0,30})(\.[0-9]{1,30})?([eE][+-]?[0-9]{1,4})?", fullmatch=True, alphabet="-+.eE0123456789"
    ),
)
_BLANKS = st.sampled_from(["", "", "", " ", "\n", "\t", "\r\n  "])


def json_texts() -> SearchStrategy[bytes]:
    """Any JSON text: all kinds of values, in any spelling, with blanks wherever they may be."""
    strings = st.tuples(_PLAIN, st.booleans()).map(lambda of: json.dumps(of[0], ensure_ascii=of[1]))
    leaves = st.one_of(st.sampled_from(["null", "true", "false"]), _NUMBERS, strings)

    def around(inner: SearchStrategy[str]) -> SearchStrategy[str]:
        item = st.tuples(_BLANKS, inner, _BLANKS).map("".join)
        pair = st.tuples(_BLANKS, strings, _BLANKS, st.just(":"), item).map("".join)
        return st.one_of(
            st.lists(item, max_size=4).map(lambda items: "[" + ",".join(items) + "]"),
            st.lists(pair, max_size=4).map(lambda pairs: "{" + ",".join(pairs) + "}"),
        )

    return st.tuples(_BLANKS, st.recursive(leaves, around, max_leaves=12), _BLANKS).map(lambda of: "".join(of).encode())


class TextContract(StoreCase):
    """Data and metadata as JSON text."""

    @pytest.mark.parametrize("text", GOOD_TEXTS.values(), ids=GOOD_TEXTS)
    @on_store
    async def test_json_text_is_kept_byte_for_byte(self, store: Store, text: bytes) -> None:
        """In data and in metadata, whichever way it is read."""
        json.loads(text)
        await kept(store, to("a-1", event(text, metadata=text)))
        [read] = await store.read_stream("a-1")
        assert (type(read.data), read.data) == (bytes, text)
        assert read.metadata == text
        assert (await store.read_all()).events == [read]

    @on_examples(150, text=json_texts(), metadata=json_texts())
    async def test_any_json_text_is_kept_byte_for_byte(self, store: Store, text: bytes, metadata: bytes) -> None:
        """Whatever hypothesis comes up with."""
        stream_id = f"a-{new_id()}"
        await kept(store, to(stream_id, event(text, metadata=metadata)))
        [read] = await store.read_stream(stream_id)
        assert (read.data, read.metadata) == (text, metadata)

    @pytest.mark.parametrize("text", BAD_TEXTS.values(), ids=BAD_TEXTS)
    @on_store
    async def test_what_is_no_json_text_is_refused(self, store: Store, text: bytes) -> None:
        """With nothing kept of the append that it is part of."""
        for bad in (event(text), event(metadata=text)):
            with pytest.raises(ValidationFailed):
                await store.append(to("a-1", event(), bad))
        assert await whole_log(store) == []

    @on_examples(100, text=st.binary(max_size=20))
    async def test_any_bytes_are_kept_or_refused(self, store: Store, text: bytes) -> None:
        """What every reader of JSON understands is kept; and nothing is kept that would not come back."""
        try:
            # Python's own reader takes half of a surrogate pair, which then cannot be written.
            understood = bool(json.dumps(json.loads(text.decode()), ensure_ascii=False).encode())
        except ValueError:
            understood = False
        stream_id = f"a-{new_id()}"
        if understood and b"NaN" not in text and b"Infinity" not in text:
            await kept(store, to(stream_id, event(text)))
            assert [one.data for one in await store.read_stream(stream_id)] == [text]
        else:
            with pytest.raises(ValidationFailed):
                await store.append(to(stream_id, event(text)))

    @on_store
    async def test_large_events_are_kept(self, store: Store) -> None:
        """Of a mebibyte, several in one append, and one of the most bytes that there may be."""
        large = [_of_bytes(size) for size in (2**20, 2**20 + 1, 2**20 - 1)]
        await kept(store, to("a-1", *(event(text, metadata=text) for text in large)))
        assert [one.data for one in await store.read_stream("a-1")] == large
        assert [one.metadata for one in await store.read_stream("a-1", after=1)] == large[1:]
        await kept(store, to("b-1", event(_of_bytes(MAX_DATA_BYTES))))
        assert [len(one.data) for one in await store.read_stream("b-1")] == [MAX_DATA_BYTES]

    @on_store
    async def test_larger_events_are_refused(self, store: Store) -> None:
        """In data and in metadata alike, with nothing kept."""
        text = _of_bytes(MAX_DATA_BYTES + 1)
        for bad in (event(text), event(metadata=text)):
            with pytest.raises(ValidationFailed):
                await store.append(to("a-1", event(), bad))
        assert await whole_log(store) == []

    @on_examples(
        60, names=st.tuples(*[st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=40)] * 5)
    )
    async def test_names_are_kept_as_they_are(self, store: Store, names: tuple[str, ...]) -> None:
        """Types, actors, correlation and causation ids, and the ids of streams and commands: any text."""
        kind, actor, correlation, cause, stream = names
        stream_id = f"{stream}-{new_id()}"
        await kept(store, to(stream_id, event(type=kind, actor=actor, correlation_id=correlation, causation_id=cause)))
        [read] = await store.read_stream(stream_id)
        got: tuple[Any, ...] = (read.type, read.actor, read.correlation_id, read.causation_id, read.stream_id)
        assert got == (kind, actor, correlation, cause, stream_id)


def _of_bytes(size: int) -> bytes:
    """JSON text of so many bytes, which does not look alike everywhere."""
    unit = "0123456789 é漢\N{GRINNING FACE} ".encode()
    times, rest = divmod(size - 2, len(unit))
    return b'"' + unit * times + b"x" * rest + b'"'
