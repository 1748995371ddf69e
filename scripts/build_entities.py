"""Build the data set `entities`: messages to a shop with products, order numbers, dates, amounts, persons and places marked.

    python scripts/build_entities.py [FOLDER]

Messages are sentences with gaps. Sentences of the test rows, and most of what fills their gaps, occur in no training row. The
result is the same in every process.
"""

import json
import random
import re
import sys
from pathlib import Path
from typing import Any

TRAIN = """
Hi, {person} here. My order {order} from {date} still has not reached {place}.
Where is the {product}? I paid {amount} on {date} and heard nothing since, order {order}.
the {product} came without its charger, can you send one to {place} please
{person} signed for a parcel that was mine. It held a {product} worth {amount}.
Please cancel {order}, I bought the {product} cheaper in {place}.
I was charged {amount} twice for one {product}.
Two {product}s, one invoice, wrong name on it: it must say {person}, not {person}.
Could you hold my parcel until {date}? We are in {place} till then.
Refund of {amount} never arrived. Order number {order}, returned on {date}.
do you ship the {product} to {place}?
My neighbour {person} says the {product} went back to your store in {place}.
Is the {product} back in stock before {date}?
{order} - {product} arrived broken, the box was wet. Photos attached. Regards, {person}
I ordered size 42 and got size 38. Order {order}, delivered {date}.
The coupon over {amount} was not taken off my order {order}.
Can somebody call me back? {person}, about the {product}, any time after 5.
We moved from {place} to {place} on {date}, please change the address.
My sister {person} gave me a {product} and I would like another colour.
Only 3 of the 4 chairs came, and no {product}.
Hello, is {amount} for the {product} with or without tax? We are a school in {place}.
The zip of the {product} broke after 2 weeks. I still have the receipt of {date}.
Your driver left the {product} in the rain at our door in {place}.
I need an invoice for {order} by {date}, made out to {person}.
my {product} makes a noise like a tractor since {date}
Pay {amount} for the return of a {product} that was your mistake? Really?
Has order {order} been sent? The page has said "packed" for 6 days.
{person} from your team promised me {amount} back on {date}.
The {product} is for my father {person}, so please no price in the box.
I am at the shop in {place} and nobody knows of my order {order}.
Does the {product} run on 12 volts? We travel to {place} on {date}.
wrong item!! i wanted the {product} and got a {product}, order {order}
Thank you {person} for the quick help with the {product}.
Since the update the app shows {amount} open for {order}, but I paid on {date}.
On {date} I sent the {product} back from the post office in {place}.
Please deliver to my work in {place}, ask for {person} at the desk.
The {product} I got is used: there is hair on it. I want {amount} back.
I have 2 accounts, one as {person} and one without a name. Merge them please.
Delivery to {place} cost {amount} last year, why {amount} now?
How long is the warranty on a {product} bought on {date}?
{order}: still no {product}, still no answer. I will ask my bank for the {amount}.
Tell {person} at the {place} warehouse that the pallet with the 20 {product}s is missing.
Will a {product} fit into the boot of a small car? I would fetch it in {place} on {date}.
The gift card over {amount} that {person} sent me does not work.
Received on {date}: one {product}, scratched. Not received: my patience. {order}
My name is {person}, not Mister {person}. Please correct it on {order}.
I returned 5 shirts, you refunded 4. {amount} are missing.
can i pick up {order} in {place} instead
Between {date} and {date} nobody is at home, so keep the {product} please.
The blue {product} in the window of your {place} shop, is it also online?
We got {order} for {person}, who lives next door. What shall we do with it?
""".strip().splitlines()
HELD_OUT = """
It says {order} was handed to {person} - there is nobody of that name in our house.
Good evening, the {product} leaks. Bought it in {place} for {amount}.
Any chance of getting the {product} to {place} by {date}?
Invoice for {order} shows {amount}; my card was charged {amount}.
I spoke with {person} on {date} about the {product} and was told to wait.
no reply since {date}, what happens with {order}??
Our club in {place} needs 15 {product}s. What discount is there above {amount}?
{person} asked me to return the {product} to the branch in {place}, but it is closed.
The lid of my {product} has a crack, page 7 of the manual says to write to you.
Is {date} still right for the delivery of {order}?
Sorry, wrong address on my side: it is {place}, and the name on the bell is {person}.
After {date} the price went from {amount} to {amount}, which one do I pay?
Kindly send the missing screws of the {product}, order {order}, to {person}.
I would rather have a {product} than the {amount} back.
Somebody named {person} keeps getting my mails about a {product}.
""".strip().splitlines()
FILLERS = {
    "person": """Anna Berg|Tom|Mrs Okafor|Luis Ortega|May Lin|Jordan Price|Grace|Dr. Weber|Piotr Nowak|Aisha Khan|Mr Rose|Chris|
        Ingrid Solberg|Ben Carter|Fatima|Lena Hofmann|Raj Patel|Mr O'Neill|Sofia|Jean-Luc Moreau|Kim|Hannah Stone|
        Mehmet Demir|Rita""",
    "place": """Oslo|Paris|Leeds|the Hague|New York|Bergen|Cork|Porto|Main Street 14|Jordan|Bath|Graz|San Marino|Hill Road 3|Lyon|
        Reading|Ghent|Nice|Utrecht|Aberdeen|Split|Basel|Lake View 22|Turin""",
    "product": """tent|camping stove|rain jacket|coffee grinder|desk lamp|mountain bike|sleeping bag|phone case|toaster|
        garden chair|electric kettle|backpack|head torch|yoga mat|bread knife|wool blanket|fire pit|scooter|
        cast-iron pan|X200 drill|baby seat|
        Rose teapot|Lisbon sofa|water filter""",
}
TEST_FILLERS = {
    "person": """Maria Rossi|Mr Abel|Yuki|Nadia Haddad|Paul Bath|Ms Van Dijk|Olga Petrova|Sam|June Baker|Carlos|Emma Frost|
        Mr Porter""",
    "place": "Vienna|Cambridge|Mill Lane 8|Bruges|Granada|York|Sydney|Florence|Dover|the Isle of Wight|Station Square 1|Mobile",
    "product": "sewing machine|bike helmet|raclette grill|fleece jacket|hammock|wall clock|pressure cooker|Paris armchair|drone|\
air mattress|lunch box|K5 vacuum cleaner",
}
MONTHS = ["January", "February", "March", "April", "May", "June", "July", "August"]
MONTHS += ["September", "October", "November", "December"]
DAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]
LABELS = {"order": "order_number"}
SIZES = {"train": 160, "validation": 30, "test": 60}
SHARE_SEEN = 0.3
"""Share of the gaps of held-out rows that are filled as in training."""


def fill(kind: str, dice: random.Random, *, is_train: bool) -> str:
    """Return what stands in a gap."""
    if kind == "order":
        number = dice.randrange(10_000, 999_999)
        return dice.choice([f"{number}", f"A-{number}", f"#{number}", f"{number % 1000:03d}-{number % 7919:04d}", f"ORD{number}"])
    if kind == "date":
        day, month = dice.randrange(1, 29), dice.choice(MONTHS)
        year = dice.choice(["", "", " 2024", " 2025"])
        forms = [
            f"{day} {month}{year}",
            f"{month} {day}",
            f"{day}.{dice.randrange(1, 13)}.",
            f"2025-0{dice.randrange(1, 10)}-{day:02d}",
        ]
        return dice.choice([*forms, dice.choice(DAYS), f"next {dice.choice(DAYS)}", "yesterday", f"the {day}th"])
    if kind == "amount":
        value = dice.choice([f"{dice.randrange(5, 400)}", f"{dice.randrange(5, 400)}.{dice.choice(['90', '99', '50', '05'])}"])
        return dice.choice([f"{value} euros", f"€{value}", f"{value} EUR", f"${value}", f"{value} pounds", f"{value}€", value])
    source = FILLERS if is_train or dice.random() < SHARE_SEEN else TEST_FILLERS
    return " ".join(dice.choice(source[kind].split("|")).split())


def make_row(template: str, dice: random.Random, *, is_train: bool) -> dict[str, object]:
    """Return a message with the places of what fills its gaps."""
    text, entities = "", list[list[Any]]()
    for piece in re.split(r"(\{\w+\})", template):
        if not piece.startswith("{"):
            text += piece
            continue
        kind = piece[1:-1]
        filled = fill(kind, dice, is_train=is_train)
        entities.append([len(text), len(text) + len(filled), LABELS.get(kind, kind)])
        text += filled
    for entity in entities:  # a plural is part of its word
        while entity[1] < len(text) and text[entity[1]].isalpha():
            entity[1] += 1
    if dice.random() < 0.25:
        text = text.lower()
    return {"text": text, "entities": entities}


def build(name: str, number: int) -> list[dict[str, object]]:
    """Return the rows of a split, no text twice."""
    dice = random.Random(f"entities {name}")
    templates = TRAIN if name == "train" else HELD_OUT
    rows: dict[object, dict[str, object]] = {}
    while len(rows) < number:
        row = make_row(templates[len(rows) % len(templates)], dice, is_train=name == "train")
        rows.setdefault(row["text"], row)
    found = list(rows.values())
    dice.shuffle(found)
    return found


def main() -> None:
    """Write all splits."""
    package = Path(__file__).resolve().parents[1] / "src" / "finewright"
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else package / "assets" / "data" / "entities"
    folder.mkdir(parents=True, exist_ok=True)
    for name, number in SIZES.items():
        lines = [json.dumps(row, ensure_ascii=False, separators=(",", ":")) for row in build(name, number)]
        (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
