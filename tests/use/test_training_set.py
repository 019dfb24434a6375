"""A plan becomes a labelled set that the pipeline reads, without what the judge rejects."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from PIL import Image

from radsynth.errors import RadsynthError
from radsynth.radiographs.write import stored_values
from radsynth.reports.findings import label_text
from radsynth.reports.parse import parse_reports
from radsynth.sources.chest_folder import read_chest_folder
from radsynth.sources.ids import id_of
from radsynth.use import dataset, generate, training_set
from radsynth.use.judge import Judge
from radsynth.use.training_set import Wanted, agrees, bars, read_plan, write_words
from radsynth.vocabulary import FINDINGS, SIDED_FINDINGS

PLAN = [("pneumothorax", "left", 3), ("effusion", "", 3), ("normal", "", 2), ("mass", "both", 2)]


@pytest.fixture(scope="module")
def asked(models) -> dict[str, object]:
    return {"model": str(models / "report_gan"), "judge": models / "classifier"}


@pytest.fixture
def split_judge(monkeypatch):
    """A judge that sees every learned finding in every other picture it is asked about."""
    count = iter(range(1000))

    def scores(self, pictures):
        return np.full((len(pictures), len(FINDINGS)), 0.9 if next(count) % 2 else 0.1, np.float32)

    monkeypatch.setattr(training_set.Judge, "scores", scores)


def table(path):
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_the_folder_source_reads_back_what_was_accepted(asked, split_judge, tmp_path):
    made = dataset(PLAN, tmp_path / "set", seed=5, **asked)
    raw = read_chest_folder(tmp_path / "set" / "images")
    assert len(raw.quarantine) == 0
    assert len(raw.images) == len(raw.reports) == len(made.accepted)
    reports, refused = parse_reports(raw.reports)
    assert len(refused) == 0
    assert reports["usable"].all()
    rows = {id_of(row["study"], "r"): row for row in table(tmp_path / "set" / "images" / "labels.csv")}
    for report in reports.to_dict("records"):
        row = rows[report["report_id"]]
        for finding in FINDINGS:
            assert int(row[f"label_{finding}"]) == report[f"label_{finding}"] == (finding == row["finding"])
        if row["finding"] != "normal":
            assert report[f"side_{row['finding']}"] == row["side"]


def test_accepted_and_rejected_are_all_that_was_planned(asked, split_judge, tmp_path):
    made = dataset(PLAN, tmp_path / "set", **asked)
    accepted = table(tmp_path / "set" / "images" / "labels.csv")
    rejected = table(tmp_path / "set" / "rejected" / "rejected.csv")
    # of effusion, pneumothorax and normal every other picture; a mass was never learned
    assert (len(accepted), len(rejected)) == (6, 4)
    assert {row["finding"] for row in rejected} == {"pneumothorax", "effusion", "normal"}
    assert all(float(row["score_effusion"]) in (0.1, 0.9) for row in rejected)
    for name, rows in (("images", accepted), ("rejected", rejected)):
        pictures = {path.name for path in (tmp_path / "set" / name).glob("*.png")}
        assert pictures == {row["image"] for row in rows}
    assert {row["judged"] for row in accepted if row["finding"] == "mass"} == {"False"}
    assert [line["drawn"] for line in made.about["counts"]] == [3, 3, 2, 2]
    assert sum(line["rejected"] for line in made.about["counts"]) == 4


def test_every_picture_can_be_drawn_again_from_its_row(asked, split_judge, tmp_path):
    dataset([("effusion", "right", 2)], tmp_path / "set", seed=9, **asked)
    for name, seed in (("rejected", 9), ("images", 10)):
        (path,) = (tmp_path / "set" / name).glob("*.csv")
        (row,) = table(path)
        again = generate(f"{row['findings']} {row['impression']}", seed=int(row["seed"]), model=asked["model"])[0]
        assert row["seed"] == str(seed)
        stored = np.asarray(Image.open(tmp_path / "set" / name / row["image"]))
        np.testing.assert_array_equal(stored, stored_values(again.pixels))


def test_the_card_states_counts_model_judge_and_limits(asked, split_judge, models, tmp_path):
    dataset(PLAN, tmp_path / "set", **asked)
    card = (tmp_path / "set" / "README.md").read_text()
    about = json.loads((tmp_path / "set" / "about.json").read_text())
    assert "6 of 10 pictures were accepted" in card
    assert "| mass | both | 2 | 2 | 0 | no |" in card
    assert about["model"]["sha256"] in card
    assert about["judge"]["sha256"] in card
    assert "research only" in card
    assert table(tmp_path / "set" / "plan.csv")[0] == {"finding": "pneumothorax", "side": "left", "count": "3"}


def test_equal_seeds_give_equal_sets_and_others_other_words(asked, split_judge):
    one, same, other = (dataset([("effusion", "left", 3)], seed=seed, **asked).rows for seed in (1, 1, 100))
    texts = [[row["findings"] for row in rows] for rows in (one, same, other)]
    assert texts[0] == texts[1]
    assert len(set(texts[0] + texts[2])) == 6


@pytest.mark.parametrize("finding", [*FINDINGS, "normal"])
def test_the_words_state_what_is_wanted_and_nothing_else(finding):
    for side in ("", "left", "right", "both") if finding in SIDED_FINDINGS else ("",):
        for seed in range(5):
            chosen, _, text = write_words(Wanted(finding, side, 1), np.random.default_rng(seed))
            labels = label_text(text)
            assert {f for f, value in labels.values.items() if value} == {finding} - {"normal"}
            assert chosen == side or (side == "" and chosen in ("left", "right"))
            if finding != "normal":
                assert labels.sides[finding] == chosen


def test_the_judge_disagrees_below_the_threshold_and_on_anything_in_a_normal_chest():
    scores = {"effusion": 0.4, "mass": 0.9}
    assert agrees("effusion", scores, {"effusion": 0.4})
    assert not agrees("effusion", scores, {"effusion": 0.41})
    assert agrees("mass", scores, {"effusion": 0.95})
    assert agrees("normal", scores, {"effusion": 0.5})
    assert not agrees("normal", scores, {"effusion": 0.5, "mass": 0.5})
    assert agrees("normal", scores, {"effusion": 0.5, "mass": 0.95})


def test_low_thresholds_of_single_findings_do_not_speak_against_a_normal_chest_unless_asked_for(models):
    judge, scores = Judge(models / "classifier"), {"cardiomegaly": 0.7, "effusion": 0.4, "pneumothorax": 0.1}
    assert agrees("effusion", scores, bars(judge, None, "effusion"))
    assert agrees("normal", scores, bars(judge, None, "normal"))
    assert not agrees("normal", scores | {"effusion": 0.5}, bars(judge, None, "normal"))
    assert not agrees("normal", scores, bars(judge, 0.3, "normal"))


def test_each_finding_is_judged_at_the_judges_own_threshold_or_at_the_one_given(asked, models):
    own = dataset([("effusion", "left", 1)], **asked)
    assert own.about["judge"]["thresholds"] == {"cardiomegaly": 0.75, "effusion": 0.2, "pneumothorax": 0.5}
    given = dataset([("effusion", "left", 1)], threshold=0.25, **asked)
    assert given.about["judge"]["thresholds"] == dict.fromkeys(own.about["judge"]["thresholds"], 0.25)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "not a plan; got nothing"),
        (b"finding,count\nmass,2\n", "not a plan; got finding, count; expected finding, side, count"),
        (b"finding,side,count\n", "a plan without a line"),
        (b"finding,side,count\nmass,left,2\ngout,left,2\n", "line 3: no such finding; got 'gout'"),
        (b"finding,side,count\nmass,up,2\n", "line 2: no such side; got 'up'"),
        (b"finding,side,count\nedema,left,2\n", "line 2: edema has no side"),
        (b"finding,side,count\nmass,left,0\n", "line 2: not a number of pictures; got '0'"),
        (b"finding,side,count\nmass,left,2.5\n", "line 2: not a number of pictures"),
        (b"finding,side,count\nmass,left," + b"9" * 5000 + b"\n", "line 2: not a number of pictures; got '999"),
        (b"finding,side,count\nmass,left,20000\n", "too few or too many pictures; got 20000"),
        (b"finding,side,count\n\xff,left,2\n", "not a readable CSV table in UTF-8"),
    ],
)
def test_a_plan_that_cannot_be_used_is_told_in_one_line(content, said, asked, tmp_path):
    (tmp_path / "plan.csv").write_bytes(content)
    with pytest.raises(RadsynthError, match=said) as caught:
        dataset(tmp_path / "plan.csv", tmp_path / "set", **asked)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "set").exists()


def test_a_folder_that_holds_the_plan_is_not_replaced(asked, tmp_path):
    dataset([("normal", "", 1)], tmp_path / "set", **asked)
    with pytest.raises(RadsynthError, match=r"the input .* would be overwritten"):
        dataset(tmp_path / "set" / "plan.csv", tmp_path / "set", force=True, **asked)


def test_a_plan_may_be_written_in_capitals_with_spaces(tmp_path):
    (tmp_path / "plan.csv").write_text("\ufeffFinding, Side ,COUNT\n Mass ,LEFT, 2 \nnormal,,1\n", encoding="utf-8")
    assert read_plan(tmp_path / "plan.csv") == [Wanted("mass", "left", 2), Wanted("normal", "", 1)]


def test_a_judge_of_pictures_of_another_size_is_refused(asked, large_judge, tmp_path):
    with pytest.raises(RadsynthError, match=r"another size .*a judge for 64 pixels; expected 32 pixels; train both"):
        dataset(PLAN, tmp_path / "set", **(asked | {"judge": large_judge}))
    assert not (tmp_path / "set").exists()


def test_a_threshold_that_is_no_probability_is_refused(asked):
    with pytest.raises(RadsynthError, match="is no probability"):
        dataset(PLAN, threshold=1.5, **asked)


def test_a_finding_that_the_model_has_not_learned_is_refused(asked, monkeypatch, tmp_path):
    monkeypatch.setattr(training_set, "not_learned", lambda drawer: ["mass"])
    with pytest.raises(RadsynthError, match=r"not learned .*got mass; expected .*effusion"):
        dataset(PLAN, tmp_path / "set", **asked)
    assert list(tmp_path.iterdir()) == []
