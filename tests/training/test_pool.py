import torch

from radsynth.training.pool import ImagePool


def numbered(first, count):
    return torch.arange(first, first + count, dtype=torch.float32).view(-1, 1, 1, 1).expand(-1, 2, 3, 3).clone()


def play(pool, first, steps):
    return torch.cat([pool.exchange(numbered(first + 2 * i, 2))[:, 0, 0, 0] for i in range(steps)])


def test_a_pool_that_is_not_full_hands_images_through():
    pool = ImagePool(4, seed=0)
    assert torch.equal(pool.exchange(numbered(0, 4)), numbered(0, 4))


def test_a_full_pool_hands_out_old_images_about_half_the_time():
    pool = ImagePool(10, seed=0)
    out = play(pool, 0, 500)
    late = out[20:]
    share = (late < torch.arange(20, 1000)).float().mean()
    assert 0.4 < share < 0.6
    assert (late <= torch.arange(20, 1000)).all()


def test_every_image_is_handed_out_at_most_twice_and_none_is_invented():
    out = play(ImagePool(5, seed=3), 0, 200)
    values, counts = out.unique(return_counts=True)
    assert counts.max() <= 2
    assert set(values.tolist()) <= set(map(float, range(400)))


def test_a_pool_of_nothing_hands_everything_through():
    pool = ImagePool(0, seed=0)
    assert torch.equal(play(pool, 0, 20), torch.arange(40.0))


def test_a_restored_pool_continues_as_the_first_would_have():
    first, second = ImagePool(6, seed=1), ImagePool(6, seed=99)
    play(first, 0, 20)
    second.load_state_dict(first.state_dict())
    assert torch.equal(play(first, 40, 30), play(second, 40, 30))


def test_a_fresh_pool_can_be_saved_and_restored():
    pool = ImagePool(6, seed=1)
    pool.load_state_dict(pool.state_dict())
    assert torch.equal(play(pool, 0, 3), torch.arange(6.0))


def test_the_pool_keeps_its_images_when_the_caller_changes_his():
    pool = ImagePool(1, seed=0)
    mine = numbered(7, 1)
    pool.exchange(mine)
    mine.zero_()
    assert set(play(pool, 100, 20).tolist()) >= {7.0}
