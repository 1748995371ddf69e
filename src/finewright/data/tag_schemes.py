"""Tags of words that are parts of entities: the schemes that data comes in, and IOB2, which training uses.

In IOB2 `B-X` begins an entity of the type X, `I-X` goes on with it, and `O` is outside of all.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

OUTSIDE = "O"
Scheme = Literal["IOB1", "IOB2", "BIOES", "BILOU", "BMES", "IO", "none"]
"""`IO`: names of types without a prefix, beside `O`. `none`: tags that are no parts of entities, such as parts of speech."""
_PREFIXES = "BIESLUM"
_BEGIN, _END = "BSU", "ESL"


class Entity(NamedTuple):
    """An entity: the type, and its first and last word."""

    first: int
    last: int
    label: str


def split_tag(tag: str) -> tuple[str, str]:
    """Return (prefix, type) of a tag in any scheme; ("O", "") for the tag outside. A bare `B` has the type `_`, as in seqeval."""
    if tag == OUTSIDE:
        return OUTSIDE, ""
    prefix, dash, label = tag.partition("-")
    return prefix, label if dash and label else "_"


def find_entities(tags: Sequence[str], *, strict: bool = False) -> list[Entity]:
    """Return the entities of a sentence, by the rules of conlleval, which are seqeval's default.

    An entity begins at `B-X`, and at an `I-X` that goes on with no entity of its type. With `strict`, for IOB2 alone, such an
    `I-X` is part of no entity, as in seqeval's mode "strict". The types of tags without a prefix are none.
    """
    found: list[Entity] = []
    current: Entity | None = None
    before = OUTSIDE
    for place, tag in enumerate(tags):
        prefix, label = split_tag(tag)
        is_part = prefix in _PREFIXES and len(prefix) == 1 and (tag == prefix or tag[1:2] == "-")
        continues = is_part and current is not None and prefix not in _BEGIN and before not in _END and label == current.label
        if continues and current is not None:
            current = Entity(current.first, place, label)
        else:
            found += [current] if current is not None else []
            begins = is_part and (prefix in _BEGIN or not strict)
            current = Entity(place, place, label) if begins else None
        before = prefix if is_part else OUTSIDE
    return [*found, current] if current is not None else found


def has_entities(tags: Iterable[str]) -> bool:
    """Whether tags are those of entities: each is `O` or has a prefix."""
    different = {*tags}
    return bool(different) and all(_is_prefixed(tag) for tag in different) and different != {OUTSIDE}


def _is_prefixed(tag: str) -> bool:
    return tag == OUTSIDE or (tag[:1] in _PREFIXES and (len(tag) == 1 or tag[1] == "-"))


def complete_tags(tags: Sequence[str]) -> tuple[str, ...]:
    """Return all tags of the types that occur: `O`, then `B-X` and `I-X` of each. Tags that are no parts of entities stay."""
    if not has_entities(tags):
        return tuple(tags)
    types = sorted({tag[2:] for tag in tags if tag != OUTSIDE})
    return (OUTSIDE, *(f"{prefix}-{name}" for name in types for prefix in "BI"))


def entities_to_tags(entities: Iterable[Entity], num_words: int) -> list[str]:
    """Return the tags of a sentence in IOB2."""
    tags = [OUTSIDE] * num_words
    for entity in entities:
        tags[entity.first] = f"B-{entity.label}"
        for place in range(entity.first + 1, entity.last + 1):
            tags[place] = f"I-{entity.label}"
    return tags


def recognise_scheme(sentences: Sequence[Sequence[str]]) -> Scheme:
    """Return the scheme of the tags of many sentences."""
    different = {tag for tags in sentences for tag in tags}
    if not has_entities(different):
        return "IO" if OUTSIDE in different and len(different) > 1 else "none"
    prefixes = {tag[0] for tag in different} - {OUTSIDE}
    if prefixes & {"L", "U"}:
        return "BILOU"
    if prefixes & {"E", "S", "M"}:
        return "BMES" if "M" in prefixes else "BIOES"
    # IOB1 begins an entity with B only where it touches one of its own type; a B anywhere else is IOB2's.
    begins, loose, touching = 0, 0, 0
    for tags in sentences:
        before = (OUTSIDE, "")
        for tag in tags:
            prefix, label = split_tag(tag)
            same = before[0] != OUTSIDE and before[1] == label
            begins += prefix == "B" and not same
            touching += prefix == "B" and same
            loose += prefix == "I" and not same
            before = (prefix, label)
    return "IOB1" if loose > begins and (touching or not begins) else "IOB2"


@dataclass
class Converted:
    """Sentences in IOB2. `num_repaired`: tags that broke the rules of their scheme, `repaired`: some sentences with such tags."""

    sentences: list[list[str]]
    scheme: Scheme
    num_repaired: int = 0
    repaired: list[int] = field(default_factory=list)


def convert_to_iob2(sentences: Sequence[Sequence[str]]) -> Converted:
    """Return the sentences with tags in IOB2, whatever their scheme; tags that are no parts of entities stay as they are."""
    scheme = recognise_scheme(sentences)
    if scheme == "none":
        return Converted([list(tags) for tags in sentences], scheme)
    found = Converted([], scheme)
    for number, tags in enumerate(sentences):
        known = [tag if tag == OUTSIDE else f"I-{tag}" for tag in tags] if scheme == "IO" else tags
        entities = find_entities(known)
        found.sentences.append(entities_to_tags(entities, len(tags)))
        wrong = _count_faults([*tags], entities, scheme)
        found.num_repaired += wrong
        found.repaired += [number] if wrong else []
    return found


def _count_faults(tags: Sequence[str], entities: Sequence[Entity], scheme: Scheme) -> int:
    """Return how many tags differ from those that the scheme has for these entities."""
    if scheme in ("IO", "IOB1"):
        return 0  # any order of such tags has one meaning
    begin, inside, end, single = {"IOB2": "BIIB", "BIOES": "BIES", "BMES": "BMES", "BILOU": "BILU"}[scheme]
    wanted = [OUTSIDE] * len(tags)
    for first, last, _ in entities:
        wanted[first] = begin if last > first else single
        for place in range(first + 1, last + 1):
            wanted[place] = end if place == last else inside
    return sum(tag[:1] != prefix for tag, prefix in zip(tags, wanted, strict=True))
