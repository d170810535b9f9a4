"""Pixio in PyTorch's own layers, in float64: written from the paper, for comparison only."""

import torch
from torch import nn


def transformer(depth, dim, heads, mlp_dim):
    """Pre-norm blocks of PyTorch."""
    return nn.ModuleList(
        nn.TransformerEncoderLayer(
            dim, heads, mlp_dim, dropout=0.0, activation="gelu", layer_norm_eps=1e-6, batch_first=True, norm_first=True
        )
        for _ in range(depth)
    )


class TorchPixio(nn.Module):
    """A masked autoencoder with several class tokens, each with a learned position in both networks.

    `encoder` and `decoder` are depth, width, heads and width of the MLPs.
    """

    def __init__(self, grid, patch, num_cls_tokens, encoder, decoder):
        super().__init__()
        (depth, dim, heads, mlp_dim), (decoder_depth, decoder_dim, decoder_heads, decoder_mlp_dim) = encoder, decoder
        rows = num_cls_tokens + grid[0] * grid[1]
        self.patch, self.num_cls_tokens = patch, num_cls_tokens
        self.patch_embed = nn.Conv2d(3, dim, patch, patch)
        self.cls_token = nn.Parameter(torch.zeros(num_cls_tokens, dim))
        self.positions = nn.Parameter(torch.zeros(rows, dim))
        self.blocks = transformer(depth, dim, heads, mlp_dim)
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.decoder_embed = nn.Linear(dim, decoder_dim)
        self.mask_token = nn.Parameter(torch.zeros(decoder_dim))
        self.decoder_positions = nn.Parameter(torch.zeros(rows, decoder_dim))
        self.decoder_blocks = transformer(decoder_depth, decoder_dim, decoder_heads, decoder_mlp_dim)
        self.decoder_norm = nn.LayerNorm(decoder_dim, eps=1e-6)
        self.head = nn.Linear(decoder_dim, patch * patch * 3)
        self.double()

    def encode(self, pixels, visible):
        """Class tokens and the visible patches in order, from `(B, 3, H, W)` and `(B, L)`, where True is visible."""
        patches = self.patch_embed(pixels).flatten(2).transpose(1, 2) + self.positions[self.num_cls_tokens :]
        patches = torch.stack([example[keep] for example, keep in zip(patches, visible)])
        tokens = self.cls_token + self.positions[: self.num_cls_tokens]
        x = torch.cat([tokens.expand(len(pixels), -1, -1), patches], dim=1)
        for block in self.blocks:
            x = block(x)
        return self.norm(x)

    def decode(self, tokens, visible):
        """A prediction for every patch, `(B, L, patch * patch * 3)`."""
        rows = []
        for example, keep in zip(self.decoder_embed(tokens), visible):
            patches = self.mask_token.repeat(len(keep), 1)
            patches[keep] = example[self.num_cls_tokens :]
            rows.append(torch.cat([example[: self.num_cls_tokens], patches]))
        x = torch.stack(rows) + self.decoder_positions
        for block in self.decoder_blocks:
            x = block(x)
        return self.head(self.decoder_norm(x))[:, self.num_cls_tokens :]

    def target(self, pixels):
        """Each patch with its own mean and unbiased variance taken out: row, column, channel."""
        batch, channels, height, width = pixels.shape
        grid = (height // self.patch, width // self.patch)
        patches = pixels.reshape(batch, channels, grid[0], self.patch, grid[1], self.patch)
        patches = patches.permute(0, 2, 4, 3, 5, 1).reshape(batch, grid[0] * grid[1], -1)
        mean, variance = patches.mean(-1, keepdim=True), patches.var(-1, unbiased=True, keepdim=True)
        return (patches - mean) / (variance + 1e-6).sqrt()

    def forward(self, pixels, mask):
        """The loss, and the prediction for every patch; `mask` is `(B, L)`, 1 = masked."""
        visible = mask == 0
        prediction = self.decode(self.encode(pixels, visible), visible)
        errors = ((prediction - self.target(pixels)) ** 2).mean(-1)
        return (errors * mask).sum() / mask.sum(), prediction
