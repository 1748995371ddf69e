"""Shapes of well-known models inside the package: a config without weights, enough to plan without a network."""

from pathlib import Path

from finewright import assets

_FOLDER = assets.CONFIGS
_HUB_NAMES = {
    "openai-community/gpt2": "gpt2",
    "openai-community/gpt2-medium": "gpt2-medium",
    "openai-community/gpt2-large": "gpt2-large",
    "openai-community/gpt2-xl": "gpt2-xl",
    "google-bert/bert-base-uncased": "bert-base-uncased",
    "meta-llama/Llama-2-7b-hf": "llama-2-7b",
    "meta-llama/Llama-2-13b-hf": "llama-2-13b",
    "meta-llama/Llama-2-70b-hf": "llama-2-70b",
    "mistralai/Mistral-7B-v0.1": "mistral-7b",
}


def names() -> list[str]:
    """Models whose shape is here."""
    return sorted(path.name for path in _FOLDER.iterdir() if path.is_dir())


def find(name: str) -> Path | None:
    """The folder with the config of a model, by its short name or its hub id; None: not here."""
    folder = _FOLDER / _HUB_NAMES.get(name, name)
    return folder if folder.parent == _FOLDER and (folder / "config.json").is_file() else None
