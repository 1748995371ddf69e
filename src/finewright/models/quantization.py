"""Frozen matrices in four bits (NF4; Dettmers et al. 2023, arXiv:2305.14314), through bitsandbytes; and their outline."""

import copy
import importlib.util
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from finewright.core.errors import ExitCode, UserError

FILE = "quantization.json"
PACKAGES = ("bitsandbytes", "accelerate")
INSTALL = "pip install 'finewright[qlora]'"
_BLOCK, _BLOCK_OF_SCALES = 64, 256
"""Numbers that share a scale, and scales that share a scale of their own when they are quantised too."""


@dataclass(frozen=True)
class FourBit:
    """`kind`: the 16 values a number may have; `double`: the scales are kept in 8 bits instead of 32."""

    kind: Literal["nf4", "fp4"] = "nf4"
    double: bool = True


def missing_packages() -> list[str]:
    """Packages that are wanted here and not installed."""
    return [name for name in PACKAGES if importlib.util.find_spec(name) is None]


def loading_options(four_bit: FourBit, *, bfloat16: bool, skip: list[str], device: str) -> dict[str, Any]:
    """Arguments of `from_pretrained` that pack each matrix as it is read; modules named in `skip` stay as they are."""
    if absent := missing_packages():
        raise UserError(f"four-bit weights want {' and '.join(absent)}, not installed here", fix=INSTALL)
    from transformers import BitsAndBytesConfig

    config = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type=four_bit.kind,
        bnb_4bit_use_double_quant=four_bit.double,
        bnb_4bit_compute_dtype=torch.bfloat16 if bfloat16 else torch.float32,
        llm_int8_skip_modules=skip,
    )
    return {"quantization_config": config, "device_map": {"": device}}


def prepare_for_training(network: Any, *, bfloat16: bool) -> None:
    """Make a freshly loaded network fit for training.

    On CPUs with avx512_bf16 bitsandbytes repacks a matrix at its first pass without gradients, for a kernel through which
    no gradient flows: after one look at the validation split the blocks below would get none. It is not repacked here.
    Under autocast a packed product takes and gives bfloat16, as every other one does; left alone it would give float32.
    The config forgets how the weights were packed: it would make transformers look for packed weights in the base.
    """
    for module in network.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False
            if bfloat16:
                module.register_forward_pre_hook(_to_bfloat16)
    if hasattr(network.config, "quantization_config"):
        del network.config.quantization_config


def _to_bfloat16(module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    return (inputs[0].to(torch.bfloat16), *inputs[1:])


def dequantise(packed: Any, *, into: Any) -> None:
    """Give the plain matrices of `into` the numbers that the packed ones of the same network stand for, in float32.

    A packed matrix remembers the dtype of the checkpoint and would be rounded to it; products in float32 are made without that
    rounding, and so is this.
    """
    from bitsandbytes.functional import dequantize_4bit
    from transformers.pytorch_utils import Conv1D

    for name, module in packed.named_modules():
        state = getattr(getattr(module, "weight", None), "quant_state", None)
        if state is None:
            continue
        exact = copy.copy(state)
        exact.dtype = torch.float32
        weight, plain = dequantize_4bit(module.weight.data, exact), into.get_submodule(name)
        plain.weight.data.copy_(weight.T if isinstance(plain, Conv1D) else weight)


def meta_quantize(network: Any, *, layers: str, four_bit: FourBit, bfloat16: bool) -> None:
    """Put a packed matrix's outline in the place of every matrix of the blocks; on the meta device, in place."""
    from transformers.pytorch_utils import Conv1D

    root = network.get_submodule(layers)
    for name, module in list(root.named_modules()):
        if isinstance(module, nn.Linear | Conv1D):
            parent, _, leaf = name.rpartition(".")
            setattr(root.get_submodule(parent), leaf, MetaLinear4bit(module, four_bit=four_bit, bfloat16=bfloat16))


def write_quantization(folder: Path, four_bit: FourBit, *, skip: list[str], bfloat16: bool) -> None:
    """Keep beside an adapter how its base was packed: all that transformers has to be told to pack it so again."""
    how = {**asdict(four_bit), "skip_modules": skip, "compute_dtype": "bfloat16" if bfloat16 else "float32"}
    (folder / FILE).write_text(json.dumps(how, indent=2) + "\n", encoding="utf-8")


def read_quantization(folder: Path) -> FourBit | None:
    """How the base of a saved adapter is to be packed; None: not at all."""
    path = folder / FILE
    if not path.exists():
        return None
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if found["kind"] in ("nf4", "fp4") and isinstance(found["double"], bool):
            return FourBit(found["kind"], found["double"])
        reason = f"found {found!r}"
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = str(error)
    raise UserError(f"cannot be read: {reason}", where=str(path), fix="train it again", code=ExitCode.MISMATCH)


class MetaLinear4bit(nn.Linear):
    """A four-bit matrix as the plan sees it: the tensors that bitsandbytes keeps, and what its product allocates.

    Only shapes are right: the numbers are never looked at, so that a plan needs neither bitsandbytes nor weights.
    """

    def __init__(self, dense: nn.Module, *, four_bit: FourBit, bfloat16: bool) -> None:
        weight: Any = dense.weight
        rows, columns = weight.shape if isinstance(dense, nn.Linear) else weight.T.shape
        nn.Module.__init__(self)
        self.in_features, self.out_features = columns, rows
        self.compute_dtype = torch.bfloat16 if bfloat16 else torch.float32
        num_scales = -(-rows * columns // _BLOCK)
        self.weight = nn.Parameter(torch.empty(-(-rows * columns // 2), 1, dtype=torch.uint8), requires_grad=False)
        self.bias: Any = getattr(dense, "bias", None)
        self.register_buffer("scales", torch.empty(num_scales, dtype=torch.uint8 if four_bit.double else torch.float32))
        self.register_buffer("code", torch.empty(16))
        if four_bit.double:
            self.register_buffer("scales_of_scales", torch.empty(-(-num_scales // _BLOCK_OF_SCALES)))
            self.register_buffer("code_of_scales", torch.empty(256))

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """A product with the matrix unpacked for the moment."""
        bias = None if self.bias is None else self.bias.to(self.compute_dtype)
        shape = (self.out_features, self.in_features)
        made: Any = _PackedProduct.apply(input.to(self.compute_dtype), self.weight, bias, shape, self.get_buffer("scales"))
        return made


class _PackedProduct(torch.autograd.Function):
    """Unpacks for the forward pass and once more for the backward pass; keeps neither the input nor the dense matrix."""

    @staticmethod
    def forward(ctx: Any, states: Any, packed: Any, bias: Any, shape: Any, scales: Any) -> Any:
        ctx.packed, ctx.shape, ctx.scales = packed, shape, scales
        return nn.functional.linear(states, _unpack(packed, shape, scales, dtype=states.dtype), bias)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        gradient = gradients[0]
        return gradient @ _unpack(ctx.packed, ctx.shape, ctx.scales, dtype=gradient.dtype), None, None, None, None


def _unpack(packed: torch.Tensor, shape: tuple[int, int], scales: torch.Tensor, *, dtype: torch.dtype) -> torch.Tensor:
    scales = scales if scales.dtype == torch.float32 else scales.to(torch.float32)
    return packed.new_empty(shape, dtype=dtype)
