"""Train a few vectors before every text; the model itself is frozen."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from finewright.core.config import option
from finewright.core.errors import UserError
from finewright.core.quiet import peft_quiet
from finewright.methods.base import Method, Span, freeze_all

if TYPE_CHECKING:
    import torch

    from finewright.models.meta import BaseNetwork
    from finewright.models.prepared import PreparedModel


_CARD_NOTE = (
    "Plain PEFT agrees with this adapter for one text without padding. In a padded batch it does not: it pools the last "
    "position, which under right padding is a pad token (peft#764), and under left padding pads stand between the prompt "
    "and the text (peft#1093). Predict one text at a time, or with finewright."
)


class PromptTuning(Method):
    """Prompt tuning (Lester et al. 2021, arXiv:2104.08691)."""

    summary: ClassVar[str] = "trained vectors before every text, the model frozen"
    saves: ClassVar[Literal["model", "adapter"]] = "adapter"
    standard_head_only: ClassVar[str] = "sentence-transformers, which loads other heads, has no prompt tuning"
    preference: ClassVar[int] = 40
    learning_rate: ClassVar[float] = 3e-2
    learning_rate_range: ClassVar[tuple[float, float]] = (1e-4, 1.0)
    search: ClassVar[dict[str, Span | tuple[Any, ...]]] = {
        "method.num_virtual_tokens": (5, 10, 20, 40),
        "method.init_weights": ("vocabulary", "random"),
    }
    card_note: ClassVar[str] = _CARD_NOTE

    num_virtual_tokens: int = option(20, "length of the soft prompt in tokens", low=1, high=4096)
    init_weights: Literal["vocabulary", "text", "random"] = option("vocabulary", "initial values of the prompt")
    text: str = option("", "with init_weights=text: the words it starts from, repeated or cut to length")

    def prepare(self, base: "BaseNetwork") -> "PreparedModel":
        """Keep the vectors in PEFT's prompt encoder; `models.forward` puts them before the texts."""
        import torch

        with peft_quiet():
            from peft import PromptTuningConfig, PromptTuningInit

        from finewright.models.adapters.peft import wrap_adapter

        network, origin = base.network, base.origin
        config = PromptTuningConfig(
            task_type=base.head_spec.peft_task_type,
            num_virtual_tokens=self.num_virtual_tokens,
            prompt_tuning_init=PromptTuningInit.RANDOM,
            base_model_name_or_path=origin.name,
            revision=origin.revision or None,
            modules_to_save=list(base.new),
            # given here: PEFT looks for names that not every config has (DistilBERT's `dim`)
            token_dim=network.get_input_embeddings().weight.shape[1],
            num_layers=getattr(network.config, "num_hidden_layers", 1),
            num_attention_heads=getattr(network.config, "num_attention_heads", 1),
        )
        freeze_all(base)
        trainable_module = wrap_adapter(network, config)
        prompt = trainable_module.prompt_encoder["default"].embedding.weight
        with torch.no_grad():
            prompt.copy_(self._initial_values(base, like=prompt))
        return base.as_prepared(trainable_module, prompt=prompt)

    def _initial_values(self, base: "BaseNetwork", *, like: "torch.Tensor") -> "torch.Tensor":
        """Initial values of the prompt, shape (num_virtual_tokens, hidden_size)."""
        import torch

        embeddings = base.network.get_input_embeddings().weight.detach().to(like.dtype)
        if self.init_weights == "random":
            scale = 0.02 if embeddings.is_meta else float(embeddings.std())
            return torch.randn_like(like) * scale
        if self.init_weights == "vocabulary":
            rows = torch.randperm(len(embeddings))[torch.arange(self.num_virtual_tokens) % len(embeddings)]
            return embeddings[rows.to(embeddings.device)]
        ids = base.origin.tokenizer(self.text)["input_ids"]
        if not self.text or not ids:
            raise UserError(
                "init_weights=text needs words to start from", where="method.text", fix="--set 'method.text=Which team answers?'"
            )
        rows = [ids[index % len(ids)] for index in range(self.num_virtual_tokens)]
        return embeddings[torch.tensor(rows, device=embeddings.device)]

    def save(self, prepared_model: "PreparedModel", folder: Path) -> None:
        """Write a PEFT adapter folder with the head, and the config with the labels."""
        from finewright.models import adapter_folder

        prepared_model.trainable_module.save_pretrained(folder, save_embedding_layers=False)
        adapter_folder.save_config(folder, prepared_model.network.config)
