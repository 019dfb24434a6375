"""Where the report GAN's generator puts the words: its cross-attention, and what an edit of the report changes."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from radsynth.explain.cams import enlarged
from radsynth.networks.text import CrossAttention
from radsynth.reports.encode import TextEncoder
from radsynth.reports.findings import label_text, sentences_read
from radsynth.training.device import cpu_device
from radsynth.training.report_gan import ReportGan, generate
from radsynth.vocabulary import FINDINGS


def attention_maps(
    gan: ReportGan, tokens: Tensor, mask: Tensor, view: Tensor, *, seed: int
) -> tuple[np.ndarray, float] | None:
    """How much each place of the finest attended feature map reads each token, while a picture is drawn.

    Returns
    -------
    tuple or None
        float32 (B, T, h, w), mean over the heads, sums to 1 over the tokens at every place; and the gate with which the
        result enters the picture (0 not at all). None for a generator without cross-attention.
    """
    modules = [m for m in gan.generator.modules() if isinstance(m, CrossAttention)]
    if not modules:
        return None
    found: list[Tensor] = []

    def watch(module: nn.Module, given: tuple[Tensor, ...], _: Tensor) -> None:
        features, words, known = given
        batch, channels, height, width = features.shape
        query = module.query(features).view(batch, module.heads, channels // module.heads, height * width)
        keys = module.keys(words).view(batch, -1, module.heads, channels // module.heads)
        scores = torch.einsum("bhcp,bthc->bhtp", query.float(), keys.float()) * query.shape[2] ** -0.5
        scores = scores.masked_fill(~known[:, None, :, None], -torch.inf).softmax(2).mean(1)
        found.append(scores.view(batch, -1, height, width))

    handle = modules[-1].register_forward_hook(watch)
    try:
        with torch.no_grad():
            generate(gan, tokens, mask, view, seed=seed, device=cpu_device())
    finally:
        handle.remove()
    return torch.cat(found).numpy(), float(modules[-1].gate.detach())


def words_of(encoder: TextEncoder, text: str) -> list[tuple[str, list[int]]]:
    """The words of a text with the places of their word pieces among its tokens; ``[CLS]`` and ``[SEP]`` left out."""
    words: list[tuple[str, list[int]]] = []
    first = 0
    for ids in encoder.token_ids(sentences_read(text)):
        pieces = encoder.tokenizer.convert_ids_to_tokens(ids)
        for place, piece in enumerate(pieces[1:-1], start=first + 1):
            if piece.startswith("##") and words:
                word, places = words[-1]
                words[-1] = (word + piece[2:], [*places, place])
            else:
                words.append((piece, [place]))
        first += len(pieces)
    return words


def difference_maps(drawn: np.ndarray, without: np.ndarray) -> np.ndarray:
    """What a sentence changed in pictures (n, S, S): their difference, smoothed over a thirty-second of the width."""
    from scipy.ndimage import gaussian_filter

    return gaussian_filter(drawn - without, (0, *[drawn.shape[-1] / 32] * 2)).astype(np.float32)


def fine(map_of_word: np.ndarray, size: int) -> np.ndarray:
    """One coarse map (h, w) at the picture's size."""
    return enlarged(map_of_word[None], size)[0]


def names_finding(word: str) -> bool:
    """Whether a word by itself names a finding."""
    return any(label_text(f"There is {word}.").values[f] == 1 for f in FINDINGS)
