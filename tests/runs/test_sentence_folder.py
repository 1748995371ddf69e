"""A model with a linear head on a pooling of its own scores the same in stock sentence-transformers."""

import json

import pytest
import torch

from finewright import api, tasks
from finewright.core.errors import UserError
from finewright.exporters.merge import export_merged
from finewright.inference.predictor import Predictor
from finewright.models import pooling, quantization, sentence_folder
from support import tiny
from support.cards import blocks, run_code

MAX_LENGTH = 12
TASK_OF_SETS = "multi-label-classification"
TEXTS = [
    "where is my parcel",
    "charged twice",
    "please",
    "the jacket is broken " * 9,
    "refund my pay",
    "zip",
    "when does it arrive",
]
"""Some are shorter than others, and one is cut."""

CASES = [("bert", "auto", "full"), ("bert", "auto", "lora"), ("bert", "first", "freeze"), ("roberta", "mean", "lora"),
         ("distilbert", "mean", "full"), ("gpt2", "mean", "lora"), ("llama", "mean", "full"),
         ("bert", "last", "scratch")]  # fmt: skip


def make_base(path, kind, *, mode="mean"):
    """A base as sentence-transformers publishes one."""
    tiny.folder(path, kind=kind)
    parts = [("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize")]
    modules = [
        {"idx": i, "name": str(i), "path": p, "type": f"sentence_transformers.models.{t}"} for i, (p, t) in enumerate(parts)
    ]
    (path / "modules.json").write_text(json.dumps(modules))
    (path / "1_Pooling").mkdir()
    written = {"word_embedding_dimension": 32, f"pooling_mode_{mode}_tokens": True, "pooling_mode_max_tokens": False}
    (path / "1_Pooling" / "config.json").write_text(json.dumps(written))
    return path


def train(place, kind, wanted, method, **options):
    options = {"training.max_steps": 3, "training.num_threads": 1, "training.learning_rate": 0.01, **options}
    options |= {"training.precision": "float32", "data.max_length": MAX_LENGTH, "training.pooling": wanted}
    base = make_base(place / "base", kind) if not (place / "base").exists() else place / "base"
    tiny.tickets(place / "tickets.csv", count=24)
    return api.train(place / "tickets.csv", model=base, method=method, output_dir=place / method, options=options).folder


def our_scores(folder):
    predictor = Predictor.load(folder, task=tasks.DEFAULT, limit=MAX_LENGTH, keep_end=False, bfloat16=False)
    return torch.from_numpy(predictor.score(TEXTS))


def assert_same(found, expected):
    """Scores are sums of products that cancel: each is rounded in proportion to the largest, up to 90 here, not to itself."""
    torch.testing.assert_close(found, expected, atol=1e-5 * max(1.0, float(expected.abs().max())), rtol=0)


@pytest.mark.parametrize(("kind", "wanted", "method"), CASES, ids="-".join)
def test_sentence_transformers_gives_the_same_scores(tmp_path, kind, wanted, method):
    pytest.importorskip("sentence_transformers")
    run = train(tmp_path, kind, wanted, method)
    model = run_code(blocks(run.model)[0])["model"]
    scores = model.encode(TEXTS, convert_to_tensor=True, batch_size=4)
    assert_same(scores, our_scores(run.model))
    assert scores.std(dim=0).min() > 0, "texts have different scores"


@pytest.mark.parametrize("dora", [False, True])
def test_merged_adapter_is_a_sentence_folder_too(tmp_path, dora):
    run = train(tmp_path, "bert", "auto", "lora", **{"method.dora": dora})
    merged = export_merged(run)
    assert sentence_folder.has_head(merged.folder)
    torch.testing.assert_close(our_scores(merged.folder), our_scores(run.model), atol=1e-4, rtol=1e-4)


def test_alone_and_in_any_batch_a_text_has_the_same_scores(tmp_path):
    run = train(tmp_path, "bert", "auto", "full")
    predictor = Predictor.load(run.model, task=tasks.DEFAULT, limit=MAX_LENGTH, keep_end=False, bfloat16=False)
    alone = torch.cat([torch.from_numpy(predictor.score([text])) for text in TEXTS])
    assert_same(torch.from_numpy(predictor.score(TEXTS)), alone)


def test_the_result_says_what_is_read_and_why(tmp_path):
    run = train(tmp_path, "bert", "auto", "lora")
    made = {choice["option"]: choice for choice in json.loads(run.config.read_text())["choices"]}
    assert made["training.pooling"]["value"] == "mean"
    assert "modules.json" in made["training.pooling"]["reason"]
    assert "library_name: sentence-transformers" in (run.model / "README.md").read_text()


def test_the_card_gives_the_probabilities_of_several_labels(tmp_path):
    """Each label has a probability of its own: a softmax would give others."""
    pytest.importorskip("sentence_transformers")
    lines = [{"text": text, "labels": names} for text, names in (("bill", ["a"]), ("bill and ship", ["a", "b"]), ("hello", []))]
    rows = [line | {"text": f"{line['text']} {number}"} for number, line in enumerate(lines * 8)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    options = {"training.max_steps": 2, "training.num_threads": 1, "training.precision": "float32", "task": TASK_OF_SETS}
    base = make_base(tmp_path / "base", "bert")
    run = api.train(tmp_path / "rows.jsonl", model=base, method="freeze", output_dir=tmp_path / "run", options=options)
    found = run_code(blocks(run.folder.model)[0])["probabilities"]
    expected = run.load(device="cpu").predict_proba(["a text", "another"])
    torch.testing.assert_close(found.double(), torch.from_numpy(expected).double(), atol=1e-5, rtol=0)


def test_prompt_tuning_keeps_the_standard_head(tmp_path):
    run = train(tmp_path, "bert", "auto", "prompt", **{"method.num_virtual_tokens": 2})
    assert not sentence_folder.has_head(run.model)
    (tmp_path / "again").mkdir()
    with pytest.raises(UserError, match="prompt cannot read 'mean'"):
        train(tmp_path / "again", "bert", "mean", "prompt")


@pytest.mark.skipif(bool(quantization.missing_packages()), reason="four-bit weights need bitsandbytes")
def test_four_bit_base(tmp_path):
    try:
        run = train(tmp_path, "bert", "auto", "qlora")
    except UserError as error:
        pytest.skip(error.what)
    assert sentence_folder.has_head(run.model)


@pytest.mark.parametrize(
    ("kind", "wanted", "message"), [("gpt2", "first", "sees no other token"), ("gpt2", "pooler", "no pooler")]
)
def test_poolings_that_cannot_be_are_refused(tmp_path, kind, wanted, message):
    with pytest.raises(UserError, match=message):
        train(tmp_path, kind, wanted, "full")


def test_a_damaged_head_is_named(tmp_path):
    run = train(tmp_path, "bert", "auto", "full")
    path = run.model / "2_Dense" / "config.json"
    path.write_text(path.read_text().replace("linear.Identity", "activation.Tanh"))
    with pytest.raises(UserError, match="activation"):
        our_scores(run.model)


@pytest.mark.parametrize("content", ["[]", "{}", "nonsense", '[{"path": "../x", "type": "Pooling"}]', '[{"type": "Pooling"}]'])
def test_odd_module_lists_leave_the_standard_head(tmp_path, content):
    (tmp_path / "modules.json").write_text(content)
    assert pooling.read_trained_pooling(tmp_path) is None


@pytest.mark.parametrize(
    ("config", "found"),
    [({"pooling_mode": "cls"}, "first"), ({"pooling_mode": ["mean", "max"]}, None),
     ({"pooling_mode_mean_tokens": True, "pooling_mode_max_tokens": True}, None), ({"pooling_mode_lasttoken": True}, "last")],
)  # fmt: skip
def test_poolings_of_sentence_transformers(tmp_path, config, found):
    make_base(tmp_path / "base", "bert")
    (tmp_path / "base" / "1_Pooling" / "config.json").write_text(json.dumps(config))
    assert pooling.read_trained_pooling(tmp_path / "base") == found


def test_a_saved_head_is_used_for_the_same_labels(tmp_path):
    run = train(tmp_path, "bert", "auto", "full")
    (tmp_path / "base").rename(tmp_path / "first")
    again = tmp_path / "again"
    again.mkdir()
    tiny.tickets(again / "tickets.csv", count=24)
    options = {
        "training.max_steps": 1,
        "training.num_threads": 1,
        "training.learning_rate": 1e-9,
        "training.precision": "float32",
    }
    continued = api.train(again / "tickets.csv", model=run.model, method="full", output_dir=again / "run", options=options).folder
    torch.testing.assert_close(our_scores(continued.model), our_scores(run.model), atol=1e-4, rtol=1e-4)
    (again / "other.csv").write_text((again / "tickets.csv").read_text().replace("billing", "money"))
    notices = []
    api.train(
        again / "other.csv", model=run.model, method="full", output_dir=again / "b", options=options, callbacks=[notices.append]
    )
    assert any("thrown away: billing" in str(notice) for notice in notices)
