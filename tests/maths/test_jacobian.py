"""Lengths of Jacobians in closed form, against the Jacobians themselves, which autograd writes out in float64."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import gelu

from contextmix.maths import jacobian
from contextmix.maths.feedforward import FeedForward
from contextmix.maths.jacobian import SerialBlock, jacobian_lengths, tail_jacobians
from contextmix.maths.norms import Norm, normalise
from contextmix.maths.projections import Affine, Projections

D, HEADS, WIDTH, FFN = 6, 3, 2, 9


class Toy:
    """A serial block with nothing trivial in it, as a function of its input and as the closed form needs it."""

    def __init__(self, kind="layer", mask="none", scale=0.7, activation=gelu, biases=True, n=5, dtype=torch.float64):
        generator = torch.Generator().manual_seed(n)

        def normal(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)

        def bias(size: int) -> Tensor | None:
            return normal(size) if biases else None

        self.x, self.maps = normal(n, D), Projections(*(Affine(normal(D, D) / 2, bias(D)) for _ in range(3)))
        self.out, self.out_bias = normal(HEADS, WIDTH, D), normal(D)
        self.ffn = FeedForward(normal(D, FFN), bias(FFN), activation, normal(FFN, D), bias(D))
        self.norms = [None if kind == "none" else Norm(kind, 1 + normal(D) / 3, bias(D), 1e-2) for _ in range(2)]
        self.scale = normal(D) if scale == "vector" else scale
        self.mask = {"none": torch.zeros(n, n), "causal": torch.full((n, n), -torch.inf).triu(1), "sink": None}[mask]

    def steps(self, x: Tensor) -> dict[str, Tensor]:
        query, key, value = (one.by_head(x, HEADS) for one in (self.maps.query, self.maps.key, self.maps.value))
        scores = query @ key.transpose(-1, -2) * 0.8
        if self.mask is None:  # an attention sink takes a part of each row and gives nothing for it
            attention = torch.cat([scores, torch.ones_like(scores[..., :1])], -1).softmax(-1)[..., :-1]
        else:
            attention = (scores + self.mask).softmax(-1)
        mixed = (attention @ value @ self.out).sum(0) + self.out_bias
        total = x + mixed * self.scale
        mid = total if self.norms[0] is None else normalise(total, self.norms[0])
        out = self.ffn(mid)
        last = mid + out * self.scale
        return {
            "query": query,
            "key": key,
            "value": value,
            "attention": attention,
            "attention_sum": total,
            "residual_mid": mid,
            "ffn_out": out,
            "ffn_sum": last,
        }

    def __call__(self, x: Tensor) -> Tensor:
        last = self.steps(x)["ffn_sum"]
        return last if self.norms[1] is None else normalise(last, self.norms[1])

    def block(self) -> SerialBlock:
        return SerialBlock(
            states=self.x,
            scaling=0.8,
            projections=self.maps,
            output_weight=self.out * self.scale,
            norm_after=self.norms[0],
            ffn=self.ffn,
            ffn_scale=self.scale,
            norm_last=self.norms[1],
            **self.steps(self.x),
        )

    def longhand(self, weights: Tensor | None = None) -> Tensor:
        """‖∂y_i/∂x_j ⊙ w_j‖, one pair after the other."""
        whole = torch.autograd.functional.jacobian(self, self.x)  # (query, output, key, input)
        n = len(self.x)
        found = torch.zeros(n, n, dtype=whole.dtype)
        for i in range(n):
            for j in range(n):
                pair = whole[i, :, j] if weights is None else whole[i, :, j] * weights[j]  # column k times w_j[k]
                found[i, j] = sum(float(number) ** 2 for number in pair.flatten()) ** 0.5
        return found


def close(found: Tensor, wanted: Tensor, rtol: float = 1e-10) -> None:
    torch.testing.assert_close(found, wanted, rtol=rtol, atol=1e-12)


SHAPES = [
    {},
    {"kind": "rms"},
    {"kind": "none"},
    {"mask": "causal"},
    {"mask": "sink"},
    {"scale": "vector"},
    {"activation": torch.tanh},
    {"biases": False},
    {"n": 1},
    {"n": 9, "mask": "causal", "kind": "rms", "scale": "vector"},
]
each_shape = pytest.mark.parametrize("shape", SHAPES, ids=[", ".join(shape) or "plain" for shape in SHAPES])


@each_shape
def test_the_closed_form_gives_the_lengths_of_the_jacobians(shape):
    toy = Toy(**shape)
    assert toy.block().error() <= 1e-14
    close(jacobian_lengths(toy.block()), toy.longhand())


@each_shape
def test_and_with_the_input_axis_multiplied_by_the_input(shape):
    toy = Toy(**shape)
    close(jacobian_lengths(toy.block(), toy.x), toy.longhand(toy.x))


def test_the_multiplication_is_on_the_input_axis_of_each_token():
    toy = Toy()
    weights = torch.zeros_like(toy.x)
    weights[2, 4] = 3.0
    found = jacobian_lengths(toy.block(), weights)
    whole = torch.autograd.functional.jacobian(toy, toy.x)
    assert found[:, [0, 1, 3, 4]].abs().max() == 0
    close(found[:, 2], 3 * whole[:, :, 2, 4].norm(dim=-1))


def test_float32_keeps_five_digits():
    found, exact = Toy(n=20, dtype=torch.float32), Toy(n=20)
    for weights in (False, True):
        wanted = jacobian_lengths(exact.block(), exact.x if weights else None)
        rough = jacobian_lengths(found.block(), found.x if weights else None)
        assert rough.dtype == torch.float32
        close(rough.double(), wanted, rtol=1e-5)


@pytest.mark.parametrize(("working", "tail"), [(1, 1), (200, 60), (600, 10**6), (10**9, 110)])
@pytest.mark.parametrize("weighted", [False, True])
def test_the_size_of_the_steps_changes_nothing(monkeypatch, working, tail, weighted):
    toy = Toy(n=9)
    weights = toy.x if weighted else None
    at_once = jacobian_lengths(toy.block(), weights)
    monkeypatch.setattr(jacobian, "WORKING_ELEMENTS", working)
    monkeypatch.setattr(jacobian, "TAIL_ELEMENTS", tail)
    close(jacobian_lengths(toy.block(), weights), at_once, rtol=1e-12)


def test_the_tail_is_the_derivative_of_everything_after_attention():
    toy = Toy(scale="vector")
    block = toy.block()

    def tail(total: Tensor) -> Tensor:
        mid = normalise(total, toy.norms[0])
        return normalise(mid + toy.ffn(mid) * toy.scale, toy.norms[1])

    found = tail_jacobians(block, slice(1, 4))
    for row, total in zip(found, block.attention_sum[1:4], strict=True):
        close(row, torch.autograd.functional.jacobian(tail, total).T)


def test_nothing_comes_from_keys_that_a_mask_hides():
    found = jacobian_lengths(Toy(mask="causal").block(), Toy().x)
    assert all(found[i, j] == 0 for i in range(5) for j in range(i + 1, 5))


# Where the closed form would be wrong, its own check says so.


@pytest.mark.parametrize("name", ["query", "key", "value", "attention", "ffn_out"])
def test_a_recorded_tensor_that_the_formulas_do_not_give_is_seen(name):
    block = Toy().block()
    changed = getattr(block, name).clone(memory_format=torch.contiguous_format)
    changed.view(-1)[3] += 0.3 * changed.abs().max()
    assert replace(block, **{name: changed}).error() >= 0.05


def test_a_bias_on_the_scores_is_seen():
    toy = Toy()
    toy.mask = torch.arange(25.0).reshape(5, 5) / 25
    assert toy.block().error() > 0.01


def test_an_activation_that_mixes_its_numbers_is_seen():
    assert Toy(activation=lambda inner: inner.softmax(-1)).block().error() == float("inf")
    assert Toy(activation=nn.LayerNorm(FFN, dtype=torch.float64).requires_grad_(False)).block().error() == float("inf")


def test_keys_of_fewer_heads_are_seen():
    toy = Toy()
    narrow = Affine(toy.maps.key.weight[:, :WIDTH], toy.maps.key.bias[:WIDTH])
    assert replace(toy.block(), projections=replace(toy.maps, key=narrow)).error() == float("inf")


def test_a_number_that_is_not_finite_is_seen():
    block = Toy().block()
    key = block.key.clone()
    key[0, 0, 0] = torch.nan
    assert not replace(block, key=key).error() <= 1e6


def test_values_of_zero_are_no_error():
    toy = Toy(biases=False)
    toy.maps = replace(toy.maps, value=Affine(torch.zeros_like(toy.maps.value.weight), None))
    assert toy.block().error() <= 1e-14
    close(jacobian_lengths(toy.block()), toy.longhand())
