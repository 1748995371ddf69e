"""Write the data set `matches`: questions of customers, each with a help article and whether it answers the question.

Run as: python scripts/make_matches.py [FOLDER]

Every sentence below was written for this data set. A topic has four matters, a matter six questions (three to train, one to
validate, two to test) and two articles. Each question stands with an article of its own matter (`answers`), with one of another
matter of the topic (`related`) and with one of another topic (`other`). Over all rows an article occurs about as often under each
label, so neither the question nor the article tells the label alone.
"""

import csv
import random
import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parent.parent / "src/finewright/assets/data/matches"
SPLITS = {"train": (0, 1, 2), "validation": (3,), "test": (4, 5)}
TOPICS: dict[str, list[tuple[list[str], list[str]]]] = {
    "delivery": [
        (
            [
                "Where is my parcel?",
                "tracking has said 'in transit' for 4 days now",
                "How do I see how far my order got?",
                "is there a number i can follow the box with",
                "It should have been here Tuesday, can you locate it?",
                "I'd like to know which depot my things are in.",
            ],
            [
                "The link in your dispatch mail shows where the shipment is at the moment.",
                "Enter the 12-digit code on the carrier's page to follow a consignment.",
            ],
        ),
        (
            [
                "Can you send it to my office instead?",
                "I typed the wrong street, please fix it",
                "we move house on Friday, new address!",
                "my flat number is missing on the order",
                "Please ship to my sister, not to me.",
                "The postcode I gave is not right.",
            ],
            [
                "Until we pack an order you can correct its destination under 'My orders'.",
                "To have goods brought elsewhere, tell us the new address before dispatch.",
            ],
        ),
        (
            [
                "How much is postage?",
                "do i pay for shipping over 50 euros",
                "What does express cost?",
                "Why is 4.90 added at the checkout?",
                "is delivery ever free with you?",
                "price for sending two tents to Spain?",
            ],
            [
                "Sending is free from 60 euros; below that we charge 4.90.",
                "Courier fees by country and weight are listed in this table.",
            ],
        ),
        (
            [
                "The box arrived crushed",
                "one of the three pans was not in the parcel",
                "Carton open, contents gone",
                "only half of what I ordered came",
                "There is a hole in the package and the lamp is smashed.",
                "You forgot the pegs that go with the tent.",
            ],
            [
                "Report transport damage or absent items with a photo within 7 days.",
                "If something is lacking or broken on arrival, keep the wrapping and write to us.",
            ],
        ),
    ],
    "returns": [
        (
            [
                "How long can I send things back?",
                "is 3 weeks too late to return",
                "Until when may I change my mind?",
                "bought it in May, can it still go back?",
                "What is the deadline for sending the boots back?",
                "I was on holiday, have I missed the time limit?",
            ],
            [
                "You have 30 days from receipt to give an item back.",
                "Our withdrawal period ends one month after you got the goods.",
            ],
        ),
        (
            [
                "Where do I get the return label?",
                "no slip in the box, how do i send it back",
                "Do I have to print something for the return?",
                "the pdf sticker will not open",
                "I have no printer, what now with the jacket I don't want?",
                "Which form goes on the package I send you?",
            ],
            [
                "Create the sticker for the way back in your account, or show the QR code at the shop.",
                "A prepaid tag can be printed from the page 'Send back'.",
            ],
        ),
        (
            [
                "When do I get my money after sending it back?",
                "returned 2 weeks ago, nothing on my card",
                "How is the amount repaid?",
                "did you receive my return, i want the refund",
                "My bank shows no credit for the stove yet.",
                "Will you pay back in cash or to PayPal?",
            ],
            [
                "We credit you within 5 days after the goods reach our store, the way you paid.",
                "Reimbursement goes to the original means of payment; banks need up to 3 more days.",
            ],
        ),
        (
            [
                "I need the same shoes one size up",
                "can i swap blue for green",
                "Please exchange it for a larger one",
                "The coat is tight, do you have XL?",
                "Could I trade this pot for the 5 litre one?",
                "wrong colour picked, want another one",
            ],
            [
                "To get a different size or colour, order it anew and send the first one back.",
                "Replacements by another variant: choose 'swap' and we reserve it for you.",
            ],
        ),
    ],
    "payment": [
        (
            [
                "Which cards do you take?",
                "can i pay on invoice",
                "Is PayPal possible?",
                "do you accept bank transfer",
                "I only have cash, is there a way?",
                "Could I settle it in three monthly rates?",
            ],
            [
                "You may choose between credit card, PayPal, transfer and purchase on account.",
                "All means by which you can settle an order, and for whom, are listed here.",
            ],
        ),
        (
            [
                "I was charged twice",
                "double debit of 79 euros!",
                "Why is the amount on my statement two times?",
                "one order but 2 bookings at my bank",
                "You took the same sum again yesterday.",
                "My account shows an additional withdrawal for order 8812.",
            ],
            [
                "A second booking is mostly a reservation, which vanishes after 5 working days.",
                "If money left your account more than once for one purchase, send us the statement.",
            ],
        ),
        (
            [
                "Please send me the bill as PDF",
                "i need an invoice with vat for my boss",
                "Where can I download the receipt?",
                "The company name is missing on my invoice",
                "My tax adviser wants a document for the purchase.",
                "Could you issue the bill again with our VAT id?",
            ],
            [
                "Documents for every purchase can be saved under 'My orders' as a file.",
                "We can add a firm and a tax number to a bill within 60 days.",
            ],
        ),
        (
            [
                "My voucher code is rejected",
                "the 10% coupon does nothing",
                "How do I use a gift card?",
                "it says code expired but i got it today",
                "Where do I type in the number from the gift?",
                "Can two discounts be used in one order?",
            ],
            [
                "Codes go into the field below the basket; one per order, and not on reduced goods.",
                "Why a reduction may not be accepted: minimum value, end date, capitals.",
            ],
        ),
    ],
    "account": [
        (
            [
                "I forgot my password",
                "can't log in any more",
                "The reset mail does not arrive",
                "it says wrong login 3 times now",
                "How do I get back into my profile?",
                "Your page does not know my secret word.",
            ],
            [
                "Ask for a new one under 'Sign in' and look into the spam folder for our message.",
                "Locked out? After three tries wait ten minutes, then set fresh credentials.",
            ],
        ),
        (
            [
                "Delete my data please",
                "i want to close my profile for good",
                "How do I remove my account?",
                "please erase everything you store on me",
                "I'd like to be forgotten, as the GDPR says.",
                "Cancel my membership in your shop page.",
            ],
            [
                "You can have your customer record wiped under 'Privacy'; open orders are finished first.",
                "Ending your registration removes personal details after the legal period.",
            ],
        ),
        (
            [
                "Stop sending me newsletters",
                "too many ads in my mailbox",
                "How can I unsubscribe?",
                "no more promo mails pls",
                "Every day a message with offers, enough!",
                "Take me off your mailing list.",
            ],
            [
                "Use the link at the foot of any advertising message to no longer get it.",
                "Which news you receive by e-mail can be chosen under 'Messages'.",
            ],
        ),
        (
            [
                "I have a new e-mail address",
                "my name changed after the wedding",
                "Please update my phone number",
                "the birthday in my profile is not mine",
                "How do I put my new mobile in?",
                "There is a typo in my surname on your page.",
            ],
            [
                "Personal details such as name, phone and mail are edited under 'Profile'.",
                "To alter what we know of you, confirm the change by a code we text you.",
            ],
        ),
    ],
    "warranty": [
        (
            [
                "The zip broke after two months",
                "stove does not light any more",
                "My lamp stopped working, is it covered?",
                "tent leaks since the first rain, what can i do",
                "The kettle switches itself off, I had it for half a year.",
                "A seam of the rucksack has come apart.",
            ],
            [
                "For faults that show within two years we repair or replace free of charge.",
                "How to claim for something that fails: pictures, order number, description.",
            ],
        ),
        (
            [
                "Do you have spare parts for the stove?",
                "need a new pole for the tent",
                "Where can I buy a single lid?",
                "lost the screws, can i get some",
                "Is the rubber ring of the bottle sold alone?",
                "My buckle is gone, do you offer single ones?",
            ],
            [
                "Single components can be ordered by the number on the type plate.",
                "Poles, seals, lids and straps are in the section 'Accessories and parts'.",
            ],
        ),
        (
            [
                "How do I wash the sleeping bag?",
                "can the pan go in the dishwasher",
                "Which wax for the cotton jacket?",
                "how to get soot off the pot",
                "The down has clumped after rain, what helps?",
                "May I iron this jacket?",
            ],
            [
                "Care of down, wool and coated fabrics, step by step.",
                "Cleaning guide: what withstands machines, and what needs a brush.",
            ],
        ),
        (
            [
                "How do I put up the tent?",
                "there is no manual with the cooker",
                "Which tube goes where in the set?",
                "How is the shelf fixed to the wall?",
                "I cannot work out how the bed unfolds.",
                "Is there a film that shows assembling the table?",
            ],
            [
                "Instructions and clips for setting up all products can be found here.",
                "Building it in six pictures: lay out, join, raise, stretch.",
            ],
        ),
    ],
    "products": [
        (
            [
                "Which size do I need?",
                "i wear 42, does the boot come up small",
                "How wide is the shoulder of the M?",
                "what is the chest in cm for L",
                "Between two sizes, which one would you take?",
                "My foot is 27 cm long, what fits?",
            ],
            [
                "Measure like this, then read the right number in the chart.",
                "Fit of our shoes and clothes: tables with centimetres.",
            ],
        ),
        (
            [
                "When is the red tent back?",
                "lamp sold out, will you get more",
                "Is the 3 litre pot in stock?",
                "how many of the chairs do you still have",
                "Can you tell me as soon as the jacket can be bought again?",
                "Is this still being made?",
            ],
            [
                "Press the bell and we write when an article is available again.",
                "The dot beside the price shows whether we have it: green, yellow or none left.",
            ],
        ),
        (
            [
                "How warm is the sleeping bag?",
                "can i use it at minus 5",
                "Is it enough for October in Norway?",
                "what is the comfort limit of the bag",
                "Would I freeze with this one in the mountains?",
                "Good for winter nights outdoors?",
            ],
            [
                "Comfort and limit temperatures, and which bag suits which season.",
                "From summer to frost: the ratings of insulation explained.",
            ],
        ),
        (
            [
                "Is the jacket waterproof?",
                "how much rain does the tent stand",
                "Does the bag keep things dry in a canoe?",
                "will water get in at the seams",
                "Can I wear it in a storm?",
                "What does a column of 3,000 mm mean?",
            ],
            [
                "Tightness against rain is given in millimetres; from 1,500 a fabric counts as sealed.",
                "Repellent or proof? What our labels for wet weather tell you.",
            ],
        ),
    ],
}


def build_rows() -> dict[str, list[tuple[str, str, str]]]:
    """Return (question, passage, label) by split, in a random order that is always the same."""
    draw = random.Random(0)
    found: dict[str, list[tuple[str, str, str]]] = {}
    for split, numbers in SPLITS.items():
        rows = []
        for place, matters in enumerate(TOPICS.values()):
            for matter, (questions, articles) in enumerate(matters):
                for turn, number in enumerate(numbers):
                    near = matters[(matter + 1 + (number + turn) % 3) % 4][1]
                    topic = list(TOPICS.values())[(place + 1 + (number + matter) % 5) % 6]
                    far = topic[(matter + number) % 4][1]
                    rows += [
                        (questions[number], draw.choice(articles), "answers"),
                        (questions[number], draw.choice(near), "related"),
                        (questions[number], draw.choice(far), "other"),
                    ]
        draw.shuffle(rows)
        found[split] = rows
    return found


def main() -> None:
    """Write one CSV for each split."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    for split, rows in build_rows().items():
        with open(folder / f"{split}.csv", "w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerows([("question", "passage", "label"), *rows])


if __name__ == "__main__":
    main()
