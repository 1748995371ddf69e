"""The packaged chat data `requests`: its answers keep to the rules in its README, and its messages are those of `tickets`."""

import csv
import json
import re

import pytest

from finewright.core import assets
from finewright.data import dataset

KEYS = ["team", "urgency", "product", "request"]
SPLITS = {"train": 400, "validation": 40, "test": 100}
README = (assets.REQUESTS / "README.md").read_text(encoding="utf-8")


def read_chats(split):
    return [
        json.loads(line)["messages"] for line in (assets.REQUESTS / f"{split}.jsonl").read_text(encoding="utf-8").splitlines()
    ]


def read_answers(split):
    """Pairs of message and answer."""
    return [(message["content"], json.loads(answer["content"])) for _, message, answer in read_chats(split)]


def read_teams(split):
    """The label of each message of tickets."""
    with open(assets.TICKETS / f"{split}.csv", encoding="utf-8", newline="") as file:
        return {row["text"]: row["label"] for row in csv.DictReader(file)}


def listed_requests():
    table = README.split("| request | when |\n|---|---|\n")[1].split("\n\n")[0]
    return [line.split("|")[1].strip() for line in table.splitlines()]


def is_named(product, message):
    """Whether every word of the product is in the message, singular or plural, or as a part of a word."""
    stems = [word[:-1] if word.endswith(("y", "f")) else word for word in product.split()]
    return all(stem in message.lower() for stem in stems)


@pytest.mark.parametrize("split", SPLITS)
def test_rows_are_chats_of_one_shape(split):
    chats = read_chats(split)
    assert len(chats) >= SPLITS[split]
    assert all([turn["role"] for turn in chat] == ["system", "user", "assistant"] for chat in chats)
    assert all(list(turn) == ["role", "content"] for chat in chats for turn in chat)
    (instruction,) = {chat[0]["content"] for chat in chats}
    assert len(instruction.split()) <= 40
    assert all(key in instruction for key in KEYS)


@pytest.mark.parametrize("split", SPLITS)
def test_answers_keep_to_the_keys_and_values(split):
    teams, requests = set(read_teams("train").values()), set(listed_requests())
    for chat in read_chats(split):
        text = chat[2]["content"]
        answer = json.loads(text)
        assert text == json.dumps(answer, ensure_ascii=False)
        assert list(answer) == KEYS
        assert answer["team"] in teams
        assert answer["urgency"] in {"low", "normal", "high"}
        assert answer["request"] in requests


@pytest.mark.parametrize("split", SPLITS)
def test_messages_are_those_of_tickets_with_their_teams(split):
    teams = read_teams(split)
    for message, answer in read_answers(split):
        assert teams[message] == answer["team"]
        assert len(message.split()) <= 70


@pytest.mark.parametrize("split", SPLITS)
def test_products_are_short_lower_case_and_named_in_the_message(split):
    for message, answer in read_answers(split):
        product = answer["product"]
        assert product is None or re.fullmatch(r"[a-z-]+( [a-z-]+){0,2}", product)
        assert product is None or is_named(product, message), (product, message)


def test_no_message_is_there_twice():
    messages = [message for split in SPLITS for message, _ in read_answers(split)]
    assert len(messages) == len(set(messages))


def test_requests_are_distinct_short_and_used():
    requests = listed_requests()
    assert 40 <= len(requests) == len(set(requests)) <= 60
    assert all(3 <= len(request.split()) <= 10 for request in requests)
    assert {answer["request"] for _, answer in read_answers("train")} == set(requests)


@pytest.mark.parametrize("split", SPLITS)
def test_the_readme_counts_as_the_rows_are(split):
    answers = [answer for _, answer in read_answers(split)]
    cells = [cell.strip() for cell in re.search(rf"^\| {split} \|(.*)\|$", README, re.MULTILINE)[1].split("|")]
    rows, _, urgency, without, requests, *counts = cells
    teams = re.search(r"requests \| (returns .*) \|\n", README)[1].split(" | ")
    assert int(rows) == len(answers)
    values = [answer["urgency"] for answer in answers]
    assert urgency == " / ".join(str(values.count(value)) for value in ("low", "normal", "high"))
    assert int(without) == sum(answer["product"] is None for answer in answers)
    assert int(requests) == len({answer["request"] for answer in answers})
    assert list(map(int, counts)) == [sum(answer["team"] == team for answer in answers) for team in teams]


def test_it_is_small_and_found_by_name():
    assert sum(path.stat().st_size for path in assets.REQUESTS.iterdir()) < 350_000
    assert dataset.find_local("requests") == assets.REQUESTS
