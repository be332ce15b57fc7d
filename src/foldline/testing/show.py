"""Shows what a test expected beside what came out, so that a failure can be read without a debugger."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

LEGEND = "(- expected, + came out)"
"""What the signs in front of the lines mean."""


def differences(expected: Sequence[object], actual: Sequence[object]) -> str:
    """Both lists as one, a line for each item, marked where they differ, with the fields in which two items do."""
    lines: list[str] = []
    wanted, found = [repr(one) for one in expected], [repr(one) for one in actual]
    matcher = difflib.SequenceMatcher(None, wanted, found, autojunk=False)
    for kind, start, end, from_, to in matcher.get_opcodes():
        if kind == "equal":
            # Equal to read need not be equal: an int field that holds a bool, a value of a type without ==.
            for left, right in zip(expected[start:end], actual[from_:to], strict=True):
                if left == right:
                    lines.append(f"    {left!r}")
                else:
                    lines += [f"  - {left!r}", f"  + {right!r}", "      they read alike, but are not equal"]
            continue
        rest = list(actual[from_:to])
        for item in expected[start:end]:
            lines.append(f"  - {item!r}")
            if rest:
                twin = rest.pop(0)
                lines.append(f"  + {twin!r}")
                lines += [f"      {line}" for line in fields(item, twin)]
        lines += [f"  + {item!r}" for item in rest]
    return "\n".join(lines) if lines else "    (nothing)"


def fields(expected: object, actual: object) -> list[str]:
    """The fields in which two structs of one type differ, a line each; nothing for other values."""
    if type(expected) is not type(actual) or not isinstance(expected, msgspec.Struct):
        return []
    return [
        f"{name}: expected {left!r}, got {right!r}"
        for name in expected.__struct_fields__
        if (left := getattr(expected, name)) != (right := getattr(actual, name))
    ]


def listed(items: Iterable[Any], *, empty: str = "(nothing)") -> str:
    """Items indented, a line each."""
    return "\n".join(f"    {item!r}" for item in items) or f"    {empty}"
