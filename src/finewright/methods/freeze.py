"""Train the top layers; the lower ones stay frozen."""

from typing import TYPE_CHECKING, Any, ClassVar

from finewright.core.config import option
from finewright.core.errors import UserError
from finewright.core.units import counted
from finewright.methods.base import Method, Span, freeze_all
from finewright.models.architectures.base import Architecture

if TYPE_CHECKING:
    from finewright.models.meta import BaseNetwork
    from finewright.models.prepared import PreparedModel


class Freeze(Method):
    """Layer freezing."""

    summary: ClassVar[str] = "only the top layers are trained, everything below is frozen"
    trial_options: ClassVar[dict[str, Any] | None] = {"num_layers": 0}
    preference: ClassVar[int] = 30
    learning_rate: ClassVar[float] = 3e-4
    learning_rate_width: ClassVar[int | None] = 768
    learning_rate_range: ClassVar[tuple[float, float]] = (1e-6, 3e-3)
    search: ClassVar[dict[str, Span | tuple[Any, ...]]] = {"method.trainable_fraction": Span(0.05, 0.8)}

    num_layers: int | None = option(
        None, "layers at the top that are trained, with the final norm; 3, at most half of them", low=0
    )
    trainable_fraction: float = option(
        0.0, "instead of num_layers: share of the model's parameters to train, nearest whole layer; 0: off", low=0, high=1
    )
    embeddings: bool = option(False, "train the embeddings too")

    def prepare(self, base: "BaseNetwork") -> "PreparedModel":
        """Train the top layers and everything above them."""
        network, architecture = base.network, base.architecture
        layers = network.get_submodule(architecture.layers)
        if architecture.shares_layers and (self.num_layers != 0 or self.trainable_fraction):
            what = f"no layer of {architecture.model_type} can be frozen alone: {architecture.shares_layers}"
            raise UserError(what, where="method.num_layers", fix="method.num_layers=0 to train the head alone, or lora")
        num_top, notes = self._num_top(network, architecture=architecture)
        freeze_all(base)
        above = [network.get_submodule(name) for name in (architecture.final_norm, architecture.pooler) if name]
        for module in [*list(layers)[len(layers) - num_top :], *above]:
            module.requires_grad_(True)
        if self.embeddings:
            _train_embeddings(network, architecture=architecture)
        return base.as_prepared(notes=notes)

    def _num_top(self, network: Any, *, architecture: Architecture) -> tuple[int, list[str]]:
        layers = network.get_submodule(architecture.layers)
        if self.num_layers is not None and self.num_layers > len(layers):
            raise UserError(
                f"wanted the top {counted(self.num_layers, 'layer')} trained, the model has {len(layers)}",
                where="method.num_layers",
                fix=f"a number from 0 to {len(layers)}",
            )
        if not self.trainable_fraction:
            num_top = min(3, max(1, len(layers) // 2)) if self.num_layers is None else self.num_layers
            return num_top, [
                f"the top {num_top} of {len(layers)} layers {'is' if num_top == 1 else 'are'} trained, everything below is frozen"
            ]
        body = network.get_submodule(architecture.body)
        total = sum(p.numel() for p in body.parameters())
        per_layer = sum(p.numel() for p in layers[0].parameters())
        num_top = min(max(round(self.trainable_fraction * total / per_layer), 1), len(layers))
        share = num_top * per_layer / total
        note = f"top {counted(num_top, 'layer')}: {share:.1%} of the parameters is the nearest to {self.trainable_fraction:.1%}"
        return num_top, [f"{note} that whole layers give"]


def _train_embeddings(network: Any, *, architecture: Architecture) -> None:
    """Train token, position and type embeddings: all of the body but the layers and what is above them."""
    for name, parameter in network.named_parameters():
        above = tuple(f"{part}." for part in (architecture.final_norm, architecture.pooler) if part)
        if name.startswith(f"{architecture.body}.") and not name.startswith((f"{architecture.layers}.", *above)):
            parameter.requires_grad_(True)
