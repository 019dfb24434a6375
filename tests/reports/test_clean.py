"""Cleaning report text."""

from __future__ import annotations

import pytest

from radsynth.reports.clean import clean_text, count_tokens, normalise_space
from radsynth.reports.findings import label_text

CLEANED = [
    ("Normal chest x-XXXX.", "Normal chest x-ray."),
    ("There are no XXXX of a pleural effusion.", "There are no evidence of a pleural effusion."),
    ("The lungs are clear. XXXX are normal.", "The lungs are clear."),
    ("The XXXX are grossly intact. No effusion.", "No effusion."),
    ("XXXX XXXX are intact without acute abnormality. Heart normal.", "Heart normal."),
    ("XXXX and soft tissues are unremarkable.", "Soft tissues are unremarkable."),
    ("Blunting of the right costophrenic XXXX.", "Blunting of the right costophrenic angle."),
    ("Costophrenic XXXX are sharp.", "Costophrenic angles are sharp."),
    ("Calcified lymph XXXX.", "Calcified lymph nodes."),
    (
        "The heart, pulmonary XXXX and mediastinum are normal.",
        "The heart, pulmonary vasculature and mediastinum are normal.",
    ),
    ("XXXX-year-old male with cough.", "Adult male with cough."),
    ("XXXX year old smoker", "Adult smoker"),
    ("Unchanged compared to XXXX.", "Unchanged compared."),
    ("Increased since XXXX, XXXX.", "Increased."),
    ("This XXXX represents atelectasis.", "This likely represents atelectasis."),
    ("No XXXX focal consolidation.", "No focal consolidation."),
    ("There is XXXX deformity of T9.", "There is deformity of T9."),
    ("The heart and lungs have XXXX XXXX in the interval. Both lungs are clear.", "Both lungs are clear."),
    ("1. No acute disease. 2. Mild cardiomegaly.", "No acute disease. Mild cardiomegaly."),
    ("1.No effusion.2. Stable nodule", "No effusion. Stable nodule"),
    ("Nodule of 1.5 cm at T12. Heart normal.", "Nodule of 1.5 cm at T12. Heart normal."),
    ("2 to 3 cm mass. 4 mm nodule.", "2 to 3 cm mass. 4 mm nodule."),
    ("RUL mass w/o effusion, no PTX.", "Right upper lobe mass without effusion, no pneumothorax."),
    ("b/l RML/LLL opacities w/effusion", "Bilateral right middle lobe/left lower lobe opacities with effusion"),
    ("Rul-nodule; LML", "Right upper lobe-nodule; LML"),
    ("Fracture of the 7th rib.", "Fracture of the 7th rib."),
    ("1. Low lung volumes 2. XXXX clear 3. Heart normal", "Low lung volumes. Clear. Heart normal"),
    ("Chest 1. No effusion. Abdomen 1. Normal.", "Chest. No effusion. Abdomen. Normal."),
    ("1. Fracture of rib 7. 2. Cardiomegaly 3. Effusion", "Fracture of rib 7. Cardiomegaly. Effusion"),
    ("1. Fracture of left rib 2. No pneumothorax.", "Fracture of left rib 2. No pneumothorax."),
    ("Fracture of rib 7. No pneumothorax.", "Fracture of rib 7. No pneumothorax."),
    ("Left ribs 5. 6. 7.", "Left ribs 5. 6. 7."),
    ("Ribs 1 and 2. Opacity in zone 3. See image 12.", "Ribs 1 and 2. Opacity in zone 3. See image 12."),
    ("Pleural effusion: No. Pneumothorax: None.", "Pleural effusion: No. Pneumothorax: None."),
    ("Clear lungs.. .  No effusion .", "Clear lungs. No effusion."),
    ("Lungs are clear.Heart is normal.", "Lungs are clear. Heart is normal."),
    ("Opacity (XXXX) in the left base.", "Opacity in the left base."),
    ("Dual-XXXX pacemaker.", "Dual-lead pacemaker."),
    ("XXXX", ""),
    ("XXXX. XXXX, XXXX.", ""),
    ("", ""),
    ("  \n ", ""),
]


@pytest.mark.parametrize(("text", "cleaned"), CLEANED)
def test_text_is_cleaned(text: str, cleaned: str) -> None:
    assert clean_text(text) == cleaned


@pytest.mark.parametrize("text", [text for text, _ in CLEANED])
def test_cleaning_twice_changes_nothing_more(text: str) -> None:
    assert clean_text(clean_text(text)) == clean_text(text)


@pytest.mark.parametrize(
    "text",
    [
        "XXXXXXXX opacity",
        "x-XXXX/XXXX",
        "RADXXXX today",
        "a XXXX's lung",
        "XXXX-a-XXXX",
        "(XXXX)XXXX",
        "ComparisXXXX/XXXX",
    ],
)
def test_no_token_is_ever_left(text: str) -> None:
    assert "XXXX" not in clean_text(text)


@pytest.mark.parametrize("text", [text for text, _ in CLEANED])
def test_what_is_put_back_is_never_a_finding(text: str) -> None:
    bare = label_text(text.replace("costophrenic XXXX", "costophrenic angle").replace("XXXX", " ")).values
    cleaned = label_text(clean_text(text)).values
    assert {f for f, v in cleaned.items() if v} <= {f for f, v in bare.items() if v}


def test_tokens_are_counted_and_space_normalised() -> None:
    assert count_tokens("XXXX a x-XXXX, XXXX/XXXX.") == 4
    assert normalise_space(" a\n\t b ") == "a b"


@pytest.mark.realdata
def test_no_open_i_report_keeps_a_token_or_loses_its_findings(open_i) -> None:
    _, reports, _ = open_i
    lost = total = 0
    for text in [*reports["findings"], *reports["impression"]]:
        cleaned = clean_text(text)
        assert "XXXX" not in cleaned
        assert clean_text(cleaned) == cleaned
        if "XXXX" in text:
            total += 1
            before, after = label_text(text.replace("XXXX", "")).values, label_text(cleaned).values
            lost += any(before[finding] == 1 and after[finding] != 1 for finding in before)
    assert total > 1800
    assert lost <= 0.01 * total
