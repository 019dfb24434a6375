"""Draw what the judge, the discriminators and the generator look at, and score it where the truth is known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from radsynth.errors import one_line_errors
from radsynth.explain import brain, generator, scores, study
from radsynth.explain.chest import agreement_maps, finding_maps, known_lesions, lesion_masks
from radsynth.figures import evidence_table, explanation_overlays
from radsynth.metrics import write_figures
from radsynth.reports.encode import load_encoder
from radsynth.schemas import VOLUMES
from radsynth.settings import Explain, load
from radsynth.training.chest_data import ChestSet, load_chest
from radsynth.training.cyclegan import load_mri_to_ct, slices_of, translate_volume
from radsynth.training.device import cpu_device
from radsynth.training.findings import load_findings
from radsynth.training.models import load_model
from radsynth.training.report_gan import as_batch, generate, load_report_gan, other_reports
from radsynth.training.slices import read_heads
from radsynth.vocabulary import FINDINGS

RAW = Path("data/raw/chest")
PLOTS = Path("plots/explain")
LOCAL = ("atelectasis", "consolidation", "effusion", "hernia", "mass", "nodule", "opacity", "pneumonia", "pneumothorax")
"""Findings that have a place; the others fill the lungs or the heart."""
COLOURS = "red: evidence for, blue: against; every map on its own scale"


@one_line_errors
def main() -> None:
    """Run the stage."""
    settings = load()
    figures, tables, notes, more = explain_chest(settings.explain, settings.seed)
    found, ct_notes = explain_brain(settings.explain, settings.seed)
    figures |= found
    flat = {name: figure["value"] for name, figure in figures.items()}
    write_figures("metrics/explain.json", figures, tables=tables, notes=notes + ct_notes, flat=flat | more)


def lesions_of(data: ChestSet, findings: tuple[str, ...]) -> study.Lesions:
    """The true lesions of a split."""
    frame = known_lesions(data, RAW, findings)
    return study.Lesions(data, frame, lesion_masks(RAW, frame["mask_row"].to_numpy(), data.size))


def explain_chest(own: Explain, seed: int) -> tuple[dict[str, Any], dict[str, Any], list[str], dict[str, Any]]:
    """Figures, tables, notes and further flat values of the judge and of the report GAN; draws all their pictures."""
    judge, learned = load_findings("models/classifier"), load_model("models/classifier")[1]["learned"]
    gan, description = load_report_gan("models/report_gan")
    encoder = load_encoder(description["encoder"]["encoder"], max_tokens=description["encoder"]["max_tokens"])
    sets = load_chest(
        "data/chest/manifest.parquet", "data/chest/xrays", "data/chest/embeddings", tuple(description["views"])
    )
    split = "test" if "test" in sets else "train"
    data, validation = sets[split], sets.get("validation", sets["train"])
    tolerance, size = data.size // 32, data.size
    training, lesions = lesions_of(sets["train"], FINDINGS), lesions_of(data, LOCAL)
    told = {"split": split, "seed": seed, "repetitions": own.bootstrap}
    figures: dict[str, Any] = {}
    tables: dict[str, Any] = {}
    notes: list[str] = []

    chosen_on = lesions_of(validation, LOCAL)
    (layer, method), tables["choice_judge"] = study.choose_for_judge(
        judge, chosen_on, own.methods, own.method, tolerance
    )
    others = other_reports(validation, chosen_on.rows, seed)
    (at, by), tables["choice_discriminator"] = study.choose_for_discriminator(
        gan, chosen_on, others, own.methods, own.method, tolerance
    )

    stated = study.stated_findings(data)
    if len(lesions):
        rows, findings = lesions.rows, lesions.findings
    else:
        notes.append("The true lesions of the test pictures are not known: no map could be scored against them.")
        rows = np.array([i for i, f, _ in stated if f in LOCAL], int)
        findings = [f for _, f, _ in stated if f in LOCAL]
    zone_of = study.zone_maker(training)
    every = generate(gan, *data.text(np.arange(len(data))), seed=seed, device=cpu_device())
    if len(rows):
        condition = gan.conditioner(*data.text(rows))
        other = gan.conditioner(*data.text(other_reports(data, rows, seed)))
        shown = np.unique(np.linspace(0, len(rows) - 1, min(own.images, len(rows))).astype(int))
        for kind, pictures in (("real", data.pictures(rows)), ("drawn", as_batch(every[rows]))):
            some = slice(None) if kind == "real" and len(lesions) else shown
            names = [findings[i] for i in np.arange(len(rows))[some]]
            found = {
                "classifier": finding_maps(judge, pictures[some], names, method, layer),
                "discriminator": agreement_maps(
                    gan.discriminator, pictures[some], condition[some], other[some], by, at
                ),
            }
            for name, maps in found.items():
                place = shown if len(maps) == len(rows) else np.arange(len(shown))
                explanation_overlays(
                    pictures[shown, 0].numpy(),
                    maps[place],
                    PLOTS / f"{name}_{kind}.png",
                    titles=[f"{findings[i]} ({kind})" for i in shown],
                    masks=lesions.masks[shown] if kind == "real" and len(lesions) else None,
                    unit="logit of the finding" if name == "classifier" else "logit, own report minus another",
                )
            if kind == "real" and len(lesions):
                scored = {name: scores.measures(maps, lesions.masks, tolerance) for name, maps in found.items()}
                figures |= score_lesions(lesions, scored, training, told, tolerance, tables, notes)
    if len(lesions):
        few = lesions.some(own.lesions)
        figures |= look_closer(judge, few, layer, method, own, told, tolerance, tables, notes)
    figures |= plant_and_edit(gan, judge, encoder, data, lesions, stated, zone_of, (at, by), own, told, notes)
    if any(f in learned for _, f, _ in stated):
        found, table, more = study.verdict_figures(
            judge, learned, validation, data, every, stated, zone_of, layer, method, **told
        )
        figures |= found
        tables |= more | {"marker_verdicts_by_picture": table.to_dict("records")}
    notes.append(
        "An accepted drawn picture is one in which this judge sees the finding at a place that is possible; "
        "it is no reading by a radiologist."
    )
    draw_words(gan, encoder, data, stated, zone_of, seed, figures, told, notes)
    more = {
        "method": method, "layer": layer, "discriminator_method": by, "discriminator_layer": at,
        "lesions": len(lesions), "tolerance_pixels": tolerance, "picture_pixels": size,
    }  # fmt: skip
    return figures, tables, notes, more


def score_lesions(
    lesions: study.Lesions,
    scored: dict[str, dict[str, np.ndarray]],
    training: study.Lesions,
    told: dict[str, Any],
    tolerance: int,
    tables: dict[str, Any],
    notes: list[str],
) -> dict[str, Any]:
    """The maps' scores over true lesions, beside maps without a network."""
    local = np.isin(training.findings, LOCAL)
    pictures = lesions.pictures[:, 0].numpy()
    blind = scores.without_network(
        pictures, lesions.findings, training.masks[local], np.array(training.findings)[local], told["seed"]
    )
    others = {name: scores.measures(maps, lesions.masks, tolerance) for name, maps in blind.items()}
    figures = scores.prior_figures(others, lesions.patients, **told)
    prior = others.get("prior", {}).get("hit_rate")
    what = {"classifier": "the judge's map of a finding", "discriminator": "the map of agreement with the report"}
    for name, one in scored.items():
        figures |= scores.lesion_figures(
            name, one, others, lesions.patients, **told, tolerance=tolerance, what=what[name]
        )
        tables[f"{name}_by_finding"] = scores.by_finding(one, prior, lesions.findings)
        missed = [r["finding"] for r in tables[f"{name}_by_finding"] if r["hit_rate"] < 0.2]
        if missed:
            notes.append(f"On real test pictures {what[name]} hardly ever points at: {', '.join(missed)}.")
        for other in ("prior", "prior_of_finding"):
            gain = figures.get(f"{name}_hit_rate_gain_on_{other}")
            if gain and gain["low"] is not None and gain["low"] <= 0:
                notes.append(f"{what[name].capitalize()} is not shown to beat {scores.SAID[other]}.")
    return figures


def look_closer(
    judge: Any,
    few: study.Lesions,
    layer: str,
    method: str,
    own: Explain,
    told: dict[str, Any],
    tolerance: int,
    tables: dict[str, Any],
    notes: list[str],
) -> dict[str, Any]:
    """What is costly, on few lesions: all methods, removal, randomisation."""
    tables["methods"], maps = study.methods_side_by_side(judge, few, layer, own.methods, tolerance)
    best = maps[method] if method in maps else finding_maps(judge, few.pictures, few.findings, method, layer)
    figures = study.faithfulness_figures(judge, few, best, **told)
    found, tables["randomisation"], cascade = study.randomisation(judge, few, layer, method, **told)
    value = found["randomised_rank_correlation"]["value"]
    notes.append(
        f"Shuffling the judge's weights {'changes' if value < study.SURVIVES_ABOVE else 'does NOT change'} its maps: "
        f"{'they show the network' if value < study.SURVIVES_ABOVE else 'they do not show what it learned'}."
    )
    pictures = few.pictures[:, 0].numpy()
    shown = range(min(6, len(few)))
    evidence_table(
        [
            [("picture", pictures[i], None, few.masks[i])]
            + [(name, pictures[i], one[i], few.masks[i]) for name, one in maps.items()]
            for i in shown
        ],
        PLOTS / "methods.png",
        row_titles=[few.findings[i] for i in shown],
        note=f"maps of the judge at {layer}; green: the true lesion; {COLOURS}",
    )
    evidence_table(
        [
            [
                (
                    "as trained" if k == 0 else f"shuffled to {name}, r = {cascade.rank_correlation[k, i]:.2f}",
                    pictures[i],
                    cascade.maps[k][i],
                    few.masks[i],
                )
                for k, name in enumerate(cascade.names)
            ]
            for i in list(shown)[:4]
        ],
        PLOTS / "randomisation.png",
        row_titles=[few.findings[i] for i in list(shown)[:4]],
        note=f"{method} at {layer}, weights shuffled from the top down; r: rank correlation with the first; {COLOURS}",
    )
    return figures | found


def plant_and_edit(
    gan: Any,
    judge: Any,
    encoder: Any,
    data: ChestSet,
    lesions: study.Lesions,
    stated: list[tuple[int, str, str]],
    zone_of: Any,
    chosen: tuple[str, str],
    own: Explain,
    told: dict[str, Any],
    notes: list[str],
) -> dict[str, Any]:
    """Planted flaws in real pictures, and sentences taken out of reports."""
    figures, striped = study.plant_stripes(gan, data, own.images, "hirescam", **told)
    table = [
        [("as it is", striped.clean[i], None, None), ("with a stripe", striped.pictures[i], None, None)]
        + [(f"against: {name}", striped.pictures[i], m[i], striped.masks[i]) for name, m in striped.maps.items()]
        for i in range(min(3, len(striped.clean)))
    ]
    titles = ["stripe"] * len(table)
    moved = study.plant_wrong_side(gan, encoder, lesions, *chosen, **told) if len(lesions) else None
    if moved is None:
        notes.append("No true lesion on a known side: none could be moved to the other.")
    else:
        figures |= moved[0]
        one = moved[1]
        for i in np.unique(np.linspace(0, len(one.clean) - 1, min(3, len(one.clean))).astype(int)):
            table.append(
                [
                    ("as it is", one.clean[i], None, one.masks[i][:, ::-1]),
                    ("lesion moved", one.pictures[i], None, one.masks[i]),
                    ("against: agreement", one.pictures[i], one.maps["wrong_side"][i], one.masks[i]),
                ]
            )
            titles.append("lesion on the wrong side")
    evidence_table(
        table, PLOTS / "planted.png", row_titles=titles,
        note="green: the planted flaw; red: evidence against the picture; every map on its own scale",
    )  # fmt: skip
    for name, what in (
        ("planted_stripe_patches", "The map of the discriminator's patch logits"),
        ("planted_stripe_realism", "The discriminator's map of realism"),
        ("planted_wrong_side", "The discriminator's map of agreement"),
    ):
        gain = figures.get(f"{name}_hit_rate_gain")
        if gain and gain["low"] is not None and gain["low"] <= 0:
            notes.append(f"{what} does not find the planted flaw more often than it points there without it.")
    edited = study.counterfactuals(
        gan, judge, encoder, data, stated, zone_of, own.images, told["split"], told["seed"], told["repetitions"]
    )
    if edited is not None:
        figures |= edited[0]
        one = edited[1]
        places = np.unique(np.linspace(0, len(one.findings) - 1, min(6, len(one.findings))).astype(int))
        evidence_table(
            [
                [
                    ("the report", one.drawn[i], None, None),
                    (f"without {one.findings[i]}", one.without[i], None, None),
                    ("difference", one.drawn[i], one.maps[i], one.zones[i]),
                ]
                for i in places
            ],
            PLOTS / "counterfactuals.png",
            row_titles=[one.prompts[i] for i in places],
            note="same noise; red: denser with the finding's sentences; green: where the finding may lie",
        )
    return figures


def draw_words(
    gan: Any,
    encoder: Any,
    data: ChestSet,
    stated: list[tuple[int, str, str]],
    zone_of: Any,
    seed: int,
    figures: dict[str, Any],
    told: dict[str, Any],
    notes: list[str],
) -> None:
    """Where the generator's cross-attention reads the words that name findings and sides."""
    cases = [case for case in stated if case[1] in LOCAL]
    if not cases:
        return
    first = {case[1]: case for case in reversed(cases)}
    chosen = list(first.values())[:6]
    rows = np.array([i for i, _, _ in chosen])
    found = generator.attention_maps(gan, *data.text(rows), seed=seed)
    if found is None:
        notes.append("The generator has no cross-attention: there are no maps of words.")
        return
    maps, gate = found
    drawn = generate(gan, *data.text(rows), seed=seed, device=cpu_device())
    notes.append(
        f"The generator's cross-attention enters with a gate of {gate:.3f} (0 is not at all); most of "
        "what a report does to a picture comes through the pooled text."
    )
    table = []
    for n, (i, finding, side) in enumerate(chosen):
        cells = [("drawn", drawn[n], None, zone_of(finding, side))]
        words = generator.words_of(encoder, str(data.frame["prompt"].iloc[i]))
        wanted = dict.fromkeys(w for w, _ in words if generator.names_finding(w) or w in ("left", "right"))
        for word in list(wanted)[:5]:
            pieces = [p for w, ps in words if w == word for p in ps if p < maps.shape[1]]
            if pieces:
                one = maps[n, pieces].mean(0)
                cells.append((word, drawn[n], generator.fine(one - one.mean(), data.size), None))
        table.append(cells)
    evidence_table(
        table, PLOTS / "word_regions.png", row_titles=[f"{f} {s}".strip() for _, f, s in chosen],
        note="red: read more there than elsewhere, blue: less; green: where the finding may lie; maps on own scales",
    )  # fmt: skip
    figures["word_attention_gate"] = study.plain(
        gate, told, "the factor with which cross-attention to the words enters the generator; 0 is not at all"
    )


def explain_brain(own: Explain, seed: int) -> tuple[dict[str, Any], list[str]]:
    """Overlays of the CT discriminator on true and synthetic CT slices of the test heads, and a planted stripe."""
    manifest = VOLUMES.read("data/brain/manifest.parquet")
    model, _ = load_mri_to_ct("models/mri_to_ct")
    heads = {m: read_heads("data/brain/aligned", manifest, m, "test") for m in ("MR", "CT")}
    split = "test" if heads["CT"].rows else "all"
    heads = {m: h if h.rows else read_heads("data/brain/aligned", manifest, m, None) for m, h in heads.items()}
    half = max(own.images // 4, 1)
    places = np.linspace(0.35, 0.75, half)
    device = cpu_device().device
    volume, depth = heads["CT"].volume(0)
    mr, mr_depth = heads["MR"].volume(0)
    cases = (("real", volume, depth, "CT"), ("synthetic", translate_volume(model, mr, mr_depth), mr_depth, "MR"))
    for kind, hu, inside, depth_of in cases:
        chosen = (places * len(hu)).astype(int)
        slices = slices_of(hu[chosen], inside[chosen], chosen, "CT", model, device, depth_of)
        for name, maps in (
            ("", brain.realism_maps(model, slices, "CT", own.method)),
            ("_patches", brain.patch_maps(model, slices, "CT")),
        ):
            explanation_overlays(
                np.flip(slices.image[:, 0].numpy(), 1),
                np.flip(maps, 1),
                PLOTS / f"ct_discriminator{name}_{kind}.png",
                titles=[f"{kind} CT, slice {z}" for z in chosen],
                unit="patch logit, real (+) or synthetic (-)",
            )
    figures, planted = brain.plant_stripes(model, heads["CT"], half, split, seed, own.bootstrap)
    shown = np.unique(np.linspace(0, len(planted.clean) - 1, min(4, len(planted.clean))).astype(int))
    evidence_table(
        [
            [
                ("true CT", np.flip(planted.clean[i], 0), None, None),
                ("with a stripe", np.flip(planted.pictures[i], 0), None, None),
                *(
                    (
                        f"against: {name}",
                        np.flip(planted.pictures[i], 0),
                        np.flip(m[i], 0),
                        np.flip(planted.masks[i], 0),
                    )
                    for name, m in planted.maps.items()
                ),
            ]
            for i in shown
        ],
        PLOTS / "planted_ct.png",
        row_titles=["stripe"] * len(shown),
        note="green: the planted stripe; red: evidence against the slice; every map on its own scale",
    )
    gain = figures["planted_ct_stripe_hit_rate_gain"]
    notes = []
    if gain["low"] is not None and gain["low"] <= 0:
        notes.append(
            "The CT discriminator's patches do not find a planted stripe more often than they point there anyway."
        )
    return figures, notes


if __name__ == "__main__":
    main()
