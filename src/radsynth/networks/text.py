"""From BERT's token features to one condition vector."""

from __future__ import annotations

import torch
from torch import Tensor, nn

NEVER = -10.0
"""Logit of a label that was not taught."""


class TextConditioner(nn.Module):
    """Learned queries read a report's tokens by cross-attention; the answers become one normalised vector.

    Parameters
    ----------
    token_width
        Width of the frozen BERT's features.
    views
        Number of view tokens.
    condition_width
        Width of the output.
    queries
        Number of learned queries.
    targets
        How many labels can be read off the condition.

    Attributes
    ----------
    taught
        (targets,) bool: of which labels there were enough reports to learn them; it says none of the others.
    """

    def __init__(
        self, token_width: int, views: int, condition_width: int = 128, queries: int = 16, targets: int = 0
    ) -> None:
        super().__init__()
        inner = 128
        self.queries = nn.Parameter(torch.randn(queries, inner) * inner**-0.5)
        self.keys = nn.Linear(token_width, inner)
        self.values = nn.Linear(token_width, inner)
        self.norm = nn.LayerNorm(inner)
        self.out = nn.Linear(queries * inner, condition_width)
        self.view = nn.Embedding(views, condition_width)
        self.out_norm = nn.LayerNorm(condition_width)
        self.labels = nn.Linear(condition_width, targets) if targets else None
        self.register_buffer("taught", torch.ones(targets, dtype=torch.bool))

    def forward(self, tokens: Tensor, mask: Tensor, view: Tensor) -> Tensor:
        """Condition vectors (B, condition_width).

        Parameters
        ----------
        tokens
            (B, T, token_width) float features.
        mask
            (B, T) bool, True where a token is.
        view
            (B,) int64 index of the view.
        """
        scores = self.queries @ self.keys(tokens).transpose(1, 2) * self.queries.shape[1] ** -0.5
        attention = scores.masked_fill(~mask[:, None, :], -1e4).softmax(-1)
        answers = self.norm(attention @ self.values(tokens))
        return self.out_norm(self.out(answers.flatten(1)) + self.view(view))

    def said(self, condition: Tensor) -> Tensor:
        """Logits (B, targets), float32, of what reports with such conditions say; needs `targets`."""
        return self.labels(condition).float().masked_fill(~self.taught, NEVER)


class CrossAttention(nn.Module):
    """Every place of a feature map reads the report's tokens (Vaswani et al. 2017), added to the map.

    The result enters through a gate; at 0, a fresh network is the one without attention.
    """

    def __init__(self, channels: int, token_width: int, heads: int = 4, gate: float = 0.0) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Conv2d(channels, channels, 1)
        self.keys = nn.Linear(token_width, channels)
        self.values = nn.Linear(token_width, channels)
        self.out = nn.Conv2d(channels, channels, 1)
        self.gate = nn.Parameter(torch.full((1,), gate))

    def forward(self, features: Tensor, tokens: Tensor, mask: Tensor) -> Tensor:
        """Features (B, C, H, W) -> the same shape; tokens (B, T, token_width), mask (B, T) bool."""
        batch, channels, height, width = features.shape

        def split(x: Tensor) -> Tensor:
            return x.view(batch, -1, self.heads, channels // self.heads).transpose(1, 2)

        query = split(self.query(features).flatten(2).transpose(1, 2))
        read = nn.functional.scaled_dot_product_attention(
            query, split(self.keys(tokens)), split(self.values(tokens)), attn_mask=mask[:, None, None, :]
        )
        read = read.transpose(1, 2).reshape(batch, height * width, channels).transpose(1, 2)
        return features + self.gate * self.out(read.view(batch, channels, height, width))
