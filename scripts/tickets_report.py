"""What can be measured about `tickets`: sizes, lengths, near-duplicates across splits, and what a bag of words gets.

python scripts/tickets_report.py [FOLDER]
"""

import csv
import statistics
import sys
from collections import Counter
from pathlib import Path

from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score
from sklearn.pipeline import make_pipeline

SPLITS = ("train", "validation", "test")
DEFAULT = Path(__file__).resolve().parent.parent / "src/finewright/assets/data/tickets"


def read(path: Path) -> list[tuple[str, str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return [(row["text"], row["label"]) for row in csv.DictReader(file)]


def nearest(left: list[str], right: list[str]) -> list[tuple[float, str, str]]:
    """For every text of `left` the most similar one of `right`: cosine of counts of 4 characters, closest first."""
    vectorizer = TfidfVectorizer(analyzer="char", ngram_range=(4, 4), use_idf=False, lowercase=True).fit([*left, *right])
    similar = vectorizer.transform(left) @ vectorizer.transform(right).T
    return sorted(
        ((float(row.max()), left[i], right[int(row.argmax())]) for i, row in enumerate(similar.toarray())), reverse=True
    )


def bag_of_words(train: list[tuple[str, str]], test: list[tuple[str, str]]) -> tuple[float, float]:
    """Accuracy and macro F1 of logistic regression on words and word pairs."""
    model = make_pipeline(TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True), LogisticRegression(C=10, max_iter=1000))
    model.fit([text for text, _ in train], [label for _, label in train])
    labels, predicted = [label for _, label in test], model.predict([text for text, _ in test])
    return sum(a == b for a, b in zip(labels, predicted, strict=True)) / len(labels), f1_score(labels, predicted, average="macro")


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else DEFAULT
    rows = {name: read(folder / f"{name}.csv") for name in SPLITS}
    for name, split in rows.items():
        words = [len(text.split()) for text, _ in split]
        counts = ", ".join(f"{label} {count}" for label, count in Counter(label for _, label in split).most_common())
        length = f"{min(words)} to {max(words)} words, median {statistics.median(words):.0f}"
        print(f"{name}: {len(split)} messages of {length}; {counts}")
    for left, right in (("validation", "train"), ("test", "train"), ("test", "validation")):
        score, one, other = nearest([text for text, _ in rows[left]], [text for text, _ in rows[right]])[0]
        print(f"closest of {left} to {right}: {score:.2f}\n  {one[:100]}\n  {other[:100]}")
    for name in ("validation", "test"):
        accuracy, f1 = bag_of_words(rows["train"], rows[name])
        print(f"bag of words on {name}: accuracy {accuracy:.1%}, macro F1 {f1:.3f}")


if __name__ == "__main__":
    main()
