"""A small real comparison of language models, and what it is made of."""

import json
from dataclasses import replace

import pytest
from transformers import AutoTokenizer

import finewright
from finewright.baselines.few_shot import with_examples
from finewright.comparison import answer_baselines
from finewright.comparison.folder import ComparisonFolder
from finewright.comparison.spec import ANSWER_BASELINES, BASELINES, ComparisonSpec, baselines_for, choose_sizes
from finewright.core.config import DataConfig, RunConfig
from finewright.core.errors import UserError
from finewright.core.events import Notice
from finewright.data import splits
from finewright.data.chat_encoding import encode_prompts
from finewright.data.conversations import Conversation, Message, conversation_of
from finewright.data.dataset import Dataset, read_dataset
from finewright.learn.run_history import find_runs
from finewright.models import hub
from finewright.runs.run import open_run
from finewright.tasks import get_task
from support import chats, chatters
from support.commands import call

FAST = {"training.max_steps": 3, "training.precision": "float32", "training.num_threads": 1, "training.num_generated": 4}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    root = tmp_path_factory.mktemp("languages")
    chatters.folder(root / "llama", template=chatters.TEMPLATE)
    chats.folder(root / "data", train=20, validation=6, test=6)
    return root


@pytest.fixture(scope="module")
def compared(place, quick_comparisons):
    events = []
    options = {"model": str(place / "llama"), "methods": ["lora", "contrastive"], "seeds": 1, "jobs": 2, "options": FAST}
    found = finewright.compare(place / "data", output_dir=place / "out", callbacks=[events.append], **options)
    again = finewright.compare(place / "data", output_dir=place / "out", **options)
    return found, events, again


def test_chat_data_is_compared_by_its_answers(compared):
    found, events, again = compared
    file = found.file
    assert (file.task, file.metric, file.metric_words) == ("text-generation", "exact_match", "the same words")
    assert file.num_scored == 4
    assert {row.method for row in file.measured} == {"lora", "scratch", *ANSWER_BASELINES}
    assert any(isinstance(event, Notice) and event.message.startswith("task: text-generation") for event in events)
    assert again.results == found.results, "nothing is left to do"
    assert "--set task=text-generation" in file.command


def test_a_method_that_cannot_train_the_task_is_left_out_with_the_reason(compared):
    row = compared[0].file.by_method["contrastive"]
    assert (row.status, row.score) == ("not measured", None)
    assert "has no one label for each text" in row.message
    assert not list((compared[0].path / "runs").glob("contrastive*"))


def test_every_run_answers_the_same_rows(compared):
    answered = []
    for name in ("lora", "scratch"):
        run = open_run(compared[0].path / f"runs/{name}-all-seed0")
        lines = [json.loads(line) for line in (run.path / "predictions.jsonl").read_text().splitlines()]
        answered.append([line["where"] for line in lines if "score" in line])
        assert (run.result.task, run.result.untuned) == ("text-generation", None), "it is measured once for all of them"
    assert answered[0] == answered[1]
    assert len(answered[0]) == 4


def test_untuned_is_what_a_run_measures_before_its_first_update(place, compared):
    run = finewright.train(place / "data", model=str(place / "llama"), method="full", output_dir=place / "run", options=FAST)
    lines = [json.loads(line) for line in (run.path / "predictions.jsonl").read_text().splitlines()]
    baseline = json.loads((compared[0].path / "baselines/untuned.json").read_text())["sizes"]["all"]
    expected = {number: line["untuned"] for number, line in enumerate(lines) if "untuned" in line}
    assert dict(zip(baseline["rows"], baseline["predicted"], strict=True)) == expected
    before = run.result.untuned.metrics.test
    for name in ("loss", "token_accuracy"):
        assert baseline["metrics"][name] == pytest.approx(getattr(before, name), rel=1e-5)
    assert baseline["metrics"]["answers"] == before.answers


def test_the_page_has_the_metric_and_a_picture_of_its_own(compared):
    folder = ComparisonFolder(compared[0].path)
    assert "the same words" in folder.text.read_text()
    assert folder.score_picture.exists()
    assert not folder.picture.exists()
    assert folder.score_picture.name in folder.file_names
    assert compared[0].file.by_method["lora"].training[0].validation_loss
    assert str(compared[0].summary).startswith("method")


def test_readers_of_runs_and_comparisons_show_the_score(compared):
    path = compared[0].path
    found = json.loads(call("runs", "--root", path.parent, "--json")[1])
    runs = {line["method"]: line for line in found["runs"]}
    assert (runs["lora"]["metric"], runs["lora"]["accuracy"]) == ("the same words", None)
    assert 0 <= runs["lora"]["score"] <= 1
    (line,) = found["comparisons"]
    assert (line["metric"], line["best_accuracy"]) == ("the same words", None)
    assert line["best_score"] == compared[0].file.measured[0].score
    assert "test the same words" in " ".join(call("runs", "--root", path.parent)[1].split())
    run = path / "runs/lora-all-seed0"
    assert call("runs", "show", run)[0] == 0
    assert "the same words" in " ".join(call("runs", "show", path)[1].split())
    assert call("runs", "diff", run, path / "runs/scratch-all-seed0")[0] == 0
    assert find_runs(path.parent) == [], "lessons are about classification"


def test_plain_texts_are_compared_by_their_tokens(place, tmp_path):
    """No answers: baselines that need some are left out with the reason."""
    lines = [json.dumps({"text": f"the parcel number {index} is on its way"}) for index in range(30)]
    (tmp_path / "texts.jsonl").write_text("\n".join(lines))
    dataset = read_dataset(tmp_path / "texts.jsonl", options=DataConfig(), row_kind="conversation")
    source, settings = hub.resolve_model(str(place / "llama")), RunConfig(task="text-generation", model=str(place / "llama"))
    found = answer_baselines.measure("untuned", {"all": dataset}, source=source, settings=settings, known={}).sizes["all"]
    assert (found.rows, found.predicted) == ([*range(len(dataset.test))], [])
    assert all(0 <= score <= 1 for score in found.scores)
    for name in ("few-shot", "nearest-answer"):
        with pytest.raises(UserError, match="no answers are generated"):
            answer_baselines.measure(name, {"all": dataset}, source=source, settings=settings, known={})


def test_examples_that_do_not_fit_are_left_out_and_the_row_alone_is_asked_as_in_a_run(place):
    dataset = read_dataset(place / "data", options=DataConfig(), row_kind="conversation")
    tokenizer = AutoTokenizer.from_pretrained(place / "llama")
    settings = RunConfig(task="text-generation", model=str(place / "llama"))
    task = get_task("text-generation").for_dataset(dataset, config=settings)
    asked = answer_baselines._prepare(dataset, task, tokenizer, settings=settings, longest=64)
    row, *examples = asked.test.rows[:4]
    some = [with_examples(row, examples[:number]) for number in (3, 2, 1, 0)]
    lengths = [len(one) for one in encode_prompts(tokenizer, some, limit=10_000)]
    new, used = asked.test.max_new_tokens, []
    for longest in (lengths[0] + new, lengths[0] + new - 1, lengths[2] + new, lengths[2] + new - 1):
        generator = answer_baselines._Generator(replace(asked, longest=longest, limit=64), None, tokenizer)
        ids = generator.choose_prompt(some, num_new=new, limit=64)
        used.append(tokenizer.decode(ids).count("[user]") - 1)
    assert used == [3, 2, 1, 0]
    assert ids == encode_prompts(tokenizer, [row], limit=64 - new)[0], "the tokens that a run asks with"


def conversations():
    tools = ({"type": "function", "function": {"name": "track", "parameters": {}}},)
    call = {"type": "function", "function": {"name": "track", "arguments": {"parcel": 7}}}
    said = (Message("system", "Be brief."), Message("user", 'where?\n"here"'), Message("assistant", "", (call,)))
    yield conversation_of(
        (*said, Message("tool", "Oslo", name="track"), Message("assistant", "In Oslo.")), where="a:1", tools=tools
    )
    yield conversation_of((Message("user", "B?"), Message("assistant", "yes")), where="a:2", choices=("yes", "no"))
    marked = Message("assistant", "first", is_trained=False, reasoning="so")
    yield conversation_of((Message("user", "1"), marked, Message("user", "2"), Message("assistant", "second")), where="a:3")


@pytest.mark.parametrize(
    "rows",
    [
        [*conversations()],
        [Conversation("a text", "", "a:1", form="text"), Conversation("täxt\n2", "", "a:2", form="text")],
        [Conversation("(3 token ids)", "", "a:1", form="tokens", ids=(5, 6, 7), trained=(False, True, True))],
    ],
    ids=["chat", "text", "tokens"],
)
def test_the_files_of_the_splits_are_the_same_rows(tmp_path, rows):
    folder = ComparisonFolder(tmp_path / "c")
    spec = ComparisonSpec("d", None, "m", ("lora",), (0,), ("all",), 0, {"task": "text-generation"}, {})
    folder.write_splits(spec, Dataset(rows, rows, rows, (), "text", [], "f", row_kind="conversation"))
    read = read_dataset(folder.data("all"), options=DataConfig(), row_kind="conversation")
    for name in ("train", "validation", "test"):
        found = getattr(read, name)
        assert [replace(one, where="") for one in found] == [replace(one, where="") for one in rows]
        assert [one.where.rpartition(":")[2] for one in found] == [str(number + 1) for number in range(len(rows))]
    assert [line.place for line in folder.read_split("all", "test")] == [row.where for row in rows]


def test_subsets_of_conversations_are_by_chance_and_nested():
    rows = [conversation_of((Message("user", str(n)), Message("assistant", f"{n:03}")), where="") for n in range(200)]
    order = splits.nested_order(rows, seed=0, has_labels=False)
    assert sorted(order) == [*range(200)]
    assert abs(sum(order[:50]) / 50 - 99.5) < 25, "not the first by the alphabet of their answers"
    data = Dataset(rows, [], [], (), "text", [], "f", row_kind="conversation")
    assert choose_sizes(["1", "all"], dataset=data) == ("1", "all")
    with pytest.raises(UserError, match=r"wanted 0 training rows; there are 200\n"):
        choose_sizes(["0"], dataset=data)


def test_each_kind_of_rows_has_its_own_baselines():
    assert baselines_for("labelled") is BASELINES
    assert baselines_for("conversation") is ANSWER_BASELINES
    assert not set(BASELINES) & set(ANSWER_BASELINES)
    assert baselines_for("preference") == {}
