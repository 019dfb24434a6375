"""Reports as lists of sentences."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from radsynth.files import write_json
from radsynth.reports.vectors import NO_SENTENCE, ReportVectors, load_vectors

VECTORS = ReportVectors(
    vectors=np.arange(12, dtype=np.float16).reshape(6, 2),
    starts=np.array([0, 1, 3, 6]),
    reports=np.array([[2, 0], [1, NO_SENTENCE]], dtype=np.int32),
    switched=np.arange(3, dtype=np.int32),
    max_tokens=4,
)


def test_a_report_is_its_sentences_in_order() -> None:
    tokens, lengths = VECTORS.tokens(VECTORS.reports)
    assert lengths.tolist() == [4, 2]
    np.testing.assert_array_equal(tokens[0], VECTORS.vectors[[3, 4, 5, 0]])
    np.testing.assert_array_equal(tokens[1], [*VECTORS.vectors[[1, 2]], [0, 0], [0, 0]])
    np.testing.assert_allclose(VECTORS.pooled(), [VECTORS.vectors[[3, 4, 5, 0]].mean(0), VECTORS.vectors[1:3].mean(0)])


def test_a_report_is_cut_after_its_last_allowed_token() -> None:
    tokens, lengths = VECTORS.tokens(np.array([[2, 1]]))
    assert lengths.tolist() == [4]
    np.testing.assert_array_equal(tokens[0], VECTORS.vectors[[3, 4, 5, 1]])


def test_what_is_saved_is_read_again(tmp_path: Path) -> None:
    VECTORS.save(tmp_path)
    write_json(tmp_path / "encoder.json", {"max_tokens": 4})
    found = load_vectors(tmp_path)
    for name in ("vectors", "starts", "reports", "switched", "max_tokens"):
        np.testing.assert_array_equal(getattr(found, name), getattr(VECTORS, name))
