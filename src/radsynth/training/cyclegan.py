"""MRI <-> CT by CycleGAN: its game, how it is validated, and how a finished model is used.

References
----------
Zhu et al. 2017, "Unpaired Image-to-Image Translation using Cycle-Consistent Adversarial Networks".
Wolterink et al. 2017, "Deep MR to CT Synthesis using Unpaired Data".
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from radsynth.losses.adversarial import least_squares_discriminator, least_squares_generator
from radsynth.losses.cycle import anatomy_loss, cycle_loss, identity_loss
from radsynth.networks.atlas import Atlas
from radsynth.networks.cyclegan import cyclegan_networks
from radsynth.settings import TrainCyclegan
from radsynth.training.atlas import statistics_of_others, train_atlases
from radsynth.training.device import Device
from radsynth.training.ema import Ema
from radsynth.training.flaws import flaws_loss, with_flaws
from radsynth.training.loop import Follow, Outcome, Phase, linear_decay, train
from radsynth.training.models import load_model, of_this_version
from radsynth.training.pool import ImagePool
from radsynth.training.simulated import simulated_mr
from radsynth.training.slices import (
    BACKGROUND_MARGIN,
    Heads,
    Pair,
    Slices,
    head_in_both,
    matched_pairs,
    paired_subjects,
    to_slices,
    unit_to_hu,
)

GEOMETRY = 3
"""Channels of `geometry_channels`: the depth below the skin, and what the atlases expect in the CT and in the MR."""

NEARLY_RIGHT = 1e-4
"""Standard deviation of the last weights of a generator that says by how much the atlas is wrong: at first, nowhere."""

USUAL = {"ct": 1, "mr": 2}
"""Channel of the geometry in which what is usual at this place of this modality stands."""

CHANNELS = (
    "-1 outside the head and 1 - exp(-depth / 15 mm) inside; what is usual here in the CT, in the MR; "
    "what the atlas expects of the image"
)


def read_by(network: nn.Module, image: Tensor, geometry: Tensor, head_channels: bool) -> Tensor:
    """What `network` says of `image`, shown together with where each pixel lies if `head_channels`."""
    return network(torch.cat([image, geometry], 1)) if head_channels else network(image)


def drawn_in(geometry: Tensor) -> Tensor:
    """Where a picture is drawn: the head, widened by `BACKGROUND_MARGIN`; bool (B, 1, H, W)."""
    side = 2 * BACKGROUND_MARGIN + 1
    return F.max_pool2d((geometry[:, :1] > -1).to(geometry.dtype), side, 1, BACKGROUND_MARGIN) > 0


def with_air(image: Tensor, geometry: Tensor, head_channels: bool) -> Tensor:
    """Set all outside `drawn_in` to -1 (air; black): known, so nothing to be learned."""
    return torch.where(drawn_in(geometry), image, image.new_tensor(-1.0)) if head_channels else image


def start_of(image: Tensor, slices: Slices, atlases: nn.ModuleDict, to: str) -> Tensor:
    """What the atlas of `to` (``"ct"`` or ``"mr"``) expects where `image`, of the other modality, lies like `slices`.

    (B, 1, H, W), without gradient; what is usual there if there is no atlas.
    """
    if to not in atlases:
        return slices.geometry[:, USUAL[to] : USUAL[to] + 1]
    atlas, density = atlases[to], slices.ct_density if to == "ct" else slices.mr_density
    with torch.no_grad():
        return atlas.median(atlas.posterior(density, image)).to(slices.geometry.dtype)


def translate(generator: nn.Module, image: Tensor, geometry: Tensor, start: Tensor, head_channels: bool) -> Tensor:
    """The other modality of `image` (B, 1, H, W), float32; the geometry stays valid for it.

    With `head_channels` the generator says by how much the picture differs from `start`, what the atlas expects: a
    fresh one draws the atlas, and training adds what neighbouring pixels tell. Meant for -1..1, not held to it there.
    """
    if not head_channels:
        return generator(image)
    return with_air(generator(torch.cat([image, geometry, start], 1)) + start, geometry, head_channels)


def simulated_loss(generator: nn.Module, ct: Slices, atlases: nn.ModuleDict, head_channels: bool) -> Tensor:
    """How far `generator` is from a CT, shown an MR that is drawn for it: E|G(x_y) - y|, see `build_phases`."""
    drawn = ct._replace(image=simulated_mr(ct, atlases["mr"]))
    start = start_of(drawn.image, drawn, atlases, "ct")
    picture = translate(generator, drawn.image, drawn.geometry, start, head_channels)
    return anatomy_loss(picture, ct.image, drawn_in(ct.geometry))


def build_phases(
    networks: nn.ModuleDict,
    optimizers: dict[str, torch.optim.Optimizer],
    pools: dict[str, ImagePool],
    settings: TrainCyclegan,
    device: Device,
    atlases: nn.ModuleDict,
    seed: int,
) -> list[Phase]:
    """CycleGAN's game; G is `mr_to_ct`, F is `ct_to_mr`, x is MR, y is CT.

    The generators minimise, and the discriminators then maximise (as least squares, section 4)::

        L(G, F, D_ct, D_mr) = w_adversarial (L_GAN(G, D_ct) + L_GAN(F, D_mr))             equation 3
                            + w_cycle    (E|F(G(x)) - x| + E|G(F(y)) - y|)                equation 2
                            + w_identity (E|G(y) - y| + E|F(x) - x|)                      section 5.2
                            + w_anatomy  (E|G(x) - A_ct(x)| + E|F(y) - A_mr(y)|)       where drawn; not in the paper
                            + w_simulated E|G(x_y) - y|, x_y ~ p(MR | CT y)            where drawn; not in the paper

    The discriminators also minimise w_flaws times `flaws_loss` on real slices with a planted flaw, from the first
    image on.

    A weight of 0 removes its term and what only that term computes. With `head_channels`, every network also sees
    how deep below the skin each pixel lies, so that the discriminators judge whether a tissue is where it belongs.
    The anatomical prior pulls towards what the atlases of `training.atlas` expect of this grey value at this place of
    this head, and settles early what the cycle leaves open: whether the bright ring of the MR is scalp or bone. Its
    weight falls in a straight line to the share `anatomy_floor` of what it was.

    The last term teaches G on CTs whose MR is drawn (`training.simulated`): the cycle's second half, with an MR that
    hides nothing for the way back. The first `simulated_images` images are G's learning from it alone.

    Parameters
    ----------
    networks
        From `cyclegan_networks`.
    optimizers
        ``"generators"`` and ``"discriminators"``.
    pools
        ``"ct"`` and ``"mr"``.
    atlases
        From `training.atlas.train_atlases`; may be empty.
    seed
        Decides the flaws.
    """
    g, f = networks["mr_to_ct"], networks["ct_to_mr"]
    d_ct, d_mr = networks["discriminator_ct"], networks["discriminator_mr"]
    w_adversarial, w_cycle, w_identity = settings.weight_adversarial, settings.weight_cycle, settings.weight_identity
    w_anatomy, w_simulated, heads = settings.weight_anatomy, settings.weight_simulated, settings.head_channels
    w_flaws = settings.weight_flaws
    simulates = bool(w_simulated) and "mr" in atlases
    made: dict[str, Tensor] = {}

    def to_device(slices: Slices) -> Slices:
        moved = Slices(*(t.to(device.device) for t in slices))
        return moved._replace(image=with_air(moved.image, moved.geometry, heads))

    def to_the_other(generator: nn.Module, image: Tensor, slices: Slices, to: str) -> tuple[Tensor, Tensor]:
        """The picture, and what the atlas expected of it."""
        start = start_of(image, slices, atlases, to)
        return translate(generator, image, slices.geometry, start, heads), start

    def with_identity(generator: nn.Module, other: Slices, own: Slices, to: str) -> tuple[Tensor, Tensor, Tensor]:
        """`to_the_other` of `other`, and the identity of `own`, in one call: exact, InstanceNorm is per sample."""
        start, usual = start_of(other.image, other, atlases, to), own.geometry[:, USUAL[to] : USUAL[to] + 1]
        image, geometry = torch.cat([other.image, own.image]), torch.cat([other.geometry, own.geometry])
        both = translate(generator, image, geometry, torch.cat([start, usual]), heads)
        picture, same = both.split([len(other.image), len(own.image)])
        return picture, start, same

    def generators(batch: Pair) -> dict[str, Tensor]:
        ct, losses = to_device(batch.ct), {}
        if simulates:
            with device.autocast():
                losses["simulated"] = w_simulated * simulated_loss(g, ct, atlases, heads)
        if batch.mr is None:
            losses["simulated"].backward()
            return {name: loss.detach() for name, loss in losses.items()}
        mr, images_seen = to_device(batch.mr), batch.images_seen
        x, y, x_place, y_place = mr.image, ct.image, mr.geometry, ct.geometry
        with device.autocast():
            if w_identity:
                g_x, a_x, g_y = with_identity(g, mr, ct, "ct")
                f_y, a_y, f_x = with_identity(f, ct, mr, "mr")
                losses["identity"] = w_identity * (identity_loss(g_y, y) + identity_loss(f_x, x))
            else:
                (g_x, a_x), (f_y, a_y) = to_the_other(g, x, mr, "ct"), to_the_other(f, y, ct, "mr")
            if w_cycle:
                (f_g_x, _), (g_f_y, _) = to_the_other(f, g_x, mr, "mr"), to_the_other(g, f_y, ct, "ct")
                losses["cycle"] = w_cycle * (cycle_loss(f_g_x, x) + cycle_loss(g_f_y, y))
            if w_anatomy:
                fallen = 1 - images_seen / settings.images_seen * (1 - settings.anatomy_floor)
                terms = [
                    anatomy_loss(picture, expected, drawn_in(place))
                    for name, picture, expected, place in (("ct", g_x, a_x, x_place), ("mr", f_y, a_y, y_place))
                    if name in atlases
                ]
                if terms:
                    losses["anatomy"] = w_anatomy * fallen * sum(terms)
            if w_adversarial:
                made["ct"] = torch.cat([g_x, x_place], 1).detach()
                made["mr"] = torch.cat([f_y, y_place], 1).detach()
                losses["adversarial_ct"] = w_adversarial * least_squares_generator(read_by(d_ct, g_x, x_place, heads))
                losses["adversarial_mr"] = w_adversarial * least_squares_generator(read_by(d_mr, f_y, y_place, heads))
        sum(losses.values()).backward()
        return {name: loss.detach() for name, loss in losses.items()}

    def discriminators(batch: Pair) -> dict[str, Tensor]:
        losses: dict[str, Tensor] = {}
        for kind, (name, network, slices) in enumerate((("ct", d_ct, batch.ct), ("mr", d_mr, batch.mr))):
            if slices is None:
                continue
            real = to_device(slices)
            if batch.mr is not None:
                fake, fake_place = pools[name].exchange(made[name]).split([1, GEOMETRY], dim=1)
                image, place = torch.cat([real.image, fake]), torch.cat([real.geometry, fake_place])
                with device.autocast():
                    real_logits, fake_logits = read_by(network, image, place, heads).chunk(2)
                losses[f"discriminator_{name}"] = least_squares_discriminator(real_logits, fake_logits)
            if w_flaws:
                flawed, where = with_flaws(real.image, drawn_in(real.geometry), (seed, batch.images_seen, kind))
                with device.autocast():
                    logits = read_by(network, flawed, real.geometry, heads)
                losses[f"flaws_{name}"] = w_flaws * flaws_loss(logits, where, settings.discriminator_layers)
        if losses:
            sum(losses.values()).backward()
        return {name: loss.detach() for name, loss in losses.items()}

    def rate(start: float) -> Callable[[int], float]:
        return lambda images_seen: linear_decay(images_seen, settings.images_seen, start)

    phases = [Phase("generators", (g, f), optimizers["generators"], generators, rate(settings.learning_rate))]
    if w_adversarial:
        judge = rate(settings.discriminator_learning_rate)
        phases.append(Phase("discriminators", (d_ct, d_mr), optimizers["discriminators"], discriminators, judge))
    return phases


def channels_read(head_channels: bool) -> tuple[int, int]:
    """Channels that a generator and a discriminator read."""
    return (2 + GEOMETRY, 1 + GEOMETRY) if head_channels else (1, 1)


def build_networks(settings: TrainCyclegan, seed: int) -> nn.ModuleDict:
    """The four networks that the settings describe, freshly initialised."""
    return cyclegan_networks(
        *channels_read(settings.head_channels),
        settings.width,
        settings.blocks,
        settings.discriminator_layers,
        seed,
        settings.discriminator_norm,
        settings.skip_connections,
        NEARLY_RIGHT if settings.head_channels else 0.02,
        settings.end_kernel,
    )


def build_optimizers(networks: nn.ModuleDict, settings: TrainCyclegan) -> dict[str, torch.optim.Optimizer]:
    """Adam (0.5, 0.999) for both generators, and another one for both discriminators."""
    players = {"generators": ("mr_to_ct", "ct_to_mr"), "discriminators": ("discriminator_ct", "discriminator_mr")}
    return {
        player: torch.optim.Adam(
            itertools.chain.from_iterable(networks[name].parameters() for name in names),
            lr=settings.learning_rate,
            betas=(0.5, 0.999),
            fused=True,
        )
        for player, names in players.items()
    }


@dataclass(frozen=True)
class MriToCt:
    """Networks with what is needed to use them on volumes.

    Parameters
    ----------
    networks
        ``mr_to_ct`` and ``ct_to_mr``; a loaded model has both discriminators as well.
    hu_window
        HU that -1 and 1 stand for.
    head_channels
        Whether the networks see the geometry, and all outside the head is air.
    atlases
        ``ct`` and ``mr``, see `training.atlas`; may be empty.
    """

    networks: nn.ModuleDict
    hu_window: tuple[float, float]
    head_channels: bool
    atlases: nn.ModuleDict


@torch.inference_mode()
def translate_volume(
    model: MriToCt,
    volume: np.ndarray,
    depth_mm: np.ndarray,
    direction: str = "mr_to_ct",
    batch_size: int = 8,
    autocast: bool = False,
    places: np.ndarray | None = None,
) -> np.ndarray:
    """Translate an aligned head, slice by slice.

    Beyond the head mask of an MR a CT shows air: that mask is wider than the CT's, and holds all of the skin, while the
    generator has learned edges of skin around the narrower one.

    Parameters
    ----------
    volume
        (Z, Y, X): MR 0..1, or CT in HU for ``direction="ct_to_mr"``.
    depth_mm
        (Z, Y, X): distance to the skin inside the head, 0 outside.
    batch_size
        Slices at a time.
    autocast
        Run the networks in bfloat16 as in training; the last layer stays float32.
    places
        (Z,) int: which slices of the grid these are, where `volume` is not the whole grid.

    Returns
    -------
    numpy.ndarray
        (Z, Y, X) float32: HU, or MR 0..1 for ``direction="ct_to_mr"``.
    """
    generator = model.networks[direction]
    device = next(generator.parameters()).device
    to_ct = direction == "mr_to_ct"
    out = np.empty(volume.shape, np.float32)
    places = np.arange(len(volume)) if places is None else places
    for first in range(0, len(volume), batch_size):
        part = slice(first, first + batch_size)
        slices = slices_of(volume[part], depth_mm[part], places[part], "MR" if to_ct else "CT", model, device)
        start = start_of(slices.image, slices, model.atlases, "ct" if to_ct else "mr")
        with torch.autocast(device.type, torch.bfloat16, enabled=autocast):
            unit = translate(generator, slices.image, slices.geometry, start, model.head_channels)
        out[part] = unit[:, 0].float().clamp(-1, 1).cpu().numpy()
    if to_ct and model.head_channels:
        out[depth_mm <= 0] = -1
    return unit_to_hu(out, model.hu_window) if to_ct else (out + 1) / 2


def slices_of(
    volume: np.ndarray,
    depth_mm: np.ndarray,
    places: np.ndarray,
    modality: str,
    model: MriToCt,
    device: torch.device,
    depth_of: str | None = None,
) -> Slices:
    """(B, Y, X) of MR 0..1 or CT in HU, slices number `places` (B,) of the grid, as the networks read it.

    The depth was found in a scan of `depth_of`, by default of `modality`: a synthetic CT has its MR's.
    """
    found = to_slices(volume, depth_mm, places, modality, model.hu_window, model.atlases, depth_of)
    moved = Slices(*(t.to(device) for t in found))
    return moved._replace(image=with_air(moved.image, moved.geometry, model.head_channels))


@torch.inference_mode()
def cycle_error(
    model: MriToCt,
    volume: np.ndarray,
    depth_mm: np.ndarray,
    modality: str,
    places: np.ndarray,
    *,
    autocast: bool = False,
    batch_size: int = 8,
) -> float:
    """Mean |volume - what comes back after both translations| inside the head: 0..1 of an MR, HU of a CT.

    Parameters
    ----------
    volume, depth_mm
        (Z, Y, X) of a head of `modality`, ``"MR"`` or ``"CT"``.
    places
        (N,) int: the slices to look at.
    """
    there, back = ("ct", "mr") if modality == "MR" else ("mr", "ct")
    device = next(model.networks["mr_to_ct"].parameters()).device
    total, count = 0.0, 0
    for first in range(0, len(places), batch_size):
        rows = places[first : first + batch_size]
        slices = slices_of(volume[rows], depth_mm[rows], rows, modality, model, device)
        image = slices.image
        for to, by in ((there, f"{back}_to_{there}"), (back, f"{there}_to_{back}")):
            start = start_of(image, slices, model.atlases, to)
            with torch.autocast(device.type, torch.bfloat16, enabled=autocast):
                image = translate(model.networks[by], image, slices.geometry, start, model.head_channels)
            image = image.float().clamp(-1, 1)
        inside = torch.from_numpy(depth_mm[rows] > 0)
        difference = (image - slices.image)[:, 0].cpu()[inside].abs()
        total, count = total + float(difference.double().sum()), count + len(difference)
    if not count:
        return float("nan")
    low, high = model.hu_window
    return total / count * ((high - low) if modality == "CT" else 1.0) / 2


def histogram_distance(values: np.ndarray, reference: np.ndarray) -> float:
    """First Wasserstein distance of two samples of HU, HU: mean distance of their 1000 equally spaced quantiles.

    It needs no pairs, and does not see where in the head a value lies.
    """
    levels = (np.arange(1000) + 0.5) / 1000
    return float(np.abs(np.quantile(values, levels) - np.quantile(reference, levels)).mean())


def paired_error(model: MriToCt, mr: Heads, ct: Heads, autocast: bool = False) -> float:
    """Mean over the subjects who have both of the mean absolute error, HU, inside `head_in_both`."""
    errors = []
    for subject in paired_subjects(mr, ct):
        (image, depth), (true, true_depth) = mr.of(subject), ct.of(subject)
        difference = translate_volume(model, image, depth, autocast=autocast) - true
        errors.append(np.abs(difference[head_in_both(depth, true_depth)]).mean(dtype=np.float64))
    return float(np.mean(errors))


def unpaired_proxy(model: MriToCt, mr: Heads, ct: Heads, autocast: bool = False) -> dict[str, float]:
    """What can be said of a synthetic CT without a true one; lower is better, and none of it is an error in HU.

    Returns
    -------
    dict
        ``histogram_hu``: `histogram_distance` of HU inside the heads, synthetic CTs of all MRs against the CTs.
        ``cycle_hu``: `cycle_error` of the CTs, HU.
    """
    synthetic, real, cycles = [], [], []
    for place in range(len(mr.rows)):
        image, depth = mr.volume(place)
        synthetic.append(translate_volume(model, image, depth, autocast=autocast)[depth > 0])
    for place in range(len(ct.rows)):
        image, depth = ct.volume(place)
        real.append(image[depth > 0].clip(*model.hu_window))
        shown = np.flatnonzero((depth > 0).any((1, 2)))
        cycles.append(cycle_error(model, image, depth, "CT", shown, autocast=autocast))
    return {
        "histogram_hu": histogram_distance(np.concatenate(synthetic), np.concatenate(real)),
        "cycle_hu": float(np.mean(cycles)),
    }


@dataclass(frozen=True)
class Selection:
    """How validation chooses: `score` names the column of the history, lower is better."""

    score: str
    definition: str
    figures: Callable[[MriToCt], dict[str, float]]


def choose_by(
    validation_mr: Heads, validation_ct: Heads, train_mr: Heads, train_ct: Heads, autocast: bool
) -> Selection:
    """The error on validation subjects who have both modalities, else a proxy that needs no pairs.

    The proxy takes the validation heads of a modality where there are any, else its training heads, and its
    definition says which.
    """
    pairs = paired_subjects(validation_mr, validation_ct)
    if pairs:
        return Selection(
            "validation_mae_hu",
            f"mean absolute error in HU inside the head on {len(pairs)} paired validation subjects",
            lambda model: {"validation_mae_hu": paired_error(model, validation_mr, validation_ct, autocast)},
        )
    mr, ct = validation_mr if validation_mr.rows else train_mr, validation_ct if validation_ct.rows else train_ct
    splits = " and ".join(
        f"{len(used.rows)} {'training' if used is training else 'validation'} {used.modality}"
        for used, training in ((mr, train_mr), (ct, train_ct))
    )

    def figures(model: MriToCt) -> dict[str, float]:
        parts = {f"validation_{name}": value for name, value in unpaired_proxy(model, mr, ct, autocast).items()}
        return parts | {"validation_proxy_hu": sum(parts.values())}

    return Selection(
        "validation_proxy_hu",
        f"no paired validation subject: HU-histogram Wasserstein distance + CT cycle error, HU, on {splits} heads",
        figures,
    )


def train_cyclegan(
    heads: dict[str, Heads],
    settings: TrainCyclegan,
    seed: int,
    device: Device,
    checkpoint_folder: Path | None = None,
    on_validation: Callable[[MriToCt, int], None] | None = None,
) -> tuple[Outcome, Selection]:
    """Train both directions and keep the averaged generators that validation chose.

    Parameters
    ----------
    heads
        ``train_mr``, ``train_ct``, ``validation_mr``, ``validation_ct``. The test split is never read here.
    on_validation
        Called with the averaged model and the images seen after each validation, e.g. to draw it.

    Returns
    -------
    Outcome, Selection
        The outcome's ``best`` holds `mr_to_ct.*` and `ct_to_mr.*` (averaged weights), `discriminator_ct.*` and
        `discriminator_mr.*` (as they were at that moment).
    """
    training, atlases = (heads["train_mr"], heads["train_ct"]), nn.ModuleDict()
    if settings.head_channels:
        atlases = train_atlases(*training, settings.hu_window, settings.atlas_slices, seed, device).to(device.device)
    networks = build_networks(settings, seed).to(device.device)
    optimizers = build_optimizers(networks, settings)
    pools = {name: ImagePool(settings.pool_size, seed + i) for i, name in enumerate(("ct", "mr"))}
    averages = {name: Ema(networks[name], settings.ema_half_life_images) for name in ("mr_to_ct", "ct_to_mr")}
    averaged = MriToCt(
        nn.ModuleDict({name: ema.network for name, ema in averages.items()}),
        settings.hu_window,
        settings.head_channels,
        atlases,
    )
    selection = choose_by(
        heads["validation_mr"],
        heads["validation_ct"],
        heads["train_mr"],
        heads["train_ct"],
        device.precision == "bf16-mixed",
    )

    def validate(images_seen: int) -> dict[str, float]:
        if on_validation:
            on_validation(averaged, images_seen)
        return selection.figures(averaged)

    def result() -> dict[str, Tensor]:
        judges = {k: v for k, v in networks.state_dict().items() if k.startswith("discriminator_")}
        return {**averaged.networks.state_dict(), **judges, **nn.ModuleDict({"atlases": atlases}).state_dict()}

    outcome = train(
        what="training the MRI to CT CycleGAN",
        phases=build_phases(networks, optimizers, pools, settings, device, atlases, seed),
        batch_at=matched_pairs(
            *training,
            settings.hu_window,
            settings.slice_reach,
            settings.batch_size,
            seed,
            atlases,
            settings.simulated_images if settings.weight_simulated and "mr" in atlases else 0,
            statistics_of_others(training, settings.hu_window, atlases),
        ),
        batch_size=settings.batch_size,
        images_seen=settings.images_seen,
        device=device,
        state={
            "networks": networks,
            **{f"optimizer_{name}": optimizer for name, optimizer in optimizers.items()},
            **{f"average_{name}": average for name, average in averages.items()},
            **{f"pool_{name}": pool for name, pool in pools.items()},
        },
        result=result,
        follow=[Follow(networks[name], average) for name, average in averages.items()],
        checkpoint_folder=checkpoint_folder,
        checkpoint_images=settings.checkpoint_images,
        validate=validate,
        validate_images=settings.validate_images,
        score=selection.score,
    )
    return outcome, selection


def describe(
    outcome: Outcome, selection: Selection, settings: TrainCyclegan, seed: int, fingerprint: str
) -> dict[str, Any]:
    """What `model.json` says of a trained CycleGAN."""
    low, high = settings.hu_window
    generator_channels, discriminator_channels = channels_read(settings.head_channels)
    return {
        "name": "mri_to_ct",
        "network": {
            "generator_channels": generator_channels,
            "discriminator_channels": discriminator_channels,
            "width": settings.width,
            "blocks": settings.blocks,
            "discriminator_layers": settings.discriminator_layers,
            "discriminator_norm": settings.discriminator_norm,
            "skips": settings.skip_connections,
            "end_kernel": settings.end_kernel,
        },
        "atlases": {
            name: list(outcome.best[f"atlases.{name}.statistics"].shape[1:])
            for name in ("ct", "mr")
            if f"atlases.{name}.statistics" in outcome.best
        },
        "input": "axial MR slices of the common grid, float32 -1..1 (0 of the normalised MR at -1)"
        + (f"; then {CHANNELS}" if settings.head_channels else ""),
        "output": f"float32 -1..1, linear in HU from {low:g} to {high:g}",
        "hu_window": [low, high],
        "head_channels": settings.head_channels,
        "chosen_by": selection.definition,
        "chosen_at_images_seen": outcome.best_images_seen,
        "chosen_score": outcome.best_score,
        "images_seen": outcome.images_seen,
        "settings": settings.model_dump(mode="json"),
        "seed": seed,
        "fingerprint": fingerprint,
        "intended_use": "research, not clinical use",
    }


def load_mri_to_ct(folder: str | Path) -> tuple[MriToCt, dict[str, Any]]:
    """Read a finished model: all four networks in evaluation mode on the CPU, and what `model.json` says.

    Raises
    ------
    RadsynthError
        Where the folder holds no model, or that of another version.
    """
    weights, description = load_model(folder)
    with of_this_version("CycleGAN", folder):
        return model_of(weights, description), description


def model_of(weights: dict[str, Tensor], description: dict[str, Any]) -> MriToCt:
    """All four networks and the atlases in evaluation mode on the CPU, with the weights of an `Outcome`.

    Parameters
    ----------
    description
        From `describe`.
    """
    networks = cyclegan_networks(**description["network"], seed=0)
    atlases = nn.ModuleDict({name: Atlas(shape) for name, shape in description["atlases"].items()})
    nn.ModuleDict({**networks, "atlases": atlases}).load_state_dict(weights)
    networks.eval().requires_grad_(False)
    low, high = description["hu_window"]
    return MriToCt(networks, (low, high), description["head_channels"], atlases.requires_grad_(False))
