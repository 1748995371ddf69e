"""Build the packaged data set `topics`: messages of customers with several topics, from phrases with varied wording.

Some phrases are kept for the test rows, so that a model must do more than remember them; others use the words of a topic without
being about it. Run as: python scripts/build_topics.py
"""

import csv
import random
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[1] / "src" / "finewright" / "assets" / "data" / "topics"
SIZES = {"train": 330, "validation": 60, "test": 110}
SEED = 7

THINGS = ("tent", "kettle", "rain jacket", "lamp", "stove", "backpack", "frying pan", "sleeping bag", "blender", "headlamp")
DAYS = ("Monday", "Friday", "Sunday", "the 3rd", "the 21st", "Christmas Eve")

TOPICS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {  # phrases of all splits, and phrases of the test alone
    "delivery": (
        (
            "the {thing} I ordered on {day} has still not arrived",
            "tracking has said 'out for delivery' since {day}",
            "where is my parcel?",
            "the courier left my {thing} with somebody I do not know",
            "can you send the {thing} to my office instead",
            "half of the box is missing, only the {thing} came",
            "nobody rang, and now the depot says it went back",
            "how long does shipping to Ireland take?",
            "please change the address before it leaves",
        ),
        (
            "I am still waiting for the {thing}, and the map shows the van in another town",
            "the driver took it away again without knocking",
            "does it come before {day}?",
        ),
    ),
    "refund": (
        (
            "I would like my money back",
            "when do I get the refund for the {thing}?",
            "please cancel it and return what I paid",
            "I sent the {thing} back on {day} and nothing was credited",
            "an exchange will not do, I want to be paid back",
            "can I give the {thing} back and get the full price?",
            "you owe me for the {thing} I returned",
        ),
        (
            "put the sum on my card again, I no longer need the {thing}",
            "it went back on {day}; my account shows no payment from you",
        ),
    ),
    "defect": (
        (
            "the {thing} stopped working after two days",
            "there is a crack in the {thing}",
            "the zip of the {thing} is broken",
            "my new {thing} leaks",
            "a screw is missing, so the {thing} cannot be used",
            "it smells burnt when I switch the {thing} on",
            "the handle came off the {thing}",
            "the {thing} was scratched when I took it out of the box",
        ),
        (
            "the {thing} does not heat up any more",
            "a seam of the {thing} has come apart, after one weekend",
            "it wobbles, and one leg of it is bent",
        ),
    ),
    "billing": (
        (
            "I was charged twice for the {thing}",
            "the invoice has the wrong company on it",
            "my voucher was not taken off the total",
            "could you send me a receipt for the {thing}",
            "why is there a fee of 4.90 on my bill?",
            "the price on the invoice is not the one I saw",
            "my card was refused although there is money on it",
        ),
        (
            "the discount code did nothing at the till",
            "there are two payments of the same amount on my statement",
        ),
    ),
    "account": (
        (
            "I cannot sign in any more",
            "the link to reset my password does not come",
            "please delete my account",
            "how do I change the e-mail address of my profile?",
            "the site logs me out all the time",
            "I no longer want your newsletter",
            "my order history is empty since {day}",
        ),
        (
            "it says that my user name does not exist",
            "somebody else's orders are shown when I log on",
        ),
    ),
    "praise": (
        (
            "your colleague on the phone was wonderful",
            "we love the {thing}",
            "the courier was so kind, thank him",
            "best shop I know",
            "the {thing} is even better than I hoped",
            "it arrived a day early, great work",
            "the refund last year was handled perfectly, you have a customer for life",
        ),
        (
            "compliments to whoever packed the {thing}",
            "I have told all my friends about you",
        ),
    ),
    "urgent": (
        (
            "I need an answer today",
            "we leave on {day}, so this cannot wait",
            "please call me back within the hour",
            "this is the third time I ask, and it is pressing",
            "as fast as you can, please",
        ),
        ("it is for a funeral tomorrow", "there is no time left"),
    ),
}
NEITHER = (
    "do you have the {thing} in green?",
    "which {thing} is best for two people?",
    "are you hiring in the warehouse?",
    "is the shop open on {day}?",
    "good morning",
    "just testing whether this form works",
    "what does the {thing} weigh?",
    "no refund needed, I only wonder which size the {thing} is",
    "I do not have an account; may I order the {thing} by phone?",
    "nothing is broken, I only ask how to clean the {thing}",
)
OPENINGS = ("", "", "", "Hello, ", "Hi there, ", "Dear team, ", "Order 48{number}: ", "good day. ")
ENDINGS = ("", "", "", " thanks", " Best, J.", " (order 51{number})", "!!", " hope you can help")
LINKS = (". ", ", and ", "; ", " - ", ". Also, ", ", besides ")
COMBINATIONS = (  # how often topics come together, in parts of all rows
    (("delivery",), 12),
    (("refund",), 7),
    (("defect",), 10),
    (("billing",), 9),
    (("account",), 9),
    (("praise",), 6),
    ((), 12),
    (("defect", "refund"), 8),
    (("delivery", "urgent"), 7),
    (("delivery", "refund"), 4),
    (("billing", "refund"), 4),
    (("account", "billing"), 3),
    (("defect", "urgent"), 3),
    (("defect", "praise"), 2),
    (("delivery", "praise"), 2),
    (("account", "urgent"), 2),
    (("defect", "delivery", "refund"), 2),
    (("billing", "refund", "urgent"), 2),
    (("delivery", "account"), 2),
)


def write_message(draw: random.Random, topics: tuple[str, ...], *, is_test: bool) -> str:
    """Return a message about these topics, or about none of them."""
    thing = draw.choice(THINGS)
    parts = []
    for topic in draw.sample(topics, len(topics)):
        usual, kept = TOPICS[topic]
        parts.append(draw.choice(kept if is_test and draw.random() < 0.4 else usual))
    if not parts or draw.random() < 0.08:
        parts.append(draw.choice(NEITHER))
    text = parts[0]
    for part in parts[1:]:
        text += draw.choice(LINKS) + part
    text = draw.choice(OPENINGS) + text + draw.choice(ENDINGS)
    text = text.format(thing=thing, day=draw.choice(DAYS), number=draw.randint(100, 999))
    style = draw.random()
    if style < 0.1:
        return text.lower()
    return text.upper() if style > 0.97 else text[0].upper() + text[1:]


def build_rows() -> dict[str, list[tuple[str, str]]]:
    """Return texts and topics by split, no text twice."""
    draw = random.Random(SEED)
    combinations, weights = zip(*COMBINATIONS, strict=True)
    seen: set[str] = set()
    splits: dict[str, list[tuple[str, str]]] = {}
    for split, size in SIZES.items():
        rows: list[tuple[str, str]] = []
        while len(rows) < size:
            topics = draw.choices(combinations, weights)[0]
            text = write_message(draw, topics, is_test=split == "test")
            if text.casefold() not in seen:
                seen.add(text.casefold())
                rows.append((text, "|".join(sorted(topics))))
        splits[split] = rows
    return splits


if __name__ == "__main__":
    FOLDER.mkdir(parents=True, exist_ok=True)
    for split, rows in build_rows().items():
        with (FOLDER / f"{split}.csv").open("w", encoding="utf-8", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows([("text", "topics"), *rows])
