"""Pairs of texts with labels that even a tiny network can learn, and tiny encoders whose tokenizers have a rule for pairs."""

import json
from pathlib import Path

from support import tiny

LABELS = ("contradiction", "entailment", "neutral")
_THINGS = ("parcel", "invoice", "jacket", "tent")


def rows(count: int = 60) -> list[dict[str, str]]:
    """Premise, hypothesis and label: the label depends on both texts."""
    made = []
    for number in range(count):
        thing, other = _THINGS[number % 4], _THINGS[(number + 1) % 4]
        kind = number // 4 % 3
        told = (f"the {other} please", f"the {thing} please", "refund my pay twice")[kind]
        made.append({"premise": f"where is my {thing} {number}", "hypothesis": told, "label": LABELS[kind]})
    return made


def write(path: Path, *, count: int = 60, names: tuple[str, str] = ("premise", "hypothesis")) -> Path:
    """A file of such rows. `names`: of the columns of the texts."""
    lines = [{names[0]: row["premise"], names[1]: row["hypothesis"], "label": row["label"]} for row in rows(count)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def folder(path: Path, *, kind: str = "bert") -> Path:
    """A model folder whose tokenizer has the rule for pairs, and the token types, that this architecture was published with."""
    from tokenizers import Tokenizer, processors

    tiny.folder(path, kind=kind)
    if kind not in ("bert", "roberta", "distilbert"):
        return path
    file, settings = path / "tokenizer.json", path / "tokenizer_config.json"
    pieces = Tokenizer.from_file(str(file))
    between = "[SEP] [SEP] $B:0 [SEP]:0" if kind == "roberta" else "[SEP] $B:1 [SEP]:1"
    pieces.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair=f"[CLS] $A {between}", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    pieces.save(str(file))
    written = json.loads(settings.read_text())
    names = ["input_ids", "token_type_ids", "attention_mask"] if kind == "bert" else ["input_ids", "attention_mask"]
    settings.write_text(json.dumps(written | {"model_input_names": names}))
    return path
