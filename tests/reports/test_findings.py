"""Labelling report text."""

from __future__ import annotations

import numpy as np
import pytest

from radsynth.reports.findings import Labels, has_negation, label_text, mentions_prior, names_side, split_sentences
from radsynth.vocabulary import FINDINGS, SIDED_FINDINGS

# sentence, present (finding or finding:side), uncertain, negated
SENTENCES = [
    ("No focal consolidation, effusion or pneumothorax.", "", "", "consolidation effusion pneumothorax"),
    (
        "Negative for pneumothorax, pleural effusion, or focal airspace disease.",
        "",
        "",
        "effusion opacity pneumothorax",
    ),
    ("The lungs are clear without focal consolidation or effusion.", "", "", "consolidation effusion"),
    ("There is no evidence of pulmonary edema.", "", "", "edema"),
    ("Neither effusion nor pneumothorax is present.", "", "", "effusion pneumothorax"),
    ("Lungs are free of consolidation, but a nodule is in the right upper lobe.", "nodule:right", "", "consolidation"),
    ("No left effusion but small right effusion.", "effusion:right", "", ""),
    ("No pneumothorax, there is a small right effusion.", "effusion:right", "", "pneumothorax"),
    ("Emphysema without pneumothorax.", "emphysema", "", "pneumothorax"),
    ("Absent lung markings at the right apex compatible with large pneumothorax.", "pneumothorax:right", "", ""),
    ("Heart size is normal.", "", "", "cardiomegaly"),
    ("The heart and mediastinum are within normal limits.", "", "", "cardiomegaly"),
    ("The cardiac silhouette is unremarkable.", "", "", "cardiomegaly"),
    ("The heart is not enlarged.", "", "", "cardiomegaly"),
    ("The heart is not big.", "", "", "cardiomegaly"),
    ("Large heart.", "cardiomegaly", "", ""),
    ("The heart is mildly enlarged.", "cardiomegaly", "", ""),
    ("Stable enlargement of the cardiac silhouette.", "cardiomegaly", "", ""),
    ("Heart size remains slightly large.", "cardiomegaly", "", ""),
    ("No effusion, heart is enlarged.", "cardiomegaly", "", "effusion"),
    ("Borderline heart size.", "", "cardiomegaly", ""),
    ("Cardiomegaly has resolved.", "", "", "cardiomegaly"),
    ("Resolved left effusion.", "", "", "effusion"),
    ("The previously seen right pneumothorax is no longer seen.", "", "", "pneumothorax"),
    ("Effusion has resolved but left consolidation persists.", "consolidation:left", "", "effusion"),
    ("Cardiomegaly is stable and effusion has resolved.", "cardiomegaly", "", "effusion"),
    ("Effusion and pneumothorax are not seen.", "", "", "effusion pneumothorax"),
    ("No change in moderate cardiomegaly.", "cardiomegaly", "", ""),
    ("No significant interval change in the left effusion.", "effusion:left", "", ""),
    ("Pneumothorax: None.", "", "", "pneumothorax"),
    ("Pleural effusion: No.", "", "", "effusion"),
    ("Effusion/pneumothorax: absent.", "", "", "effusion pneumothorax"),
    ("Pneumothorax: No pneumothorax.", "", "", "pneumothorax"),
    ("Left effusion: small, pneumothorax: none.", "effusion:left", "", "pneumothorax"),
    ("Effusion: no change.", "effusion", "", ""),
    ("Pneumonia: possible.", "", "pneumonia", ""),
    ("Pneumothorax: cannot be excluded.", "", "pneumothorax", ""),
    ("Pneumothorax has been excluded.", "", "", "pneumothorax"),
    ("Pneumonia has now been ruled out.", "", "", "pneumonia"),
    ("Pneumonia has not been excluded.", "", "pneumonia", ""),
    ("Cannot exclude effusion.", "", "effusion", ""),
    ("A small effusion cannot be excluded.", "", "effusion", ""),
    ("Pulmonary edema difficult to entirely exclude.", "", "edema", ""),
    ("Opacity may represent atelectasis.", "opacity", "atelectasis", ""),
    ("Possible left lower lobe pneumonia.", "", "pneumonia:left", ""),
    ("Pneumonia is unlikely.", "", "pneumonia", ""),
    ("Rule out pneumonia.", "", "pneumonia", ""),
    ("Correlate clinically for pneumonia.", "", "pneumonia", ""),
    ("Bibasilar atelectasis versus infiltrate.", "", "atelectasis:both opacity:both", ""),
    ("Right basilar atelectasis or scarring.", "", "atelectasis:right", ""),
    ("There is no opacity to suggest pneumonia.", "", "", "opacity pneumonia"),
    ("Left lower lobe opacity consistent with pneumonia.", "opacity:left pneumonia:left", "", ""),
    ("Small effusions are likely.", "effusion", "", ""),
    ("Costophrenic angles are clear.", "", "", "effusion"),
    ("The pleural spaces are clear.", "", "", "effusion"),
    ("Blunting of the left costophrenic angle.", "", "effusion:left", ""),
    ("Left effusion and atelectasis.", "atelectasis:left effusion:left", "", ""),
    ("Atelectasis and effusion on the left.", "atelectasis:left effusion:left", "", ""),
    ("Small left effusion, right basilar atelectasis.", "atelectasis:right effusion:left", "", ""),
    ("Atelectasis in the left base and right pleural effusion.", "atelectasis:left effusion:right", "", ""),
    (
        "Consolidation in the right lower zone with an associated effusion.",
        "consolidation:right effusion:right",
        "",
        "",
    ),
    ("Bilateral effusions, right greater than left.", "effusion:both", "", ""),
    ("Streaky opacities in the lung bases.", "opacity:both", "", ""),
    ("Lingular consolidation.", "consolidation:left", "", ""),
    ("Large left pneumothorax with partial collapse of the left lung.", "pneumothorax:left", "", ""),
    ("Partial collapse of the left lung.", "atelectasis:left", "", ""),
    ("Right hydropneumothorax.", "effusion:right pneumothorax:right", "", ""),
    ("Old healed left rib fracture. No acute fracture.", "fracture:left", "", ""),
    ("Mild biapical pleural thickening.", "pleural_thickening:both", "", ""),
    ("Pleural effusion versus thickening.", "", "effusion pleural_thickening", ""),
    ("Hiatal hernia is again seen.", "hernia", "", ""),
    ("Pulmonary fibrosis.", "fibrosis", "", ""),
    ("There is a 4 cm mass in the left hilum.", "mass:left", "", ""),
    ("Mass effect on the trachea.", "", "", ""),
    ("Small pericardial effusion.", "", "", ""),
    ("Subcutaneous emphysema in the left chest wall.", "", "", ""),
    ("Sternotomy wire fracture.", "", "", ""),
    ("Umbilical hernia.", "", "", ""),
    ("The left effusion has not resolved.", "effusion:left", "", ""),
    ("Consolidation has not completely cleared.", "consolidation", "", ""),
    ("Edema has partially resolved.", "edema", "", ""),
    ("Edema has completely resolved.", "", "", "edema"),
    ("No resolution of the pneumonia.", "pneumonia", "", ""),
    ("Resolution of the pneumonia.", "", "", "pneumonia"),
    ("New right lower lobe opacity not seen on prior study.", "opacity:right", "", ""),
    ("There is a nodule which was not present on the prior study.", "nodule", "", ""),
    ("A left nodule, not previously seen.", "nodule:left", "", ""),
    ("The nodule seen on the prior study is not seen.", "", "", "nodule"),
    ("The right lung is clear and there is a left effusion.", "effusion:left", "", ""),
    ("Right-sided PICC with tip in the SVC, small left effusion.", "effusion:left", "", ""),
    ("Right chest tube in place with small left pneumothorax.", "pneumothorax:left", "", ""),
    ("There is a right effusion and there is a left nodule.", "effusion:right nodule:left", "", ""),
    ("The right costophrenic angle is blunted by large pleural effusion.", "effusion:right", "", ""),
    ("Borderline cardiomegaly.", "", "cardiomegaly", ""),
    ("Borderline enlargement of the heart.", "", "cardiomegaly", ""),
    ("Atelectasis vs. pneumonia in the left base.", "", "atelectasis:left pneumonia:left", ""),
    ("No change in the effusion or pneumothorax.", "effusion pneumothorax", "", ""),
    ("Effusion or pneumothorax.", "", "effusion pneumothorax", ""),
    ("Cystic fibrosis.", "", "", ""),
    ("", "", "", ""),
]


def by_name(words: str) -> dict[str, str]:
    return {name: side for word in words.split() for name, _, side in [word.partition(":")]}


@pytest.mark.parametrize(("text", "present", "uncertain", "negated"), SENTENCES)
def test_a_sentence_is_labelled(text: str, present: str, uncertain: str, negated: str) -> None:
    labels = label_text(text)
    assert {f for f, v in labels.values.items() if v == 1} == set(by_name(present))
    assert {f for f, v in labels.values.items() if v == -1} == set(by_name(uncertain))
    assert labels.negated == tuple(sorted(negated.split()))
    assert {f: s for f, s in labels.sides.items() if s} == {
        f: s for f, s in (by_name(present) | by_name(uncertain)).items() if s
    }


@pytest.mark.parametrize(
    ("text", "zones"),
    [
        ("There is a 4 cm mass in the right upper lobe.", "mass:upper"),
        ("Left midlung mass. Lingula of the left lung nodule.", "mass:mid nodule:mid"),
        ("Right middle lobe consolidation with a basilar effusion.", "consolidation:mid effusion:lower"),
        ("Consolidation in the mid right lung.", "consolidation:mid"),
        ("Small apical pneumothorax, bibasilar atelectasis.", "atelectasis:lower pneumothorax:upper"),
        ("Opacity in the left lower lung zone consistent with pneumonia.", "opacity:lower pneumonia:lower"),
        ("Atelectasis and effusion at the lung bases.", "atelectasis:lower effusion:lower"),
        ("Retrocardiac opacity.", "opacity:lower"),
        ("Nodules in the upper and lower lobes.", ""),
        ("Right upper and left lower lobe nodules.", ""),
        ("Nodule in the right upper lobe. Nodule in the left base.", ""),
        ("Left effusion. Upper abdomen is clear, lower thoracic spine fracture.", ""),
        ("No mass in the right upper lobe.", ""),
        ("Possible nodule at the right apex.", "nodule:upper"),
        ("Lower lung hernia.", ""),
    ],
)
def test_the_zone_is_read(text: str, zones: str) -> None:
    assert {f: zone for f, zone in label_text(text).zones.items() if zone} == by_name(zones)


@pytest.mark.parametrize(
    ("text", "sizes"),
    [
        ("There is a small left pleural effusion.", "effusion:small"),
        ("Large right effusion. Small left effusion.", "effusion:large"),
        ("Moderate-sized left pneumothorax with mild atelectasis.", "atelectasis:small pneumothorax:moderate"),
        ("Mild-to-moderate edema.", "edema:moderate"),
        ("Small to moderate effusion and atelectasis.", "effusion:moderate"),
        ("The heart is markedly enlarged.", "cardiomegaly:large"),
        ("Mildly enlarged cardiac silhouette.", "cardiomegaly:small"),
        ("Cardiomegaly is mild.", "cardiomegaly:small"),
        ("Nodule in the right lung, mild spondylosis.", ""),
        ("There is a 9 mm nodule and a 20 mm nodule in the left lung.", "nodule:moderate"),
        ("Nodule in the left upper lobe measuring 2.1 cm.", "nodule:large"),
        ("Large mass, 4.5 cm, in the left hilum.", "mass:moderate"),
        ("A 5.1 cm mass.", "mass:large"),
        ("There is a 6 x 4 cm mass.", "mass:large"),
        ("52 x 18 mm mass.", "mass:large"),
        ("6.0 cm x 4.1 cm mass.", "mass:large"),
        ("Mass measuring 2 x 6 by 4 cm.", "mass:large"),
        ("Nodule of 1.9 cm x 8 mm.", "nodule:moderate"),
        ("Possible large effusion.", "effusion:large"),
        ("Left pneumothorax, large in size.", "pneumothorax:large"),
        ("Right effusion, small, and left effusion, moderate to large.", "effusion:large"),
        ("Effusion on the left, mild edema.", "edema:small"),
        ("Effusion, large lung volumes.", ""),
        ("No large effusion. Large lung volumes. Pneumothorax.", ""),
    ],
)
def test_the_size_is_read(text: str, sizes: str) -> None:
    assert {f: size for f, size in label_text(text).sizes.items() if size} == by_name(sizes)


def test_every_finding_is_answered_in_the_order_of_the_vocabulary() -> None:
    labels: Labels = label_text("Normal.")
    assert tuple(labels.values) == tuple(labels.sides) == tuple(labels.zones) == tuple(labels.sizes) == FINDINGS
    assert set(labels.values.values()) == {0}


def test_present_beats_uncertain_beats_negated() -> None:
    possible, certain, denied = "Possible left effusion.", "Right effusion.", "No effusion."
    assert label_text(f"{denied} {possible}").values["effusion"] == -1
    assert label_text(f"{denied} {possible} {certain}").values["effusion"] == 1
    assert label_text(f"{possible} {certain}").sides["effusion"] == "right"
    assert label_text(f"{certain} {denied}").negated == ()


@pytest.mark.parametrize("finding", FINDINGS)
def test_its_own_name_is_found_denied_and_doubted(finding: str) -> None:
    word = finding.replace("_", " ")
    assert label_text(f"There is {word}.").values[finding] == 1
    assert finding in label_text(f"There is no {word}.").negated
    assert label_text(f"Possible {word}.").values[finding] == -1
    sides = label_text(f"There is {word} on the left. Right {word}.").sides[finding]
    assert sides == ("both" if finding in SIDED_FINDINGS else "")


def test_sentences_do_not_break_at_decimals() -> None:
    assert split_sentences("A 1.5 cm nodule at T12. Clear; no effusion.") == [
        "A 1.5 cm nodule at T12.",
        "Clear",
        "no effusion.",
    ]


@pytest.mark.parametrize(
    ("text", "prior", "side", "negation"),
    [
        ("Unchanged small effusion on the Left.", True, True, False),
        ("No effusion.", False, False, True),
        ("Effusion: none.", False, False, True),
        ("Pneumonia has been excluded.", False, False, True),
        ("Pneumonia cannot be excluded.", False, False, False),
        ("Heart is normal. Leftover brightness.", False, False, False),
        ("Compared to the prior study, improved.", True, False, False),
    ],
)
def test_flags(text: str, prior: bool, side: bool, negation: bool) -> None:
    assert (mentions_prior(text), names_side(text), has_negation(text)) == (prior, side, negation)


def test_reports_written_from_labels_are_read_back() -> None:
    from radsynth.reports.clean import clean_text
    from radsynth.sources.report_writer import report_for_labels

    rng = np.random.default_rng(0)
    said = {finding: [0, 0, 0] for finding in FINDINGS}  # agreed present, missed, invented
    for _ in range(400):
        wanted = set(rng.choice(FINDINGS, size=rng.integers(0, 4), replace=False).tolist())
        report = report_for_labels(wanted, rng)
        got = label_text(f"{clean_text(report.findings)} {clean_text(report.impression)}").values
        for finding in FINDINGS:
            said[finding][0] += finding in wanted and got[finding] == 1
            said[finding][1] += finding in wanted and got[finding] != 1
            said[finding][2] += finding not in wanted and got[finding] == 1
    for finding, (agreed, missed, invented) in said.items():
        assert missed <= 0.02 * (agreed + missed), finding
        # the writer says "opacity" or "infiltrate" of consolidation, atelectasis and pneumonia too
        assert invented <= 0.02 * agreed or finding == "opacity", finding


@pytest.mark.realdata
def test_labels_agree_with_the_mesh_terms_given_by_hand(open_i) -> None:
    import re

    _, reports, _ = open_i
    terms = {
        "atelectasis": "pulmonary atelectasis",
        "cardiomegaly": "cardiomegaly",
        "consolidation": "consolidation",
        "edema": "pulmonary edema",
        "effusion": "pleural effusion|hydropneumothorax",
        "emphysema": "^emphysema|pulmonary emphysema|bullous emphysema",
        "fracture": "fractures",
        "hernia": "hernia",
        "opacity": "^opacity|^infiltrate|airspace disease",
        "pneumonia": "pneumonia",
        "pneumothorax": "pneumothorax",
    }
    for finding, words in terms.items():
        by_hand = reports["mesh"].map(lambda mesh, words=words: any(re.search(words, term, re.I) for term in mesh))
        present = reports[f"label_{finding}"] == 1
        mentioned = reports[f"label_{finding}"] != 0
        assert (present & by_hand).sum() / present.sum() >= 0.85, f"{finding}: precision"
        assert (mentioned & by_hand).sum() / by_hand.sum() >= 0.85, f"{finding}: recall"
