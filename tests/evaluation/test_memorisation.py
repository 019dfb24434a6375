"""The audit of drawn X-rays: a generator that copies is caught, its copies are shown, and it is not promoted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.ndimage import gaussian_filter

from radsynth.evaluation import memorisation
from radsynth.evaluation.copies import changed
from radsynth.evaluation.memorisation import audit_report_gan
from radsynth.reports.vectors import ReportVectors
from radsynth.settings import AuditMemorisation
from radsynth.training.chest_data import ChestSet
from radsynth.training.device import cpu_device
from radsynth.training.report_gan import ReportGan
from radsynth.vocabulary import FINDINGS
from stages import audit_report_gan as stage

SIZE = 128
OWN = AuditMemorisation(
    samples_per_report=1,
    training_prompts=12,
    components=64,
    false_alarms=0.01,
    control_steps=150,
    ct_margin=0.1,
    bootstrap=20,
)


def chest(count: int, seed: int, split: str) -> ChestSet:
    """People with a common anatomy and, each their own, smooth differences; nobody has a finding."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[-1 : 1 : SIZE * 1j, -1 : 1 : SIZE * 1j]
    own = gaussian_filter(rng.normal(size=(count, SIZE, SIZE)), (0, 8, 8))
    pictures = np.clip(np.tanh(4 * (0.8 - np.hypot(x, y))) + 0.3 * own / own.std(), -1, 1)
    frame = pd.DataFrame(
        {
            "subject_id": [f"{split}{i}" for i in range(count)],
            "study_id": [f"{split}-study{i}" for i in range(count)],
            "image_row": np.arange(count),
            "report_row": np.arange(count),
            "view_position": "frontal",
        }
        | {f"label_{finding}": np.zeros(count, np.int8) for finding in FINDINGS}
    )
    pixels = np.rint((pictures + 1) * 32767.5).astype(np.uint16)
    vectors, rows = rng.normal(size=(4 * count, 12)).astype(np.float16), np.arange(count)
    return ChestSet(frame, pixels, ReportVectors(vectors, np.arange(0, 4 * count + 1, 4), rows[:, None], rows, 16))


@pytest.fixture(scope="module")
def sets() -> dict[str, ChestSet]:
    return {"train": chest(140, 0, "train"), "test": chest(40, 1, "test")}


def audit(sets: dict[str, ChestSet], monkeypatch: pytest.MonkeyPatch, drawn: np.ndarray):
    """The audit of a generator that draws `drawn`, one after the other, whatever it is asked."""
    torch.manual_seed(0)
    gan = ReportGan(SIZE, 2, 2, 8, 12).eval()

    def generate(model, tokens, mask, view, *, seed, device):
        return np.resize(drawn, (len(tokens), SIZE, SIZE)).astype(np.float32)

    monkeypatch.setattr(memorisation, "generate", generate)
    return audit_report_gan(gan, sets, OWN, seed=0, device=cpu_device())


@pytest.fixture(scope="module")
def strangers() -> np.ndarray:
    return chest(60, 2, "other").pictures(np.arange(60))[:, 0].numpy()


def test_a_generator_that_copies_fails_and_its_copies_are_listed_with_the_right_study(sets, strangers, monkeypatch):
    drawn = strangers.copy()
    drawn[20] = changed(sets["train"].pictures(np.array([33]))[:, 0].numpy(), "shift", 1)[0]
    found, shown = audit(sets, monkeypatch, drawn)
    assert found["report_to_xray_passed"] is False
    assert found["listed"] == [
        {
            "origin": "held-out report test-study20, noise 0",
            "training_study": "train-study33",
            "similarity": found["listed"][0]["similarity"],
        }
    ]
    assert found["listed"][0]["similarity"] > found["limit"]
    assert found["report_to_xray_reason"].startswith("1 of 52 drawn pictures")
    assert [copy.neighbour for copy in shown.copies] == [33]


def test_a_generator_that_draws_strangers_passes_and_the_audit_has_proved_that_it_sees(sets, strangers, monkeypatch):
    found, shown = audit(sets, monkeypatch, strangers)
    assert found["report_to_xray_passed"] is True
    assert found["report_to_xray_reason"] is None
    assert found["listed"] == []
    assert shown.copies == []
    assert found["canaries_found"] >= 0.8
    assert found["control_flagged_share"] > 0
    members = found["figures"]["membership_discriminator"]
    assert members["low"] < 0.5 < members["high"], "an untrained discriminator knows nobody"


def test_a_generator_that_draws_one_and_the_same_picture_gives_itself_away(sets, strangers, monkeypatch):
    found, _ = audit(sets, monkeypatch, strangers[:1])
    assert found["nearest_to_one_picture"] == 1.0
    others, _ = audit(sets, monkeypatch, strangers)
    assert others["nearest_to_one_picture"] < 0.5
    assert 0 < others["figures"]["nearest_to_one_picture"]["floor"] < 0.5


def test_a_blind_audit_gives_no_verdict(sets, strangers, monkeypatch):
    monkeypatch.setattr(memorisation, "draw_by_heart", lambda pictures, reports, steps, samples, seed: np.stack(
        [strangers[: len(pictures)]] * samples))  # fmt: skip
    found, _ = audit(sets, monkeypatch, strangers)
    assert found["report_to_xray_passed"] is None
    assert found["report_to_xray_reason"].startswith("the audit is blind")


def test_without_enough_held_out_people_no_limit_is_set(sets, monkeypatch):
    found, shown = audit({"train": sets["train"], "test": chest(9, 1, "test")}, monkeypatch, np.zeros((1, SIZE, SIZE)))
    assert found["report_to_xray_passed"] is None
    assert "9 held-out pictures" in found["report_to_xray_reason"]
    assert shown is None


def test_each_copy_is_drawn_beside_the_training_picture_that_it_copies(sets, strangers, monkeypatch, tmp_path):
    drawn = strangers.copy()
    original = sets["train"].pictures(np.array([5]))[:, 0].numpy()
    drawn[20] = changed(original, "noise", 1)[0]
    _, shown = audit(sets, monkeypatch, drawn)
    grids = {}
    monkeypatch.setattr(
        stage, "picture_grid", lambda rows, path, *, row_titles, **rest: grids.update({path.name: (rows, row_titles)})
    )
    stage.draw(shown, sets["train"], tmp_path)
    [(copy, neighbour)], [title] = grids["copies.png"]
    np.testing.assert_array_equal(copy, drawn[20])
    np.testing.assert_array_equal(neighbour, original[0])
    assert "training study train-study5" in title
    assert f"limit {shown.limit:.3f}" in title
    assert {"nearest.png", "planted.png"} <= grids.keys()
    for rows, _ in grids.values():
        assert all(len(row) == 2 for row in rows)


def test_plots_of_copies_are_files(sets, strangers, monkeypatch, tmp_path: Path):
    drawn = strangers.copy()
    drawn[20] = sets["train"].pictures(np.array([5]))[0, 0].numpy()
    _, shown = audit(sets, monkeypatch, drawn)
    stage.draw(shown, sets["train"], tmp_path)
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"copies.png", "nearest.png", "planted.png", "similarity.png", "detector_roc.png"}
