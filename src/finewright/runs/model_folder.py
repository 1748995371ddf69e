"""The model folder that a run leaves, and what its result says about files and machine."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finewright.core import hardware
from finewright.core.errors import ExitCode, UserError
from finewright.core.files import sha256
from finewright.data.dataset import Dataset
from finewright.runs.model_card import CARD_FILE

if TYPE_CHECKING:
    from finewright.methods.base import Method
    from finewright.models.hub import ModelSource
    from finewright.models.prepared import BaseModelRef, PreparedModel
    from finewright.tasks.base import Task

NUM_PROBES = 32


def save_model(  # noqa: PLR0913  what is saved, and how its texts were read
    folder: Path,
    *,
    prepared_model: "PreparedModel",
    method: "Method",
    origin: "BaseModelRef",
    source: "ModelSource",
    max_length: int | None = None,
    truncation_side: str = "right",
) -> None:
    """Save weights or adapter, config and tokenizer; for an adapter also which base it has.

    `max_length`: tokens of a text that are read; None: what the tokenizer says. `truncation_side`: which side of longer texts is
    cut. Both become the tokenizer's own, so that other programs cut texts alike.
    """
    from finewright.models import adapter_folder, meta, sentence_folder, tokenizer_config

    folder.mkdir(parents=True, exist_ok=True)
    with meta.quiet_libraries():
        method.save(prepared_model, folder)
    tokenizer_config.prepare_for_saving(
        origin.tokenizer, network=prepared_model.network, max_length=max_length, truncation_side=truncation_side
    )
    origin.tokenizer.save_pretrained(folder)
    sentence_folder.write_max_length(folder, origin.tokenizer.model_max_length)
    if method.saves == "adapter":
        adapter_folder.finish(folder, source)


def file_digests(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of every file of a model folder except its card, by name."""
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return {name: sha256(folder / name) for name in names if name != CARD_FILE}


def check_files(folder: Path, files: Mapping[str, str]) -> None:
    """Raise `UserError` if a file is missing or not the one that was verified: it would predict something else."""
    damaged = [name for name, digest in files.items() if not (folder / name).is_file() or sha256(folder / name) != digest]
    if damaged:
        what = f"{', '.join(damaged)}: missing, or not what was saved and verified"
        raise UserError(what, where=str(folder), fix="restore it, or train again", code=ExitCode.MISMATCH)


def artifact_bytes(folder: Path) -> int:
    """Return the size of the saved weights in bytes."""
    return sum(path.stat().st_size for path in folder.rglob("*.safetensors"))


def describe_machine(machine: hardware.Hardware) -> dict[str, Any]:
    """Return the part of a result that says where it was computed."""
    return {
        "versions": hardware.versions(),
        "git": hardware.git_state(),
        "hardware": {
            "device": machine.device,
            "name": machine.device_name,
            "cpu_count": machine.cpu_count,
            "memory_bytes": machine.memory_bytes,
        },
    }


def find_probes(dataset: Dataset, task: "Task") -> list[Any]:
    """Return what the model reads in verification, JSON-ready, of the first split that has rows."""
    return task.probes((dataset.test or dataset.validation or dataset.train)[:NUM_PROBES])
