"""Whatever is saved scores the same in stock transformers and PEFT: whole files, padded, cut and batched."""

import json
import re
from pathlib import Path

import pytest
import torch

from finewright import api, methods, tasks
from finewright.inference.predictor import Predictor
from finewright.models import architectures, quantization
from support import families, tiny
from support.cards import blocks, run_code

MAX_LENGTH = 12
"""Tokens that are read of a text; the longest TEXTS have several times as many."""
TEXTS = [
    "where is my parcel", "charged twice", "please", "send the new tent where is my broken zip and the invoice " * 3,
    "pay the invoice when it does arrive please ship it", "ship", "the jacket is broken " * 9, "when does it arrive",
    "refund my pay", "where is my parcel refund twice", "zip", "does it pay " * 7 + "the invoice",
]  # fmt: skip
_TOLERANCE = 1e-5


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Return a function that trains a tiny model once: (kind, method, side) → (run, our scores of TEXTS)."""
    root, made = tmp_path_factory.mktemp("saved"), {}
    tiny.tickets(root / "tickets.csv", count=24)

    def train(kind, method, side):
        if method == "qlora" and quantization.missing_packages():
            pytest.skip("four-bit weights need bitsandbytes")
        if (kind, method, side) not in made:
            base = root / f"{kind}-{side}"
            if not base.exists():
                pads_on(tiny.folder(base, kind=kind), side)
            options = {"training.max_steps": 3, "training.num_threads": 1, "training.learning_rate": 0.01}
            options |= {"training.head_start": "random"}  # so that the update is large in few steps
            options |= {"training.precision": "float32", "data.max_length": MAX_LENGTH, "data.truncation_side": side}
            if method == "prompt":
                options["method.num_virtual_tokens"] = 4
            out = root / f"{kind}-{method}-{side}"
            run = api.train(root / "tickets.csv", model=base, method=method, output_dir=out, options=options).folder
            predictor = Predictor.load(run.model, task=tasks.DEFAULT, limit=MAX_LENGTH, keep_end=side == "left", bfloat16=False)
            made[kind, method, side] = run, torch.from_numpy(predictor.score(TEXTS))
        return made[kind, method, side]

    return train


def pads_on(folder, side):
    """Make the tokenizer of a base pad on one side, as some that are published do."""
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"padding_side": side}))


def stock_scores(names, batch_size):
    """Scores of TEXTS from the model and the tokenizer that the card's code made."""
    found = []
    for start in range(0, len(TEXTS), batch_size):
        batch = names["tokenizer"](TEXTS[start : start + batch_size], padding=True, truncation=True, return_tensors="pt")
        assert batch["input_ids"].shape[1] <= MAX_LENGTH
        with torch.no_grad():
            found.append(names["model"](**batch).logits.float())
    return torch.cat(found)


def repacks_four_bit_matrices():
    """Whether bitsandbytes computes in bfloat16 with four-bit matrices here, and not at all where they are under 64 wide."""
    from bitsandbytes.functional import has_avx512bf16

    return has_avx512bf16()


def check(run, ours, method):
    if method == "qlora" and repacks_four_bit_matrices():
        pytest.skip("bitsandbytes cannot compute with matrices as narrow as these on a CPU with avx512_bf16")
    (code,) = [code for code in blocks(run.model) if "logits" in code]
    names = run_code(code)
    assert len(names["scores"]) == 2
    for batch_size in (1, 8):
        if method == "prompt" and batch_size > 1:
            continue  # the card says that PEFT pads between prompt and text
        theirs = stock_scores(names, batch_size)
        torch.testing.assert_close(theirs, ours, atol=_TOLERANCE, rtol=0)
        assert theirs.argmax(1).tolist() == ours.argmax(1).tolist()
    return names


@pytest.mark.parametrize(
    ("kind", "method", "side"),
    [
        ("bert", "full", "right"),
        ("llama", "lora", "left"),
        ("distilbert", "lora", "right"),
        ("opt", "freeze", "left"),
        ("gpt2", "prompt", "right"),
    ],
)
def test_stock_programs_score_a_saved_model_alike(trained, kind, method, side):
    run, ours = trained(kind, method, side)
    assert ours.std() > 1e-3
    check(run, ours, method)


@pytest.mark.slow
@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("method", methods.method_names())
@pytest.mark.parametrize("kind", tiny.CONFIGS)
def test_stock_programs_score_every_saved_model_alike(trained, kind, method, side):
    run, ours = trained(kind, method, side)
    check(run, ours, method)


PADDING_MATTERS = {"fnet", "convbert"}
"""Their own code gives other states to a text in a padded batch."""
FAMILIES = [kind for kind in families.CONFIGS if kind not in PADDING_MATTERS]


@pytest.mark.slow
@pytest.mark.parametrize("method", ["lora", "full", "freeze"])
@pytest.mark.parametrize("kind", FAMILIES)
def test_saved_models_of_all_architectures_score_alike(trained, kind, method):
    if method == "freeze" and architectures.architecture_of(tiny.build_config(kind)).shares_layers:
        pytest.skip("no layer can be frozen alone")
    check_any(*trained(kind, method, "right"), method)


@pytest.mark.parametrize(("kind", "method"), [("modernbert", "lora"), ("granite", "lora")])
def test_newer_architectures_score_alike(trained, kind, method):
    check_any(*trained(kind, method, "right"), method)


def check_any(run, ours, method):
    if not (run.model / "modules.json").exists():
        return check(run, ours, method)
    from sentence_transformers import SentenceTransformer

    theirs = SentenceTransformer(str(run.model)).encode(TEXTS, convert_to_tensor=True).cpu()
    torch.testing.assert_close(theirs, ours, atol=_TOLERANCE, rtol=0)
    return None


@pytest.mark.parametrize(("kind", "method", "side"), [("bert", "full", "right"), ("llama", "lora", "left")])
def test_a_pipeline_gives_the_same_probabilities_by_name(trained, kind, method, side):
    run, ours = trained(kind, method, side)
    (code,) = [code for code in blocks(run.model) if "classify" in code]
    classify = run_code(code)["classify"]
    expected = ours.softmax(1)
    for batch_size in (1, 8):
        for row, lines in enumerate(classify(TEXTS, top_k=None, batch_size=batch_size)):
            found = {line["label"]: line["score"] for line in lines}
            assert found == pytest.approx({"billing": float(expected[row, 0]), "shipping": float(expected[row, 1])}, abs=1e-5)


def test_the_automatic_classes_see_an_adapter(trained):
    from peft import AutoPeftModelForSequenceClassification
    from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline

    run, ours = trained("llama", "lora", "left")
    folder, pad = str(run.model), json.loads((run.model / "base_config" / "config.json").read_text())["pad_token_id"]
    tokenizer = AutoTokenizer.from_pretrained(folder)
    for kind in (AutoModelForSequenceClassification, AutoPeftModelForSequenceClassification):
        model = kind.from_pretrained(folder, num_labels=2, pad_token_id=pad).eval()
        names = {"model": model, "tokenizer": tokenizer}
        torch.testing.assert_close(stock_scores(names, 8), ours, atol=_TOLERANCE, rtol=0)
    plain = pipeline("text-classification", model=folder, truncation=True)
    found = [int(line["label"].removeprefix("LABEL_")) for line in plain(TEXTS)]
    assert found == ours.argmax(1).tolist()


@pytest.mark.parametrize(("kind", "method", "side"), [("bert", "full", "right"), ("llama", "lora", "left")])
def test_the_saved_tokenizer_and_the_card_say_how_texts_are_cut(trained, kind, method, side):
    run, _ = trained(kind, method, side)
    written = json.loads((run.model / "tokenizer_config.json").read_text())
    assert (written["model_max_length"], written["truncation_side"], written["padding_side"]) == (MAX_LENGTH, side, "right")
    lost = "start" if side == "left" else "end"
    assert f"| texts | at most {MAX_LENGTH} tokens; a longer one loses its {lost} |" in (run.model / "README.md").read_text()


def test_no_card_holds_a_path_of_this_machine(trained):
    for given in [("bert", "full", "right"), ("llama", "lora", "left"), ("gpt2", "prompt", "right")]:
        run, _ = trained(*given)
        card = (run.model / "README.md").read_text()
        assert str(run.path.parent) not in card
        assert not re.search(r"(?<![\w`./])/(home|root|tmp|usr|var|private|Users)/", card)


@pytest.mark.parametrize("method", ["lora", "prompt"])
def test_an_adapter_on_the_embedded_model_loads_as_its_card_says(tmp_path, method):
    tiny.tickets(tmp_path / "tickets.csv", count=24)
    options = {"training.max_steps": 1, "training.num_threads": 1, "training.precision": "float32", "data.max_length": MAX_LENGTH}
    run = api.train(tmp_path / "tickets.csv", model="mini", method=method, output_dir=tmp_path / "run", options=options).folder
    predictor = Predictor.load(run.model, task=tasks.DEFAULT, limit=MAX_LENGTH, keep_end=False, bfloat16=False)
    check(run, torch.from_numpy(predictor.score(TEXTS)), method)
    card = (run.model / "README.md").read_text()
    assert "base_model:" not in card, "no hub knows a model by the name mini"
    assert "assets/models/mini" in card
    assert "it reports the weights of the head as missing" in " ".join(card.split())
    assert "`base_model_name_or_path` there is an absolute path" in card
    base = json.loads((run.model / "adapter_config.json").read_text())["base_model_name_or_path"]
    assert Path(base).is_absolute(), "PEFT resolves nothing else"
    # another place of the package: our own loader finds the base by its name
    path = run.model / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"base_model_name_or_path": "/gone/mini"}))
    again = Predictor.load(run.model, task=tasks.DEFAULT, limit=MAX_LENGTH, keep_end=False, bfloat16=False)
    assert (again.score(TEXTS) == predictor.score(TEXTS)).all()
