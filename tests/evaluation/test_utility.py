"""Downstream utility: what must help helps, what cannot help does not, and arms differ in their pictures alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from radsynth.evaluation import utility
from radsynth.evaluation.features import FeatureSpace
from radsynth.evaluation.utility import (
    Bank,
    Examples,
    all_pictures,
    arm_examples,
    arm_names,
    augmented,
    chosen_by_validation,
    compare_arms,
    evaluate_utility,
    train_heads,
)
from radsynth.evaluation.utility_report import Comparison, utility_report
from radsynth.reports.vectors import ReportVectors
from radsynth.settings import EvaluateUtility
from radsynth.training.chest_data import ChestSet
from radsynth.training.device import cpu_device
from radsynth.training.report_gan import ReportGan
from radsynth.vocabulary import FINDINGS

WIDTH, COUNT, PEOPLE_TESTED = 24, 60, 150
OWN = EvaluateUtility(
    training_pictures=1000, ratios=(1.0, 2.0), rare_findings=1, few_share=0.5, seeds=2, steps=40, bootstrap=100
)
RNG = np.random.default_rng(0)
DIRECTIONS = RNG.normal(size=(2, WIDTH)).astype(np.float32)


def people(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Features that show two findings, one of them rare, faintly."""
    rng = np.random.default_rng(seed)
    labels = (rng.random((count, 2)) < [0.4, 0.15]).astype(np.float32)
    labels[:6], labels[6:12] = [0, 1], [1, 0]
    return (rng.normal(size=(count, WIDTH)) + 0.5 * labels @ DIRECTIONS).astype(np.float32), labels


def bank_of(synthetic: np.ndarray | None = None, labels: np.ndarray | None = None) -> Bank:
    """Synthetic pictures (2, COUNT, WIDTH), copies of the real ones by default; augmented ones always copies."""
    real, own = people(COUNT, 1)
    copies = np.concatenate([real, real])
    made = copies if synthetic is None else synthetic.reshape(-1, WIDTH)
    noise = np.random.default_rng(2).normal(0, 20, (8, WIDTH)).astype(np.float32)
    return Bank(np.concatenate([real, made, copies, noise]).astype(np.float32), own if labels is None else labels, 2)


def compared(bank: Bank, own: EvaluateUtility = OWN) -> list[Comparison]:
    features, labels = people(PEOPLE_TESTED, 3)
    subjects = np.array([f"p{i}" for i in range(PEOPLE_TESTED)])
    rare = np.array([False, True])
    return compare_arms(bank, np.arange(COUNT), people(60, 4), (features, labels, subjects), rare, own, seed=5)


def fresh(seed: int) -> np.ndarray:
    """What a perfect generator draws: new people with the findings of the real ones."""
    labels = people(COUNT, 1)[1]
    rng = np.random.default_rng(seed)
    return (rng.normal(size=(2, COUNT, WIDTH)) + 0.5 * labels @ DIRECTIONS).astype(np.float32)


@pytest.fixture(scope="module")
def copies() -> list[Comparison]:
    return compared(bank_of())


@pytest.fixture(scope="module")
def perfect() -> list[Comparison]:
    return compared(bank_of(fresh(6)))


def test_copies_of_real_pictures_are_worth_exactly_what_repeating_them_is(copies):
    for found in copies:
        for arm in ("synthetic_100", "synthetic_200", "rare_synthetic"):
            difference = found.value(arm, "auroc", minus=arm.replace("synthetic", "duplicates"))
            assert difference[:3] == (0, 0, 0)
        assert found.value("synthetic_alone", "auprc", minus="real")[:3] == (0, 0, 0)


def test_new_people_from_a_perfect_generator_help_more_than_repeating_the_real_ones(perfect):
    for found in perfect:
        gain = found.value("synthetic_200", "auroc", minus="real")
        assert gain.low > 0
        assert found.value("synthetic_200", "auroc", minus="duplicates_200").low > 0
    full, few = (found.value("synthetic_200", "auroc", minus="real").value for found in perfect)
    assert few > full, "they help more where real people are few"


def test_pictures_of_noise_and_permuted_labels_do_not_help(perfect):
    for found in perfect:
        assert found.value("noise_100", "auroc", minus="real").value <= 0.01
        chance = found.value("permuted", "auroc")
        assert chance.value < found.value("real", "auroc").low
        assert abs(chance.value - 0.5) < 0.12


def test_synthetic_pictures_with_the_wrong_findings_do_harm():
    wrong = compared(bank_of(fresh(6)[:, ::-1] - 1.0 * people(COUNT, 1)[1] @ DIRECTIONS))
    assert wrong[0].value("synthetic_200", "auroc", minus="real").high < 0
    assert wrong[0].value("synthetic_alone", "auroc").value < 0.5


def test_the_arms_differ_in_their_pictures_alone():
    bank, rare = bank_of(), np.arange(COUNT) < 6
    rows = np.arange(0, COUNT, 2)
    for name in arm_names((0.5, 1.0, 2.0)):
        own = arm_examples(bank, name, rows, rare, 2.0, 7)
        if name != "synthetic_alone":
            twin = arm_examples(bank, name.replace("synthetic", "augmented"), rows, rare, 2.0, 7)
            np.testing.assert_array_equal(own.labels, twin.labels)
        sources = own.places[own.places < 5 * COUNT] % COUNT
        assert set(sources) <= set(rows), "nothing from patients outside the regime"
        if name != "permuted":
            np.testing.assert_array_equal(own.labels[: len(sources)], bank.labels[sources])
    twice = arm_examples(bank, "synthetic_200", rows, rare, 2.0, 7).places[len(rows) :]
    assert sorted(twice) == sorted([*(COUNT + rows), *(2 * COUNT + rows)]), "each report with both noises"
    added = arm_examples(bank, "rare_synthetic", rows, rare, 2.0, 7).places[len(rows) :]
    assert sorted(added % COUNT) == [0, 0, 2, 2, 4, 4]


def test_every_arm_takes_the_same_number_of_steps(monkeypatch):
    taken = []
    step = torch.optim.AdamW.step

    def counted(self, *rest):
        taken[-1] += 1
        return step(self, *rest)

    monkeypatch.setattr(torch.optim.AdamW, "step", counted)
    bank = bank_of()
    for name in ("real", "synthetic_200", "rare_duplicates"):
        taken.append(0)
        rows = arm_examples(bank, name, np.arange(COUNT), np.arange(COUNT) < 6, 2.0, 0)
        train_heads(bank.features, [rows], steps=9, decays=(0.1,), seed=0)
    assert len(set(taken)) == 1
    assert taken[0] >= 9


def test_trainings_side_by_side_are_what_each_is_alone():
    bank = bank_of()
    one, two = (Examples(rows, bank.labels[rows]) for rows in (np.arange(40), np.arange(20, 60)))
    x = people(9, 8)[0]
    both = train_heads(bank.features, [one, two], steps=20, decays=(0.1, 1.0), seed=3)(x)
    np.testing.assert_allclose(both[0, 1], train_heads(bank.features, [one], steps=20, decays=(1.0,), seed=3)(x)[0, 0],
                               atol=1e-5)  # fmt: skip
    np.testing.assert_allclose(both[1, 0], train_heads(bank.features, [two], steps=20, decays=(0.1,), seed=4)(x)[0, 0],
                               atol=1e-5)  # fmt: skip


def test_the_weight_decay_is_chosen_by_the_validation_split():
    labels = np.array([[1.0], [1.0], [0.0], [0.0]])
    good, bad = np.array([[4.0], [3.0], [2.0], [1.0]]), np.array([[1.0], [2.0], [3.0], [4.0]])
    assert chosen_by_validation(np.array([[bad, good], [good, bad]]), labels).tolist() == [1, 0]
    assert chosen_by_validation(np.array([[bad, good]]), np.full((4, 1), np.nan)).tolist() == [0]


def test_unknown_labels_teach_nothing():
    bank = bank_of()
    unknown = bank.labels.copy()
    unknown[30:, 1] = np.nan
    rows = np.arange(COUNT)
    flipped = np.where(np.isnan(unknown), np.nan, bank.labels)
    x = people(9, 8)[0]
    one, two = (
        train_heads(bank.features, [Examples(rows, labels)], steps=20, decays=(0.1,), seed=0)(x)
        for labels in (unknown, flipped)
    )
    np.testing.assert_array_equal(one, two)
    known = train_heads(bank.features, [Examples(rows, bank.labels)], steps=20, decays=(0.1,), seed=0)(x)
    assert not np.allclose(one[..., 1], known[..., 1])
    np.testing.assert_allclose(one[..., 0], known[..., 0], atol=1e-5)


def test_augmentation_is_small_follows_the_picture_and_never_mirrors():
    picture = torch.full((2, 1, 64, 64), -1.0)
    picture[:, :, 20:30, 8:18] = 0.5
    changed = [augmented(picture, [3, 4], seed)[:, 0] for seed in range(20)]
    for pair in changed:
        bright = pair > (pair.amax((1, 2), keepdim=True) + pair.amin((1, 2), keepdim=True)) / 2
        for mask in bright:
            y, x = (where.float().mean().item() for where in torch.nonzero(mask, as_tuple=True))
            assert abs(y - 24.5) < 7
            assert abs(x - 12.5) < 7, "on its own side"
    assert not torch.equal(changed[0][0], changed[0][1])
    torch.testing.assert_close(augmented(picture, [3, 4], 1)[1:], augmented(picture[1:], [4], 1))


# ---- with pictures ----


def chest(count: int, seed: int) -> ChestSet:
    """Pictures that are bright where there is effusion; subjects have two each."""
    import pandas as pd

    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "subject_id": [f"{seed}-{i // 2}" for i in range(count)],
            "image_row": np.arange(count),
            "report_row": np.arange(count),
            "view_position": "frontal",
        }
    )
    for finding in FINDINGS:
        frame[f"label_{finding}"] = np.arange(count) % 2 * (finding == "effusion")
    pixels = rng.integers(0, 40_000, (count, 32, 32)).astype(np.uint16)
    pixels[1::2] += 20_000
    vectors, rows = rng.normal(size=(4 * count, 12)).astype(np.float16), np.arange(count)
    return ChestSet(frame, pixels, ReportVectors(vectors, np.arange(0, 4 * count + 1, 4), rows[:, None], rows, 16))


CORNERS = FeatureSpace(
    "corners", "0", 16, lambda pictures: torch.nn.functional.adaptive_avg_pool2d(pictures, 4).flatten(1)
)
TINY = OWN.model_copy(update={"steps": 10, "bootstrap": 20, "training_pictures": 40})


@pytest.fixture
def gan() -> ReportGan:
    torch.manual_seed(0)
    return ReportGan(32, 4, 2, 8, 12).eval()


def test_pictures_are_drawn_from_training_reports_alone_and_few_are_in_memory(gan, monkeypatch):
    sets = {"train": chest(60, 0), "validation": chest(20, 1), "test": chest(24, 2)}
    asked, most = [], []

    def generate(model, tokens, mask, view, *, seed, device):
        asked.append(tokens)
        most.append(len(tokens))
        return np.zeros((len(tokens), 32, 32), np.float32)

    monkeypatch.setattr(utility, "generate", generate)
    figures, comparisons = evaluate_utility(gan, sets, CORNERS, TINY, seed=0, device=cpu_device())
    known = {row.numpy().tobytes() for row in sets["train"].text(np.arange(60))[0]}
    assert {row.numpy().tobytes() for batch in asked for row in batch} <= known
    assert max(most) <= 4
    assert sum(most) == 2 * 40, "both noises of 40 pictures, as the settings allow"
    assert figures["full_real_auroc"] > 0.9
    assert comparisons[0].real == 40
    assert comparisons[1].real == 20
    assert {"full_synthetic_100_auroc_gain", "few_rare_synthetic_auprc_over_duplicates"} <= figures["figures"].keys()
    assert len(figures["tables"]["findings"]) == 2
    assert len(figures["notes"]) >= 4


def test_the_features_do_not_depend_on_how_many_pictures_are_read_together():
    data = chest(10, 0)
    read, count = all_pictures(data, np.array([0, 3, 5]), lambda rows, noise: np.zeros((len(rows), 32, 32), "f"), 2, 4)
    assert count == 15 + utility.NOISE_PICTURES
    together = read(np.arange(15))
    torch.testing.assert_close(torch.cat([read(np.array([i])) for i in range(15)]), together)
    torch.testing.assert_close(together[:3], data.pictures(np.array([0, 3, 5])))
    assert not together[3:9].any()
    assert not torch.equal(together[9:12], together[12:15]), "two different changes of the same pictures"


@pytest.mark.parametrize("missing", ["test", "positives"])
def test_without_a_test_split_or_positives_there_is_a_reason_and_no_figure(gan, missing):
    sets = {"train": chest(40, 0), "test": chest(20, 2)}
    if missing == "test":
        del sets["test"]
    else:
        sets["test"].frame["label_effusion"] = 0
    figures, comparisons = evaluate_utility(gan, sets, CORNERS, TINY, seed=0, device=cpu_device())
    assert (figures["full_real_auroc"], figures["figures"], comparisons) == (None, {}, [])
    assert figures["reason"] in figures["notes"][0]


# ---- words ----


def told(gains: np.ndarray) -> str:
    """The notes where synthetic pictures differ from real ones by `gains` in every bootstrap sample."""
    names = arm_names((1.0,))
    values = np.full((len(names), 2, 1, 1 + len(gains)), 0.7, np.float32)
    for k, name in enumerate(names):
        if "synthetic" in name:
            values[k] += np.concatenate([[gains.mean()], gains]).astype(np.float32)
    found = Comparison("full", names, values, [0.0] * len(names), [1] * len(names), [[0.1]] * len(names), 9, 9)
    report = utility_report([found], findings=["mass"], rare=np.array([True]), positives=np.array([[9, 3]]), own=OWN)
    return " ".join(report["notes"])


@pytest.mark.parametrize(
    ("gains", "says", "silent"),
    [
        (np.linspace(0.05, 0.1, 50), "synthetic pictures help, against real", "do NOT help"),
        (np.linspace(-0.05, 0.1, 50), "do NOT help beyond doubt", "pictures help, against"),
        (np.linspace(-0.1, -0.05, 50), "the classifier becomes worse", "pictures help, against"),
    ],
)
def test_the_notes_say_where_synthetic_pictures_do_not_help(gains, says, silent):
    text = told(gains)
    assert says in text
    assert silent not in text
    assert ("no arm with synthetic pictures beats" in text) == (gains.min() < 0)
