"""Fine-tuning the chosen generator MRI -> CT on a few registered pairs, after the training that needs none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from radsynth.errors import RadsynthError
from radsynth.losses.cycle import anatomy_loss
from radsynth.settings import TrainCyclegan
from radsynth.training.atlas import statistics_of_others
from radsynth.training.cyclegan import (
    MriToCt,
    Selection,
    drawn_in,
    model_of,
    simulated_loss,
    slices_of,
    start_of,
    translate,
    with_air,
)
from radsynth.training.device import Device
from radsynth.training.ema import Ema
from radsynth.training.loop import Follow, Outcome, Phase, linear_decay, train
from radsynth.training.sampler import batch_indices
from radsynth.training.slices import (
    MIN_HEAD,
    Heads,
    Pair,
    Slices,
    depth_channel,
    head_in_both,
    hu_to_unit,
    matched_pairs,
    paired_subjects,
)

VALIDATIONS = 4
"""How often the fine-tuned generator is validated: few pairs are soon learned by heart."""


class Registered(NamedTuple):
    """MR and CT slices of the SAME people, registered.

    `mr` as the networks read it; `ct` (B, 1, Y, X) float32 in -1..1, air at -1; `compared` (B, 1, Y, X) bool, where
    the MR shows the head and the CT is drawn. `unpaired` are CT slices of other people; None without an MR atlas.
    """

    mr: Slices
    ct: Tensor
    compared: Tensor
    unpaired: Slices | None


def registered_pairs(mr: Heads, ct: Heads, count: int) -> tuple[Heads, Heads]:
    """The first `count` people who have both, as MR and CT heads in the same order.

    Parameters
    ----------
    mr, ct
        Heads of the split ``few_pairs``.

    Raises
    ------
    RadsynthError
        Where there are fewer.
    """
    subjects = paired_subjects(mr, ct)
    if len(subjects) < count:
        raise RadsynthError(
            "too few registered pairs to fine-tune on",
            got=f"{len(subjects)} in the split few_pairs",
            expected=f"{count} (train_cyclegan.few_pairs)",
            next_step="raise split_brain.few_pairs, or lower train_cyclegan.few_pairs",
        )
    return mr.only(subjects[:count]), ct.only(subjects[:count])


def registered_slices(
    mr: Heads,
    ct: Heads,
    model: MriToCt,
    batch_size: int,
    seed: int,
    device: torch.device,
    unpaired: Callable[[int], Pair] | None = None,
) -> Callable[[int], Registered]:
    """Make the pure function images seen -> batch; both slices of a pair are mirrored together, half the time.

    Parameters
    ----------
    mr, ct
        From `registered_pairs`.
    unpaired
        From `matched_pairs`: CT slices of other people, taken along.

    Raises
    ------
    RadsynthError
        Where no slice shows enough of the head in both.
    """
    shown = [head_in_both(mr.volume(i)[1], ct.volume(i)[1]).mean(axis=(1, 2)) >= MIN_HEAD for i in range(len(mr.rows))]
    usable = np.argwhere(np.stack(shown))
    if not len(usable):
        raise RadsynthError("no slice of the registered pairs shows the head in both", got=", ".join(mr.subjects))

    def batch_at(images_seen: int) -> Registered:
        chosen = usable[batch_indices(len(usable), batch_size, images_seen, seed)]
        mirrored = np.random.default_rng((seed, 5, images_seen)).random(batch_size) < 0.5
        image, depth, hu, ct_depth = (
            np.stack([source[heads.rows[place], z] for place, z in chosen])
            for heads in (mr, ct)
            for source in (heads.images, heads.depth_mm)
        )
        seen = slices_of(image, depth, chosen[:, 1], "MR", model, device)
        place = torch.from_numpy(depth_channel(ct_depth))[:, None].to(device)
        true = with_air(torch.from_numpy(hu_to_unit(hu, model.hu_window))[:, None].to(device), place, True)
        flip = torch.from_numpy(mirrored)[:, None, None, None].to(device)
        *of_mr, true, compared = (
            torch.where(flip, t.flip(-1), t) for t in (*seen, true, (seen.geometry[:, :1] > -1) & drawn_in(place))
        )
        others = unpaired(images_seen).ct if unpaired else None
        return Registered(Slices(*of_mr), true, compared, others)

    return batch_at


def fine_tune(
    base: Outcome,
    selection: Selection,
    description: dict[str, Any],
    pairs: tuple[Heads, Heads],
    heads: dict[str, Heads],
    settings: TrainCyclegan,
    seed: int,
    device: Device,
    checkpoint_folder: Path | None = None,
    on_validation: Callable[[MriToCt, int], None] | None = None,
) -> tuple[Outcome, dict[str, Any]]:
    """Go on with G, the chosen `mr_to_ct`, on registered pairs (x, y); nothing else is changed. G minimises, in HU::

        L(G) = E|G(x) - y|           where the MR shows the head and the CT is drawn
             + E|G(x_z) - z|         x_z ~ p(MR | CT z), z of the unpaired training heads: see `build_phases`

    The second term keeps G reading MRs of all kinds of grey: from the first alone it learns the grey of a few. It is
    left out as in the unpaired game. The result is judged as the base was, by `selection`, and the better is kept.

    Parameters
    ----------
    base, selection
        From `train_cyclegan`.
    description
        From `describe`, of the base.
    pairs
        From `registered_pairs`.
    heads
        ``train_mr`` and ``train_ct``.
    on_validation
        As `train_cyclegan` takes it; the images seen count on from those of the base.

    Returns
    -------
    Outcome, dict
        What is kept, with the curves of both trainings, and what `model.json` says of it.
    """
    torch.manual_seed(seed)
    model = model_of(base.best, description)
    model.networks.to(device.device)
    model.atlases.to(device.device)
    generator = model.networks["mr_to_ct"]
    optimizer = torch.optim.Adam(
        generator.parameters(), lr=settings.few_pairs_learning_rate, betas=(0.5, 0.999), fused=True
    )
    average = Ema(generator, settings.ema_half_life_images)
    averaged = replace(model, networks=nn.ModuleDict({**model.networks, "mr_to_ct": average.network}))
    low, high = settings.hu_window
    subjects, total, unpaired = pairs[0].subjects, settings.few_pairs_images, None
    if settings.weight_simulated and "mr" in model.atlases:
        training, window = (heads["train_mr"], heads["train_ct"]), settings.hu_window
        statistics = statistics_of_others(training, window, model.atlases)
        unpaired = matched_pairs(
            *training, window, settings.slice_reach, settings.batch_size, seed, model.atlases,
            without_mr=total, statistics=statistics,
        )  # fmt: skip

    def in_hu(loss: Tensor, inside: Tensor) -> Tensor:
        """Of `anatomy_loss`, the mean over `inside`."""
        return loss / inside.float().mean() * ((high - low) / 2)

    def accumulate(batch: Registered) -> dict[str, Tensor]:
        seen, losses = batch.mr, {}
        start = start_of(seen.image, seen, model.atlases, "ct")
        with device.autocast():
            made = translate(generator, seen.image, seen.geometry, start, model.head_channels)
            losses["paired_hu"] = in_hu(anatomy_loss(made, batch.ct, batch.compared), batch.compared)
            if batch.unpaired:
                ct = batch.unpaired
                ct = ct._replace(image=with_air(ct.image, ct.geometry, model.head_channels))
                loss = simulated_loss(generator, ct, model.atlases, model.head_channels)
                losses["simulated_hu"] = in_hu(loss, drawn_in(ct.geometry))
        sum(losses.values()).backward()
        return {name: loss.detach() for name, loss in losses.items()}

    def validate(images_seen: int) -> dict[str, float]:
        if on_validation:
            on_validation(averaged, base.images_seen + images_seen)
        return selection.figures(averaged)

    def result() -> dict[str, Tensor]:
        tuned = {f"mr_to_ct.{name}": value for name, value in average.network.state_dict().items()}
        return {**base.best, **tuned}

    tuned = train(
        what=f"fine-tuning MRI to CT on {len(subjects)} registered pairs",
        phases=[
            Phase(
                "few_pairs",
                (generator,),
                optimizer,
                accumulate,
                lambda images_seen: linear_decay(images_seen, total, settings.few_pairs_learning_rate),
            )
        ],
        batch_at=registered_slices(*pairs, model, settings.batch_size, seed, device.device, unpaired),
        batch_size=settings.batch_size,
        images_seen=total,
        device=device,
        state={"mr_to_ct": generator, "optimizer": optimizer, "average": average},
        result=result,
        follow=[Follow(generator, average)],
        checkpoint_folder=checkpoint_folder,
        checkpoint_images=settings.checkpoint_images,
        validate=validate,
        validate_images=max(total // VALIDATIONS, settings.batch_size),
        score=selection.score,
    )
    better = tuned.best_score < base.best_score
    kept = replace(
        base,
        history=base.history + _counted_on(tuned.history, base.images_seen),
        system=base.system + _counted_on(tuned.system, base.images_seen),
        images_seen=base.images_seen + tuned.images_seen,
    )
    if better:
        kept = replace(
            kept,
            best=tuned.best,
            best_score=tuned.best_score,
            best_images_seen=base.images_seen + tuned.best_images_seen,
        )
    saved = "after" if better else "before"
    told = f"of the weights before and after fine-tuning on {len(subjects)} registered pairs, those {saved} it"
    return kept, description | {
        "chosen_by": f"{selection.definition}; {told}",
        "chosen_at_images_seen": kept.best_images_seen,
        "chosen_score": kept.best_score,
        "images_seen": kept.images_seen,
        "few_pairs": {
            "subjects": list(subjects),
            "score_before": base.best_score,
            "score_after": tuned.best_score,
            "saved": saved,
        },
    }


def _counted_on(rows: list[dict[str, float]], images_seen: int) -> list[dict[str, float]]:
    return [{**row, "images_seen": images_seen + row["images_seen"]} for row in rows]
