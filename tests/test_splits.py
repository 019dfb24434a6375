"""Facts about who trains, who chooses and who judges."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from radsynth.errors import RadsynthError
from radsynth.schemas import CHEST, REPORTS, VOLUMES, XRAYS
from radsynth.splits import chest_manifest, split_groups, split_volumes
from radsynth.vocabulary import FINDINGS

RATES = np.array([0.2, 0.1, 0.05, 0.02, 0.008])


def studies(count=1000, same_normal=0.0, seed=0):
    """Subjects with one to three studies; some normal studies share one text."""
    generator = np.random.default_rng(seed)
    subjects = [f"s{n}" for n in np.sort(generator.integers(0, int(count / 1.2), count))]
    labels = generator.random((count, len(RATES))) < RATES
    normal = ~labels.any(1)
    texts = np.array([f"text {n}" for n in range(count)], dtype=object)
    texts[normal & (generator.random(count) < same_normal)] = "no acute disease"
    return subjects, list(texts), labels


def split(parts, validation=0.1, test=0.15, seed=7):
    return split_groups(*parts, validation=validation, test=test, seed=seed)


@pytest.mark.parametrize("same_normal", [0.0, 0.2, 0.7])
def test_no_person_and_no_text_is_on_two_sides(same_normal):
    subjects, texts, labels = studies(same_normal=same_normal)
    frame = pd.DataFrame({"subject": subjects, "text": texts, "split": split((subjects, texts, labels))})
    assert frame.groupby("subject")["split"].nunique().max() == 1
    assert frame.groupby("text")["split"].nunique().max() == 1


def test_people_linked_through_a_chain_of_texts_stay_together():
    subjects = ["a", "a", "b", "b", "c", *[f"x{n}" for n in range(30)]]
    texts = ["1", "2", "2", "3", "3", *[f"y{n}" for n in range(30)]]
    result = split((subjects, texts, np.zeros((35, 1), bool)))
    assert len(set(result[:5])) == 1


@pytest.mark.parametrize("same_normal", [0.0, 0.2, 0.4])
def test_the_shares_are_met_within_two_percent(same_normal):
    result = split(studies(same_normal=same_normal))
    assert np.mean(result == "validation") == pytest.approx(0.1, abs=0.02)
    assert np.mean(result == "test") == pytest.approx(0.15, abs=0.02)


def test_a_text_that_two_studies_in_five_share_is_for_training():
    subjects, texts, labels = studies(same_normal=0.7)
    result = split((subjects, texts, labels))
    large = np.array(texts) == "no acute disease"
    assert large.mean() > 0.4
    assert set(result[large]) == {"train"}


def test_sentences_that_would_fill_a_quarter_of_the_test_are_for_training():
    subjects, texts = [f"s{n}" for n in range(1000)], [f"t{n}" for n in range(1000)]
    labels = np.ones((1000, 1), bool)
    labels[:180] = False
    texts[:160] = [f"normal {n % 4}" for n in range(160)]
    result = split((subjects, texts, labels))
    assert set(result[:160]) == {"train"}
    assert {"validation", "test"} <= set(result[160:180])


def test_many_rare_findings_do_not_swell_the_held_out_shares():
    count, rare = 60, 15
    labels = np.zeros((count, rare), bool)
    labels[np.arange(3 * rare), np.arange(3 * rare) % rare] = True
    result = split(([f"s{n}" for n in range(count)], [f"t{n}" for n in range(count)], labels))
    assert np.mean(result == "validation") == pytest.approx(0.1, abs=0.02)
    assert np.mean(result == "test") == pytest.approx(0.15, abs=0.02)


def test_every_finding_and_the_normal_reach_every_split_in_proportion():
    subjects, texts, labels = studies(count=2000, same_normal=0.3)
    result = split((subjects, texts, labels))
    labels = np.column_stack([labels, ~labels.any(1)])
    for column in labels.T:
        for name, share in (("validation", 0.1), ("test", 0.15)):
            held = np.sum(column & (result == name))
            assert held >= 1
            assert held == pytest.approx(share * column.sum(), abs=max(1.5, 0.3 * share * column.sum()))


def test_a_finding_of_three_people_is_in_each_split_once():
    subjects, texts = [f"s{n}" for n in range(200)], [f"t{n}" for n in range(200)]
    labels = np.zeros((200, 2), bool)
    labels[[5, 90, 150], 0] = True
    labels[::2, 1] = True
    assert sorted(split((subjects, texts, labels))[[5, 90, 150]]) == ["test", "train", "validation"]


def test_the_seed_decides_and_nothing_else():
    parts = studies()
    assert (split(parts) == split(parts)).all()
    assert (split(parts) != split(parts, seed=8)).any()


def test_the_few_studies_that_shall_judge_are_in_the_test_split_as_far_as_they_fit():
    subjects = [f"s{n}" for n in range(200)]
    texts = [f"text {n}" if n >= 12 else "the same for twelve" for n in range(200)]
    labels = np.random.default_rng(0).random((200, 3)) < 0.3
    asked = {"validation": 0.1, "test": 0.15, "seed": 3}
    judging = np.arange(200) < 32
    split = split_groups(subjects, texts, labels, judging=judging, **asked)
    assert (split[12:32] == "test").all()
    assert (split[:12] == "train").all(), "a text of many is no test"
    assert (split == "test").mean() == pytest.approx(0.15, abs=0.03)
    assert (split_groups(subjects, texts, labels, judging=~judging, **asked) == "test").mean() <= 0.16


def test_held_out_shares_of_nothing_hold_nothing_out():
    assert set(split(studies(), validation=0, test=0)) == {"train"}
    assert set(split(studies(), validation=0)) == {"train", "test"}
    with pytest.raises(RadsynthError, match="nothing is left to train on"):
        split(studies(), validation=0.5, test=0.5)
    assert len(split(([], [], np.zeros((0, 2), bool)))) == 0


# ---- chest manifest ----


def reports(count: int) -> pd.DataFrame:
    frame = pd.DataFrame({column: [None] * count for column in REPORTS.columns})
    number = range(count)
    return frame.assign(
        row=number, report_id=[f"CXR{n}" for n in number], subject_id=[f"p{n}" for n in number], findings="f",
        impression="i", prompt="f i", image_ids=[[f"CXR{n}_1", f"CXR{n}_2"] for n in number], usable=True,
        prompt_sha256=[f"{n}" for n in number], source_sha256="r", **{f"label_{f}": 0 for f in FINDINGS},
        **{f"{place}_{f}": "" for place in ("side", "zone") for f in FINDINGS},
    )  # fmt: skip


def xrays(image_ids: list[str]) -> pd.DataFrame:
    frame = pd.DataFrame({column: [None] * len(image_ids) for column in XRAYS.columns})
    return frame.assign(row=range(len(image_ids)), image_id=image_ids, view_position="frontal", source_sha256="x")


def test_the_manifest_has_a_row_for_each_prepared_image_of_a_usable_report(tmp_path):
    written = reports(30)
    written.loc[4, "usable"] = False
    prepared = xrays([f"CXR{n}_{k}" for n in range(29, -1, -1) for k in (1, 2) if (n, k) != (6, 2)] + ["stray"])
    prepared.loc[prepared["image_id"] == "CXR8_1", "view_position"] = "unknown"
    manifest = chest_manifest(written, prepared, validation=0.2, test=0.2, seed=1)
    assert len(manifest) == 60 - 2 - 1 - 1
    assert not manifest["image_id"].isin(["CXR4_1", "CXR6_2", "CXR8_1", "stray"]).any()
    for row in manifest.itertuples():
        assert prepared["image_id"][row.image_row] == row.image_id
        assert written["report_id"][row.report_row] == row.study_id
    assert manifest["report_row"].is_monotonic_increasing
    assert manifest.groupby("study_id")["split"].nunique().max() == 1
    assert set(manifest["source_sha256"]) == {"x"}
    CHEST.write(manifest, tmp_path / "manifest.parquet")


def test_reports_that_no_image_belongs_to_are_an_error():
    with pytest.raises(RadsynthError, match="no usable report has a prepared image"):
        chest_manifest(reports(3), xrays(["other"]), validation=0.1, test=0.1, seed=1)


# ---- brain ----


def volumes(paired: int, mr: int, ct: int) -> pd.DataFrame:
    rows = [(f"p{n}", m, True) for n in range(paired) for m in ("MR", "CT")]
    rows += [(f"m{n}", "MR", False) for n in range(mr)] + [(f"c{n}", "CT", False) for n in range(ct)]
    frame = pd.DataFrame(rows, columns=["subject_id", "modality", "paired"], index=range(10, 10 + len(rows)))
    return frame.reindex(columns=list(VOLUMES.columns)).astype({"paired": bool})


def counted(frame, **shares) -> dict[str, int]:
    options = {"validation": 0.15, "test": 0.25, "seed": 7} | shares
    result = split_volumes(frame, **options)
    assert result.index.equals(frame.index)
    people = frame.assign(split=result).groupby("subject_id")["split"]
    assert people.nunique().max() == 1
    return people.first().value_counts().to_dict()


def test_subjects_with_both_modalities_never_train():
    frame = volumes(6, 16, 16)
    result = split_volumes(frame, validation=0.15, test=0.25, seed=7)
    assert set(result[frame["paired"]]) == {"validation", "test"}
    assert result[frame["paired"]].value_counts().to_dict() == {"validation": 4, "test": 8}
    assert result[~frame["paired"]].value_counts().to_dict() == {"train": 28, "validation": 4}


@pytest.mark.parametrize(("paired", "expected"), [
    (1, {"test": 1}), (2, {"validation": 1, "test": 1}), (3, {"validation": 1, "test": 2}),
    (9, {"validation": 3, "test": 6}),
])  # fmt: skip
def test_a_third_of_the_pairs_chooses_the_model(paired, expected):
    assert counted(volumes(paired, 0, 0)) == expected


def test_few_unpaired_volumes_all_train_and_more_are_held_out():
    assert counted(volumes(0, 4, 1)) == {"train": 5}
    assert counted(volumes(0, 8, 1)) == {"train": 6, "validation": 1, "test": 2}
    assert counted(volumes(2, 8, 1)) == {"train": 8, "validation": 2, "test": 1}
    assert counted(volumes(0, 8, 8), validation=0, test=0) == {"train": 16}


def test_pairs_set_aside_for_fine_tuning_neither_choose_nor_judge():
    frame = volumes(10, 8, 8)
    split = split_volumes(frame, validation=0.15, test=0.25, seed=7, few_pairs=4)
    people = {name: set(frame["subject_id"][split == name]) for name in ("few_pairs", "train", "validation", "test")}
    assert {name: len(who & {f"p{n}" for n in range(10)}) for name, who in people.items()} == {
        "few_pairs": 4, "train": 0, "validation": 2, "test": 4,
    }  # fmt: skip
    assert people["few_pairs"] <= {f"p{n}" for n in range(10)}
    assert sum(map(len, people.values())) == len(set().union(*people.values())) == 26
    assert (frame[split == "few_pairs"].groupby("subject_id")["modality"].nunique() == 2).all()


def test_without_pairs_set_aside_the_split_is_what_it_always_was():
    frame = volumes(6, 6, 0)
    split = split_volumes(frame, validation=0.15, test=0.25, seed=7, few_pairs=0)
    held_out = frame.assign(split=split).query("split == 'validation'")["subject_id"].unique()
    assert list(held_out) == ["p2", "p5", "m5"]


@pytest.mark.parametrize("there", [0, 3, 5])
def test_pairs_that_leave_none_to_validate_and_test_are_refused(there):
    with pytest.raises(RadsynthError, match=rf"got {there}; expected 6 or more.*lower split_brain.few_pairs"):
        split_volumes(volumes(there, 8, 8), validation=0.15, test=0.25, seed=7, few_pairs=4)


def test_images_that_somebody_outlined_test_where_they_are_few():
    tables = reports(40), xrays([f"CXR{n}_1" for n in range(40)])
    asked = {"validation": 0.1, "test": 0.2, "seed": 0}
    few = [f"CXR{n}_1" for n in range(6)]
    manifest = chest_manifest(*tables, outlined=few, **asked)
    assert (manifest.loc[manifest["image_id"].isin(few), "split"] == "test").all()
    assert (manifest["split"] == "test").sum() == 8
    many = [f"CXR{n}_1" for n in range(30)]
    pd.testing.assert_frame_equal(chest_manifest(*tables, outlined=many, **asked), chest_manifest(*tables, **asked))
