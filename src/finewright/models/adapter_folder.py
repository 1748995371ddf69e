"""The folder of a saved adapter: what stands beside the adapter's own files, and where its base is.

The config with the labels lies in a subfolder. A `config.json` beside the adapter would tell transformers that the folder holds a
whole model, and it would look for the base's weights there.
"""

import json
from pathlib import Path
from typing import Any

from finewright.core.errors import ExitCode, UserError
from finewright.models import hub, provenance

ADAPTER_CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
CONFIG_FOLDER = "base_config"


def is_adapter(folder: Path) -> bool:
    """Whether a folder holds an adapter, not a whole model."""
    return (folder / ADAPTER_CONFIG).exists()


def config_folder(folder: Path) -> Path:
    """Return where the model's config lies: in the folder of a whole model, in a subfolder of an adapter's."""
    return folder / CONFIG_FOLDER if is_adapter(folder) else folder


def save_config(folder: Path, config: Any) -> None:
    """Write the config of the base with the labels of the adapter's head."""
    config.save_pretrained(folder / CONFIG_FOLDER)


def finish(folder: Path, source: hub.ModelSource) -> None:
    """Record the base of a saved adapter: where PEFT finds it on this machine, and what its weights are.

    PEFT and transformers know a base by a hub id or by a folder; they resolve a relative path from the current folder, not from
    the adapter's. So a base that has no hub id gets its absolute path, and the card says that it is one.
    """
    provenance.write_base(folder, source)
    if source.kind == "hub":
        return
    path = folder / ADAPTER_CONFIG
    written = json.loads(path.read_text(encoding="utf-8")) | {"base_model_name_or_path": str(source.path.resolve())}
    path.write_text(json.dumps(written, indent=2, sort_keys=True), encoding="utf-8")


def find_base(folder: Path, adapter: Any) -> hub.ModelSource:
    """Return the base of a saved adapter. `adapter`: its PEFT config. Raise `UserError` if it is gone or was changed.

    If it was the merged model of a run that is gone, the copy in the cache with the same weights takes its place.
    """
    name = provenance.base_name(folder) or adapter.base_model_name_or_path
    try:
        source = hub.resolve_model(str(name), revision=adapter.revision or "")
    except UserError as error:
        if (copy := hub.find_copy(folder, name=str(name))) is not None:
            return copy
        what = f"the adapter's base model cannot be loaded: {error.what}"
        fix = "bring the base back to this place, or train again" if Path(str(name)).is_absolute() else error.fix
        raise UserError(what, where=str(name), fix=fix, code=error.code) from None
    provenance.check_base(folder, source)
    return source


def check_config(folder: Path) -> None:
    """Raise `UserError` if the folder of a saved model has no config."""
    if (config_folder(folder) / "config.json").is_file():
        return
    if is_adapter(folder) and (folder / "config.json").is_file():
        what, fix = "the adapter was saved by an older version of finewright", "train it again"
        raise UserError(what, where=str(folder), fix=fix, code=ExitCode.MISMATCH)
    raise UserError("no saved model here", where=str(folder), fix="train it again", code=ExitCode.MISMATCH)
