"""Random weights for PyTorch's models."""

import torch

from tests.reference import torchvision_operators  # noqa: F401  before timm or transformers import torchvision

# of the small models of libraries, and the arguments of ours that make a DINOv3 of theirs
IMAGE, PATCH, WIDTH, HEADS, DEPTH, MLP = 16, 4, 32, 4, 2, 64
OURS_DINOV3 = {
    "position_embedding": None,
    "rotary_temperature": 100.0,
    "num_registers": 4,
    "layer_scale": 1.0,
    "layer_norm_epsilon": 1e-5,
}


def randomize(module, seed=0):
    """Fills every parameter with seeded random numbers of a sensible size; the module, in evaluation mode."""
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in module.named_parameters():
        values = torch.randn(tensor.shape, generator=generator)
        if "norm" in name:
            values = 0.2 * values + (1 if name.endswith("weight") else 0)
        else:
            values *= tensor[0].numel() ** -0.5 if name.endswith("weight") else 0.3
        tensor.data.copy_(values)
    return module.eval()
