"""Answers of a network in memory: the same alone, in a batch, in transformers, and in the middle of training."""

import random
from pathlib import Path

import pytest
import torch

from finewright.core import oom
from finewright.core.errors import ExitCode, UserError
from finewright.core.interrupts import Interrupted, StopRequest
from finewright.inference import decoding, generation
from finewright.inference.generation import GenerationOptions, generate_answers, stream_answer
from finewright.models.attention import packed
from support import families, tiny

STORIES = Path(__file__).resolve().parents[3] / "shared" / "models" / "stories260K"
END = 2
PROMPTS = ("Once upon a time", "Lily and Ben", "The big dog ran to", "One day, a girl named Sue went to the park. She")


class Words:
    """A tokenizer of tiny networks: every token is a letter and a space."""

    is_fast = False

    def decode(self, ids, **_):
        return "".join(f"{chr(97 + token % 26)} " for token in ids)


def causal(kind, *, config=None, seed=0):
    """A random language model of an architecture, transformers' own attention."""
    from transformers import AutoModelForCausalLM

    torch.manual_seed(seed)
    net = AutoModelForCausalLM.from_config(config or tiny.build_config(kind), dtype=torch.float32).eval()
    for parameter in net.parameters():  # larger outputs, so that the most probable token is clear
        parameter.data += 0.1 * torch.randn_like(parameter)
    return net


def decoders():
    from transformers import AutoModelForCausalLM

    from finewright.models import architectures

    described = {one.model_type for one in architectures.described_architectures() if one.is_causal}
    known = {**families.CONFIGS, **tiny.CONFIGS}
    return sorted(kind for kind in known if kind in described and type(known[kind]()) in AutoModelForCausalLM._model_mapping)


def own_answers(net, prompts, count):
    """Greedy answers of transformers, each prompt alone."""
    net.generation_config.eos_token_id = None
    found = []
    for ids in prompts:
        mask = torch.ones(1, len(ids), dtype=torch.long)
        out = net.generate(torch.tensor([ids]), attention_mask=mask, max_new_tokens=count, do_sample=False, pad_token_id=0)
        found.append(out[0, len(ids) :].tolist())
    return found


@pytest.fixture(scope="module")
def stories():
    if not STORIES.is_dir():
        pytest.skip("stories260K is not beside the project")
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from finewright.models.meta import quiet_libraries

    with quiet_libraries():
        return AutoModelForCausalLM.from_pretrained(STORIES, dtype=torch.float32).eval(), AutoTokenizer.from_pretrained(STORIES)


def encode(tokenizer, prompts=PROMPTS):
    return [tokenizer(prompt)["input_ids"] for prompt in prompts]


@pytest.mark.parametrize("kind", decoders())
def test_greedy_answers_are_those_of_transformers_alone_and_in_a_batch(kind):
    net = causal(kind)
    prompts = tiny.texts([3, 9, 5, 1, 12], seed=1)
    expected = own_answers(net, prompts, 10)
    found = generate_answers(net, Words(), prompts, options=GenerationOptions(max_new_tokens=10), end_ids=[])
    assert [list(one.ids) for one in found] == expected
    assert {one.finish_reason for one in found} == {"length"}


def test_real_text_is_that_of_transformers_alone_in_a_batch_and_as_a_stream(stories):
    net, tokenizer = stories
    prompts, options = encode(tokenizer), GenerationOptions(max_new_tokens=60)
    found = generate_answers(net, tokenizer, prompts, options=options, end_ids=[END])
    for prompt, ids, answer in zip(PROMPTS, prompts, found, strict=True):
        assert tokenizer.decode([*ids, *answer.ids], skip_special_tokens=True) == prompt + answer.text
        assert generate_answers(net, tokenizer, [ids], options=options, end_ids=[END]) == [answer]
        assert "".join(stream_answer(net, tokenizer, ids, options=options, end_ids=[END])) == answer.text
    assert [list(one.ids) for one in found] == [
        ids[: len(one.ids)] for one, ids in zip(found, own_answers(net, prompts, 60), strict=True)
    ]


def test_an_answer_ends_at_an_end_token_which_is_not_part_of_it(stories):
    net, tokenizer = stories
    (prompt,) = encode(tokenizer, ["Once upon a time"])
    (whole,) = generate_answers(net, tokenizer, [prompt], options=GenerationOptions(max_new_tokens=30), end_ids=[])
    end = whole.ids[12]
    first = whole.ids.index(end)
    (answer,) = generate_answers(net, tokenizer, [prompt], options=GenerationOptions(max_new_tokens=30), end_ids=[end])
    assert (answer.ids, answer.num_tokens, answer.finish_reason) == (whole.ids[:first], first, "stop")
    assert whole.text.startswith(answer.text)


def test_a_stop_string_that_begins_inside_a_token_ends_the_text_before_it(stories):
    net, tokenizer = stories
    (prompt,) = encode(tokenizer, ["Once upon a time"])
    (whole,) = generate_answers(net, tokenizer, [prompt], options=GenerationOptions(max_new_tokens=60), end_ids=[])
    for stop in ("med L", "y. S", "ark"):
        assert stop in whole.text
        options = GenerationOptions(max_new_tokens=60, stop=(stop, "not in it"))
        (answer,) = generate_answers(net, tokenizer, [prompt], options=options, end_ids=[])
        assert (answer.text, answer.finish_reason) == (whole.text[: whole.text.index(stop)], "stop")
        assert "".join(stream_answer(net, tokenizer, prompt, options=options, end_ids=[])) == answer.text


def test_finished_answers_leave_the_batch_and_change_nothing(stories):
    net, tokenizer = stories
    prompts = encode(tokenizer)
    options = GenerationOptions(max_new_tokens=50, stop=("park", "box"))
    found = generate_answers(net, tokenizer, prompts, options=options, end_ids=[END])
    alone = [generate_answers(net, tokenizer, [ids], options=options, end_ids=[END])[0] for ids in prompts]
    assert found == alone
    assert len({one.num_tokens for one in found}) > 1


def test_what_is_drawn_depends_on_seed_and_place_alone(stories):
    net, tokenizer = stories
    prompts = [encode(tokenizer)[0]] * 3 + encode(tokenizer)
    options = GenerationOptions(max_new_tokens=20, temperature=1.0, seed=5)
    found = generate_answers(net, tokenizer, prompts, options=options, end_ids=[END])
    assert len({one.text for one in found[:3]}) == 3
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(generation.MOST_ROWS, "cpu", 2)
        assert generate_answers(net, tokenizer, prompts, options=options, end_ids=[END]) == found
    other = GenerationOptions(max_new_tokens=20, temperature=1.0, seed=6)
    assert generate_answers(net, tokenizer, prompts[:1], options=other, end_ids=[END]) != found[:1]


def test_generating_in_the_middle_of_training_leaves_everything_as_it_was():
    net = causal("llama")
    expected = generate_answers(net, Words(), tiny.texts([4, 7]), options=GenerationOptions(max_new_tokens=8), end_ids=[])
    packed.register()
    net.set_attn_implementation(packed.NAME)
    net.config.use_cache = False
    net.train()
    net.model.layers[0].eval()  # a frozen layer runs without dropout
    modes = [module.training for module in net.modules()]
    state, own = torch.random.get_rng_state(), random.getstate()
    options = GenerationOptions(max_new_tokens=8)
    assert generate_answers(net, Words(), tiny.texts([4, 7]), options=options, end_ids=[]) == expected
    assert (net.config._attn_implementation, net.config.use_cache) == (packed.NAME, False)
    assert [module.training for module in net.modules()] == modes
    assert torch.equal(torch.random.get_rng_state(), state)
    assert random.getstate() == own
    assert all(parameter.grad is None for parameter in net.parameters())
    stream = stream_answer(net, Words(), [5, 6], options=options, end_ids=[])
    next(stream)
    assert not net.training
    stream.close()
    assert [module.training for module in net.modules()] == modes
    assert net.config._attn_implementation == packed.NAME


@pytest.mark.filterwarnings("ignore:.*[Pp]rompt")
@pytest.mark.parametrize("kind", ["lora", "prompt"])
def test_adapters_of_peft_answer_as_they_do_in_peft(kind):
    import peft

    net = causal("llama")
    if kind == "lora":
        config = peft.LoraConfig(task_type="CAUSAL_LM", r=4, init_lora_weights=False, target_modules=["q_proj", "v_proj"])
    else:
        config = peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3)
    wrapped = peft.get_peft_model(net, config).eval()
    prompts = tiny.texts([3, 9, 1], seed=2)
    plain = generate_answers(causal("llama"), Words(), prompts, options=GenerationOptions(max_new_tokens=6), end_ids=[])
    found = generate_answers(wrapped, Words(), prompts, options=GenerationOptions(max_new_tokens=6), end_ids=[])
    assert [one.ids for one in found] != [one.ids for one in plain]
    with wrapped.disable_adapter():
        assert generate_answers(wrapped, Words(), prompts, options=GenerationOptions(max_new_tokens=6), end_ids=[]) == plain
    for ids, answer in zip(prompts, found, strict=True):
        so_far = list(ids)
        for token in answer.ids:  # PEFT's own forward pass, without a cache
            with torch.no_grad():
                logits = wrapped(input_ids=torch.tensor([so_far]), attention_mask=torch.ones(1, len(so_far)).long()).logits
            assert int(logits[0, -1].argmax()) == token
            so_far.append(token)


def test_other_prompts_of_peft_are_refused():
    import peft

    wrapped = peft.get_peft_model(causal("llama"), peft.PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3))
    with pytest.raises(UserError, match="PREFIX_TUNING"):
        generate_answers(wrapped, Words(), [[1, 2]], end_ids=[])


def test_a_batch_that_needs_too_much_memory_is_halved(monkeypatch):
    net, prompts = causal("llama"), tiny.texts([3, 9, 5, 1, 12], seed=1)
    options = GenerationOptions(max_new_tokens=5)
    expected = generate_answers(net, Words(), prompts, options=options, end_ids=[])
    start, sizes = decoding.Decoder.start, []

    def small(self, some):
        sizes.append(len(some))
        if len(some) > 2:
            raise MemoryError
        return start(self, some)

    monkeypatch.setattr(decoding.Decoder, "start", small)
    assert generate_answers(net, Words(), prompts, options=options, end_ids=[]) == expected
    assert sizes == [5, 3, 2, 1, 2]
    monkeypatch.setattr(decoding.Decoder, "start", lambda self, some: (_ for _ in ()).throw(MemoryError()))
    with pytest.raises(UserError, match="out of memory for one answer: a prompt of 12 tokens and at most 5") as error:
        generate_answers(net, Words(), prompts, options=options, end_ids=[])
    assert error.value.code == ExitCode.OUT_OF_MEMORY
    with pytest.raises(UserError, match="out of memory"):
        list(stream_answer(net, Words(), prompts[0], options=options, end_ids=[]))
    assert oom.run_or_none(lambda: 1) == 1


def test_progress_counts_answers_and_tokens():
    seen = []
    net, prompts = causal("gpt2"), tiny.texts([3, 9])
    generate_answers(
        net, Words(), prompts, options=GenerationOptions(max_new_tokens=4), end_ids=[], on_progress=lambda *now: seen.append(now)
    )
    assert seen == [(0, 2, 2), (0, 2, 4), (0, 2, 6), (2, 2, 8)]


def test_a_request_to_stop_ends_it_between_two_tokens():
    stop = StopRequest()
    stop.number = 2
    with pytest.raises(Interrupted):
        generate_answers(causal("gpt2"), Words(), [[1, 2]], end_ids=[], stop_request=stop)


def test_a_prompt_that_leaves_no_place_is_refused_and_a_long_one_has_a_short_answer():
    net = causal("gpt2")  # 64 positions
    with pytest.raises(UserError, match="the prompt has 64 tokens, and the model reads at most 64 with the answer"):
        generate_answers(net, Words(), [[1] * 64], end_ids=[])
    (answer,) = generate_answers(net, Words(), [[1] * 60], options=GenerationOptions(max_new_tokens=9), end_ids=[])
    assert (answer.num_tokens, answer.finish_reason) == (4, "length")
    with pytest.raises(UserError, match="prompt 2: the prompt has no tokens"):
        generate_answers(net, Words(), [[1], []], end_ids=[])


def test_outputs_that_are_not_finite_are_refused():
    net = causal("gpt2")
    net.transformer.ln_f.weight.data.fill_(torch.nan)
    with pytest.raises(UserError, match="not finite") as error:
        generate_answers(net, Words(), [[1, 2]], end_ids=[])
    assert error.value.code == ExitCode.NON_FINITE


@pytest.mark.parametrize("wrong", [{"max_new_tokens": 0}, {"temperature": -1}, {"top_p": 2}, {"tempature": 1}])
def test_wrong_options_are_refused(wrong):
    with pytest.raises(UserError, match=next(iter(wrong))):
        GenerationOptions(**wrong)


def test_batches_hold_prompts_of_similar_length_within_memory(monkeypatch):
    net = causal("llama")
    lengths, limits = [5, 50, 6, 40, 7], [10] * 5
    assert generation.plan_batches(net, lengths, limits) == [[1, 3, 4, 2, 0]]
    token = generation.cache_bytes_per_token(net.config, itemsize=4)
    assert token == 2 * 3 * 2 * 8 * 4  # keys and values, layers, key heads, width, bytes
    row = generation._LOGIT_COPIES * 4 * tiny.VOCABULARY
    monkeypatch.setattr(generation.hardware, "free_bytes", lambda device: 4 * 2 * (60 * 2 * token + row))
    assert generation.plan_batches(net, lengths, limits) == [[1, 3], [4, 2, 0]]


def test_bfloat16_answers_too(stories):
    net, tokenizer = stories
    (answer,) = generate_answers(
        net, tokenizer, encode(tokenizer)[:1], options=GenerationOptions(max_new_tokens=10), end_ids=[END], bfloat16=True
    )
    assert answer.text.startswith(", there was")
