"""Shared fixtures."""

import os
import tempfile

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ["OMP_NUM_THREADS"] = "1"  # tests run side by side; spinning threads of busy cores slow each other many times
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ["FINEWRIGHT_CACHE"] = tempfile.mkdtemp(prefix="finewright-tests-")

import hypothesis  # noqa: E402
import pytest  # noqa: E402

from finewright.core.quiet import native_libraries_quiet  # noqa: E402
from finewright.data import splits  # noqa: E402

hypothesis.settings.register_profile("no deadline", deadline=None)  # no test depends on timing
hypothesis.settings.load_profile("no deadline")
splits.LEAST_VALIDATION_ROWS = 2  # tables of tests are tiny, and are split as large ones are

with native_libraries_quiet():  # as for a user, whose first call loads it
    import torch  # noqa: F401


@pytest.fixture(scope="session", autouse=True)
def _quick_proofs(tmp_path_factory):
    """Proofs come from forks of one clean process instead of a new interpreter each; tests/test_proof.py asks a new one."""
    import gc

    from finewright.runs import verify
    from support.prover import Prover

    gc.freeze()  # what is imported by now is for ever: collecting walks past it, a third of a tiny run's time
    prover = Prover(tmp_path_factory.mktemp("prover") / "log.txt")
    with verify.verifying_with(prover):
        yield prover
    prover.close()


@pytest.fixture(scope="module")
def quick_comparisons(_quick_proofs):
    """Comparisons start no interpreter of their own; that of tests/comparison/test_compare.py does."""
    from support.comparison_server import comparing_in_forks

    with comparing_in_forks(_quick_proofs):
        yield


@pytest.fixture(scope="session")
def message_run(tmp_path_factory):
    """A finished run over a table with the columns Subject, Message and Team, for texts of at most 24 tokens."""
    import finewright
    from support import tiny

    root = tmp_path_factory.mktemp("messages")
    rows = [line.rpartition(",")[::2] for line in tiny.tickets(root / "t.csv").read_text().splitlines()[1:]]
    table = "".join(f"{number};re {number};{text};{label}\n" for number, (text, label) in enumerate(rows))
    (root / "messages.csv").write_text(f"id;Subject;Message;Team\n{table}")
    return finewright.train(
        root / "messages.csv",
        model=str(tiny.folder(root / "gpt2")),
        method="lora",
        output_dir=root / "run",
        options={
            "data.text_column": ("Subject", "Message"),
            "data.text_separator": " / ",
            "data.label_column": "Team",
            "data.max_length": 24,
            "training.max_steps": 5,
            "training.num_threads": 1,
        },
    )
