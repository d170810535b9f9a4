"""PyTorch's side of the benchmarks of the train step: Hugging Face's model, with the same sizes."""

from __future__ import annotations

from collections.abc import Callable

import torch
import transformers

from benchmarks.sizes import SIZES, images_of


def torch_step(size: str, dtype: str = "float32", threads: int = 2) -> Callable[[], None]:
    """The same with Hugging Face's `ViTMAEForPreTraining` and `torch.optim.AdamW`; bfloat16 is autocast."""
    torch.set_num_threads(threads)
    sizes = SIZES[size]
    config = transformers.ViTMAEConfig(
        image_size=sizes.image_size,
        patch_size=sizes.patch_size,
        hidden_size=sizes.hidden_dim,
        num_hidden_layers=sizes.num_layers,
        num_attention_heads=sizes.num_heads,
        intermediate_size=4 * sizes.hidden_dim,
        decoder_hidden_size=sizes.decoder_hidden_dim,
        decoder_num_hidden_layers=sizes.decoder_num_layers,
        decoder_num_attention_heads=sizes.decoder_num_heads,
        decoder_intermediate_size=4 * sizes.decoder_hidden_dim,
        norm_pix_loss=True,
        mask_ratio=0.75,
    )
    model = transformers.ViTMAEForPreTraining(config).train()
    decayed = [tensor for tensor in model.parameters() if tensor.ndim > 1]
    rest = [tensor for tensor in model.parameters() if tensor.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": 0.05}, {"params": rest, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=1e-4, betas=(0.9, 0.95))
    pixels = (
        torch.from_numpy(images_of(sizes)).permute(0, 3, 1, 2).float() / 127.5 - 1
    )  # prepared: it costs them nothing

    def turn() -> None:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == "bfloat16"):
            loss = model(pixel_values=pixels).loss
        loss.backward()
        optimizer.step()
        loss.item()

    return turn
