"""What the card of a model of pairs says: which texts it reads, in which order, and how to give them to it."""

from collections.abc import Sequence

_SINGLE = ('["a text", "another"]', "truncation=True)\n```")
"""What stands in the code of cards for single texts: two texts, and the end of a pipeline."""


def describe_for_pairs(card: str, columns: Sequence[str]) -> str:
    """Return a card with code that gives pairs in place of single texts, and a line about their columns in its table.

    `columns`: of the first and of the second text in training.
    """
    first, second = columns
    example = f'"a {first}", "a {second}"'
    calls = {
        f"tokenizer({_SINGLE[0]}": f"tokenizer([{example.partition(', ')[0]}], [{example.partition(', ')[2]}]",
        f"encode({_SINGLE[0]}": f"encode([({example})]",
        f"predict({_SINGLE[0]}": f"predict([({example})]",
    }
    for single, pair in calls.items():
        card = card.replace(single, pair)
    pipeline = f'truncation=True)\nclassify({{"text": "a {first}", "text_pair": "a {second}"}})\n```'
    lines = card.replace(_SINGLE[1], pipeline).split("\n")
    place = lines.index("|---|---|")
    lines.insert(place + 1, f"| reads | pairs of texts: {first}, then {second}; of one that is too long the longer text is cut |")
    return "\n".join(lines)
