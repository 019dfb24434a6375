"""AUROC and average precision of bootstrap samples agree with scikit-learn's, sample by sample."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from radsynth.evaluation import ranking
from radsynth.evaluation.ranking import patient_draws, ranking_figures


@pytest.mark.parametrize("digits", [0, 6], ids=["many ties", "no ties"])
def test_every_sample_has_the_figures_that_scikit_learn_gives(digits):
    rng = np.random.default_rng(0)
    labels = (rng.random(60) < 0.2).astype(float)
    scores = np.round(rng.normal(labels, 1), digits)
    draws = patient_draws(np.arange(60) // 2, 20, 1)
    area, precision = ranking_figures(scores, labels, draws)
    for sample, weights in enumerate(draws):
        assert area[sample] == pytest.approx(roc_auc_score(labels, scores, sample_weight=weights))
        assert precision[sample] == pytest.approx(average_precision_score(labels, scores, sample_weight=weights))


def test_the_first_sample_is_the_split_itself_and_patients_are_drawn_whole():
    subjects = np.array(["a", "b", "a", "c"])
    draws = patient_draws(subjects, 50, 0)
    assert draws[0].tolist() == [1, 1, 1, 1]
    np.testing.assert_array_equal(draws[:, 0], draws[:, 2])
    assert set((draws[1:, 0] + draws[1:, 1] + draws[1:, 3]).tolist()) == {3.0}


def test_unknown_labels_are_left_out():
    scores, labels = np.array([3.0, 9.0, 1.0, 2.0]), np.array([1, np.nan, 0, 0])
    assert ranking_figures(scores, labels, np.ones((1, 4)))[:, 0].tolist() == [1.0, 1.0]


def test_a_sample_without_both_classes_has_no_figure():
    draws = np.array([[1, 1, 1], [0, 1, 2], [1, 0, 0]], float)
    area, precision = ranking_figures(np.arange(3.0), np.array([1.0, 0.0, 0.0]), draws)
    assert np.isnan(area).tolist() == np.isnan(precision).tolist() == [False, True, True]
    assert np.isnan(ranking_figures(np.arange(3.0), np.zeros(3), draws)).all()


def test_figures_depend_neither_on_the_order_of_the_pictures_nor_on_the_size_of_a_block(monkeypatch):
    rng = np.random.default_rng(0)
    scores, labels, draws = rng.normal(size=40), rng.integers(0, 2, 40).astype(float), rng.integers(0, 3, (9, 40))
    whole = ranking_figures(scores, labels, draws)
    order = rng.permutation(40)
    np.testing.assert_allclose(ranking_figures(scores[order], labels[order], draws[:, order]), whole)
    monkeypatch.setattr(ranking, "BLOCK", 80)
    np.testing.assert_allclose(ranking_figures(scores, labels, draws), whole)
