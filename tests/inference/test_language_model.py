"""Language models from everywhere: what is loaded, what is refused, prompts, scores, and the base beside a tuned one."""

import dataclasses
import json
from pathlib import Path

import pytest
import torch

from finewright.core import hardware
from finewright.core.config import DataConfig
from finewright.core.errors import UserError
from finewright.data import chat_encoding
from finewright.inference import chat_prompts
from finewright.inference.language_model import LanguageModel, load_language_model
from support import chat, chatters, tiny
from support.chatters import TEMPLATE

STORIES = Path(__file__).resolve().parents[3] / "shared" / "models" / "stories260K"
ASK = [{"role": "user", "content": "where is my parcel"}]


@pytest.fixture(scope="module")
def plain_folder(tmp_path_factory):
    return chatters.folder(tmp_path_factory.mktemp("plain") / "llama")


@pytest.fixture(scope="module")
def chat_folder(tmp_path_factory):
    return chatters.folder(tmp_path_factory.mktemp("chat") / "llama", template=TEMPLATE)


@pytest.fixture(scope="module")
def adapter_folder(tmp_path_factory, chat_folder):
    """A LoRA adapter as PEFT itself saves one."""
    import peft
    from transformers import AutoModelForCausalLM

    torch.manual_seed(1)
    network = AutoModelForCausalLM.from_pretrained(chat_folder)
    config = peft.LoraConfig(
        task_type="CAUSAL_LM", r=4, init_lora_weights=False, target_modules=["q_proj", "v_proj", "down_proj"]
    )
    path = tmp_path_factory.mktemp("adapter") / "lora"
    peft.get_peft_model(network, config).save_pretrained(path)
    return path


def write_run(path, *, task="text-generation", model=None):
    path.mkdir()
    (path / "checks.json").write_text("{}")
    (path / "config.json").write_text(json.dumps({"task": task, "model": model}))
    return path


def answers(model, **options):
    return [one.ids for one in model.generate(["where is my parcel", "refund"], max_new_tokens=8, **options)]


def test_a_text_is_a_message_if_there_is_a_template_and_is_continued_otherwise(plain_folder, chat_folder):
    plain, talker = load_language_model(plain_folder), load_language_model(chat_folder)
    assert (plain.has_template, talker.has_template) == (False, True)
    text = "where is my parcel"
    assert plain.encode_prompt(text) == plain.tokenizer(text)["input_ids"]
    assert talker.tokenizer.decode(talker.encode_prompt(text)) == f"[user] {text}<|endoftext|>[assistant] "
    assert talker.encode_prompt(text, raw=True) == plain.encode_prompt(text)
    assert talker.tokenizer.decode(talker.encode_prompt(text, system="Be")).startswith("[system] Be<|endoftext|>[user] where")
    assert talker.encode_prompt(ASK) == talker.encode_prompt(text)
    assert talker.generate(text, max_new_tokens=5) == talker.generate([ASK], max_new_tokens=5)
    assert talker.chat(ASK, max_new_tokens=5) == talker.generate(text, max_new_tokens=5)[0].text
    assert "".join(talker.stream(ASK, max_new_tokens=5)) == talker.chat(ASK, max_new_tokens=5)


def test_what_cannot_be_a_prompt_is_refused(plain_folder, chat_folder):
    plain, talker = load_language_model(plain_folder), load_language_model(chat_folder)
    with pytest.raises(UserError, match="prompt 2: the model has no chat template"):
        plain.generate(["a", ASK])
    with pytest.raises(UserError, match="a system message needs a chat template, and the model has none"):
        plain.generate("a", system="Be kind")
    with pytest.raises(UserError, match="and no raw prompt"):
        talker.generate("a", system="Be kind", raw=True)
    with pytest.raises(UserError, match="prompt: raw prompts are texts, and this is a conversation"):
        talker.generate([ASK], raw=True)
    with pytest.raises(UserError, match="does not take this row: no tools here"):
        talker.generate([[{"role": "tool", "content": "x"}]])
    for wrong, message in {
        "[]": "no message in",
        '[{"role": "user"}]': "message 1: no `content`",
        '[{"role": "user", "content": {}}]': "wanted text in the content of message 1, found dict",
        '{"role": "user", "content": "a"}': "wanted a list of messages",
    }.items():
        with pytest.raises(UserError, match=f"^prompt: {message}"):
            talker.generate([json.loads(wrong)])
    with pytest.raises(UserError, match="unknown option; did you mean 'max_new_tokens'"):
        talker.generate("a", max_tokens=3)


NO_SYSTEM = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system') }}{% endif %}" + chat.CHATML
IN_PARTS = (
    "{% for m in messages %}[{{ m['role'] }}] {% for part in m['content'] %}{{ part['text'] }}{% endfor %}<|im_end|>{% endfor %}"
    "{% if add_generation_prompt %}[assistant] {% endif %}"
)
OTHER_START = (
    "{% for m in messages %}[{{ m['role'] }}] {{ m['content'] }}<|im_end|>{% endfor %}"
    "{% if add_generation_prompt %}[assistant] <|im_start|>think{% endif %}"
)


@pytest.mark.parametrize("template", [chat.CHATML, NO_SYSTEM, IN_PARTS, OTHER_START])
@pytest.mark.parametrize("make", [chat.byte_level, chat.with_start])
def test_prompts_are_encoded_as_those_of_training(template, make):
    tokenizer = make(added=chat.TURNS, template=template)
    model = LanguageModel(None, tokenizer, name="model")
    row = chat.talk("Where is it?", "On its way.", "When?", "On Friday.", system="Be brief.")
    samples, _ = chat_encoding.encode_samples(tokenizer, [row], options=DataConfig(trained_tokens="last-answer"))
    sample = samples[-1]
    wanted = sample.ids[: sample.trained.index(True)]
    assert chat_encoding.encode_prompts(tokenizer, [row], limit=1000) == [wanted]
    messages = [{"role": one.role, "content": one.content} for one in row.prompt]
    assert model.encode_prompt(messages) == wanted
    assert model.encode_prompt(messages[1:], system="Be brief.") == wanted
    assert model.encode_prompt([{**one, "content": [{"type": "text", "text": one["content"]}]} for one in messages]) == wanted
    with pytest.raises(UserError, match="prompt: the conversation has a system message, and another one is given"):
        model.encode_prompt(messages, system="Be kind.")


@pytest.mark.parametrize(
    "template",
    [
        "<|im_start|>{{ messages[-1]['content'] }}<|im_end|>",
        "{% for m in messages %}{% if m['role'] == 'assistant' %}{{ raise_exception('no') }}{% endif %}"
        "<|im_start|>{{ m['content'] }}<|im_end|>{% endfor %}",
    ],
)
def test_a_template_that_shows_no_answer_after_the_question_still_asks(template):
    model = LanguageModel(None, chat.byte_level(added=chat.TURNS, template=template), name="model")
    assert model.tokenizer.decode(model.encode_prompt("Where is it?")) == "<|im_start|>Where is it?<|im_end|>"


def test_the_answer_comes_after_all_messages():
    model = LanguageModel(None, chat.byte_level(added=chat.TURNS, template=chat.CHATML), name="model")
    messages = [{"role": role, "content": "a"} for role in ("user", "assistant")]
    written = "<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\n"
    assert model.tokenizer.decode(model.encode_prompt(messages)) == f"{written}a<|im_end|>\n<|im_start|>assistant\n"


def test_an_empty_text_begins_with_the_token_that_begins_one(plain_folder):
    model = load_language_model(plain_folder)
    assert model.encode_prompt("") == [model.tokenizer.eos_token_id]
    assert model.generate("", max_new_tokens=3)[0].num_tokens <= 3


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        (None, ([0], ())),
        (TEMPLATE, ([0], ())),
        ("{% for m in messages %}{{ m['content'] }}[SEP]{% endfor %}", ([0, 3], ())),
        ("{% for m in messages %}{{ m['content'] }}\n\n### {% endfor %}", ([0], ("###",))),
        ("{% for m in messages %}{{ m['content'] }}\n{% endfor %}", ([0], ())),
        ("{{ raise_exception('never') }}", ([0], ())),
    ],
)
def test_what_ends_an_answer(plain_folder, template, expected):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(plain_folder)
    tokenizer.chat_template = template
    ids, texts = chat_prompts.find_ends(tokenizer, None)
    assert (list(ids), texts) == expected


def test_an_adapter_of_peft_answers_as_in_peft_and_has_its_base(adapter_folder, chat_folder):
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    tuned, base = load_language_model(adapter_folder), load_language_model(chat_folder)
    assert tuned.has_template, "the tokenizer is the base's"
    assert tuned.is_tuned
    ids = tuned.encode_prompt(ASK)
    network = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(chat_folder), adapter_folder).eval()
    wanted = network.generate(
        input_ids=torch.tensor([ids]),
        attention_mask=torch.ones(1, len(ids)).long(),
        max_new_tokens=8,
        do_sample=False,
        pad_token_id=0,
    )
    assert wanted[0, len(ids) :].tolist()[: len(tuned.generate([ASK], max_new_tokens=8)[0].ids)] == list(
        tuned.generate([ASK], max_new_tokens=8)[0].ids
    )
    assert answers(tuned) != answers(base)
    assert answers(tuned.base) == answers(base)
    assert answers(tuned) != answers(tuned.base), "the adapter is on again"
    assert tuned.base is tuned.base
    with pytest.raises(UserError, match="not fine-tuned"):
        tuned.base.base  # noqa: B018
    with pytest.raises(UserError, match="not fine-tuned"):
        base.base  # noqa: B018


def test_runs_of_whole_models_and_of_adapters(tmp_path, adapter_folder, chat_folder, plain_folder):
    whole = write_run(tmp_path / "whole", model={"name": str(plain_folder), "revision": ""})
    (whole / "model").symlink_to(chat_folder)
    model = load_language_model(whole)
    assert answers(model) == answers(load_language_model(chat_folder))
    assert answers(model.base, raw=True) == answers(load_language_model(plain_folder))
    assert model.base.has_template, "both get the same prompts"
    adapted = write_run(tmp_path / "adapted")
    (adapted / "model").symlink_to(adapter_folder)
    assert answers(load_language_model(adapted)) == answers(load_language_model(adapter_folder))


def test_a_run_that_labels_texts_is_refused_by_name(message_run):
    with pytest.raises(UserError, match=r"this run labels texts \(task text-classification\)") as error:
        load_language_model(message_run.path)
    assert error.value.fix == f"`finewright predict {message_run.path}`"
    with pytest.raises(UserError, match="the adapter was trained for another task"):
        load_language_model(message_run.path / "model")


def test_what_is_no_language_model_is_refused(tmp_path, plain_folder):
    from transformers import AutoModelForSequenceClassification

    with pytest.raises(UserError, match="bert cannot continue a text"):
        load_language_model(tiny.folder(tmp_path / "bert", kind="bert"))
    labelled = tmp_path / "labelled"
    AutoModelForSequenceClassification.from_pretrained(plain_folder, num_labels=3).save_pretrained(labelled)
    with pytest.raises(UserError, match="trained for another task: its class is LlamaForSequenceClassification"):
        load_language_model(labelled)
    with pytest.raises(UserError, match="this run has no model yet"):
        load_language_model(write_run(tmp_path / "begun"))
    broken = write_run(tmp_path / "broken")
    (broken / "config.json").write_text("no")
    with pytest.raises(UserError, match=r"config\.json of the run cannot be read"):
        load_language_model(broken)
    with pytest.raises(UserError, match="no such model folder"):
        load_language_model(tmp_path / "nowhere")


def test_a_checkpoint_without_its_output_layer_is_refused(tmp_path):
    from safetensors.torch import load_file, save_file

    folder = tiny.folder(tmp_path / "llama", kind="llama")
    weights = load_file(folder / "model.safetensors")
    save_file(
        {name: value for name, value in weights.items() if name != "lm_head.weight"},
        folder / "model.safetensors",
        {"format": "pt"},
    )
    with pytest.raises(UserError, match=r"lacks 1 tensor of a language model, for instance lm_head\.weight"):
        load_language_model(folder)


def test_an_adapter_that_names_its_modules_by_a_pattern_is_refused(tmp_path, adapter_folder):
    import shutil

    folder = tmp_path / "pattern"
    shutil.copytree(adapter_folder, folder)
    config = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps(config | {"target_modules": "(a+)+$"}))
    with pytest.raises(UserError, match="by a pattern"):
        load_language_model(folder)


def test_scores_are_the_log_likelihoods_of_the_answers(chat_folder):
    model = load_language_model(chat_folder)
    possible = ["ship it", "refund my pay", "x"]
    prompt = model.encode_prompt(ASK)
    for answer, score in zip(possible, model.score(ASK, possible), strict=True):
        own = model.tokenizer(answer)["input_ids"]
        with torch.no_grad():
            logits = model.network(torch.tensor([[*prompt, *own]])).logits[0].log_softmax(dim=-1)
        expected = sum(float(logits[len(prompt) + place - 1, token]) for place, token in enumerate(own))
        assert score == pytest.approx(expected, abs=1e-4)
    assert model.score(ASK, possible)[1] == pytest.approx(model.score(ASK, possible[1:2])[0], abs=1e-4)
    assert model.score("where is my parcel", possible) == pytest.approx(model.score(ASK, possible))
    with pytest.raises(UserError, match="answer 2: the answer has no tokens"):
        model.score(ASK, ["x", ""])


def test_a_token_that_spans_prompt_and_answer_is_part_of_the_answer(plain_folder):
    model = load_language_model(plain_folder)
    whole, prompt = model.tokenizer("the parcel")["input_ids"], model.tokenizer("the parc")["input_ids"]
    assert whole[: len(prompt)] != prompt
    start = next(at for at, pair in enumerate(zip(whole, prompt, strict=False)) if pair[0] != pair[1])
    with torch.no_grad():
        logits = model.network(torch.tensor([whole])).logits[0].log_softmax(dim=-1)
    expected = sum(float(logits[at - 1, whole[at]]) for at in range(max(1, start), len(whole)))
    assert model.score("the parc", ["el"]) == pytest.approx([expected], abs=1e-4)


@pytest.mark.filterwarnings("ignore:.*[Pp]rompt")
def test_scores_with_a_trained_prompt_are_those_of_peft(chat_folder, tmp_path):
    import peft
    from transformers import AutoModelForCausalLM

    torch.manual_seed(2)
    config = peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3)
    wrapped = peft.get_peft_model(AutoModelForCausalLM.from_pretrained(chat_folder), config).eval()
    wrapped.save_pretrained(tmp_path / "prompt")
    model = load_language_model(tmp_path / "prompt")
    prompt, possible = model.encode_prompt(ASK), ["ship it", "refund my pay"]
    for answer, score in zip(possible, model.score(ASK, possible), strict=True):
        own = model.tokenizer(answer)["input_ids"]
        ids = torch.tensor([[*prompt, *own]])
        with torch.no_grad():
            logits = wrapped(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[0, 3:].log_softmax(dim=-1)
        expected = sum(float(logits[len(prompt) + place - 1, token]) for place, token in enumerate(own))
        assert score == pytest.approx(expected, abs=1e-4)
    assert model.base.score(ASK, possible) == pytest.approx(load_language_model(chat_folder).score(ASK, possible))
    assert model.base.score(ASK, possible) != pytest.approx(model.score(ASK, possible))


def test_a_real_model_scores_a_likely_text_higher():
    if not STORIES.is_dir():
        pytest.skip("stories260K is not beside the project")
    model = load_language_model(STORIES)
    likely, unlikely = model.score("Once upon a", [" time", " dog"])
    assert likely > unlikely + 2


def test_precision_is_as_asked_for_or_what_the_hardware_is_fast_in(plain_folder, monkeypatch):
    for fast in (True, False):
        found = dataclasses.replace(hardware.describe_cpu(), fast_bfloat16=fast)
        monkeypatch.setattr(hardware, "describe_cpu", lambda found=found: found)
        assert load_language_model(plain_folder).bfloat16 == fast
        assert load_language_model(plain_folder, precision="bfloat16").bfloat16
        assert not load_language_model(plain_folder, precision="float32").bfloat16
    with pytest.raises(UserError, match="'bf16', wanted one of auto, float32, bfloat16"):
        load_language_model(plain_folder, precision="bf16")
