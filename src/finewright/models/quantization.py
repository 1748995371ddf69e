"""Frozen matrices in four bits (NF4; Dettmers et al. 2023, arXiv:2305.14314), through bitsandbytes, and on the meta device."""

import copy
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from finewright.core.errors import ExitCode, UserError
from finewright.models.optional_packages import INSTALL, missing_packages

FILE = "quantization.json"
_BLOCK, _BLOCK_OF_SCALES = 64, 256
"""Weights that share a scale, and scales that share a scale if they are quantized too."""


@dataclass(frozen=True)
class FourBit:
    """`kind`: the data type; `double`: scales are stored in 8 bits instead of 32."""

    kind: Literal["nf4", "fp4"] = "nf4"
    double: bool = True


def loading_options(four_bit: FourBit, *, bfloat16: bool, skip: list[str], device: str) -> dict[str, Any]:
    """Return arguments of `from_pretrained` that quantize each matrix as it is read, except in modules named in `skip`."""
    if absent := missing_packages():
        raise UserError(f"four-bit weights need {' and '.join(absent)}, not installed here", fix=INSTALL)
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
    """Make a freshly loaded network ready for training.

    On CPUs with avx512_bf16 bitsandbytes repacks a matrix at its first forward pass without gradients, for a kernel through
    which no gradient flows: after one evaluation the layers below would get none. This prevents repacking.
    Under autocast a four-bit product takes and returns bfloat16 like all other products; by itself it returns float32.
    The config loses its quantization settings, which would make transformers look for quantized weights in the base.
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


def dequantise(quantized: Any, *, into: Any) -> None:
    """Set the plain matrices of `into` to the dequantized values of the same network's four-bit ones, in float32.

    bitsandbytes would round the values to the checkpoint's dtype, which products in float32 do not do.
    """
    from bitsandbytes.functional import dequantize_4bit
    from transformers.pytorch_utils import Conv1D

    for name, module in quantized.named_modules():
        state = getattr(getattr(module, "weight", None), "quant_state", None)
        if state is None:
            continue
        exact = copy.copy(state)
        exact.dtype = torch.float32
        weight, plain = dequantize_4bit(module.weight.data, exact), into.get_submodule(name)
        plain.weight.data.copy_(weight.T if isinstance(plain, Conv1D) else weight)


def meta_quantize(network: Any, *, layers: str, four_bit: FourBit, bfloat16: bool) -> None:
    """Replace every matrix of the layers by a `MetaLinear4bit`, in place."""
    from transformers.pytorch_utils import Conv1D

    root = network.get_submodule(layers)
    for name, module in list(root.named_modules()):
        if isinstance(module, nn.Linear | Conv1D):
            parent, _, leaf = name.rpartition(".")
            setattr(root.get_submodule(parent), leaf, MetaLinear4bit(module, four_bit=four_bit, bfloat16=bfloat16))


def write_quantization(folder: Path, four_bit: FourBit, *, skip: list[str], bfloat16: bool) -> None:
    """Write beside an adapter how its base was quantized: everything transformers needs to do it again."""
    how = {**asdict(four_bit), "skip_modules": skip, "compute_dtype": "bfloat16" if bfloat16 else "float32"}
    (folder / FILE).write_text(json.dumps(how, indent=2) + "\n", encoding="utf-8")


def read_quantization(folder: Path) -> FourBit | None:
    """Read how to quantize the base of a saved adapter; None: not at all."""
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
    """A four-bit matrix for planning: the tensors that bitsandbytes stores, and what its product allocates.

    Only the shapes are right, so that a plan needs neither bitsandbytes nor weights.
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
        """Dequantize the matrix for one product."""
        bias = None if self.bias is None else self.bias.to(self.compute_dtype)
        shape = (self.out_features, self.in_features)
        return _FourBitProduct.apply(input.to(self.compute_dtype), self.weight, bias, shape, self.get_buffer("scales"))


class _FourBitProduct(torch.autograd.Function):
    """Dequantizes in the forward and again in the backward pass; saves neither the input nor the dense matrix."""

    @staticmethod
    def forward(ctx: Any, states: Any, packed: Any, bias: Any, shape: Any, scales: Any) -> Any:
        ctx.packed, ctx.shape, ctx.scales = packed, shape, scales
        return nn.functional.linear(states, _dequantize_meta(packed, shape, scales, dtype=states.dtype), bias)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        gradient = gradients[0]
        return gradient @ _dequantize_meta(ctx.packed, ctx.shape, ctx.scales, dtype=gradient.dtype), None, None, None, None


def _dequantize_meta(packed: torch.Tensor, shape: tuple[int, int], scales: torch.Tensor, *, dtype: torch.dtype) -> torch.Tensor:
    scales = scales if scales.dtype == torch.float32 else scales.to(torch.float32)
    return packed.new_empty(shape, dtype=dtype)
