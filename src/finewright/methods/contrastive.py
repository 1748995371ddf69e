"""Train the layers so that texts of one label lie close together; a regression on the result becomes the head."""

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from finewright.methods.base import Method, Span, freeze_all

if TYPE_CHECKING:
    from finewright.models.meta import BaseNetwork
    from finewright.models.prepared import PreparedModel


class Contrastive(Method):
    """Contrastive fine-tuning for few rows (SetFit: Tunstall et al. 2022, arXiv:2209.11055)."""

    summary: ClassVar[str] = "texts of one label are drawn together, then a regression is the head: for few rows"
    objective: ClassVar[Literal["task", "pairs"]] = "pairs"
    trial_options: ClassVar[dict[str, Any] | None] = {}
    suits_few_rows: ClassVar[bool] = True
    preference: ClassVar[int] = 50
    learning_rate: ClassVar[float] = 1e-4
    learning_rate_range: ClassVar[tuple[float, float]] = (1e-6, 1e-3)
    search: ClassVar[dict[str, Span | tuple[Any, ...]]] = {"training.weight_decay": (0.0, 0.01, 0.1)}

    def prepare(self, base: "BaseNetwork") -> "PreparedModel":
        """Train every layer and the head; embeddings stay as they are, and there is no dropout: the cosines would be noise."""
        from finewright.models.dropout import turn_off_dropout

        network, architecture = base.network, base.architecture
        freeze_all(base)
        above = [network.get_submodule(name) for name in (architecture.final_norm,) if name]
        for module in [network.get_submodule(architecture.layers), *above]:
            module.requires_grad_(True)
        turn_off_dropout(network)
        prepared_model = base.as_prepared()
        prepared_model.runtime.objective = self.objective
        return prepared_model
