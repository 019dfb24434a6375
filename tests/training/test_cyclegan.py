import copy

import numpy as np
import pandas as pd
import pytest
import torch

from radsynth.errors import RadsynthError
from radsynth.networks.atlas import LEVELS, Atlas
from radsynth.training.atlas import FOLDS, head_statistics, statistics_of_others, train_atlases
from radsynth.training.cyclegan import (
    MriToCt,
    build_networks,
    build_optimizers,
    build_phases,
    choose_by,
    describe,
    drawn_in,
    histogram_distance,
    linear_decay,
    load_mri_to_ct,
    paired_error,
    train_cyclegan,
    translate_volume,
    with_air,
)
from radsynth.training.device import Device
from radsynth.training.flaws import flaws_loss, with_flaws
from radsynth.training.models import save_model
from radsynth.training.pool import ImagePool
from radsynth.training.simulated import simulated_mr
from radsynth.training.slices import (
    Heads,
    Pair,
    Slices,
    densities,
    depth_channel,
    geometry_channels,
    head_in_both,
    hu_to_unit,
    matched_pairs,
    read_heads,
    to_slices,
    unit_to_hu,
    usable_slices,
)

CPU = Device(torch.device("cpu"), "32-true")
WINDOW = (-1024.0, 2000.0)
DRAWN_WITH = 5
"""Seed of the drawn MRs."""


@pytest.fixture
def settings(small_cyclegan):
    return small_cyclegan


def make_heads(modality, subjects, seed=0):
    random = np.random.default_rng(seed)
    z, y, x = np.mgrid[:6, :16, :16]
    radius = np.hypot(y - 7.5, x - 7.5)
    edge = 6 if modality == "MR" else 5
    depth = np.where((radius < edge) & (z > 0), 3 * (edge - radius), 0).astype(np.float16)
    shape = (len(subjects), *depth.shape)
    if modality == "MR":
        images = random.uniform(0, 1, shape).astype(np.float32)
    else:
        images = random.integers(-1024, 3000, shape).astype(np.int16)
    return Heads(modality, images, np.stack([depth] * len(subjects)), tuple(range(len(subjects))), tuple(subjects))


@pytest.fixture
def heads():
    return {
        "train_mr": make_heads("MR", ["a", "b"]),
        "train_ct": make_heads("CT", ["c", "d"]),
        "validation_mr": make_heads("MR", ["p"], 1),
        "validation_ct": make_heads("CT", ["p"], 2),
    }


def fresh_atlases(shape=(6, 16, 16)):
    torch.manual_seed(3)
    return torch.nn.ModuleDict({name: Atlas(shape).requires_grad_(False) for name in ("ct", "mr")})


def fresh_model(settings):
    return MriToCt(build_networks(settings, 0), WINDOW, True, fresh_atlases())


def pairs(mr, ct, reach, batch_size, seed):
    return matched_pairs(mr, ct, WINDOW, reach, batch_size, seed, fresh_atlases())


def batch_of(heads, settings, images_seen=0):
    return pairs(heads["train_mr"], heads["train_ct"], settings.slice_reach, settings.batch_size, 0)(images_seen)


def game(settings, double=False):
    networks = build_networks(settings, seed=0)
    if double:
        networks.double()
    pools = {name: ImagePool(settings.pool_size, 0) for name in ("ct", "mr")}
    optimizers = build_optimizers(networks, settings)
    return networks, build_phases(networks, optimizers, pools, settings, CPU, fresh_atlases(), 0)


def play(networks, phases, batch):
    losses = []
    for phase in phases:
        for module in networks.values():
            module.requires_grad_(any(module is own for own in phase.modules))
        phase.optimizer.zero_grad()
        losses.append(phase.accumulate(batch))
    return losses


def gradients(networks):
    return {name: p.grad.clone() for name, p in networks.named_parameters() if p.grad is not None}


def textbook_gradients(networks, batch, settings):
    """Zhu et al. 2017 written down call by call, one picture of one kind at a time."""

    def show(image, place):
        return torch.cat([image, place], 1) if settings.head_channels else image

    atlases = fresh_atlases()

    def expected_of(image, density, name):
        return atlases[name].median(atlases[name].posterior(density, image.detach())).double()

    def go(generator, image, place, start):
        if not settings.head_channels:
            return generator(image)
        return with_air(generator(torch.cat([image, place, start], 1)) + start, place, True)

    g, f, d_ct, d_mr = (networks[n] for n in ("mr_to_ct", "ct_to_mr", "discriminator_ct", "discriminator_mr"))
    x, dx = with_air(batch.mr.image, batch.mr.geometry, settings.head_channels), batch.mr.geometry
    y, dy = with_air(batch.ct.image, batch.ct.geometry, settings.head_channels), batch.ct.geometry
    networks.requires_grad_(True).zero_grad()
    ax, ay = expected_of(x, batch.mr.ct_density, "ct"), expected_of(y, batch.ct.mr_density, "mr")
    fake_y, fake_x = go(g, x, dx, ax), go(f, y, dy, ay)
    bx, by = expected_of(fake_y, batch.mr.mr_density, "mr"), expected_of(fake_x, batch.ct.ct_density, "ct")
    adversarial = (d_ct(show(fake_y, dx)) - 1).square().mean() + (d_mr(show(fake_x, dy)) - 1).square().mean()
    cycle = (go(f, fake_y, dx, bx) - x).abs().mean() + (go(g, fake_x, dy, by) - y).abs().mean()
    identity = (go(g, y, dy, dy[:, 1:2]) - y).abs().mean() + (go(f, x, dx, dx[:, 2:3]) - x).abs().mean()
    drawn_x, drawn_y = (torch.nn.functional.max_pool2d(1.0 * (d[:, :1] > -1), 5, 1, 2) for d in (dx, dy))
    anatomy = ((fake_y - ax).abs() * drawn_x).mean() + ((fake_x - ay).abs() * drawn_y).mean()
    taught = 0
    if "mr" in atlases and settings.weight_simulated:
        torch.manual_seed(DRAWN_WITH)
        drawn = simulated_mr(batch.ct._replace(image=y), atlases["mr"])
        picture = go(g, drawn, dy, expected_of(drawn, batch.ct.ct_density, "ct"))
        taught = ((picture - y).abs() * drawn_y).mean()
    fallen = 1 - 0.75 * batch.images_seen / settings.images_seen
    total = (
        settings.weight_adversarial * adversarial
        + settings.weight_cycle * cycle
        + settings.weight_identity * identity
        + settings.weight_anatomy * fallen * anatomy
        + settings.weight_simulated * taught
    )
    total.backward()
    expected = {n: v for n, v in gradients(networks).items() if not n.startswith("discriminator")}
    networks.zero_grad()
    players = ((d_ct, y, dy, fake_y, dx), (d_mr, x, dx, fake_x, dy))
    for kind, (network, real, depth, fake, fake_depth) in enumerate(players):
        real_loss = (network(show(real, depth)) - 1).square().mean()
        fake_loss = network(show(fake.detach(), fake_depth)).square().mean()
        flawed, where = with_flaws(real, drawn_in(depth), (0, batch.images_seen, kind))
        flaws = flaws_loss(network(show(flawed, depth)), where, settings.discriminator_layers)
        (0.5 * (real_loss + fake_loss) + settings.weight_flaws * flaws).backward()
    return expected | {n: v for n, v in gradients(networks).items() if n.startswith("discriminator")}


@pytest.mark.parametrize("head_channels", [True, False])
def test_batched_calls_give_the_textbooks_gradients_in_float64(heads, settings, head_channels):
    settings = settings.model_copy(update={"head_channels": head_channels})
    mr, ct, images_seen = batch_of(heads, settings, images_seen=2)
    batch = Pair(*(Slices(*(t.double() for t in slices)) for slices in (mr, ct)), images_seen)
    networks, phases = game(settings, double=True)
    expected = textbook_gradients(copy.deepcopy(networks), batch, settings)
    torch.manual_seed(DRAWN_WITH)
    play(networks, phases, batch)
    got = gradients(networks)
    assert got.keys() == expected.keys() == dict(networks.named_parameters()).keys()
    for name, value in expected.items():
        assert torch.allclose(got[name], value, rtol=1e-9, atol=1e-12), name


def test_each_player_trains_its_own_networks_alone(heads, settings):
    networks, (generators, discriminators) = game(settings)
    batch = batch_of(heads, settings)
    play(networks, [generators], batch)
    assert {name.split(".")[0] for name in gradients(networks)} == {"mr_to_ct", "ct_to_mr"}
    networks.zero_grad()
    play(networks, [generators, discriminators], batch)
    judges = [networks["discriminator_ct"], networks["discriminator_mr"]]
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for m in judges for p in m.parameters() if p.ndim == 4)


def test_discriminators_learn_to_tell_real_from_made(heads, settings):
    networks, phases = game(settings.model_copy(update={"pool_size": 0}))
    batch = batch_of(heads, settings)
    first = play(networks, phases, batch)[1]["discriminator_ct"]
    for _ in range(30):
        last = play(networks, phases, batch)[1]["discriminator_ct"]
        phases[1].optimizer.step()
    assert last < 0.5 * first


@pytest.mark.parametrize("term", ["adversarial", "cycle", "identity"])
def test_a_weight_of_zero_removes_its_term(heads, settings, term):
    networks, phases = game(settings.model_copy(update={f"weight_{term}": 0.0}))
    losses = play(networks, phases, batch_of(heads, settings))
    names = {name for phase in losses for name in phase}
    assert not any(name.startswith(term) for name in names)
    assert ("discriminators" in [phase.name for phase in phases]) == (term != "adversarial")


def test_at_first_the_generator_learns_alone_from_drawn_mrs(heads, settings):
    networks, phases = game(settings)
    alone = matched_pairs(heads["train_mr"], heads["train_ct"], WINDOW, 1, 2, 0, fresh_atlases(), without_mr=4)
    assert alone(2).mr is None
    early = play(networks, phases, alone(2))
    assert early[0].keys() == {"simulated"}
    assert early[1].keys() == {"flaws_ct"}
    assert {name.split(".")[0] for name in gradients(networks)} == {"mr_to_ct", "discriminator_ct"}
    later = play(networks, phases, alone(4))
    assert later[0].keys() > {"simulated", "cycle", "identity"}
    assert later[1]


def test_no_atlas_tells_a_training_head_of_itself(heads):
    training, atlases = (heads["train_mr"], heads["train_ct"]), fresh_atlases()
    others = statistics_of_others(training, WINDOW, atlases)
    assert statistics_of_others(training, WINDOW, torch.nn.ModuleDict()) == {}
    for place in range(len(training[1].rows)):
        apart = np.array([other for other in range(len(training[1].rows)) if other % FOLDS != place % FOLDS])
        assert np.array_equal(others["CT"][place % FOLDS], head_statistics(training[1], apart, WINDOW), equal_nan=True)
    told, alone = (
        matched_pairs(*training, WINDOW, 1, 2, 0, atlases, statistics=statistics)(0) for statistics in (others, None)
    )
    assert torch.equal(told.ct.image, alone.ct.image)
    assert not torch.equal(told.ct.ct_density, alone.ct.ct_density)
    assert not torch.equal(told.ct.geometry, alone.ct.geometry)
    assert torch.equal(told.ct.mr_density, alone.ct.mr_density), "the MR atlas knows no CT head"


def test_without_flaws_to_find_the_discriminators_wait_for_the_game(heads, settings):
    networks, phases = game(settings.model_copy(update={"weight_flaws": 0.0}))
    alone = matched_pairs(heads["train_mr"], heads["train_ct"], WINDOW, 1, 2, 0, fresh_atlases(), without_mr=4)
    assert play(networks, phases, alone(2))[1] == {}


def test_a_fresh_generator_draws_what_the_atlas_expects(heads, settings):
    model = fresh_model(settings)
    mr, depth = heads["train_mr"].of("a")
    made = translate_volume(model, mr, depth)
    slices = to_slices(mr, depth, np.arange(6), "MR", WINDOW, model.atlases)
    atlas = model.atlases["ct"]
    expected = unit_to_hu(atlas.median(atlas.posterior(slices.ct_density, slices.image))[:, 0].numpy(), WINDOW)
    assert np.abs(made - expected)[depth > 0].max() < 15


def test_weights_scale_their_terms(heads, settings):
    batch = batch_of(heads, settings)
    one = play(*game(settings), batch)[0]
    two = play(*game(settings.model_copy(update={"weight_cycle": 20.0})), batch)[0]
    assert two["cycle"] == pytest.approx(2 * float(one["cycle"]))
    assert two["identity"] == pytest.approx(float(one["identity"]))


def test_the_learning_rate_is_level_and_then_falls_in_a_line_to_zero():
    rates = [linear_decay(seen, 100, 0.2) for seen in (0, 50, 75, 100)]
    assert rates == pytest.approx([0.2, 0.2, 0.1, 0.0])


def test_all_outside_the_widened_head_is_air():
    depth = torch.full((1, 1, 9, 9), -1.0)
    depth[0, 0, 4, 4] = 0.5
    image = torch.full((1, 1, 9, 9), 0.3)
    shown = with_air(image, depth, True)
    assert (shown[0, 0, 2:7, 2:7] == image[0, 0, 2:7, 2:7]).all()
    assert (shown == -1).sum() == 81 - 25
    assert with_air(image, depth, False) is image


def test_hu_map_linearly_onto_minus_one_to_one_and_back():
    hu = np.array([-3000, -1024, 488, 2000, 2500], np.int16)
    unit = hu_to_unit(hu, WINDOW)
    assert unit == pytest.approx([-1, -1, 0, 1, 1], abs=1e-6)
    assert unit.dtype == np.float32
    assert unit_to_hu(unit, WINDOW) == pytest.approx([-1024, -1024, 488, 2000, 2000], abs=1e-3)


def test_depth_is_minus_one_outside_the_head_and_rises_inward():
    channel = depth_channel(np.array([0, 1, 5, 15, 90], np.float16))
    assert channel[0] == -1
    assert (np.diff(channel) > 0).all()
    assert channel[3] == pytest.approx(1 - np.exp(-1))
    assert 0 < channel[1] < channel[-1] < 1


def geometry_of(depth, modality, atlases):
    return geometry_channels(depth, *densities(depth, np.arange(6), modality, atlases), atlases)


def test_geometry_holds_the_depth_and_what_is_usual_in_both_modalities():
    depth = make_heads("MR", ["a"]).depth_mm[0]
    atlases = fresh_atlases()
    for atlas in atlases.values():
        atlas.statistics[-1] = 5
    geometry = geometry_of(depth, "MR", atlases)
    assert geometry.shape == (6, 3, 16, 16)
    assert geometry.dtype == torch.float32
    assert np.array_equal(geometry[:, 0].numpy(), depth_channel(depth))
    assert (geometry[:, 1:].movedim(1, -1)[torch.from_numpy(depth == 0)] == -1).all()
    as_ct = geometry_of(depth, "CT", atlases)
    assert not torch.equal(geometry[:, 1], as_ct[:, 1]), "the CT atlas moves the depth of an MR"
    assert (geometry_of(depth, "MR", torch.nn.ModuleDict())[:, 1:] == 0).all()


def test_the_median_of_a_density_lies_within_the_level_that_reaches_the_half():
    atlas = Atlas((1, 1, 3))
    density = torch.zeros(1, LEVELS, 1, 3)
    density[0, 7, 0, 0] = 1
    density[0, [3, 20], 0, 1] = torch.tensor([0.4, 0.6])
    edges = atlas.edges
    within = edges[20] + (0.5 - 0.4) / 0.6 * (edges[21] - edges[20])
    expected = [float((edges[7] + edges[8]) / 2), float(within), -1]
    assert atlas.median(density).flatten().tolist() == pytest.approx(expected)


def test_the_posterior_is_the_prior_until_a_likelihood_is_known():
    atlas = Atlas((1, 1, 2))
    density = torch.rand(1, LEVELS, 1, 2)
    density /= density.sum(1, keepdim=True)
    seen = torch.tensor([[[[-1.0, 1.0]]]])
    assert torch.allclose(atlas.posterior(density, seen), density)
    atlas.likelihood[5, 0] = 1000
    assert atlas.posterior(density, seen)[0, 5, 0, 0] > 0.9
    assert torch.allclose(atlas.posterior(density, seen)[..., 1], density[..., 1], atol=1e-6)


def test_the_joint_histogram_is_learned_from_different_people():
    """The place says which of two tissues is likelier, the grey value of the MR which it is."""
    random = np.random.default_rng(0)
    ct, mr = make_heads("CT", list("abcdefgh")), make_heads("MR", list("ijklmnop"))
    for heads, values in ((ct, (0, 900)), (mr, (0.8, 0.2))):
        likelihood_of_first = np.where(np.arange(16) < 8, 0.85, 0.15)
        heads.images[:] = np.where(random.random(heads.images.shape) < likelihood_of_first, *values)
    atlas = train_atlases(mr, ct, WINDOW, 3200, 0, CPU)["ct"]
    image, depth = mr.volume(0)
    density, _ = densities(depth, np.arange(6), "MR", torch.nn.ModuleDict({"ct": atlas}))
    usual = unit_to_hu(atlas.median(density)[:, 0].numpy(), WINDOW)
    seen = torch.from_numpy(2 * image - 1)[:, None]
    expected = unit_to_hu(atlas.median(atlas.posterior(density, seen))[:, 0].numpy(), WINDOW)
    inside, true = depth > 0, np.where(image > 0.5, 0, 900)
    share_right = (np.abs(expected - true) < 200)[inside].mean()
    assert share_right > 0.97
    assert share_right > (np.abs(usual - true) < 200)[inside].mean() + 0.1


def test_the_atlas_learns_what_is_usual_at_a_depth_and_a_place():
    subjects = list("abcdefgh")
    ct, mr = make_heads("CT", subjects), make_heads("MR", subjects)
    depth = ct.depth_mm.astype(np.float32)
    ct.images[:] = np.where(depth > 9, 800, 0)
    ct.images[:, :, :8] += 100
    ct.images[0][depth[0] > 0] += 700
    ct.images[:] += np.random.default_rng(0).normal(0, 15, ct.images.shape).astype(np.int16)
    atlas = train_atlases(mr, ct, WINDOW, 1600, 0, CPU)["ct"]
    density = atlas.density(torch.from_numpy(depth[1]), torch.arange(6), own=True)
    hu = unit_to_hu(atlas.median(density)[:, 0].numpy(), WINDOW)
    assert (hu[depth[1] == 0] == -1024).all()
    wrong = np.abs(hu - ct.images[1])[depth[1] > 0]
    assert np.median(wrong) < 40
    assert atlas.statistics.dtype == torch.float16
    assert not any(p.requires_grad for p in atlas.parameters())


def test_an_atlas_of_too_few_heads_is_not_made(capsys):
    atlases = train_atlases(make_heads("MR", list("abcd")), make_heads("CT", ["c"]), WINDOW, 8, 0, CPU)
    assert list(atlases) == ["mr"]
    assert "no CT atlas: 1 heads, 4 are needed" in capsys.readouterr().err


def test_batches_are_position_matched_and_of_different_people(settings):
    mr, ct = make_heads("MR", ["a", "b", "c"]), make_heads("CT", ["c", "d"])
    for heads, spot in ((mr, 0.01), (ct, 20)):
        for place in range(len(heads.rows)):
            for z in range(6):
                heads.images[place, z] = (z + 10 * place) * spot
    batch_at = pairs(mr, ct, 1, 5, seed=4)
    seen = []
    for images_seen in range(0, 15, 5):
        batch = batch_at(images_seen)
        mr_codes = np.rint((batch.mr.image[:, 0, 0, 0].numpy() + 1) / 2 / 0.01).astype(int)
        ct_codes = np.rint(unit_to_hu(batch.ct.image[:, 0, 0, 0].numpy(), WINDOW) / 20).astype(int)
        assert (np.abs(mr_codes % 10 - ct_codes % 10) <= 1).all()
        people = [(("a", "b", "c")[m // 10], ("c", "d")[c // 10]) for m, c in zip(mr_codes, ct_codes, strict=True)]
        assert all(one != other for one, other in people)
        seen += mr_codes.tolist()
    assert len(set(seen)) == 15, "every usable MR slice once an epoch"


def test_a_batch_is_a_pure_function_of_the_images_seen(heads, settings):
    one, again = batch_of(heads, settings, 4), batch_of(heads, settings, 4)
    assert all(torch.equal(a, b) for a, b in zip(one.mr + one.ct, again.mr + again.ct, strict=True))
    assert not torch.equal(one.mr.image, batch_of(heads, settings, 6).mr.image)


def test_image_and_depth_are_mirrored_together(settings):
    mr, ct = make_heads("MR", ["a"]), make_heads("CT", ["b"])
    mr.images[:] = np.linspace(0, 1, 16)
    mr.depth_mm[:, 1:] = np.linspace(1, 40, 16)
    slices = [pairs(mr, ct, 1, 1, seed=0)(i).mr for i in range(12)]
    rising = [bool(s.image[0, 0, 0, -1] > s.image[0, 0, 0, 0]) for s in slices]
    assert rising == [bool(s.geometry[0, 0, 0, -1] > s.geometry[0, 0, 0, 0]) for s in slices]
    assert any(rising)
    assert not all(rising)


def test_the_nearest_height_serves_where_none_is_within_reach(settings):
    mr, ct = make_heads("MR", ["a"]), make_heads("CT", ["b"])
    ct.depth_mm[:, :5] = 0
    ct.images[:, 5] = 777
    batch = pairs(mr, ct, 0, 5, seed=0)(0)
    assert unit_to_hu(batch.ct.image.numpy(), WINDOW) == pytest.approx(np.full((5, 1, 16, 16), 777), abs=0.1)


def test_slices_without_a_head_are_not_trained_on():
    found = usable_slices(make_heads("MR", ["a", "b"]))
    assert sorted(set(found[:, 1])) == [1, 2, 3, 4, 5]
    empty = make_heads("MR", ["a"])
    empty.depth_mm[:] = 0
    with pytest.raises(RadsynthError, match="no MR slice"):
        pairs(empty, make_heads("CT", ["b"]), 1, 2, seed=0)


def test_heads_are_read_by_modality_and_split(tmp_path):
    mr = make_heads("MR", ["a", "b", "c"])
    np.save(tmp_path / "mr.npy", mr.images)
    np.save(tmp_path / "mr_depth_mm.npy", mr.depth_mm)
    manifest = pd.DataFrame(
        {
            "row": [2, 0, 1, 0],
            "modality": ["MR", "MR", "MR", "CT"],
            "split": ["train", "train", "test", "train"],
            "subject_id": ["c", "a", "b", "z"],
        }
    )
    heads = read_heads(tmp_path, manifest, "MR", "train")
    assert heads.subjects == ("c", "a")
    assert np.array_equal(heads.of("c")[0], mr.images[2])
    assert read_heads(tmp_path, manifest, "MR", None).subjects == ("c", "a", "b")
    with pytest.raises(RadsynthError, match="no aligned CT"):
        read_heads(tmp_path, manifest, "CT", "train")


def test_a_volume_is_translated_to_hu_with_air_around_the_head(heads, settings):
    model = fresh_model(settings)
    mr, depth = heads["train_mr"].of("a")
    made = translate_volume(model, mr, depth)
    assert made.shape == mr.shape
    assert made.dtype == np.float32
    assert (made[depth == 0] == -1024).all(), "beyond the head mask is air"
    assert (made[depth > 0] > -1024).any()
    assert made.min() >= -1024
    assert made.max() <= 2000
    assert np.allclose(made, translate_volume(model, mr, depth, batch_size=1), atol=0.01)


def test_the_way_back_gives_an_mr_between_zero_and_one(heads, settings):
    model = fresh_model(settings)
    made = translate_volume(model, *heads["train_ct"].of("c"), direction="ct_to_mr")
    assert made.min() >= 0
    assert made.max() <= 1
    assert (made[0] == 0).all()


def test_the_error_on_pairs_is_inside_the_head_alone(heads, settings):
    model = fresh_model(settings)
    mr, ct = heads["validation_mr"], heads["validation_ct"]
    before = paired_error(model, mr, ct)
    ct.images[ct.depth_mm == 0] = 2900
    assert paired_error(model, mr, ct) == before
    ct.images[ct.depth_mm > 0] = translate_volume(model, *mr.of("p"))[ct.depth_mm[0] > 0]
    assert paired_error(model, mr, ct) < 1


def test_what_only_one_of_two_scans_shows_is_not_compared():
    mr, ct = np.zeros((3, 9, 9)), np.zeros((3, 9, 9))
    ct[:, 1:8, 1:8] = 5
    mr[1, 3:6, 3:6] = 5
    compared = head_in_both(mr, ct)
    assert not compared[[0, 2]].any(), "slices that the MR does not show"
    assert compared[1, 1:8, 1:8].all(), "the MR's head and two pixels around it"
    ct[:, :, 4:] = 0
    assert not head_in_both(mr, ct)[:, :, 4:].any()


def test_validation_chooses_by_pairs_where_there_are_any(heads, settings):
    parts = [heads[name] for name in ("validation_mr", "validation_ct", "train_mr", "train_ct")]
    assert choose_by(*parts, autocast=False).score == "validation_mae_hu"


def test_without_pairs_a_proxy_chooses_and_says_so(heads, settings):
    model = fresh_model(settings)
    none = Heads("CT", heads["train_ct"].images, heads["train_ct"].depth_mm, (), ())
    chosen = choose_by(heads["validation_mr"], none, heads["train_mr"], heads["train_ct"], autocast=False)
    assert chosen.score == "validation_proxy_hu"
    assert "1 validation MR and 2 training CT" in chosen.definition
    figures = chosen.figures(model)
    assert figures["validation_proxy_hu"] == figures["validation_histogram_hu"] + figures["validation_cycle_hu"]


def test_the_histogram_distance_of_a_shift_is_the_shift():
    values = np.random.default_rng(0).normal(0, 100, 5000)
    assert histogram_distance(values, values) == 0
    assert histogram_distance(values + 30, values) == pytest.approx(30)


class Interrupted(Exception):
    pass


def test_resumed_training_is_the_same_to_the_bit(tmp_path, heads, settings):
    whole, _ = train_cyclegan(heads, settings, 0, CPU)

    def stop(model, images_seen):
        if images_seen == 8:
            raise Interrupted

    with pytest.raises(Interrupted):
        train_cyclegan(heads, settings, 0, CPU, tmp_path, stop)
    assert [p.name for p in tmp_path.iterdir()] == ["images-4.pt"]
    resumed, _ = train_cyclegan(heads, settings, 0, CPU, tmp_path)
    assert whole.best.keys() == resumed.best.keys()
    assert all(torch.equal(whole.best[name], resumed.best[name]) for name in whole.best)
    assert whole.history == resumed.history


def test_a_saved_model_makes_the_same_ct(tmp_path, heads, settings):
    settings = settings.model_copy(update={"images_seen": 4})
    kept = {}

    def keep(model, images_seen):
        kept["ct"] = translate_volume(model, *heads["validation_mr"].of("p"))

    outcome, selection = train_cyclegan(heads, settings, 0, CPU, None, keep)
    save_model(tmp_path / "model", outcome.best, describe(outcome, selection, settings, 0, "f00d"))
    model, description = load_mri_to_ct(tmp_path / "model")
    assert np.array_equal(translate_volume(model, *heads["validation_mr"].of("p")), kept["ct"])
    assert "paired validation subjects" in description["chosen_by"]
    assert set(model.networks) == {"mr_to_ct", "ct_to_mr", "discriminator_ct", "discriminator_mr"}


def test_a_model_of_another_version_is_told_in_one_line(tmp_path, heads, settings):
    outcome, selection = train_cyclegan(heads, settings.model_copy(update={"images_seen": 4}), 0, CPU, None)
    description = describe(outcome, selection, settings, 0, "f00d")
    fewer = {name: weight for name, weight in outcome.best.items() if not name.startswith("mr_to_ct")}
    without = {key: value for key, value in description.items() if key != "atlases"}
    for name, weights, told in (("fewer", fewer, description), ("before", outcome.best, without)):
        save_model(tmp_path / name, weights, told)
        with pytest.raises(RadsynthError, match=r"of another version.*train it again"):
            load_mri_to_ct(tmp_path / name)
