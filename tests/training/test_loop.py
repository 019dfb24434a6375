"""The engine: what a step may change, and that a killed training continues to the same result."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from radsynth.errors import NonFiniteLoss
from radsynth.training import loop
from radsynth.training.device import pick_device
from radsynth.training.ema import Ema
from radsynth.training.loop import Follow, Outcome, Phase, train
from radsynth.training.sampler import batch_indices


def steps(phases: list[Phase], images: int, **more: object) -> Outcome:
    """Train by steps of one image that need no data."""
    plain = {"what": "stepping", "batch_at": lambda seen: None, "batch_size": 1, "device": pick_device(), "state": {}}
    return train(phases=phases, images_seen=images, result=dict, **plain, **more)


def line_fit(
    images: int,
    folder: Path | None,
    stop_at: int | None = None,
    score: str | None = "error",
    validate_images: int = 100,
    log_images: int | None = None,
) -> Outcome:
    """Fit a line with noise in every step, so that lost random state would show."""
    torch.manual_seed(3)
    x = torch.randn(50, 4)
    y = x @ torch.tensor([[1.0], [2.0], [3.0], [4.0]])
    network = nn.Linear(4, 1)
    ema = Ema(network, 20)
    optimizer = torch.optim.Adam(network.parameters(), 1e-2)

    def accumulate(rows: Tensor) -> dict[str, Tensor]:
        loss = (network(x[rows] + 0.1 * torch.randn(len(rows), 4)) - y[rows]).square().mean()
        loss.backward()
        return {"mse": loss.detach()}

    def validate(seen: int) -> dict[str, float]:
        if stop_at is not None and seen >= stop_at:
            raise KeyboardInterrupt
        torch.randn(7)
        return {"error": (ema.network(x) - y).square().mean().item()}

    return train(
        what="fitting",
        phases=[Phase("line", (network,), optimizer, accumulate)],
        batch_at=lambda seen: torch.from_numpy(batch_indices(50, 4, seen, 0)),
        batch_size=4,
        images_seen=images,
        device=pick_device(),
        state={"network": network, "optimizer": optimizer, "ema": ema},
        result=ema.network.state_dict,
        follow=[Follow(network, ema)],
        checkpoint_folder=folder,
        checkpoint_images=60,
        validate=validate,
        validate_images=validate_images,
        score=score,
        log_images=log_images,
    )


def test_killed_training_continues_to_the_same_bits(tmp_path: Path) -> None:
    whole = line_fit(400, None)
    with pytest.raises(KeyboardInterrupt):
        line_fit(400, tmp_path, stop_at=200)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["images-120.pt", "images-180.pt"]
    resumed = line_fit(400, tmp_path)
    assert resumed.history == whole.history
    assert resumed.best_images_seen == whole.best_images_seen
    assert all(torch.equal(resumed.best[name], whole.best[name]) for name in whole.best)


def test_a_validation_stands_in_the_row_of_its_own_images_seen(tmp_path: Path) -> None:
    rows = line_fit(400, None, validate_images=60, log_images=100).history
    assert [row["images_seen"] for row in rows] == [60, 100, 120, 180, 200, 240, 300, 360, 400]
    assert [row["images_seen"] for row in rows if "error" in row] == [60, 120, 180, 240, 300, 360, 400]
    assert [row["images_seen"] for row in rows if "mse" in row] == [100, 200, 300, 400]
    with pytest.raises(KeyboardInterrupt):
        line_fit(400, tmp_path, stop_at=240, validate_images=60, log_images=100)
    assert line_fit(400, tmp_path, validate_images=60, log_images=100).history == rows


def test_a_validation_in_the_middle_of_a_row_takes_no_time_from_it(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SimpleNamespace(now=0.0, monotonic=lambda: clock.now)
    monkeypatch.setattr(loop, "time", clock)

    def accumulate(_: None) -> dict[str, Tensor]:
        clock.now += 1
        return {}

    def validate(_: int) -> dict[str, float]:
        clock.now += 100
        return {"error": 0.0}

    idle = Phase("idle", (), torch.optim.SGD(nn.Linear(1, 1).parameters()), accumulate)
    outcome = steps([idle], 20, validate=validate, validate_images=7, log_images=10)
    assert [row["images_per_second"] for row in outcome.system] == [1.0, 1.0]


def test_damaged_newest_checkpoint_falls_back_to_the_one_before(tmp_path: Path) -> None:
    whole = line_fit(400, None)
    with pytest.raises(KeyboardInterrupt):
        line_fit(400, tmp_path, stop_at=300)
    newest = max(tmp_path.iterdir(), key=lambda p: int(p.stem.split("-")[1]))
    newest.write_bytes(newest.read_bytes()[:1000])
    resumed = line_fit(400, tmp_path)
    assert all(torch.equal(resumed.best[name], whole.best[name]) for name in whole.best)


def test_validation_chooses_the_lowest_score() -> None:
    outcome = line_fit(800, None)
    errors = {row["images_seen"]: row["error"] for row in outcome.history if "error" in row}
    assert outcome.best_images_seen == min(errors, key=errors.get)
    assert outcome.best_score == min(errors.values())


def test_non_finite_loss_stops_before_the_update_and_is_named() -> None:
    network = nn.Linear(2, 1)
    before = network.weight.detach().clone()

    def accumulate(_: None) -> dict[str, Tensor]:
        loss = (network(torch.ones(1, 2)) / 0.0).sum()
        loss.backward()
        return {"fine": torch.zeros(()), "ratio": loss.detach()}

    with pytest.raises(NonFiniteLoss, match="loss ratio of phase odd is not finite after 0 images"):
        steps([Phase("odd", (network,), torch.optim.SGD(network.parameters(), 1.0), accumulate)], 1)
    assert torch.equal(network.weight, before)


def test_a_phase_trains_its_own_modules_alone() -> None:
    mine, other = nn.Linear(2, 2), nn.Linear(2, 2)
    frozen = other.weight.detach().clone()
    seen_grads = []

    def accumulate(_: None) -> dict[str, Tensor]:
        loss = other(mine(torch.ones(1, 2))).sum()
        loss.backward()
        seen_grads.append((mine.weight.grad is not None, other.weight.grad is None))
        return {"loss": loss.detach()}

    idle = Phase("idle", (other,), torch.optim.SGD(other.parameters(), 0.0), lambda b: {"zero": torch.zeros(())})
    steps([Phase("mine", (mine,), torch.optim.SGD(mine.parameters(), 0.1), accumulate), idle], 3)
    assert seen_grads == [(True, True)] * 3
    assert torch.equal(other.weight, frozen)


def one_step(loss_of: float, most: float | None) -> nn.Linear:
    """A network after one plain step down a slope of `loss_of`; no step at all for a slope of nan."""
    network = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(network.weight)

    def accumulate(_: None) -> dict[str, Tensor]:
        if loss_of != loss_of:
            return {}
        (loss_of * network.weight.sum()).backward()
        return {"loss": torch.zeros(())}

    steps([Phase("one", (network,), torch.optim.SGD(network.parameters(), 1.0), accumulate, None, most)], 1)
    return network


def test_a_large_gradient_is_scaled_down_to_the_norm_allowed() -> None:
    assert one_step(100.0, None).weight.item() == -100
    assert one_step(100.0, 20.0).weight.item() == pytest.approx(-20, rel=1e-4)
    assert one_step(3.0, 20.0).weight.item() == -3


def test_a_player_that_sits_a_batch_out_does_not_move() -> None:
    assert one_step(float("nan"), 20.0).weight.item() == 0


def test_an_epoch_shows_every_example_once_whatever_the_batch_size() -> None:
    first = [i for seen in range(0, 60, 6) for i in batch_indices(30, 6, seen, 1)]
    assert sorted(first[:30]) == list(range(30))
    assert sorted(first[30:]) == list(range(30))
    assert first[:30] != first[30:]
    by_four = [i for seen in range(0, 60, 4) for i in batch_indices(30, 4, seen, 1)]
    assert by_four == first


def test_average_follows_the_network_by_its_half_life() -> None:
    network = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(network.weight)
    ema = Ema(network, half_life_images=100)
    nn.init.ones_(network.weight)
    ema.update(network, images=100, images_seen=10_000)
    assert ema.network.weight.item() == pytest.approx(0.5)
