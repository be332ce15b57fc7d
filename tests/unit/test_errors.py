"""The errors: one tree, drawn as it is, whose messages say what was wrong and what to do."""

from __future__ import annotations

import inspect
import re

import pytest

from foldline import errors
from foldline.errors import (
    CommandIdReused,
    Conflict,
    Fault,
    FoldlineError,
    ProjectionHalted,
    Rejected,
    StoreClosed,
    UnknownName,
    ValidationFailed,
    ViewBehind,
)

EVERY = [one for one in vars(errors).values() if inspect.isclass(one) and issubclass(one, Exception)]
PLAIN = [one for one in EVERY if "__init__" not in vars(one) or one is FoldlineError]


def drawn() -> dict[str, str | None]:
    """Each error of the module's drawing, and the one that it hangs on."""
    found: dict[str, str | None] = {}
    above: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        match = re.match(r"    ([│ ]*(?:[├└]── )?)(\w+)", line)
        if match:
            depth = len(match[1]) // 4
            found[match[2]] = above[depth - 1] if depth else None
            above[depth:] = [match[2]]
    return found


def test_the_drawing_is_the_tree() -> None:
    """Every error is in it, under the class that it inherits."""
    assert drawn() == {one.__name__: None if one is FoldlineError else one.__mro__[1].__name__ for one in EVERY}


@pytest.mark.parametrize("error", PLAIN)
def test_a_docstring_is_the_message_of_an_error_without_one(error: type[FoldlineError]) -> None:
    """Its first paragraph, as one would print it."""
    if inspect.signature(error).parameters["message"].default is not None:
        pytest.fail(f"{error.__name__} needs a message")
    said = str(error())
    assert said
    assert said == " ".join((inspect.getdoc(error) or "").split("\n\n")[0].split("\n"))
    assert str(error("Something else.")) == "Something else."


def test_faults_are_listed_with_their_paths() -> None:
    """All of them, in the message and as values."""
    faults = [Fault("$.lines[0].quantity", "Expected `int` >= 1"), Fault("$.name", "Missing")]
    error = ValidationFailed("Command PlaceOrder", faults)
    assert error.faults == tuple(faults)
    assert error.subject == "Command PlaceOrder"
    assert str(error) == (
        "Command PlaceOrder does not fit its schema: $.lines[0].quantity: Expected `int` >= 1; $.name: Missing"
    )


def test_a_rejection_has_a_code_and_details() -> None:
    """Its code is its message where it has no other."""
    error = Rejected("out-of-stock", "Only 3 are left.", left=3, product="p-1")
    assert (error.code, str(error)) == ("out-of-stock", "Only 3 are left.")
    assert error.details == {"left": 3, "product": "p-1"}
    assert str(Rejected("out-of-stock")) == "out-of-stock"


def test_an_unknown_name_tells_the_known_ones() -> None:
    """In order; or nothing where there is none."""
    error = UnknownName("view", "order", ["orders", "customers"])
    assert (error.kind, error.name) == ("view", "order")
    assert str(error) == "There is no view named 'order'. Known are: customers, orders."
    assert str(UnknownName("view", "order")) == "There is no view named 'order'."


def test_a_conflict_tells_both_versions() -> None:
    """What was expected, and what there is."""
    error = Conflict("order-1", "version 3", 5)
    assert (error.stream_id, error.expected, error.actual) == ("order-1", "version 3", 5)
    assert "at version 5, not at version 3" in str(error)


def test_errors_name_what_they_are_about() -> None:
    """So that whoever reads a log need not guess."""
    assert "'c-1'" in str(CommandIdReused("c-1"))
    behind = ViewBehind("orders", 5, 9, 2.5)
    assert (behind.view, behind.position, behind.wanted) == ("orders", 5, 9)
    assert "did not reach 9 within 2.5 s" in str(behind)
    halted = ProjectionHalted("orders", 7, "ZeroDivisionError")
    assert (halted.projection, halted.position, halted.reason) == ("orders", 7, "ZeroDivisionError")
    assert "halted at position 7: ZeroDivisionError" in str(halted)


def test_all_are_caught_as_one() -> None:
    """And none is caught as something that Python itself raises, but by Exception."""
    for error in EVERY:
        assert issubclass(error, FoldlineError)
    assert FoldlineError.__mro__[1] is Exception
    with pytest.raises(FoldlineError, match=r"The store is closed"):
        raise StoreClosed
