"""Errors that teach."""

from finewright.errors import ExitCode, UserError


def test_place_fault_and_way_out():
    error = UserError("wanted text, found 7", where="a.csv:3", fix="mend the row", code=ExitCode.BAD_DATA)
    assert str(error) == "a.csv:3: wanted text, found 7\n  → mend the row"
    assert int(error.code) == 3
    assert str(UserError("only this")) == "only this"


def test_exit_codes_are_the_published_ones():
    assert {code.name: int(code) for code in ExitCode} == {
        "USAGE": 2,
        "BAD_DATA": 3,
        "MISMATCH": 4,
        "NON_FINITE": 5,
        "OUT_OF_MEMORY": 6,
        "DISK": 7,
    }
