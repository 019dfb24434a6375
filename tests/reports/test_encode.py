"""BERT features."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from radsynth.errors import RadsynthError
from radsynth.reports.encode import BFLOAT16_TOLERANCE, TextEncoder, encode, encode_reports, load_encoder

TEXTS = [
    "No acute disease.",
    "There is a small left pleural effusion with adjacent atelectasis and cardiomegaly.",
    "No acute disease.",
    "",
    "Large right pneumothorax.",
]


@pytest.fixture(scope="module")
def minilm() -> TextEncoder:
    """The default encoder, in float32 so that results can be compared exactly."""
    return replace(load_encoder("minilm", max_tokens=32), precision="float32")


@pytest.fixture(scope="module")
def plain(minilm: TextEncoder) -> list[np.ndarray]:
    """Vectors by the loop as it is usually written."""
    vectors = []
    for text in TEXTS:
        inputs = minilm.tokenizer([text], return_tensors="pt")
        with torch.no_grad():
            vectors.append(minilm.model(**inputs).last_hidden_state[0].numpy())
    return vectors


def test_shapes_and_types_are_as_stated(minilm: TextEncoder) -> None:
    tokens, lengths = encode(TEXTS, minilm)
    pooled = encode_reports(TEXTS, minilm).pooled()
    assert tokens.dtype == np.float16
    assert lengths.dtype == np.int16
    assert pooled.dtype == np.float32
    assert tokens.shape == (5, lengths.max(), 384)
    assert pooled.shape == (5, 384)
    assert minilm.width == 384


def test_batches_give_what_one_sentence_at_a_time_gives(minilm: TextEncoder, plain: list[np.ndarray]) -> None:
    for batch_size in (1, 2, 64):
        found = encode_reports(TEXTS, minilm, batch_size=batch_size)
        tokens, lengths = found.tokens(found.reports)
        for row, vectors in enumerate(plain):
            assert lengths[row] == len(vectors)
            np.testing.assert_allclose(tokens[row, : lengths[row]], vectors, rtol=1e-3, atol=1e-3)
    for row, mean in enumerate(found.pooled()):
        np.testing.assert_allclose(mean, tokens[row, : lengths[row]].mean(axis=0, dtype=np.float64), rtol=1e-5)


def test_a_sentence_has_the_same_vectors_in_any_company(minilm: TextEncoder) -> None:
    alone, _ = encode(["Small left effusion."], minilm)
    tokens, lengths = encode(["Clear right lung; no nodule. Small left effusion."], minilm)
    np.testing.assert_allclose(tokens[0, lengths[0] - alone.shape[1] : lengths[0]], alone[0], rtol=1e-3, atol=1e-3)


def test_sides_are_exchanged_sentence_by_sentence(minilm: TextEncoder) -> None:
    texts = ["Small LEFT effusion. Clear lungs.", "Right mass. Small right effusion."]
    found = encode_reports(texts, minilm, both_sides=True)
    written = encode_reports([*texts, "Small right effusion. Clear lungs.", "Left mass. Small left effusion."], minilm)
    exchanged, lengths = found.tokens(found.switched[found.reports])
    wanted, wanted_lengths = written.tokens(written.reports[2:])
    np.testing.assert_array_equal(lengths, wanted_lengths)
    np.testing.assert_allclose(exchanged, wanted, rtol=1e-3, atol=1e-3)
    np.testing.assert_array_equal(found.switched[found.switched[found.reports]], found.reports)
    np.testing.assert_array_equal(written.switched, np.arange(len(written.switched)))


def test_what_lies_after_a_text_is_zero(minilm: TextEncoder) -> None:
    tokens, lengths = encode(TEXTS, minilm)
    for row, length in enumerate(lengths):
        assert not tokens[row, length:].any()
        assert np.abs(tokens[row, :length]).sum(axis=-1).min() > 0


def test_equal_texts_are_encoded_once(minilm: TextEncoder) -> None:
    seen = []
    handle = minilm.model.register_forward_pre_hook(lambda _, a, k: seen.append(len(k["input_ids"])), with_kwargs=True)
    found = encode_reports(TEXTS * 20, minilm)
    handle.remove()
    assert sum(seen) == len(set(TEXTS))
    np.testing.assert_array_equal(found.reports[0], found.reports[2])
    np.testing.assert_array_equal(found.reports[5:10], found.reports[:5])


def test_texts_of_like_length_share_a_batch(minilm: TextEncoder) -> None:
    shapes = []
    handle = minilm.model.register_forward_pre_hook(
        lambda _, a, k: shapes.append(tuple(k["input_ids"].shape)), with_kwargs=True
    )
    encode_reports(["a", "b " * 20, "c", "d " * 20], minilm, batch_size=2)
    handle.remove()
    assert shapes == [(2, 3), (2, 22)]


def test_the_same_twice_is_the_same(minilm: TextEncoder) -> None:
    for first, second in zip(encode(TEXTS, minilm), encode(TEXTS, minilm), strict=True):
        np.testing.assert_array_equal(first, second)


def test_known_words_are_known_and_nothing_is_padded(minilm: TextEncoder) -> None:
    (ids,) = minilm.token_ids(["Pleural effusion in the left chest."])
    assert minilm.tokenizer.convert_ids_to_tokens(ids) == [
        *("[CLS]", "pl", "##eur", "##al", "e", "##ff", "##usion", "in", "the", "left", "chest", ".", "[SEP]")
    ]


def test_texts_are_cut_at_max_tokens_and_not_before(minilm: TextEncoder) -> None:
    long = "effusion " * 100
    assert encode([long, "Small left effusion. " * 20], minilm)[1].tolist() == [32, 32]
    (ids,) = minilm.token_ids([long])
    assert ids[-1] == minilm.tokenizer.sep_token_id
    assert len(replace(minilm, max_tokens=300).token_ids([long])[0]) > 128


def test_different_texts_have_different_vectors(minilm: TextEncoder) -> None:
    pooled = encode_reports(["Small left effusion.", "No effusion.", "Normal heart."], minilm).pooled()
    unit = pooled / np.linalg.norm(pooled, axis=1, keepdims=True)
    assert (unit @ unit.T)[np.triu_indices(3, 1)].max() < 0.95


def test_no_texts_give_no_rows(minilm: TextEncoder) -> None:
    tokens, lengths = encode([], minilm)
    assert (tokens.shape, lengths.shape) == ((0, 0, 384), (0,))
    assert encode_reports([], minilm).pooled().shape == (0, 384)


def test_an_encoder_is_called_for_one_prompt(minilm: TextEncoder) -> None:
    tokens, lengths = minilm(["Large right pneumothorax."])
    assert tokens.shape == (1, lengths[0], 384)


def test_bfloat16_is_near_float32(minilm: TextEncoder) -> None:
    exact, near = (encode_reports(TEXTS, e).pooled() for e in (minilm, replace(minilm, precision="bfloat16")))
    assert not np.array_equal(exact, near)
    assert np.linalg.norm(exact - near) < BFLOAT16_TOLERANCE * np.linalg.norm(exact)


def test_any_bert_in_a_folder_can_be_used(tmp_path: Path) -> None:
    from transformers import BertConfig, BertModel, BertTokenizerFast

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "no", "pleural", "effusion", "in", "the", "left", "chest"]
    BertTokenizerFast(vocab={word: n for n, word in enumerate(words)}).save_pretrained(tmp_path / "bert")
    torch.manual_seed(0)
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    config = BertConfig(vocab_size=len(words), max_position_embeddings=16, **sizes)
    BertModel(config).save_pretrained(tmp_path / "bert")
    encoder = load_encoder(str(tmp_path / "bert"), max_tokens=16)
    assert encoder(["no effusion"])[0].shape == (1, 4, 8)
    assert load_encoder(str(tmp_path / "bert"), max_tokens=16).digest == encoder.digest
    with pytest.raises(RadsynthError, match="cannot read that many tokens"):
        load_encoder(str(tmp_path / "bert"), max_tokens=17)
    BertTokenizerFast(vocab={word: n for n, word in enumerate(words[:6])}).save_pretrained(tmp_path / "bert")
    with pytest.raises(RadsynthError, match="does not know ordinary words"):
        load_encoder(str(tmp_path / "bert"), max_tokens=16)


@pytest.mark.parametrize("name", ["no-such/bert", "no/such/folder", "tmp"])
def test_an_encoder_that_is_not_here_is_named_in_one_line(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(RadsynthError, match="cannot load the text encoder") as error:
        load_encoder(str(tmp_path / "empty") if name == "tmp" else name)
    assert "\n" not in str(error.value)
    assert "minilm" in str(error.value)
