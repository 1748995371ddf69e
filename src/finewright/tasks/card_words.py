"""How the code on a model card names and reads what a model of a task gives."""

import json
from dataclasses import dataclass


@dataclass(frozen=True)
class CardWords:
    """Pieces of a model card. `outputs`: name of the network's outputs in its code, `index` what is taken of them.

    `given`: what the last layer gives. `after_encoding`: code that follows where sentence-transformers gives the outputs.
    `pipeline`: name of the pipeline of transformers; `value`: what is read of its answer to one text, empty to show no call.
    `names_labels`: whether the saved config has names of labels.
    """

    outputs: str = "scores"
    index: str = ""
    given: str = "the scores"
    after_encoding: str = "probabilities = scores.softmax(dim=1)\n"
    pipeline: str = "classify"
    value: str = ""
    names_labels: bool = True
    long_text: str = "loses its {cut_side}"
    """What becomes of a text that is too long; `{cut_side}` is where it is cut."""
    pipeline_options: str = "truncation=True"
    """Arguments of the pipeline; `{stride}` is by how many tokens windows overlap."""
    pipeline_options_do: str = "`truncation=True` cuts long texts as they were cut here"


@dataclass(frozen=True)
class ExampleTexts:
    """Texts in the code of a card. `columns`: of the first and of the second text in training; empty for single texts."""

    columns: tuple[str, ...] = ()

    @property
    def _pair(self) -> list[str]:
        return [json.dumps(f"a {column}", ensure_ascii=False) for column in self.columns]

    @property
    def for_tokenizer(self) -> str:
        """Arguments of a tokenizer."""
        return ", ".join(f"[{text}]" for text in self._pair) if self.columns else self.as_list

    @property
    def as_list(self) -> str:
        """A list of texts or of pairs."""
        return f"[({', '.join(self._pair)})]" if self.columns else '["a text", "another"]'

    @property
    def table_row(self) -> str:
        """The line of the card's table that says what is read; empty for single texts."""
        if not self.columns:
            return ""
        first, second = self.columns
        return f"| reads | pairs of texts: {first}, then {second}; of one that is too long the longer text is cut |\n"

    def call_pipeline(self, words: CardWords) -> str:
        """Return code that calls the pipeline; empty if its name says enough."""
        if not self.columns:
            return f'{words.value} = {words.pipeline}("a text")[0]["score"]\n' if words.value else ""
        first, second = self._pair
        call = f'{words.pipeline}({{"text": {first}, "text_pair": {second}}})'
        return f'{words.value} = {call}["score"]\n' if words.value else f"{call}\n"
