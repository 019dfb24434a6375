"""Reports find their pictures where there is something to find them by."""

from __future__ import annotations

import numpy as np
import pytest

from radsynth.evaluation.retrieval import fit_common_space, hits, retrieval_figures


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_the_likest_is_found_at_once_and_the_third_at_three():
    scores = np.array([[3.0, 1, 2], [3, 2, 1], [3, 2, 1]])
    assert np.diag(hits(scores, np.arange(3), 1)).tolist() == [1, 0, 0]
    assert np.diag(hits(scores, np.arange(3), 2)).tolist() == [1, 1, 0]
    assert np.diag(hits(scores, np.arange(3), 3)).tolist() == [1, 1, 1]


def test_equal_texts_count_for_each_other():
    scores = np.array([[1.0, 2, 0], [2, 1, 0], [0, 0, 1]])
    assert np.diag(hits(scores, np.array([0, 0, 1]), 1)).tolist() == [1, 1, 1]


def test_ties_are_broken_by_chance_not_by_order():
    flat = np.zeros((10, 10))
    for depth in (1, 5, 10):
        assert np.diag(hits(flat, np.arange(10), depth)) == pytest.approx(np.full(10, depth / 10))
    pairs = np.repeat(np.arange(5), 2)
    assert np.diag(hits(flat, pairs, 1)) == pytest.approx(np.full(10, 0.2))
    assert np.diag(hits(flat, pairs, 2)) == pytest.approx(np.full(10, 1 - 8 / 10 * 7 / 9))


def test_ties_with_repeated_meanings_are_what_random_orders_give(rng):
    scores, meaning = rng.integers(0, 4, (12, 12)).astype(float), rng.integers(0, 5, 12)
    orders = [np.argsort(-(scores + 0.5 * rng.random(scores.shape)), axis=1)[:, :3] for _ in range(4000)]
    drawn = np.mean([[[(meaning[row] == m).any() for m in meaning] for row in order] for order in orders], 0)
    assert hits(scores, meaning, 3) == pytest.approx(drawn, abs=0.04)


def _figures(rng, noise, order=None, prompts=None, count=60):
    hidden = rng.normal(size=(400 + count, 8))
    to_picture, to_text = rng.normal(size=(8, 20)), rng.normal(size=(8, 30))
    pictures, texts = hidden @ to_picture, hidden @ to_text
    space = fit_common_space(pictures[:400], texts[:400], "x")
    real, text = pictures[400:], texts[400:]
    drawn = (real + noise * rng.normal(size=real.shape))[None]
    order = np.arange(count) if order is None else order
    prompts = [str(i) for i in range(count)] if prompts is None else prompts
    found = retrieval_figures(
        space, real[order], drawn[:, order], text[order], [prompts[i] for i in order], np.arange(count)[order],
        split="test", seeds=[0], repetitions=50, seed=0,
    )  # fmt: skip
    return found


def test_a_perfect_generator_finds_what_real_pictures_find_and_noise_finds_chance(rng):
    perfect = _figures(rng, 0.0)["retrieval_report_to_image_at_1"]
    assert perfect["value"] == perfect["floor"]["value"] > 0.9
    assert perfect["worst_case"] < 0.05
    hopeless = _figures(rng, 1e3)["retrieval_image_to_report_at_5"]
    assert hopeless["value"] == pytest.approx(5 / 60, abs=0.1)
    assert hopeless["worst_case"] == pytest.approx(5 / 60, abs=0.02)


def test_retrieval_falls_with_noise_and_not_with_the_order_of_the_reports():
    values = [_figures(np.random.default_rng(1), s)["retrieval_report_to_image_at_5"]["value"] for s in (0, 3, 30)]
    assert values[0] > values[1] > values[2]
    turned = _figures(np.random.default_rng(1), 3, np.random.default_rng(2).permutation(60))
    assert turned["retrieval_report_to_image_at_5"]["value"] == pytest.approx(values[1])


def test_the_space_is_named_by_what_it_learned(rng):
    x, y = rng.normal(size=(50, 4)), rng.normal(size=(50, 6))
    one, again, other = (fit_common_space(x, t, "x").name for t in (y, y, y[::-1]))
    assert one == again != other
