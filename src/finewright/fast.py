"""What makes a prepared network fast without changing what it computes, applied in one place.

The same is done to the network that is trained, to its sketch without memory, and to what is loaded again to predict: so the
plan is that of the step that runs, and scores after loading are those before saving, bit for bit.
"""

from finewright import kernels, narrow
from finewright.tuned import Tuned

MOST_PACKED_NUMBERS = 300_000_000
"""In the matrices of all blocks; with more of them a second copy of the frozen ones would take the memory that matters."""


def apply(tuned: Tuned, *, device: str = "cpu") -> None:
    """The last block where the head reads only, activations and dropout in one pass, products with frozen matrices packed.

    May be called again when more was frozen. `device`: where the network will run; a sketch lies nowhere.
    """
    network, anatomy = tuned.network, tuned.anatomy
    if tuned.last_block is None:
        tuned.last_block = narrow.install(network, anatomy=anatomy)
    kernels.fuse(network)
    blocks = network.get_submodule(anatomy.blocks)
    # Counted whether frozen or not, so that a network is treated alike while it is trained and when it is loaded again.
    if device == "cpu" and sum(map(kernels.num_numbers, blocks.modules())) <= MOST_PACKED_NUMBERS:
        for module in filter(kernels.is_packable, blocks.modules()):
            kernels.pack(module)
