"""SimMIM in plain PyTorch, written from the paper: slow where that is clearer. Its tensors have the published names."""

import numpy as np
import torch
from torch import nn
from torch.nn import functional


def relative_table_rows(grid):
    """For tokens (class, then patches row by row), the row of the table that a pair has; one pair at a time."""
    rows, columns = grid
    places = [(row, column) for row in range(rows) for column in range(columns)]
    offsets = [(dr, dc) for dr in range(1 - rows, rows) for dc in range(1 - columns, columns)]
    index = np.zeros((1 + len(places), 1 + len(places)), int)
    for i, one in enumerate(places):
        for j, other in enumerate(places):
            index[1 + i, 1 + j] = offsets.index((one[0] - other[0], one[1] - other[1]))
    index[0, 1:], index[1:, 0], index[0, 0] = len(offsets), len(offsets) + 1, len(offsets) + 2
    return torch.from_numpy(index)


class RelativeBias(nn.Module):
    def __init__(self, grid, heads):
        super().__init__()
        rows = (2 * grid[0] - 1) * (2 * grid[1] - 1) + 3
        self.relative_position_bias_table = nn.Parameter(torch.zeros(rows, heads))
        self.register_buffer("relative_position_index", relative_table_rows(grid))

    def forward(self):
        return self.relative_position_bias_table[self.relative_position_index].movedim(2, 0)


class Attention(RelativeBias):
    def __init__(self, grid, dim, heads, per_block):
        super().__init__(grid, heads)
        if not per_block:
            del self.relative_position_bias_table, self.relative_position_index
        self.heads, self.per_block = heads, per_block
        self.qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.q_bias, self.v_bias = nn.Parameter(torch.zeros(dim)), nn.Parameter(torch.zeros(dim))
        self.proj = nn.Linear(dim, dim)

    def forward(self, x, bias):
        query, key, value = self.qkv(x).chunk(3, dim=-1)
        query, value = query + self.q_bias, value + self.v_bias
        if self.per_block:
            bias = super().forward()
        outputs = []
        for head, (q, k, v) in enumerate(zip(*(part.chunk(self.heads, dim=-1) for part in (query, key, value)))):
            logits = q @ k.transpose(1, 2) / q.shape[-1] ** 0.5
            outputs.append((logits + bias[head] if bias is not None else logits).softmax(-1) @ v)
        return self.proj(torch.cat(outputs, dim=-1))


class Block(nn.Module):
    def __init__(self, grid, dim, heads, mlp_dim, layer_scale, per_block):
        super().__init__()
        self.norm1, self.norm2 = (nn.LayerNorm(dim, eps=1e-6) for _ in range(2))
        self.attn = Attention(grid, dim, heads, per_block)
        self.mlp = nn.Sequential()
        self.mlp.add_module("fc1", nn.Linear(dim, mlp_dim))
        self.mlp.add_module("act", nn.GELU())
        self.mlp.add_module("fc2", nn.Linear(mlp_dim, dim))
        self.gamma_1 = self.gamma_2 = 1.0
        if layer_scale:
            self.gamma_1, self.gamma_2 = nn.Parameter(torch.ones(dim)), nn.Parameter(torch.ones(dim))

    def forward(self, x, bias):
        x = x + self.gamma_1 * self.attn(self.norm1(x), bias)
        return x + self.gamma_2 * self.mlp(self.norm2(x))


class Encoder(nn.Module):
    """Pretraining (`relative="shared"` or None, with a mask token) or a classifier (`num_classes`)."""

    def __init__(self, grid, patch, dim, depth, heads, mlp_dim, relative, layer_scale, absolute, num_classes=None):
        super().__init__()
        self.grid = grid
        self.patch_embed = nn.Module()
        self.patch_embed.proj = nn.Conv2d(3, dim, patch, patch)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + grid[0] * grid[1], dim)) if absolute else None
        self.rel_pos_bias = RelativeBias(grid, heads) if relative == "shared" else None
        per_block = relative == "per_block"
        self.blocks = nn.ModuleList(Block(grid, dim, heads, mlp_dim, layer_scale, per_block) for _ in range(depth))
        self.num_classes = num_classes
        if num_classes is None:
            self.norm, self.mask_token = nn.LayerNorm(dim, eps=1e-6), nn.Parameter(torch.zeros(1, 1, dim))
        else:
            self.fc_norm, self.head = nn.LayerNorm(dim, eps=1e-6), nn.Linear(dim, num_classes)

    def forward(self, x, mask=None):
        x = self.patch_embed.proj(x).flatten(2).transpose(1, 2)
        if mask is not None:
            x = torch.where(mask.flatten(1)[..., None] > 0, self.mask_token, x)
        x = torch.cat([self.cls_token.expand(len(x), -1, -1), x], dim=1)
        if self.pos_embed is not None:
            x = x + self.pos_embed
        bias = None if self.rel_pos_bias is None else self.rel_pos_bias()
        for block in self.blocks:
            x = block(x, bias)
        if self.num_classes is not None:
            return self.head(self.fc_norm(x[:, 1:].mean(1)))
        return self.norm(x)[:, 1:].transpose(1, 2).unflatten(2, self.grid)


class TorchSimMIM(nn.Module):
    """The whole model; `forward` returns the loss and the predicted images, as the network sees pixels."""

    def __init__(self, patch=4, dim=16, **sizes):
        super().__init__()
        self.patch = patch
        self.encoder = Encoder(patch=patch, dim=dim, **sizes)
        self.decoder = nn.Sequential(nn.Conv2d(dim, patch * patch * 3, 1), nn.PixelShuffle(patch))

    def forward(self, x, mask):
        prediction = self.decoder(self.encoder(x, mask))
        hidden = functional.interpolate(mask[:, None], scale_factor=self.patch, mode="nearest")  # (B, 1, H, W)
        loss = ((x - prediction).abs() * hidden).sum() / (hidden.sum() + 1e-5) / x.shape[1]
        return loss, prediction
