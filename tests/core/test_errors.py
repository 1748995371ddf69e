"""Errors that teach."""

import pytest

from finewright.core.errors import ExitCode, UserError, is_out_of_memory


def test_place_fault_and_fix():
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


@pytest.mark.parametrize(
    ("words", "is_memory"),
    [
        ("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes", True),
        ("CUDA error: out of memory\nCUDA kernel errors might be reported later", True),
        ("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`", True),
        ("CUDA error: an illegal memory access was encountered", False),
        ("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED", False),
    ],
)
def test_out_of_memory_is_distinguished_from_other_errors(words, is_memory):
    assert is_out_of_memory(RuntimeError(words)) == is_memory
