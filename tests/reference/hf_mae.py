"""Hugging Face's ViTMAEForPreTraining with random weights, and how its tensors correspond to ours."""

import numpy as np
import transformers

from tests.reference.torch_weights import randomize


def hf_mae(image_size, patch_size, normalize, mask_ratio, seed=0):
    """A small ViTMAEForPreTraining; every tensor holds seeded random numbers and takes gradients.

    A fresh one holds zeros in both position tables and the mask token, and has LayerNorm's epsilon at 1e-12.
    """
    config = transformers.ViTMAEConfig(
        image_size=image_size,
        patch_size=patch_size,
        num_channels=3,
        hidden_size=24,
        num_hidden_layers=2,
        num_attention_heads=3,
        intermediate_size=40,
        decoder_hidden_size=16,
        decoder_num_hidden_layers=2,
        decoder_num_attention_heads=4,
        decoder_intermediate_size=28,
        layer_norm_eps=1e-6,
        mask_ratio=mask_ratio,
        norm_pix_loss=normalize,
    )
    model = randomize(transformers.ViTMAEForPreTraining(config), seed)
    for tensor in model.parameters():
        tensor.requires_grad_(True)  # the position tables are frozen in a fresh model
    return model


def _transpose(weight):
    return weight.T


def _same(tensor):
    return tensor


def _convolution(kernel):
    """`(D, C, ph, pw)` to `(ph * pw * C, D)`."""
    return kernel.transpose(2, 3, 1, 0).reshape(-1, kernel.shape[0])


def _linear(ours, theirs):
    return [(ours.kernel, _transpose, [theirs.weight]), (ours.bias, _same, [theirs.bias])]


def _norm(ours, theirs):
    return [(ours.gamma, _same, [theirs.weight]), (ours.beta, _same, [theirs.bias])]


def _block(ours, theirs):
    attention = theirs.attention
    qkv = [attention.q_proj, attention.k_proj, attention.v_proj]
    return [
        *_norm(ours.norm1, theirs.layernorm_before),
        (ours.attention.qkv.kernel, lambda *w: np.concatenate([x.T for x in w], axis=1), [part.weight for part in qkv]),
        (ours.attention.qkv.bias, lambda *b: np.concatenate(b), [part.bias for part in qkv]),
        *_linear(ours.attention.projection, attention.o_proj),
        *_norm(ours.norm2, theirs.layernorm_after),
        *_linear(ours.mlp_hidden, theirs.mlp.fc1),
        *_linear(ours.mlp_output, theirs.mlp.fc2),
    ]


def correspondence(mae, hf):
    """A list of (our variable, a linear map, their tensors): the map of their values, or gradients, gives ours."""
    encoder, decoder = mae.encoder, mae.decoder
    embeddings = hf.vit.embeddings
    rows = [
        (encoder.cls_token, _same, [embeddings.cls_token]),
        (encoder.positions.table, lambda table: table[0], [embeddings.position_embeddings]),
        (encoder.patch_projection.kernel, _convolution, [embeddings.patch_embeddings.projection.weight]),
        (encoder.patch_projection.bias, _same, [embeddings.patch_embeddings.projection.bias]),
        *_norm(encoder.norm, hf.vit.layernorm),
        (decoder.mask_token, _same, [hf.decoder.mask_token]),
        (decoder.positions.table, lambda table: table[0], [hf.decoder.decoder_pos_embed]),
        *_linear(decoder.embedding, hf.decoder.decoder_embed),
        *_norm(decoder.norm, hf.decoder.decoder_norm),
        *_linear(decoder.head, hf.decoder.decoder_pred),
    ]
    for ours, theirs in zip(encoder.blocks, hf.vit.layers, strict=True):
        rows += _block(ours, theirs)
    for ours, theirs in zip(decoder.blocks, hf.decoder.decoder_layers, strict=True):
        rows += _block(ours, theirs)
    return rows


def copy_weights(mae, hf):
    """Gives our model their weights; every tensor on either side is used exactly once."""
    rows = correspondence(mae, hf)
    assert sorted(id(row[0]) for row in rows) == sorted(id(variable) for variable in mae.weights)
    assert sorted(id(t) for row in rows for t in row[2]) == sorted(id(tensor) for tensor in hf.parameters())
    for variable, linear_map, tensors in rows:
        variable.assign(linear_map(*(tensor.detach().numpy() for tensor in tensors)))
