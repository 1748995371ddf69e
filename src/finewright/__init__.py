"""Fine-tune a pre-trained language model on your own text: know the cost before, trust the result after.

Order of the packages, each importing only from those to its right:
cli, learn > web, comparison > api, exporters > runs > planning > training > baselines > inference > tasks, methods > models >
data > core.
"""

import importlib
from typing import TYPE_CHECKING, Any

from finewright.core.quiet import native_libraries_quiet

__version__ = "0.1.0"

_PLACES = {
    "BagOfWords": "baselines.bag_of_words",
    "Comparison": "comparison.compare",
    "DataConfig": "core.config",
    "Full": "methods.full",
    "Contrastive": "methods.contrastive",
    "Freeze": "methods.freeze",
    "FrozenFeatures": "baselines.frozen_features",
    "Generation": "inference.generation",
    "Interrupted": "core.interrupts",
    "LanguageModel": "inference.language_model",
    "LoRA": "methods.lora",
    "Merged": "exporters.merge",
    "Model": "inference.model",
    "PlanReport": "planning.report",
    "Prediction": "inference.model",
    "PromptTuning": "methods.prompt",
    "QLoRA": "methods.qlora",
    "Run": "runs.run",
    "RunConfig": "core.config",
    "RunResult": "runs.schema",
    "Scratch": "methods.scratch",
    "StopRequest": "core.interrupts",
    "TrainingConfig": "core.config",
    "UserError": "core.errors",
    "compare": "comparison.compare",
    "evaluate": "api",
    "export": "api",
    "generate": "api",
    "load": "api",
    "open_run": "runs.run",
    "plan": "api",
    "predict": "api",
    "resume": "api",
    "train": "api",
}
"""Public name → the module that has it; loaded when first asked for."""
_MODULES = {"events": "core.events"}

__all__ = [
    "BagOfWords",
    "Comparison",
    "Contrastive",
    "DataConfig",
    "Freeze",
    "FrozenFeatures",
    "Full",
    "Generation",
    "Interrupted",
    "LanguageModel",
    "LoRA",
    "Merged",
    "Model",
    "PlanReport",
    "Prediction",
    "PromptTuning",
    "QLoRA",
    "Run",
    "RunConfig",
    "RunResult",
    "Scratch",
    "StopRequest",
    "TrainingConfig",
    "UserError",
    "__version__",
    "compare",
    "evaluate",
    "events",
    "export",
    "generate",
    "load",
    "open_run",
    "plan",
    "predict",
    "resume",
    "train",
]

if TYPE_CHECKING:
    from finewright.api import evaluate, export, generate, load, plan, predict, resume, train
    from finewright.baselines.bag_of_words import BagOfWords
    from finewright.baselines.frozen_features import FrozenFeatures
    from finewright.comparison.compare import Comparison, compare
    from finewright.core import events
    from finewright.core.config import DataConfig, RunConfig, TrainingConfig
    from finewright.core.errors import UserError
    from finewright.core.interrupts import Interrupted, StopRequest
    from finewright.exporters.merge import Merged
    from finewright.inference.generation import Generation
    from finewright.inference.language_model import LanguageModel
    from finewright.inference.model import Model, Prediction
    from finewright.methods.contrastive import Contrastive
    from finewright.methods.freeze import Freeze
    from finewright.methods.full import Full
    from finewright.methods.lora import LoRA
    from finewright.methods.prompt import PromptTuning
    from finewright.methods.qlora import QLoRA
    from finewright.methods.scratch import Scratch
    from finewright.planning.report import PlanReport
    from finewright.runs.run import Run, open_run
    from finewright.runs.schema import RunResult


def __getattr__(name: str) -> Any:
    """Load a public name when it is first asked for: `import finewright` loads neither PyTorch nor transformers."""
    if name in _PLACES:
        with native_libraries_quiet():
            return getattr(importlib.import_module(f"finewright.{_PLACES[name]}"), name)
    if name in _MODULES:
        return importlib.import_module(f"finewright.{_MODULES[name]}")
    raise AttributeError(f"module 'finewright' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
