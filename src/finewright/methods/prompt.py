"""A few learnt vectors before every text; the model itself is frozen."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from finewright.anatomy import Anatomy
from finewright.errors import UserError
from finewright.methods.base import AbstractMethod, Span, freeze_all, knob

if TYPE_CHECKING:
    import torch

    from finewright.tuned import Origin, Tuned

_CARD_NOTE = (
    "Plain PEFT agrees with this adapter for one text without padding. In a padded batch it does not: it pools the last "
    "position, which under right padding is a pad token (peft#764), and under left padding pads stand between the prompt "
    "and the text (peft#1093). Predict one text at a time, or with finewright."
)


class Method(AbstractMethod):
    """Prompt tuning (Lester et al. 2021, arXiv:2104.08691)."""

    summary: ClassVar[str] = "learnt vectors before every text, the model frozen"
    python_name: ClassVar[str] = "Prompt"
    saves: ClassVar[Literal["model", "adapter"]] = "adapter"
    preference: ClassVar[int] = 40
    lr: ClassVar[float] = 3e-2
    lr_range: ClassVar[tuple[float, float]] = (1e-4, 1.0)
    search: ClassVar[dict[str, Span | tuple[Any, ...]]] = {
        "method.tokens": (5, 10, 20, 40),
        "method.init": ("vocabulary", "random"),
    }
    card_note: ClassVar[str] = _CARD_NOTE

    tokens: int = knob(20, "length of the soft prompt in tokens", low=1, high=4096)
    init: Literal["vocabulary", "text", "random"] = knob("vocabulary", "what the prompt starts as")
    text: str = knob("", "with init=text: the words it starts as, repeated or cut to length")

    def prepare(self, network: Any, *, anatomy: Anatomy, head: tuple[str, ...], origin: "Origin") -> "Tuned":
        """PEFT's prompt encoder holds the vectors; the forward pass is ours, which keeps prompt and text together."""
        import torch
        from peft import PromptTuningConfig, PromptTuningInit

        from finewright.layers import wrap_adapter
        from finewright.tuned import Tuned

        config = PromptTuningConfig(
            task_type="SEQ_CLS",
            num_virtual_tokens=self.tokens,
            prompt_tuning_init=PromptTuningInit.RANDOM,
            base_model_name_or_path=origin.name,
            revision=origin.revision or None,
            modules_to_save=list(head),
            # told, as PEFT looks for names of its own, which not every config has (DistilBERT's `dim`)
            token_dim=network.get_input_embeddings().weight.shape[1],
            num_layers=network.config.num_hidden_layers,
            num_attention_heads=network.config.num_attention_heads,
        )
        freeze_all(network, head=head)
        owner = wrap_adapter(network, config)
        prompt = owner.prompt_encoder["default"].embedding.weight
        with torch.no_grad():
            prompt.copy_(self._start(network, origin=origin, like=prompt))
        return Tuned(network=network, owner=owner, anatomy=anatomy, prompt=prompt)

    def _start(self, network: Any, *, origin: "Origin", like: "torch.Tensor") -> "torch.Tensor":
        """First values of the prompt, shape (tokens, hidden_size)."""
        import torch

        words = network.get_input_embeddings().weight.detach().to(like.dtype)
        if self.init == "random":
            scale = 0.02 if words.is_meta else float(words.std())
            return torch.randn_like(like) * scale
        if self.init == "vocabulary":
            rows = torch.randperm(words.shape[0])[torch.arange(self.tokens) % words.shape[0]]
            start = words[rows.to(words.device)]
            return start
        ids = origin.tokenizer(self.text)["input_ids"]
        if not self.text or not ids:
            raise UserError(
                "init=text wants words to start from", where="method.text", fix="--set 'method.text=Which team answers?'"
            )
        return words[torch.tensor([ids[index % len(ids)] for index in range(self.tokens)], device=words.device)]

    def save(self, tuned: "Tuned", folder: Path) -> None:
        """A PEFT adapter folder with the head, and the config that says how many labels it has."""
        tuned.owner.save_pretrained(folder, save_embedding_layers=False)
        tuned.network.config.save_pretrained(folder)
