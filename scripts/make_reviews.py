"""Make the data set `reviews`: short texts about hotels, each with a score from 0 to 10 with one decimal.

Every text is put together from sentences about some aspects of a stay; the score is the weighted sum of what they say, with an
own opinion of each guest that no sentence shows. Run as: python scripts/make_reviews.py
"""

import csv
import random
from pathlib import Path

FOLDER = Path(__file__).resolve().parent.parent / "src" / "finewright" / "assets" / "data" / "reviews"
ROWS = {"train": 500, "validation": 80, "test": 130}
NOISE = 0.45
"""Standard deviation of a guest's own opinion, in points."""
ASPECTS = {
    "room": (
        1.0,
        {
            -2: "mould in the shower|the bed was broken|the room smelled of smoke|"
            "dirty sheets on arrival|cockroaches under the bed|hair of other guests in the bath|"
            "a cellar without a window",
            -1: "the room was rather small|worn carpets|the shower dripped|a tired old room|thin walls|"
            "the mattress sagged|stains on the curtains",
            0: "the room was as expected|a plain room|the bed was all right|an ordinary bathroom|"
            "furniture like everywhere|a standard double",
            1: "a clean and quiet room|the bed was comfortable|a nice bright room|good shower|"
            "plenty of space for our things|tidy and fresh|we slept well",
            2: "the most beautiful room I ever had|a perfect bed|spotless, with a great view|"
            "we loved our room|a suite fit for a queen|I have never slept better|"
            "bathtub under the stars",
        },
    ),
    "staff": (
        0.9,
        {
            -2: "the staff shouted at us|nobody answered for an hour|rude people at the desk|"
            "they lost our booking|we were insulted by the manager|"
            "they threw us out at six in the morning",
            -1: "check-in took long|the staff seemed bored|nobody was awake at reception|"
            "not very helpful|we had to ask three times|a grumpy receptionist",
            0: "staff did their job|check-in was nothing special|reception was open till ten|"
            "we hardly met anyone|a machine gave us the key",
            1: "friendly staff|they helped with our bags|quick check-in|reception knew good restaurants|"
            "always a smile|polite and quick",
            2: "the warmest welcome ever|staff went out of their way for us|"
            "they even found my lost ring|hosts with a heart of gold|"
            "they drove us to the doctor at night",
        },
    ),
    "breakfast": (
        0.6,
        {
            -2: "breakfast made us ill|cold eggs and sour milk|there was hardly anything left to eat|"
            "flies on the cheese|inedible food",
            -1: "weak coffee|breakfast was the same every day|the bread was from yesterday|"
            "long queue at the buffet|no fruit at all",
            0: "breakfast was okay|toast, jam and coffee|we skipped breakfast|the usual buffet|cereal and juice",
            1: "tasty breakfast|good coffee|fresh fruit in the morning|plenty to eat|warm rolls|nice omelettes",
            2: "breakfast like in a dream|the best pancakes of my life|home-made jam, wonderful|"
            "a feast every morning|the cook is a genius",
        },
    ),
    "place": (
        0.5,
        {
            -2: "lorries all night below the window|far from everything, on a motorway|"
            "we did not dare to walk there|a building site next door from five o'clock|"
            "stench from the factory",
            -1: "a bit noisy at night|twenty minutes to the next bus|the street is not pretty|"
            "few shops around|bar music until two",
            0: "ten minutes to the centre|an average quarter|near the station|between offices and a park",
            1: "close to the old town|calm street|well placed for the museums|the tram stops outside|a green neighbourhood",
            2: "right on the beach|the lake at your doorstep|so central, and yet so silent|sunsets over the bay from the terrace",
        },
    ),
    "price": (
        0.7,
        {
            -2: "a rip-off|they charged us twice|double the price for half of it|pure fraud|a fortune for a dump",
            -1: "too expensive for what it is|parking costs extra|we paid more than we wanted|pricey drinks|hidden fees",
            0: "the price is fair enough|you get what you pay for|usual prices|neither cheap nor dear",
            1: "good value|cheaper than the others|the price was a nice surprise|worth the money|children stay for free",
            2: "unbelievably cheap for this quality|a bargain|I would have paid twice as much|a steal",
        },
    ),
}
SEEN = 3
"""Sentences of a level that training rows have, and one more; half of those of validation and test rows are others, most of which
no training row has: who knows what they mean has an advantage over who counts words."""
OPENINGS = [
    "",
    "",
    "",
    "Two nights in May: ",
    "Here for work. ",
    "With our kids, ",
    "Third stay. ",
    "A weekend for two, ",
    "Hm. ",
]
CLOSINGS = {
    -2: ["Never again.", "Stay away!", "We left a day early."],
    -1: ["Once is enough.", "I expected more.", "Probably not again."],
    0: ["Fine for a night.", "Nothing more to say.", "It does the job."],
    1: ["Would come back.", "Recommended.", "A pleasant stay."],
    2: ["We are coming back next year!", "Simply perfect.", "I did not want to leave."],
}
JOINS = [", ", ". ", "; ", " and ", ", but "]


def choose_sentence(draw: random.Random, sentences: str, *, held_out: bool) -> str:
    """Return a sentence of a level; `held_out`: for a row that is not trained on."""
    every = sentences.split("|")
    if held_out and draw.random() < 0.5:
        return draw.choice(every[SEEN:])
    return draw.choice(every[: SEEN + 1] if held_out else every[:SEEN] + every[SEEN + 1 :][:1])


def make_row(draw: random.Random, *, held_out: bool) -> tuple[str, str]:
    """Return (text, score) of one guest."""
    mood = draw.gauss(0.2, 0.8)
    chosen = draw.sample(sorted(ASPECTS), draw.choice((1, 2, 2, 3)))
    score, parts, levels = 5.5, [], []
    for name in chosen:
        weight, sentences = ASPECTS[name]
        level = max(-2, min(2, round(draw.gauss(mood, 1.0))))
        levels.append(level)
        score += weight * level * (1.4 if len(chosen) == 1 else 1.0)
        parts.append(choose_sentence(draw, sentences[level], held_out=held_out))
    text = parts[0]
    for before, after, part in zip(levels, levels[1:], parts[1:], strict=False):
        join = ", but " if before * after < 0 else draw.choice(JOINS[:4])
        text += join + (part[0].upper() + part[1:] if join == ". " else part)
    opening = draw.choice(OPENINGS)
    text = opening + (text[0].upper() + text[1:] if opening.endswith(". ") else text)
    text = text[0].upper() + text[1:] + draw.choice((".", ".", "!", ""))
    if draw.random() < 0.45:
        closing = max(-2, min(2, round(mood + draw.gauss(0, 0.4))))
        score += 0.6 * closing
        text += f"{'' if text[-1] in '.!' else '.'} {draw.choice(CLOSINGS[closing])}"
    score = max(0.0, min(10.0, score + draw.gauss(0, NOISE)))
    return text, f"{score:.1f}"


def main() -> None:
    """Write the three files; no text is in two rows."""
    draw, seen = random.Random(20), set()
    FOLDER.mkdir(exist_ok=True)
    for split, count in ROWS.items():
        rows = []
        while len(rows) < count:
            text, score = make_row(draw, held_out=split != "train")
            if text.casefold() not in seen:
                seen.add(text.casefold())
                rows.append((text, score))
        with open(FOLDER / f"{split}.csv", "w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerows([("text", "score"), *rows])


if __name__ == "__main__":
    main()
