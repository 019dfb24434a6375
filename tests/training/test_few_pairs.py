"""A few registered pairs after the unpaired training: what they change, and what they must not."""

from __future__ import annotations

import dataclasses
import shutil

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from radsynth.configure import compose
from radsynth.errors import RadsynthError
from radsynth.files import read_json
from radsynth.schemas import VOLUMES
from radsynth.training.cyclegan import MriToCt, build_networks, describe, model_of, paired_error, train_cyclegan
from radsynth.training.device import cpu_device
from radsynth.training.few_pairs import fine_tune, registered_pairs, registered_slices
from radsynth.training.models import load_model
from radsynth.training.slices import Heads, hu_to_unit, read_heads
from stages import audit_mri_to_ct as audit_stage
from stages import train_cyclegan as stage

CPU = cpu_device()
WINDOW = (-1024.0, 2000.0)
SPLIT_OF = dict.fromkeys("abcdefgh", "train") | {"p": "validation", "q": "few_pairs", "r": "few_pairs", "t": "test"}
HAVE = {"MR": "abcdpqrt", "CT": "efghpqrt"}


def make_heads(modality: str, subjects: str) -> Heads:
    """Heads whose CT follows from the MR of the same person: dark is dense."""
    z, y, x = np.mgrid[:6, :16, :16]
    radius = np.hypot(y - 7.5, x - 7.5)
    depth = np.where((radius < 6) & (z > 0), 3 * (6 - radius), 0).astype(np.float16)
    mr = np.stack([np.random.default_rng(ord(s)).uniform(0, 1, depth.shape) for s in subjects])
    images = mr.astype(np.float32) if modality == "MR" else np.round(900 - 900 * mr).astype(np.int16)
    return Heads(modality, images, np.stack([depth] * len(subjects)), tuple(range(len(subjects))), tuple(subjects))


@pytest.fixture
def heads():
    return {
        f"{split}_{modality.lower()}": make_heads(modality, "".join(s for s in who if SPLIT_OF[s] == split))
        for split in ("train", "validation", "few_pairs")
        for modality, who in HAVE.items()
    }


@pytest.fixture
def settings(small_cyclegan):
    """Pairs alone; the tests of drawn MRs say so."""
    fast = {"few_pairs": 1, "few_pairs_images": 64, "few_pairs_learning_rate": 0.003, "weight_simulated": 0.0}
    return small_cyclegan.model_copy(update={"images_seen": 4, **fast})


def pairs_of(heads, count):
    return registered_pairs(heads["few_pairs_mr"], heads["few_pairs_ct"], count)


def trained(heads, settings):
    outcome, selection = train_cyclegan(heads, settings, 0, CPU)
    return outcome, selection, describe(outcome, selection, settings, 0, "f00d")


def test_the_unpaired_training_is_the_same_whatever_pairs_come_after(heads, settings):
    without = {name: part for name, part in heads.items() if not name.startswith("few_pairs")}
    one, _ = train_cyclegan(without, settings.model_copy(update={"few_pairs": 0}), 0, CPU)
    other, _ = train_cyclegan(heads, settings, 0, CPU)
    assert all(torch.equal(one.best[name], other.best[name]) for name in one.best)
    assert one.history == other.history


def test_fine_tuning_lowers_the_error_on_its_pair_and_changes_that_generator_alone(heads, settings):
    base, selection, description = trained(heads, settings)
    pair = pairs_of(heads, 1)
    kept, told = fine_tune(base, selection, description, pair, heads, settings, 0, CPU)
    before, after = (paired_error(model_of(o.best, description), *pair) for o in (base, kept))
    assert after < 0.8 * before
    changed = {name.split(".")[0] for name in base.best if not torch.equal(base.best[name], kept.best[name])}
    assert changed == {"mr_to_ct"}
    rows = [row for row in kept.history if "paired_hu" in row]
    assert rows[-1]["paired_hu"] < rows[0]["paired_hu"]
    assert told["few_pairs"] == {
        "subjects": ["q"], "score_before": base.best_score, "score_after": kept.best_score, "saved": "after",
    }  # fmt: skip
    assert told["chosen_score"] == selection.figures(model_of(kept.best, told))["validation_mae_hu"]
    assert "1 registered pairs" in told["chosen_by"]
    assert kept.images_seen == told["images_seen"] == 4 + 64
    assert [row["images_seen"] for row in kept.history] == sorted(row["images_seen"] for row in kept.history)


@pytest.mark.parametrize(("weight", "people", "drawn"), [(1.5, "abcd", True), (0.0, "abcd", False), (1.5, "ab", False)])
def test_mrs_are_drawn_for_other_cts_where_the_unpaired_training_draws_them(heads, settings, weight, people, drawn):
    settings = settings.model_copy(update={"weight_simulated": weight, "few_pairs_images": 4})
    heads |= {"train_mr": heads["train_mr"].only(people)}
    base, selection, description = trained(heads, settings)
    kept, _ = fine_tune(base, selection, description, pairs_of(heads, 1), heads, settings, 0, CPU)
    assert "paired_hu" in kept.history[-1]
    assert (kept.history[-1].get("simulated_hu", 0) > 0) == drawn


def test_the_weights_before_are_kept_where_validation_likes_them_better(heads, settings):
    base, selection, description = trained(heads, settings)
    base = dataclasses.replace(base, best_score=0.0)
    kept, told = fine_tune(base, selection, description, pairs_of(heads, 1), heads, settings, 0, CPU)
    assert kept.best is base.best
    assert told["few_pairs"]["saved"] == "before"
    assert told["few_pairs"]["score_after"] > told["chosen_score"] == 0.0
    assert "those before it" in told["chosen_by"]


class Interrupted(Exception):
    pass


def test_resumed_fine_tuning_is_the_same_to_the_bit(tmp_path, heads, settings):
    settings = settings.model_copy(update={"few_pairs_images": 8, "weight_simulated": 1.5})
    base, selection, description = trained(heads, settings)
    given = (base, selection, description, pairs_of(heads, 2), heads, settings, 0, CPU)
    whole, told = fine_tune(*given)

    def stop(model, images_seen):
        if images_seen == base.images_seen + 8:
            raise Interrupted

    with pytest.raises(Interrupted):
        fine_tune(*given, tmp_path, stop)
    assert [p.name for p in tmp_path.iterdir()] == ["images-4.pt"]
    resumed, told_again = fine_tune(*given, tmp_path)
    assert all(torch.equal(whole.best[name], resumed.best[name]) for name in whole.best)
    assert whole.history == resumed.history
    assert told == told_again


def test_both_slices_are_of_one_person_and_height_and_mirrored_together(heads, settings):
    model = MriToCt(build_networks(settings, 0), WINDOW, True, torch.nn.ModuleDict())
    mr, ct = pairs_of(heads, 2)
    batch_at = registered_slices(mr, ct, model, 3, 0, torch.device("cpu"))
    seen = []
    for images_seen in range(0, 30, 3):
        batch = batch_at(images_seen)
        grey = (batch.mr.image + 1) / 2
        expected = torch.from_numpy(hu_to_unit(900 - 900 * grey.numpy(), WINDOW))
        inside = batch.mr.geometry[:, :1] > -1
        assert torch.allclose(batch.ct[inside], expected[inside], atol=1e-3)
        assert batch.compared[inside].all()
        assert not batch.compared[..., 0, 0].any(), "air far from the head teaches nothing"
        assert (batch.ct[..., 0, 0] == -1).all()
        seen += [float(i[0, 8].sum()) for i in batch.mr.image]
    assert len(set(seen)) > 10, "ten slices, some of them also mirrored"


def test_more_pairs_than_there_are_is_a_plain_error(heads):
    said = r"got 2 in the split few_pairs; expected 3 \(train_cyclegan.few_pairs\); raise split_brain.few_pairs"
    with pytest.raises(RadsynthError, match=said):
        pairs_of(heads, 3)
    assert [part.subjects for part in pairs_of(heads, 1)] == [("q",), ("q",)]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with aligned heads, in which the process is; returns what writes its settings."""
    monkeypatch.chdir(tmp_path)
    aligned = tmp_path / "data/brain/aligned"
    aligned.mkdir(parents=True)
    (aligned / stage.COMMON_GRID).write_bytes(b"grid")
    rows = []
    for modality, who in HAVE.items():
        whole = make_heads(modality, who)
        np.save(aligned / f"{modality.lower()}.npy", whole.images)
        np.save(aligned / f"{modality.lower()}_depth_mm.npy", whole.depth_mm)
        rows += [(i, f"{s}-{modality}", s, modality, s in "pqrt", SPLIT_OF[s]) for i, s in enumerate(who)]
    table = pd.DataFrame(rows, columns=["row", "volume_id", "subject_id", "modality", "paired", "split"])
    table = table.reindex(columns=list(VOLUMES.columns)).astype(object)
    VOLUMES.write(table.where(table.notna(), None), stage.MANIFEST)

    def write_settings(own, few_pairs):
        params = yaml.safe_load(compose(["profile=smoke"], stage.__file__.rsplit("/", 2)[0] + "/conf"))
        params["train_cyclegan"] = own.model_copy(update={"few_pairs": few_pairs}).model_dump(mode="json")
        (tmp_path / "params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")
        return params["seed"]

    return write_settings


def test_the_stage_without_pairs_saves_the_unpaired_training_and_with_one_what_it_became(folder, settings):
    seed = folder(settings, 0)
    stage.main()
    plain, told = load_model("models/mri_to_ct")
    manifest = VOLUMES.read(stage.MANIFEST)
    read = {
        f"{split}_{m.lower()}": read_heads(stage.ALIGNED, manifest, m, split)
        for split in ("train", "validation")
        for m in ("MR", "CT")
    }
    outcome, _ = train_cyclegan(read, settings, seed, CPU)
    assert plain.keys() == outcome.best.keys()
    assert all(torch.equal(plain[name], outcome.best[name]) for name in plain)
    assert "few_pairs" not in told

    folder(settings, 1)
    stage.main()
    tuned, told = load_model("models/mri_to_ct")
    assert {name.split(".")[0] for name in plain if not torch.equal(plain[name], tuned[name])} == {"mr_to_ct"}
    assert (told["few_pairs"]["subjects"], told["few_pairs"]["saved"]) == (["q"], "after")
    assert told["few_pairs"]["score_before"] == read_json("models/mri_to_ct/model.json")["few_pairs"]["score_before"]


def test_the_stage_says_that_pairs_are_missing_before_it_trains(folder, settings, capsys):
    folder(settings, 3)
    with pytest.raises(SystemExit) as stopped:
        stage.main()
    assert stopped.value.code == 2
    assert "too few registered pairs" in capsys.readouterr().err


def test_the_audit_of_copies_knows_whom_the_model_was_fine_tuned_on(folder, settings, monkeypatch):
    asked = []

    def audit(synthesize, mr, ct, train_ct, *rest, **more):
        asked.append((train_ct.subjects, {s for part in mr for s in part.subjects}))
        return {}, []

    monkeypatch.setattr(audit_stage, "audit_mri_to_ct", audit)
    monkeypatch.setattr(audit_stage, "write_metrics", lambda path, found: None)
    for few_pairs in (0, 1):
        folder(settings, few_pairs)
        shutil.rmtree("models", ignore_errors=True)
        stage.main()
        audit_stage.main()
    assert asked == [(tuple("efgh"), {"p", "t"}), (tuple("efghq"), {"p", "t"})]
