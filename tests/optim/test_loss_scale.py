"""What a GradScaler has scaled is divided once, by the scale that it was multiplied by, and is not
taken for the gradient of the loss before that.
"""

import numpy as np
import pytest

import minitensor as mt
from minitensor import optim
from minitensor.distributed import Group, sum_gradients


class Pair:
    """Two optimisers that share a parameter, with a scaler or without."""

    def __init__(self, scale, **settings):
        self.a, self.shared, self.b = (mt.tensor([x, -x], requires_grad=True) for x in (1.0, 2.0, 3.0))
        self.scaler = optim.GradScaler(scale, enabled=scale > 1, **settings)
        self.first = optim.SGD([self.a, self.shared], lr=0.25)
        self.second = optim.Adam([self.shared, self.b], lr=0.25)
        self.both = self.first, self.second

    def backward(self):
        loss = (self.a * self.shared * self.b).sum() + (self.shared**2).sum()
        self.scaler.scale(loss).backward()

    def clear(self):
        for one in self.both:
            one.zero_grad()

    @property
    def values(self):
        return [x.tolist() for x in (self.a, self.shared, self.b)]


def both_stepped(run):
    run.backward()
    for one in run.both:
        run.scaler.step(one)


def both_unscaled(run):
    run.backward()
    whole = [run.scaler.unscale_(one) for one in run.both]
    assert whole == [True, True]
    for one in run.both:
        run.scaler.step(one)


def clipped_twice(run):
    run.backward()
    for one in run.both:
        run.scaler.unscale_(one)
    for _ in range(2):
        optim.clip_grad_norm_([run.a, run.shared, run.b], 1.0)
        optim.clip_grad_value_([run.a, run.shared, run.b], 0.5)
    for one in run.both:
        run.scaler.step(one)


def a_pass_for_each(run):
    for one in run.both:
        run.clear()
        run.backward()
        run.scaler.step(one)


def in_parts(run):
    run.backward()
    (run.scaler.scale((run.a * run.b).sum()) / 4).backward()  # of a scaled loss, without a word of its own
    run.backward()
    for one in run.both:
        run.scaler.step(one)


def with_an_update_between(run):
    run.backward()
    run.scaler.step(run.first)
    run.scaler.update()  # which doubles the scale
    run.scaler.step(run.second)


def with_a_term_of_its_own(run):
    run.backward()
    for one in run.both:
        run.scaler.unscale_(one)
    (run.shared**2).sum().backward()  # not scaled: it is added to what was divided
    run.a.grad = run.a.grad + 0.5
    for one in run.both:
        run.scaler.step(one)


def set_by_hand(run):
    loss = run.scaler.scale((run.a * run.shared * run.b).sum())
    for x, gradient in zip((run.a, run.shared, run.b), mt.grad(loss, (run.a, run.shared, run.b))):
        x.grad = gradient
    run.scaler.step(run.first)
    run.second.zero_grad()
    run.backward()
    run.scaler.step(run.second)


@pytest.mark.parametrize(
    "step",
    [
        both_stepped, both_unscaled, clipped_twice, a_pass_for_each, in_parts, with_an_update_between, with_a_term_of_its_own,
        set_by_hand,
    ],
)  # fmt: skip
def test_two_optimisers_that_share_a_parameter_make_the_run_without_a_scale(step):
    scaled, plain = Pair(1024.0, growth_interval=1), Pair(1.0)
    for _ in range(3):
        for run in (scaled, plain):
            step(run)
            run.scaler.update()
            run.clear()
        assert scaled.values == plain.values
    assert scaled.scaler.get_scale() > 1024 and not scaled.scaler.skipped


def test_an_overflow_of_what_is_shared_skips_the_steps_of_both():
    run = Pair(1024.0)
    run.backward()
    run.shared.grad = mt.tensor([np.inf, 1.0])
    before = run.values
    assert [run.scaler.step(one) for one in run.both] == [False, False] and run.values == before


def test_a_parameter_that_is_listed_twice_is_divided_once():
    w, scaler = mt.tensor([1.0], requires_grad=True), optim.GradScaler(8.0)
    optimizer = optim.SGD([w, w], lr=1.0)
    scaler.scale((w * 3.0).sum()).backward()
    assert scaler.step(optimizer) and w.tolist() == [-2.0]


def test_what_is_still_scaled_is_not_taken_for_the_gradient():
    run = Pair(1024.0)
    run.backward()
    before = run.values
    for use, words in (
        (run.first.step, r"SGD.step: the gradient of parameter 0 is still multiplied by the loss scale 1024: call scaler.step"),
        (lambda: optim.clip_grad_norm_([run.b], 1.0), r"clip_grad_norm_: .*loss scale 1024: call scaler.unscale_"),
        (lambda: optim.clip_grad_value_([run.b], 1.0), r"clip_grad_value_: .*loss scale 1024: call scaler.unscale_"),
    ):  # fmt: skip
        with pytest.raises(RuntimeError, match=words):
            use()
    assert run.values == before and run.b.grad.tolist() == [2048.0, 2048.0]
    run.scaler.unscale_(run.second)
    run.second.zero_grad()
    run.backward()  # for nothing: unscale_ has been
    with pytest.raises(RuntimeError, match=r"GradScaler.step: .*computed after unscale_"):
        run.scaler.step(run.second)
    run.a.grad = None  # of the first one only what is shared is scaled, and moves to another type with its scale
    moved = mt.nn.Linear(2, 2)
    run.scaler.scale(moved(mt.ones((1, 2))).sum()).backward()
    moved.astype("float64")
    with pytest.raises(RuntimeError, match="still multiplied"):
        optim.clip_grad_norm_(moved.parameters(), 1.0)


def test_gradients_of_different_scales_are_good_for_nothing():
    run = Pair(1024.0, growth_interval=1)
    run.backward()
    run.scaler.step(run.first)
    run.scaler.update()
    run.backward()  # onto what was divided (a, shared), and onto a gradient at another scale (b)
    for use in (run.scaler.unscale_, run.scaler.step, lambda one: one.step()):
        for one in run.both:
            with pytest.raises(RuntimeError, match="is a sum of gradients at different loss scales.*zero_grad"):
                use(one)
    run.clear()
    run.backward()
    assert all(run.scaler.step(one) for one in run.both)


class Two(Group):
    """Two ranks, of which the other has done and found the same."""

    size = 2

    def all_reduce(self, array):
        array += array

    def sum(self, numbers):
        return [2.0 * number for number in numbers]


@pytest.mark.parametrize("group", [Group(), Two()])
def test_ranks_add_up_before_they_unscale(group):
    run = Pair(1024.0)
    run.backward()
    assert sum_gradients(run.first, group, [3.0]) == [3.0 * group.size]
    assert run.scaler.unscale_(run.first) and run.a.grad.tolist() == [6.0 * group.size] * 2
    with pytest.raises(RuntimeError, match="a gradient is a sum over all ranks already"):
        sum_gradients(run.first, group)
    assert run.a.grad.tolist() == [6.0 * group.size] * 2
    run = Pair(1024.0)
    run.backward()
    run.scaler.unscale_(run.first)
    with pytest.raises(RuntimeError, match="call sum_gradients before scaler.unscale_"):
        sum_gradients(run.first, group)
    assert run.a.grad.tolist() == [6.0] * 2


def test_a_rank_without_rows_divides_what_it_was_given():
    class Other(Two):
        def all_reduce(self, array):
            array += 1024.0

        def sum(self, numbers):
            return [number + 1.0 if i < 2 else number for i, number in enumerate(numbers)]

    run = Pair(1024.0)
    run.backward()
    run.scaler.step(run.first)  # its gradients are divided, and let go of
    run.scaler.update()
    run.clear()
    sum_gradients(run.first, Other())
    assert run.scaler.unscale_(run.first) and run.a.grad.tolist() == [1.0, 1.0]


def test_a_scale_never_becomes_nothing():
    w = mt.tensor([1.0], requires_grad=True)
    optimizer, scaler = mt.optim.SGD([w], lr=0.5), mt.optim.GradScaler(backoff_factor=2.0**-40)
    for _ in range(5):
        w.grad = mt.tensor([np.inf])
        scaler.step(optimizer)
        scaler.update()
    assert scaler.get_scale() == 2.0**-120 and scaler.skipped == 5


def test_a_scaler_grows_though_its_interval_became_shorter():
    w = mt.tensor([1.0], requires_grad=True)
    optimizer, scaler = mt.optim.SGD([w], lr=0.5), mt.optim.GradScaler(1024.0, growth_interval=2)
    scaler.load_state_dict({"scale": 1024.0, "in_a_row": 7, "skipped": 0})
    w.grad = mt.tensor([1.0])
    scaler.step(optimizer)
    scaler.update()
    assert scaler.get_scale() == 2048.0
