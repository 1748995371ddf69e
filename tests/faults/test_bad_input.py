"""Malformed data is one short message that names file and line; never a traceback, never taken for good."""

import re

import pytest

from finewright.core.config import DataConfig
from finewright.core.errors import ExitCode, UserError
from finewright.data import checks
from finewright.data import dataset as dataset_module
from finewright.tasks.text_classification import TextClassification
from support import badinputs

OPTIONS = DataConfig()
MOST_LINES = 25


def read(path):
    """What `train` does with data before anything else."""
    dataset = dataset_module.read_dataset(path, options=OPTIONS)
    checks.raise_on_errors(TextClassification(dataset.labels).check_dataset(dataset))


def told(path, content):
    """The refusal of a file of that content, or None. Any other exception ends the test."""
    path.write_bytes(content)
    try:
        read(path)
    except UserError as error:
        return error
    return None


def test_every_malformed_file_is_refused_and_its_line_named(tmp_path):
    cases = badinputs.all_of_them()
    assert len(cases) >= 200
    wrong = []
    for case in cases:
        error = told(tmp_path / case.name, case.content)
        place = f"{re.escape(case.name)}:{case.line}: " if case.line else re.escape(case.name)
        short = len(str(error).splitlines()) <= MOST_LINES
        if error is None or error.code != ExitCode.BAD_DATA or not re.search(place, str(error)) or not short:
            wrong.append((case.name, case.what, case.line, error and int(error.code), str(error)[:300]))
    assert not wrong, f"{len(wrong)} of {len(cases)}: {wrong[:10]}"


def test_what_is_no_regular_file_is_never_opened(tmp_path):
    for path in badinputs.strange_places(tmp_path):
        with pytest.raises(UserError) as caught:
            read(path)
        assert path.name[:50] in str(caught.value)
        assert caught.value.code in (ExitCode.BAD_DATA, ExitCode.USAGE)


def mutated(tmp_path, number, *, seed, of=badinputs.mutations):
    refused = 0
    for name, content in of(number, seed=seed):
        error = told(tmp_path / name, content)
        if error is not None:
            assert name in str(error), (content, str(error))
            assert error.code == ExitCode.BAD_DATA, (content, str(error))
            assert len(str(error).splitlines()) <= MOST_LINES
            refused += 1
    assert refused > number / 4


def test_a_thousand_mutations_are_read_or_refused(tmp_path):
    mutated(tmp_path, 1000, seed=1)


@pytest.mark.parametrize("seed", [3, 4])
def test_mutations_of_packed_and_binary_files_are_read_or_refused(tmp_path, seed):
    mutated(tmp_path, 600, seed=seed, of=badinputs.packed_mutations)


@pytest.mark.faults
def test_ten_thousand_mutations_are_read_or_refused(tmp_path):
    mutated(tmp_path, 10_000, seed=2)
