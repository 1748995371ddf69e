"""The transformers class of a network: that of its task, or where none exists a body with a linear head.

Such a head is saved as a sentence-transformers folder (`sentence_folder`), whose programs load the body by `AutoModel`.
"""

from functools import cache
from typing import Any

import torch

from finewright.core.errors import UserError, first_line
from finewright.models.head_spec import LANGUAGE_MODEL, TOKEN_CLASSIFICATION

CLASSIFICATION = "AutoModelForSequenceClassification"
"""The class whose head is an architecture's standard one."""
_OWN_PARTS = ("text_config", "vision_config", "audio_config")


def class_of(config: Any, *, auto_model: str) -> Any:
    """Return the class to load or build a network with. Raise `UserError` if there is none for this config."""
    import transformers

    automatic = getattr(transformers, auto_model)
    if not auto_model.endswith(("Classification", LANGUAGE_MODEL)):  # a head of other outputs cannot be made up
        return automatic
    _check_reads_text_alone(config)
    if auto_model == LANGUAGE_MODEL:
        if type(config) not in automatic._model_mapping or _is_encoder_decoder(config):
            what = (
                f"the architecture {config.model_type!r} cannot continue a text: transformers has no causal language model of it"
            )
            raise UserError(what, where="config.json: model_type", fix="take a decoder; `finewright models` lists some")
        return automatic
    if type(config) in automatic._model_mapping and not _is_encoder_decoder(config):
        return automatic
    if auto_model == TOKEN_CLASSIFICATION:
        what = f"transformers has no class that scores every token of the architecture {config.model_type!r}"
        fix = "take a model of another architecture, such as bert, roberta, modernbert, deberta-v2, gpt2, llama or qwen3"
        raise UserError(what, where="config.json: model_type", fix=fix)
    return _headed_class(_body_class(config))


def token_head_name(config: Any) -> str:
    """Return the name of the linear module by which the token classification class of a config scores tokens.

    Raise `UserError` if there is no such class.
    """
    from transformers.modeling_layers import GenericForTokenClassification

    kind = class_of(config, auto_model=TOKEN_CLASSIFICATION)._model_mapping[type(config)]
    return "score" if issubclass(kind, GenericForTokenClassification) else "classifier"


def from_config(config: Any, *, auto_model: str) -> Any:
    """Build a network with random weights in float32."""
    kind = class_of(config, auto_model=auto_model)
    build = kind.from_config if hasattr(kind, "from_config") else kind._from_config
    return build(config, dtype=torch.float32)


def build_random_network(config: Any, *, auto_model: str) -> Any:
    """Build a network as `from_config` does. Raise `UserError` if the config has values it cannot be built with."""
    try:
        return from_config(config, auto_model=auto_model)
    except UserError:
        raise
    except Exception as error:  # a wrong value can raise anything
        raise UserError(f"not a model config: {first_line(error)}", where="config.json", fix="another model folder") from None


def has_own_class(config: Any) -> bool:
    """Whether transformers has a classification class for this config, with a head of its own."""
    import transformers

    return type(config) in getattr(transformers, CLASSIFICATION)._model_mapping and not _is_encoder_decoder(config)


def _is_encoder_decoder(config: Any) -> bool:
    """Whether the architecture has two parts; an encoder that was saved alone says no of itself."""
    from transformers import AutoModelForSeq2SeqLM

    return bool(getattr(config, "is_encoder_decoder", False)) or type(config) in AutoModelForSeq2SeqLM._model_mapping


def _check_reads_text_alone(config: Any) -> None:
    parts = [name for name in _OWN_PARTS if getattr(config, name, None) is not None]
    if parts:
        what = f"{config.model_type} is a model of several parts ({', '.join(parts)}), and only one of text alone is trained"
        fix = "a checkpoint of its text part alone, whose config.json has no such parts"
        raise UserError(what, where="config.json: model_type", fix=fix)


def _body_class(config: Any) -> Any:
    """The class of the body: `AutoModel`'s, or of an encoder-decoder the encoder alone."""
    import transformers

    mapping = transformers.AutoModelForTextEncoding if _is_encoder_decoder(config) else transformers.AutoModel
    if type(config) not in mapping._model_mapping:
        known = (
            "transformers has no class for its encoder alone"
            if _is_encoder_decoder(config)
            else "transformers has no network for it"
        )
        what = f"the architecture {config.model_type!r} cannot classify texts here: {known}"
        raise UserError(what, where="config.json: model_type", fix="take a model of another architecture")
    kind = mapping._model_mapping[type(config)]
    return kind[0] if isinstance(kind, tuple) else kind


@cache
def _headed_class(body_class: Any) -> Any:
    """A class of the body's family that holds the body, where its family keeps it, and a linear head.

    It has the name and the module of the family, where transformers looks for what the family supports.
    """
    from transformers import PreTrainedModel

    families = [kind for kind in body_class.__mro__[1:] if issubclass(kind, PreTrainedModel)]
    prefix = body_class.base_model_prefix or "model"
    fields = {
        "base_model_prefix": prefix,
        "body_class": body_class,
        "__module__": body_class.__module__,
        "_tied_weights_keys": {},
    }
    return type(f"{body_class.__name__}WithHead", (_HeadedNetwork, families[0]), fields)


class _HeadedNetwork:
    """A body and a linear head `classifier`; its forward pass is the body's, as heads are run by `models.heads`."""

    base_model_prefix: str
    body_class: Any

    def __init__(self, config: Any) -> None:
        super().__init__(config)  # type: ignore[call-arg]
        body = self.body_class(config)
        setattr(self, self.base_model_prefix, body)
        width = getattr(config, "hidden_size", None) or body.get_input_embeddings().weight.shape[1]
        self.classifier = torch.nn.Linear(width, config.num_labels)
        self.post_init()  # type: ignore[attr-defined]

    def get_input_embeddings(self) -> Any:
        """Return the body's."""
        return getattr(self, self.base_model_prefix).get_input_embeddings()

    def set_input_embeddings(self, value: Any) -> None:
        """Replace the body's."""
        getattr(self, self.base_model_prefix).set_input_embeddings(value)

    def forward(self, input_ids: Any = None, attention_mask: Any = None, **inputs: Any) -> Any:
        """Run the body."""
        return getattr(self, self.base_model_prefix)(input_ids=input_ids, attention_mask=attention_mask, **inputs)
