"""PyTorch's side of the benchmarks of the train step: Hugging Face's model, with the same sizes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import torch

from benchmarks.sizes import SIZES, images_of
from tests.reference import torchvision_operators  # noqa: F401  before transformers, which imports torchvision

import transformers  # isort: skip  # noqa: E402


def torch_step(
    size: str,
    dtype: str = "float32",
    threads: int = 2,
    batch_size: int | None = None,
    device: str = "cpu",
    compiled: bool = False,
    num_steps: int = 1,
) -> Callable[[], None]:
    """The same with Hugging Face's `ViTMAEForPreTraining` and `torch.optim.AdamW`.

    Args:
        size: a name in `SIZES`.
        dtype: `float32`; `tf32`, which lets its products round their operands; or `bfloat16`, which is autocast.
        threads: of the processor.
        batch_size: another one than the size's.
        device: `cpu` or `cuda`.
        compiled: whether `torch.compile` compiles the model.
        num_steps: how many steps are a turn.
    """
    torch.set_num_threads(threads)
    torch.set_float32_matmul_precision("high" if dtype == "tf32" else "highest")
    sizes = SIZES[size]
    sizes = dataclasses.replace(sizes, batch_size=batch_size or sizes.batch_size)
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
        attn_implementation="sdpa",
    )
    model = transformers.ViTMAEForPreTraining(config).to(device).train()
    decayed = [tensor for tensor in model.parameters() if tensor.ndim > 1]
    rest = [tensor for tensor in model.parameters() if tensor.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": 0.05}, {"params": rest, "weight_decay": 0.0}]
    on_gpu = device == "cuda"
    optimizer = torch.optim.AdamW(groups, lr=1e-4, betas=(0.9, 0.95), fused=on_gpu or None)
    pixels = (torch.from_numpy(images_of(sizes)).permute(0, 3, 1, 2).float() / 127.5 - 1).to(
        device
    )  # prepared: it costs them nothing
    loss_of = torch.compile(model) if compiled else model

    def turn() -> None:
        for _ in range(num_steps):
            optimizer.zero_grad(set_to_none=True)
            with torch.autocast(device, torch.bfloat16, enabled=dtype == "bfloat16"):
                loss = loss_of(pixel_values=pixels).loss
            loss.backward()
            optimizer.step()
        loss.item()  # waits for all of it

    if on_gpu:
        turn.peak_bytes = torch.cuda.max_memory_allocated  # type: ignore[attr-defined]
    return turn
