"""How the model card of a language model says that it is loaded and asked."""

from collections.abc import Mapping
from typing import Any

from finewright.methods.base import Method

PACKING = """how = json.loads(pathlib.Path(folder, "quantization.json").read_text())
packing = BitsAndBytesConfig(
    load_in_4bit=True,
    bnb_4bit_quant_type=how["kind"],
    bnb_4bit_use_double_quant=how["double"],
    bnb_4bit_compute_dtype=getattr(torch, how["compute_dtype"]),
    llm_int8_skip_modules=how["skip_modules"],
)
"""
"""Code that reads how the base of a folder was packed in four bits."""

_WHOLE = """Load it with transformers:

```python
from transformers import AutoModelForCausalLM, AutoTokenizer
folder = "path/to/this/folder"
model = AutoModelForCausalLM.from_pretrained(folder)
tokenizer = AutoTokenizer.from_pretrained(folder)
{asking}```
"""

_ADAPTER = """Load it with PEFT:

```python
from peft import AutoPeftModelForCausalLM
from transformers import AutoTokenizer
folder = "path/to/this/folder"
model = AutoPeftModelForCausalLM.from_pretrained(folder).eval()
tokenizer = AutoTokenizer.from_pretrained(folder)
{asking}```

{where_base}
"""

_PACKED = """Load it with PEFT on the base in four bits, as it was trained (`pip install bitsandbytes accelerate`):

```python
import json, pathlib, torch
from peft import AutoPeftModelForCausalLM
from transformers import AutoTokenizer, BitsAndBytesConfig
folder = "path/to/this/folder"
{packing}model = AutoPeftModelForCausalLM.from_pretrained(
    folder, dtype=torch.float32, quantization_config=packing, device_map="auto"
).eval()
tokenizer = AutoTokenizer.from_pretrained(folder)
{asking}```

{where_base}
"""

_CHAT = """messages = [{"role": "user", "content": "a question"}]
inputs = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=True, return_tensors="pt")
answer = model.generate(**inputs, max_new_tokens=256, do_sample=False)[0, inputs["input_ids"].shape[1] :]
print(tokenizer.decode(answer, skip_special_tokens=True))
"""

_PLAIN = """inputs = tokenizer("The beginning of a text", return_tensors="pt")
print(tokenizer.decode(model.generate(**inputs, max_new_tokens=256)[0], skip_special_tokens=True))
"""


def describe_long_texts(options: Mapping[str, Any]) -> str:
    """Return what became of rows with more tokens, by the options of the data."""
    is_cut = options.get("over_long") == "cut-prompt"
    return "longer prompts lost their oldest tokens" if is_cut else "longer conversations were left out"


def describe_loading(method: Method, tokenizer: Any, *, where_base: str) -> str:
    """Return code that loads a saved language model and asks it. `where_base`: where the base of an adapter is."""
    text = _WHOLE if method.saves != "adapter" else _PACKED if method.quantization() else _ADAPTER
    asking = _CHAT if getattr(tokenizer, "chat_template", None) else _PLAIN
    return text.replace("{packing}", PACKING).replace("{asking}", asking).replace("{where_base}", where_base)
