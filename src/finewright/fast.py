"""What makes a prepared network fast without changing what it computes, applied in one place.

The same is done to the network that is trained, to its sketch without memory, and to what is loaded again to predict: so the
plan is that of the step that runs, and scores after loading are those before saving, bit for bit.
"""

from finewright import kernels, narrow
from finewright.tuned import Tuned


def apply(tuned: Tuned, *, device: str = "cpu") -> None:
    """The last block where the head reads only, activations and dropout in one pass, products with frozen matrices packed.

    May be called again when more was frozen. `device`: where the network will run; a sketch lies nowhere.
    """
    network, anatomy = tuned.network, tuned.anatomy
    if tuned.last_block is None:
        tuned.last_block = narrow.install(network, anatomy=anatomy)
    kernels.fuse(network)
    if device == "cpu":
        for module in filter(kernels.is_packable, network.get_submodule(anatomy.blocks).modules()):
            kernels.pack(module)
