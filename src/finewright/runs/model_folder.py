"""What a run leaves behind: the model folder with its card, the predictions, the summary."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from finewright.core import hardware
from finewright.core.errors import ExitCode, UserError
from finewright.core.files import sha256
from finewright.data.dataset import Dataset
from finewright.methods.base import Method
from finewright.models import meta, provenance
from finewright.models.hub import ModelSource
from finewright.models.prepared import BaseModelRef, PreparedModel
from finewright.runs.model_card import CARD_FILE


def save_model(folder: Path, *, prepared_model: PreparedModel, method: Method, origin: BaseModelRef, source: ModelSource) -> None:
    """Weights or adapter, config, tokenizer; for an adapter also which base it belongs to."""
    folder.mkdir(parents=True, exist_ok=True)
    with meta.quiet_libraries():
        method.save(prepared_model, folder)
    if origin.tokenizer.pad_token is None and origin.tokenizer.eos_token is not None:
        origin.tokenizer.pad_token = origin.tokenizer.eos_token
    origin.tokenizer.padding_side = "right"
    origin.tokenizer.save_pretrained(folder)
    if method.saves == "adapter":
        provenance.write_base(folder, source)


def file_digests(folder: Path) -> dict[str, str]:
    """SHA-256 of every file of a model folder but its card, by name."""
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return {name: sha256(folder / name) for name in names if name != CARD_FILE}


def check_files(folder: Path, files: Mapping[str, str]) -> None:
    """Files of a model folder that are missing or not what was proven are a `UserError`: they would predict something else."""
    damaged = [name for name, digest in files.items() if not (folder / name).is_file() or sha256(folder / name) != digest]
    if damaged:
        what = f"{', '.join(damaged)}: missing, or not what was saved and proven"
        raise UserError(what, where=str(folder), fix="bring it back, or train again", code=ExitCode.MISMATCH)


def artifact_bytes(folder: Path) -> int:
    """Size of the weights a user would pass on, in bytes."""
    return sum(path.stat().st_size for path in folder.glob("*.safetensors"))


def describe_machine(machine: hardware.Hardware) -> dict[str, Any]:
    """The part of a summary that says where it was made."""
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


def probe_texts(dataset: Dataset) -> list[str]:
    """Texts for the proof: of the first split that has rows."""
    return [row.text for row in dataset.test or dataset.validation or dataset.train]
