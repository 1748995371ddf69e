"""Architectures that are not described by hand: read off the network, and tried on a small copy before they are trusted."""

import json
from typing import Any

from finewright.models.architectures.base import Architecture
from finewright.models.derivation import structure, trial

TESTED = (
    "Tested for each on a small random network: the scores of a text are the same alone, in any batch, and in transformers; "
    "LoRA, full fine-tuning and freezing train what they say, and what they save scores the same in transformers and PEFT."
)
OTHER_ARCHITECTURES = (
    "Any other text model of transformers: its layers are found in its network, and a small random copy is tried when it is "
    "loaded. It is packed if packed texts have the states that transformers gives them, else padded, else only texts of one "
    "length share a batch. A model that fails even that is refused, with the reason."
)

_derived: dict[str, Architecture] = {}
_IRRELEVANT = ("id2label", "label2id", "num_labels", "problem_type", "architectures", "_name_or_path", "transformers_version")


def derive_architecture(config: Any) -> Architecture:
    """Return the architecture of a config whose `model_type` nobody described; raise `UserError` if it cannot be trained here."""
    fields = {name: value for name, value in config.to_dict().items() if name not in _IRRELEVANT}
    key = json.dumps(fields, sort_keys=True, default=str)
    if key not in _derived:
        network = structure.build_on_meta(config)
        found = structure.read_structure(network, config)
        _derived[key] = trial.try_architecture(found, config, network=network)
    return _derived[key]


def describe_derived(architecture: Architecture) -> list[str]:
    """Return a note for the user on an architecture that was derived; none for a described one."""
    if not architecture.is_derived:
        return []
    what = f"architecture: nobody described {architecture.model_type!r} here; its layers were found in its network"
    known = architecture.projections["query"] != architecture.projections["mlp"]
    modules = "" if known else ", query and value were not recognised, so low-rank updates go to all linear modules of a layer"
    head = "its own head" if architecture.has_standard_head else "a linear head in place of its own"
    return [f"{what}{modules}, and a small copy of it gave the same states as transformers; {head}"]
