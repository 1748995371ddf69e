"""The command generate: prompts from everywhere, answers as text, JSON and files, and messages that say what to do."""

import io
import json
import sys

import pytest

from support import chatters
from support.commands import call


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return chatters.folder(tmp_path_factory.mktemp("model") / "plain")


@pytest.fixture(scope="module")
def chatter(tmp_path_factory):
    return chatters.folder(tmp_path_factory.mktemp("model") / "chat", template=chatters.TEMPLATE)


def generations(out):
    return json.loads(out)["generations"]


def test_one_prompt_prints_its_answer_and_json_has_the_rest(model):
    code, out, _ = call("generate", model, "where is my", "--max-new-tokens", 6)
    assert code == 0
    code, as_json, _ = call("generate", model, "where is my", "--max-new-tokens", 6, "--json")
    (answer,) = generations(as_json)
    assert code == 0
    assert set(answer) == {"prompt", "text", "num_tokens", "finish_reason"}
    assert (answer["prompt"], answer["num_tokens"], answer["finish_reason"]) == ("where is my", 6, "length")
    assert out == answer["text"].strip() + "\n"


def test_several_prompts_are_shown_with_their_answers_in_order(model):
    code, out, err = call("generate", model, "where is", "refund", "--max-new-tokens", 4)
    assert code == 0
    assert [line for line in out.splitlines() if line.startswith("> ")] == ["> where is", "> refund"]
    assert "2 answers were cut; a higher --max-new-tokens" in err


def test_flags_reach_the_generation(model):
    whole = generations(call("generate", model, "where is my", "--max-new-tokens", 12, "--json")[1])[0]["text"]
    stop = whole[6:9]
    cut = generations(call("generate", model, "where is my", "--max-new-tokens", 12, "--stop", stop, "--stop", "~~", "--json")[1])
    assert cut[0]["text"] == whole[: whole.index(stop)]
    drawn = [
        "generate",
        model,
        "where is my",
        "--temperature",
        1.5,
        "--top-k",
        50,
        "--top-p",
        0.9,
        "--max-new-tokens",
        12,
        "--json",
    ]
    first, again = (call(*drawn, "--seed", 3)[1] for _ in range(2))
    assert first == again != call(*drawn, "--seed", 4)[1]


def test_a_template_a_system_message_and_raw(chatter, model):
    prompts = {}
    for name, flags in {"user": [], "system": ["--system", "Be kind"], "raw": ["--raw"]}.items():
        prompts[name] = generations(call("generate", chatter, "refund", "--max-new-tokens", 6, "--json", *flags)[1])[0]["text"]
    assert len({*prompts.values()}) == 3
    assert prompts["raw"] == generations(call("generate", model, "refund", "--max-new-tokens", 6, "--json")[1])[0]["text"]
    code, _, err = call("generate", model, "refund", "--system", "Be kind")
    assert code == 2
    assert "--system: a system message needs a chat template, and the model has none" in err


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("p.txt", "where is\nrefund\n"),
        ("p.csv", "id,prompt\n1,where is\n2,refund\n"),
        ("p.jsonl", '{"prompt": "where is"}\n{"prompt": "refund"}\n'),
        ("q.csv", "question,answer\nwhere is,x\nrefund,y\n"),
    ],
)
def test_prompts_of_a_file(model, tmp_path, name, content):
    path = tmp_path / name
    path.write_text(content)
    code, out, _ = call("generate", model, "--file", path, "--max-new-tokens", 3, "--json")
    assert code == 0
    assert [one["prompt"] for one in generations(out)] == ["where is", "refund"]


def test_messages_of_a_file_without_their_answer(chatter, tmp_path):
    asked = [{"role": "system", "content": "Be kind"}, {"role": "user", "content": "refund"}]
    path = tmp_path / "m.jsonl"
    path.write_text(
        "".join(json.dumps({"messages": one}) + "\n" for one in (asked, [*asked, {"role": "assistant", "content": "of course"}]))
    )
    code, out, err = call("generate", chatter, "--file", path, "--max-new-tokens", 3, "--json")
    first, second = generations(out)
    assert code == 0
    assert first == second
    assert first["prompt"] == asked
    assert "1 row ends in an answer, which is left out of the prompt" in err


ASKED = [{"role": "user", "content": "where is"}]


@pytest.mark.parametrize(
    ("row", "prompt"),
    [
        ({"instruction": "Translate.", "input": "Hund", "output": "dog"}, "Translate.\nHund"),
        ({"instruction": "Translate.", "input": "Hund"}, "Translate.\nHund"),
        (
            {"instruction": "refund", "system": "Be kind", "history": [["hi", "hello"]]},
            [
                {"role": "system", "content": "Be kind"},
                {"role": "user", "content": "hi"},
                {"role": "assistant", "content": "hello"},
                {"role": "user", "content": "refund"},
            ],
        ),
        ({"prompt": "other", "messages": ASKED}, ASKED),
        ({"prompt": "where is", "text": "other"}, "where is"),
        ({"conversations": [{"from": "human", "value": "where is"}, {"from": "gpt", "value": "here"}]}, ASKED),
    ],
)
def test_rows_are_read_as_those_to_train_on(chatter, tmp_path, row, prompt):
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(row) + "\n")
    code, out, err = call("generate", chatter, "--file", path, "--max-new-tokens", 2, "--json")
    assert code == 0, err
    assert generations(out)[0]["prompt"] == prompt


def test_a_second_system_message_is_refused(chatter, tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"messages": [{"role": "system", "content": "Be kind"}, *ASKED]}) + "\n")
    code, _, err = call("generate", chatter, "--file", path, "--system", "Be brief")
    assert code == 2
    assert "rows.jsonl:1: the conversation has a system message, and another one is given" in err


def test_standard_input(model, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"where is\nrefund\n")))
    code, out, _ = call("generate", model, "--max-new-tokens", 3, "--json")
    assert code == 0
    assert [one["prompt"] for one in generations(out)] == ["where is", "refund"]


def test_answers_go_to_a_file_beside_all_columns(model, tmp_path):
    source, target = tmp_path / "p.csv", tmp_path / "a.csv"
    source.write_text("id,prompt\n7,where is\n8,refund\n")
    code, out, err = call("generate", model, "--file", source, "--out", target, "--max-new-tokens", 3)
    assert (code, out) == (0, "")
    assert "2 answers, written to" in err
    lines = target.read_text().splitlines()
    assert lines[0] == "id,prompt,answer,num_tokens,finish_reason"
    assert lines[1].startswith("7,where is,")
    code, _, err = call("generate", model, "--file", source, "--out", target)
    assert code == 2
    assert "the file exists already" in err
    assert call("generate", model, "--file", source, "--out", target, "--max-new-tokens", 3, "--force")[0] == 0


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["x", "--file", "p.txt"], 2, "--file: --file p.txt and the prompt 'x' are both given"),
        (["x", "--max-new-tokens", "0"], 2, "wanted a number from 1 to 1,000,000, found 0"),
        (["x", "--temprature", "1"], 2, "No such option: --temprature"),
        (["p.txt"], 2, "p.txt: this is a file, not a prompt"),
        ([" "], 3, "prompt 1: the prompt is empty"),
        (["x", "--schema", "none.json"], 2, "none.json: cannot be read"),
        (["x", "--schema", "list.json"], 3, "list.json: wanted a JSON schema, an object, found list"),
        (["x", "--schema", "bad.json"], 3, "bad.json: not JSON"),
        (["--file", "columns.csv"], 3, "no column with prompts; the columns are a, b"),
        (["--file", "gap.csv"], 3, "gap.csv:3: the prompt is empty"),
        (["--file", "text.jsonl"], 3, "text.jsonl:1: wanted a list of messages in 'messages', found str"),
        (["x", "-o", "-"], 2, "the answers go to standard output without -o"),
        (["x", "--device", "abacus"], 2, "unknown device 'abacus'"),
    ],
)
def test_what_cannot_be_done_is_one_message(model, tmp_path, monkeypatch, words, code, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "p.txt").write_text("a\n")
    (tmp_path / "list.json").write_text("[]")
    (tmp_path / "bad.json").write_text("{")
    (tmp_path / "columns.csv").write_text("a,b\n1,2\n")
    (tmp_path / "gap.csv").write_text("prompt,b\nx,1\n,2\n")
    (tmp_path / "text.jsonl").write_text('{"messages": "Hi"}\n')
    found, out, err = call("generate", model, *words)
    assert (found, out) == (code, "")
    assert message in err
    assert "Traceback" not in err


def test_a_run_that_labels_texts_is_refused(message_run):
    code, _, err = call("generate", message_run.path, "x")
    assert code == 2
    assert "this run labels texts (task text-classification)" in err
    assert "finewright predict" in err


def test_control_characters_of_an_answer_do_not_reach_the_terminal(model, monkeypatch):
    from finewright.inference import language_model
    from finewright.inference.generation import Generation

    answer = Generation("a\x1b[31mb\x07", (1,), 1, "stop")
    monkeypatch.setattr(language_model.LanguageModel, "generate", lambda *_, **__: [answer])
    assert call("generate", model, "x")[1] == "a[31mb\n"
    assert generations(call("generate", model, "x", "--json")[1])[0]["text"] == "a\x1b[31mb\x07"
