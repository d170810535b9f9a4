"""Twenty AdamW steps from the same weights, batches and noise, in PyTorch and here."""

import math

import numpy as np
import pytest
import torch

import keras_mae
from keras_mae.checkpoints.checkpoint_format import slots_of
from keras_mae.optimizers import WarmupCosine, adamw
from tests.base import random_images, random_noise
from tests.checkpoints import published

STEPS, WARMUP, BATCH = 20, 5, 8
PEAK = 1.5e-4 * 4096 / 256  # the paper's base learning rate at its batch size
WEIGHT_DECAY, BETAS = 0.05, (0.9, 0.95)


def learning_rate(step):
    if step < WARMUP:
        return PEAK * step / WARMUP
    return PEAK * 0.5 * (1 + math.cos(math.pi * (step - WARMUP) / (STEPS - WARMUP)))


def torch_optimizer(model):
    """AdamW without decay on biases, norms and tokens; the position tables are fixed, as in a fresh ViTMAE."""
    decayed, plain = [], []
    for name, tensor in model.named_parameters():
        if name.endswith(("position_embeddings", "decoder_pos_embed")):
            tensor.requires_grad_(False)
        else:
            (plain if tensor.ndim == 1 or name.endswith("token") else decayed).append(tensor)
    groups = [{"params": decayed, "weight_decay": WEIGHT_DECAY}, {"params": plain, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=1.0, betas=BETAS, eps=1e-8)


def batch(step):
    return random_images(BATCH, (16, 16, 3), seed=step), random_noise(BATCH, 16, seed=step)


def without_key_bias(slot, values):
    """A key bias has a gradient of zero but for rounding, which Adam normalises: it walks at random on both sides."""
    if slot.name.endswith("attention.qkv.bias"):
        third = len(values) // 3
        return np.delete(values, slice(third, 2 * third))
    return values


@pytest.mark.medium
def test_losses_and_final_weights(tmp_path):
    theirs = published.hf_mae()
    mae = published.our_mae(theirs.config, position_embedding="sincos")
    theirs.save_pretrained(tmp_path / "before")
    keras_mae.load_checkpoint(mae, str(tmp_path / "before" / "model.safetensors"), "hf")

    optimizer = torch_optimizer(theirs.train())
    mae.compile(
        optimizer=adamw(mae, WarmupCosine(PEAK, WARMUP, STEPS), WEIGHT_DECAY, beta_2=BETAS[1]), jit_compile=False
    )
    losses, expected = [], []
    for step in range(STEPS):
        images, noise = batch(step)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step)
        loss = theirs(published.pixels_for(mae.encoder, images), noise=torch.tensor(noise)).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        expected.append(loss.item())
        mae.reset_metrics()  # so that the logged loss is this step's
        losses.append(mae.train_on_batch({"images": images, "noise": noise}, return_dict=True)["loss"])

    assert expected[-1] < 0.9 * expected[0], "losses that stay where they are compare nothing"
    # Asked for are 1e-4 and 1e-3; measured were 2e-7 and 9e-7.
    np.testing.assert_allclose(losses, expected, rtol=1e-5)

    theirs.save_pretrained(tmp_path / "after")
    final = published.our_mae(theirs.config, position_embedding="sincos")
    keras_mae.load_checkpoint(final, str(tmp_path / "after" / "model.safetensors"), "hf")
    for slot, expected_slot in zip(slots_of(mae), slots_of(final), strict=True):
        ours, wanted = (without_key_bias(slot, np.asarray(each.variable)) for each in (slot, expected_slot))
        assert np.linalg.norm(ours - wanted) <= 1e-4 * np.linalg.norm(wanted), slot.name
