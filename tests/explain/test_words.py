"""The words of a report and where their vectors stand."""

from __future__ import annotations

import numpy as np

from radsynth.explain.generator import words_of
from radsynth.reports.encode import encode, load_encoder


def test_every_word_stands_where_its_vectors_do() -> None:
    encoder = load_encoder("minilm")
    text = "Small left effusion. No pneumothorax; clear right lung."
    words = words_of(encoder, text)
    assert [word for word, _ in words if word.isalpha()] == (
        ["small", "left", "effusion", "no", "pneumothorax", "clear", "right", "lung"]
    )
    places = [place for _, places in words for place in places]
    assert places == sorted(set(places))
    tokens, lengths = encode([text], encoder)
    specials = set(range(int(lengths[0]))) - set(places)
    assert len(specials) == 2 * 3, "each of three sentences begins and ends with one"
    (alone, _), (_, there) = encode(["No pneumothorax;"], encoder), words[5]
    assert words[5][0] == "pneumothorax"
    np.testing.assert_allclose(tokens[0, there].astype(np.float32), alone[0, 2 : 2 + len(there)], atol=0.02)
