"""Tokenizers that come as a SentencePiece or tiktoken file, without tokenizer.json: which can be read, and whether rightly."""

import importlib.util
from pathlib import Path
from typing import Any

INSTALL = 'pip install "finewright[sentencepiece]"'
_WITH_TOKENIZER_JSON = "save the model's tokenizer.json into the folder, or take a model that has one"
_PROBES = ("where is my parcel", "It's 1234 new jackets, don't!", "Ünïcödé 日本語")
"""Texts without odd spaces, which programs treat in several correct ways."""


def find_fault(folder: Path) -> tuple[str, str] | None:
    """Return (why the tokenizer of a folder cannot be read here, how to mend it), or None if nothing speaks against it."""
    if (folder / "tokenizer.json").is_file():
        return None
    if (folder / "tekken.json").is_file():
        return "tekken.json alone: this format is not read", _WITH_TOKENIZER_JSON
    found = _model_file(folder)
    if found is None:
        return None
    if not _is_sentencepiece(found):
        what = f"{found.name} alone: it seems to be in the tiktoken format, which does not say how texts are cut into words"
        return what, _WITH_TOKENIZER_JSON
    missing = [name for name in ("sentencepiece", "google.protobuf") if not _is_there(name)]
    if missing:
        return f"{found.name} is a SentencePiece model; the package sentencepiece, which reads it, is not installed here", INSTALL
    return None


def check_conversion(folder: Path, tokenizer: Any) -> str:
    """Return what is wrong with a tokenizer that was made of a SentencePiece file; empty if it cuts texts as that file does."""
    found = None if (folder / "tokenizer.json").is_file() else _model_file(folder)
    if found is None or not tokenizer.is_fast:
        return ""
    import sentencepiece

    original = sentencepiece.SentencePieceProcessor(model_file=str(found))
    for text in _PROBES:
        expected = [original.id_to_piece(number) for number in original.encode(text)]
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        unknown = (original.id_to_piece(original.unk_id()), tokenizer.unk_token)
        pieces = [unknown[0] if piece == unknown[1] else piece for piece in tokenizer.convert_ids_to_tokens(ids)]
        if pieces != expected:
            return f"transformers cuts {text!r} into {pieces[:6]}, {found.name} into {expected[:6]}"
    return ""


def _model_file(folder: Path) -> Path | None:
    """Return the file that alone holds the vocabulary. A tokenizer with a vocabulary in text needs none."""
    if any((folder / name).is_file() for name in ("vocab.json", "vocab.txt")):
        return None
    return next((path for path in sorted(folder.glob("*.model")) if path.is_file()), None)


def _is_sentencepiece(path: Path) -> bool:
    """Whether a file begins as a SentencePiece model: with a field of its pieces, where tiktoken has text."""
    try:
        with path.open("rb") as opened:
            return opened.read(1) == b"\n"
    except OSError:
        return False


def _is_there(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        return False
