"""Figures of the report GAN on data whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from radsynth.evaluation.report_agreement import (
    auroc,
    auroc_share,
    octave_power,
    spread_share,
)
from radsynth.training.scores import kernel_distance


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_auroc_agrees_with_scikit_learn_ties_included(rng: np.random.Generator) -> None:
    labels = rng.integers(0, 2, 200).astype(float)
    scores = np.round(labels + rng.normal(0, 1, 200), 1)
    assert auroc(scores, labels) == pytest.approx(roc_auc_score(labels, scores))


def test_unknown_labels_are_left_out() -> None:
    labels, scores = np.array([0, 1, np.nan]), np.array([0.1, 0.2, -9.0])
    assert auroc(scores, labels) == 1.0


def test_samples_are_averaged_and_unknown_labels_and_findings_without_both_classes_left_out(
    rng: np.random.Generator,
) -> None:
    labels = rng.integers(0, 2, (60, 3)).astype(float)
    labels[::7, 0], labels[:, 1] = np.nan, 1
    real, *drawn = np.round(rng.normal(np.nan_to_num(labels), 1, (4, 60, 3)), 1)
    found = auroc_share(drawn, real, labels, np.arange(3), np.arange(60) // 2, 20, 0)
    for k in (0, 2):
        known = ~np.isnan(labels[:, k])
        on_real, *on_drawn = (roc_auc_score(labels[known, k], scores[known, k]) for scores in (real, *drawn))
        assert [side.value for side in found["by_finding"][k]] == pytest.approx([np.mean(on_drawn), on_real])
    assert np.isnan([side.value for side in found["by_finding"][1]]).all()
    assert found["drawn"].value == pytest.approx(np.mean([found["by_finding"][k][0].value for k in (0, 2)]))


def test_perfect_drawings_share_one_and_shuffled_ones_nothing(rng: np.random.Generator) -> None:
    labels = rng.integers(0, 2, (2000, 2)).astype(float)
    real = labels + rng.normal(0, 0.5, labels.shape)
    subjects = np.arange(2000)
    columns = np.array([0, 1])
    same = auroc_share([real], real, labels, columns, subjects, 50, 0)["share"]
    assert same.value == pytest.approx(1.0)
    shuffled = auroc_share([real[rng.permutation(2000)]], real, labels, columns, subjects, 50, 0)["share"]
    assert abs(shuffled.value) < 0.1
    assert shuffled.low <= shuffled.value <= shuffled.high


def test_collapsed_samples_have_no_spread(rng: np.random.Generator) -> None:
    real, labels = rng.normal(0, 1, (20, 8)), np.zeros((20, 3))
    collapsed = np.repeat(real[:, None], 4, 1)
    assert spread_share(collapsed, real, labels)[0] == 0
    as_real = np.stack([real[rng.permutation(20)[:4]] for _ in range(20)])
    assert spread_share(as_real, real, labels)[0] == pytest.approx(1.0, abs=0.1)


def test_pictures_of_one_patient_are_not_compared_with_each_other(rng: np.random.Generator) -> None:
    of_patient = rng.normal(0, 1, (10, 8))
    real, subjects, labels = np.repeat(of_patient, 3, 0), np.repeat(np.arange(10), 3), np.zeros((30, 3))
    drawn = np.stack([of_patient] * 30)
    assert spread_share(drawn, real, labels, subjects=subjects)[0] == pytest.approx(1)
    assert spread_share(drawn, real, labels)[0] > 1.05
    assert spread_share(drawn, real, labels, subjects=np.zeros(30))[3] == 0, "one patient: nobody to compare with"


def test_kernel_distance_is_about_zero_for_one_distribution_and_grows_with_a_shift(rng: np.random.Generator) -> None:
    x, y = rng.normal(0, 1, (200, 4)), rng.normal(0, 1, (200, 4))
    near, far, farther = (kernel_distance(x, y + shift) for shift in (0.0, 0.5, 1.0))
    assert abs(near) < 0.1
    assert near < far < farther
    assert kernel_distance(x, y) == pytest.approx(kernel_distance(x[::-1], y))


def test_blur_takes_power_from_the_finest_octave(rng: np.random.Generator) -> None:
    from scipy.ndimage import gaussian_filter

    pictures = rng.normal(0, 1, (4, 64, 64))
    ratio = octave_power(np.stack([gaussian_filter(p, 1) for p in pictures])) / octave_power(pictures)
    assert ratio[-1] < 0.1
    assert ratio[0] > 0.8
