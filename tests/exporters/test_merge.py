"""Merging an adapter: one ordinary model, and the change it makes measured on the test rows."""

import errno
import os

import pytest
import torch

import finewright
from finewright import api, methods
from finewright.core import files
from finewright.core.errors import ExitCode, UserError
from finewright.exporters import merge
from finewright.models import loading
from finewright.runs import run as run_module
from support import tiny


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    root = tmp_path_factory.mktemp("export")
    tiny.folder(root / "gpt2")
    tiny.tickets(root / "tickets.csv")
    return root


def train(place, name, **options):
    given = {"training.max_steps": 8, "training.num_threads": 1, "training.learning_rate": 0.01, **options}
    out = place / "-".join([name, *map(str, options.values())])
    return api.train(place / "tickets.csv", model=place / "gpt2", method=name, output_dir=out, options=given).folder


@pytest.mark.parametrize(
    "options", [{}, {"method.init_weights": "pissa"}, {"method.dora": True}, {"training.precision": "bfloat16"}], ids=str
)
def test_a_full_precision_merge_changes_nothing_but_rounding(place, options):
    run = train(place, "lora", **options)
    found = merge.export_merged(run)
    assert found.exact
    assert (found.change.base, found.other, found.reason) == ("published", None, "the base it was trained on")
    assert found.change.largest_difference < 1e-4
    assert (found.change.changed, found.metric_before) == (0, found.change.metric_after)
    assert sorted(path.name for path in found.folder.glob("*.safetensors")) == ["model.safetensors"]


def test_plain_transformers_loads_the_merged_model(place):
    from transformers import pipeline

    run = train(place, "lora", seed=1)
    found = finewright.export(run.path, output_dir=place / "elsewhere")
    classify = pipeline("text-classification", model=str(found.folder), dtype=torch.float32)
    line = run.read_lines(run.predictions)[0]
    assert classify(line["text"])[0]["label"] == line["predicted"]


@pytest.mark.parametrize(
    ("options", "bound"),
    [
        ({"training.precision": "float32"}, 1e-5),
        ({"training.precision": "float32", "method.double_quant": False}, 1e-5),
        ({"training.precision": "bfloat16"}, 0.05),
    ],
    ids=["double", "single", "bfloat16"],
)
def test_merged_into_the_weights_it_was_trained_on_a_quantised_adapter_scores_as_before(place, options, bound):
    pytest.importorskip("bitsandbytes")
    run = train(place, "qlora", **options)
    found = merge.export_merged(run)
    assert found.change.base == "dequantised", found
    assert (found.exact, found.reason) == (True, "it changes the scores least")
    assert found.change.largest_difference < bound
    assert found.other.base == "published"
    assert found.other.largest_difference > max(0.01, 2 * found.change.largest_difference), "other weights: the choice matters"
    assert (found.num_rows, found.change.metric_after) == (8, found.metric_before)
    assert "its base dequantised" in (found.folder / "README.md").read_text()
    assert found.as_json()["other"]["largest_difference"] == found.other.largest_difference


def test_plain_transformers_loads_a_dequantised_merge(place):
    pytest.importorskip("bitsandbytes")
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    run = train(place, "qlora", seed=1, **{"training.precision": "float32"})
    found = merge.export_merged(run, out=place / "dequantised", base="dequantised")
    assert found.reason == "as requested"
    assert "quantization_config" not in (found.folder / "config.json").read_text()
    network = AutoModelForSequenceClassification.from_pretrained(found.folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(found.folder)
    text = run.read_lines(run.predictions)[0]["text"]
    with torch.no_grad():
        plain = network(**tokenizer(text, return_tensors="pt")).logits[0].softmax(0)
    ours = run_module.open_run(run.path).predict([text])[0]["probabilities"]
    assert plain.tolist() == pytest.approx(list(ours.values()), abs=1e-5)


def test_the_published_base_is_used_on_request_and_its_change_is_reported(place):
    pytest.importorskip("bitsandbytes")
    found = merge.export_merged(train(place, "qlora", seed=2), base="published")
    assert (found.change.base, found.exact, found.other.base) == ("published", False, "dequantised")
    assert found.change.largest_difference > 0.01, "another base than the one it was trained on"
    assert "whose weights are not the four-bit ones" in (found.folder / "README.md").read_text()


def test_a_large_model_is_merged_once_into_the_weights_it_was_trained_on(place, monkeypatch):
    pytest.importorskip("bitsandbytes")
    monkeypatch.setattr(merge, "CHEAP_BYTES", 1000)
    run = train(place, "qlora", seed=3)
    found = merge.export_merged(run)
    assert (found.change.base, found.other) == ("dequantised", None)
    assert "the weights it was trained on" in found.reason
    assert merge.export_merged(run, base="published", out=place / "published-base").change.base == "published"


def test_a_wrongly_dequantised_base_is_noticed(place, monkeypatch):
    pytest.importorskip("bitsandbytes")
    run = train(place, "qlora", seed=4)
    monkeypatch.setattr("finewright.models.quantization.dequantise", lambda packed, into: None)
    with pytest.raises(UserError, match="scores of the merged model differ by") as caught:
        merge.export_merged(run)
    assert caught.value.where == str(run.model)
    assert not (run.path / "merged").exists()
    found = merge.export_merged(run, base="published")
    assert (found.change.base, found.other) == ("published", None), "the wrong one was only made to be compared"
    assert found.reason.startswith("as requested; the dequantised base could not be compared: ")
    assert "scores of the merged model differ by" in found.reason
    assert found.folder == run.path / "merged"
    assert (found.folder / "model.safetensors").exists()


def test_a_base_that_cannot_be_made_matters_only_to_those_who_requested_it(place, monkeypatch):
    pytest.importorskip("bitsandbytes")
    run, true = train(place, "qlora", seed=6), loading.load_merged

    def short(folder, *, dequantised, **how):
        if not dequantised:
            raise MemoryError
        return true(folder, dequantised=dequantised, **how)

    monkeypatch.setattr(loading, "load_merged", short)
    found = merge.export_merged(run, base="dequantised", out=place / "other-short")
    assert (found.change.base, found.other) == ("dequantised", None)
    assert found.reason == "as requested; the published base could not be compared: MemoryError()"
    for base in ("published", None):
        with pytest.raises(MemoryError):
            merge.export_merged(run, base=base, out=place / "short")


def test_a_base_that_does_not_exist_is_refused(place):
    run = train(place, "lora", seed=5)
    with pytest.raises(UserError, match="lora was trained on the full-precision base: there is no other"):
        merge.export_merged(run, base="dequantised")
    with pytest.raises(UserError, match="wanted dequantised or published, found 'half'"):
        merge.export_merged(run, base="half")


@pytest.mark.parametrize(("name", "message"), [("prompt", "before the text"), ("full", "complete already")])
def test_a_method_that_cannot_be_merged_says_why(place, name, message):
    run = train(place, name, seed=2)
    with pytest.raises(UserError, match=f"{name} has nothing to merge: .*{message}"):
        merge.export_merged(run)


def test_every_method_that_can_be_merged_saves_an_adapter():
    for kind in map(methods.get_method, methods.method_names()):
        assert not kind.mergeable or kind.saves == "adapter"


def test_nothing_is_overwritten_and_nothing_incomplete_is_left(place, monkeypatch):
    run = train(place, "lora", seed=3)
    (run.path / "merged").mkdir()
    with pytest.raises(UserError, match="something is there already"):
        merge.export_merged(run)
    true = loading.load_merged

    def wrong(folder, **extra):
        merged, tokenizer = true(folder, **extra)
        merged.network.score.weight.data *= 2
        return merged, tokenizer

    monkeypatch.setattr(loading, "load_merged", wrong)
    with pytest.raises(UserError, match="scores of the merged model differ by"):
        merge.export_merged(run, out=place / "wrong")
    assert not list(place.glob("*wrong*"))


def test_an_adapter_with_a_flipped_bit_is_not_merged(place):
    """It would be compared with itself and found the same."""
    run = train(place, "lora", seed=7)
    path = run.model / "adapter_model.safetensors"
    content = bytearray(path.read_bytes())
    content[-2] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"adapter_model\.safetensors: missing, or not what was saved and verified"):
        merge.export_merged(run)


def test_a_disk_that_refuses_the_merged_model_is_one_message(place, monkeypatch):
    run, synced = train(place, "lora", seed=8), []

    def refuse(path):
        synced.append(path.name)
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(files, "sync", refuse)
    with pytest.raises(UserError, match="cannot write: Input/output error") as caught:
        merge.export_merged(run)
    assert (caught.value.code, caught.value.fix) == (ExitCode.DISK, "make room, or choose another --out")
    assert synced, "what is renamed is on the medium before"
    assert not (run.path / "merged").exists()
    assert not list(run.path.glob(f"{files.DRAFT}*"))
