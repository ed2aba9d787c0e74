"""Parts of a row by source token: the fast algebra against vectors that are really built."""

import math
from dataclasses import replace
from unittest.mock import patch

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.maths import longhand
from tests.strategies import Mixture, causal_maps, lower_half, mixtures, norms, random_mixture, tensors
from torch import Tensor

from contextmix.maths import quadratic
from contextmix.maths.norms import Norm, normalise
from contextmix.maths.parts import Parts
from contextmix.maths.quadratic import SHORT, quadratic_forms

# Lengths come from squares. A length that is left over when heads cancel is exact to the square root of roundoff, so
# squares are compared, with roundoff allowed in proportion to the square of the longest that the part could have been.
ROUNDOFF = 1e-12
few = settings(max_examples=50)  # each example is built with loops


def parts_of(mixture: Mixture) -> Parts:
    return Parts(mixture.attention, mixture.value, mixture.weight, mixture.total)


def close(found, wanted):
    torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-12)


def spread_of(full: list[float], norm: Norm) -> float:
    centre = sum(full) / len(full) if norm.kind == "layer" else 0.0
    return math.sqrt(sum((number - centre) ** 2 for number in full) / len(full) + norm.eps)


def pushed(vector: list[float], full: list[float], norm: Norm) -> list[float]:
    """One part through a norm whose denominator is that of the full row: Kobayashi et al. (2021), eq. 6."""
    centre, spread = sum(vector) / len(vector) if norm.kind == "layer" else 0.0, spread_of(full, norm)
    weight = [1.0] * len(vector) if norm.weight is None else norm.weight.tolist()
    return [(number - centre) / spread * factor for number, factor in zip(vector, weight, strict=True)]


class Longhand:
    """The same rows as `Parts`, as a table of vectors u[i, j], and the longest that each of them could have been."""

    def __init__(self, mixture: Mixture) -> None:
        n_heads, n = mixture.attention.shape[0], mixture.attention.shape[-1]
        d_head, self.d = mixture.weight.shape[1:]
        attention, value, weight = mixture.attention.tolist(), mixture.value.tolist(), mixture.weight.tolist()
        self.n, self.table, self.reach = n, {}, torch.zeros(n, n, dtype=torch.float64)
        for i in range(n):
            for j in range(n):
                part = [0.0] * self.d
                for h in range(n_heads):
                    for c in range(d_head):
                        for k in range(self.d):
                            part[k] += attention[h][i][j] * value[h][j][c] * weight[h][c][k]
                    sizes = math.hypot(*value[h][j]) * mixture.weight[h].norm().item()
                    self.reach[i, j] += attention[h][i][j] * sizes
                self.table[i, j] = part

    def scale(self, by: float | Tensor) -> None:
        factors = [by] * self.d if isinstance(by, float) else by.tolist()
        self.table = {pair: [x * by for x, by in zip(part, factors, strict=True)] for pair, part in self.table.items()}
        self.reach = self.reach * max(map(abs, factors))

    def add_residual(self, residual: Tensor) -> None:
        for i in range(self.n):
            self.table[i, i] = [x + own for x, own in zip(self.table[i, i], residual[i].tolist(), strict=True)]
            self.reach[i, i] += residual[i].norm()

    def through(self, norm: Norm, full: Tensor) -> None:
        self.table = {(i, j): pushed(part, full[i].tolist(), norm) for (i, j), part in self.table.items()}
        largest = 1.0 if norm.weight is None else norm.weight.abs().max().item()
        for i in range(self.n):
            self.reach[i] *= largest / spread_of(full[i].tolist(), norm)

    def part(self, i: int, j: int) -> list[float]:
        return self.table[i, j]

    def total(self) -> Tensor:
        rows = [[sum(self.part(i, j)[k] for j in range(self.n)) for k in range(self.d)] for i in range(self.n)]
        return torch.tensor(rows, dtype=torch.float64)

    def lengths(self) -> Tensor:
        rows = [[math.hypot(*self.part(i, j)) for j in range(self.n)] for i in range(self.n)]
        return torch.tensor(rows, dtype=torch.float64)

    def mixing_ratio(self) -> Tensor:
        """Kobayashi et al. (2021), eq. 8."""
        ratios = []
        for i in range(self.n):
            others = [sum(self.part(i, j)[k] for j in range(self.n) if j != i) for k in range(self.d)]
            mixed, kept = math.hypot(*others), math.hypot(*self.part(i, i))
            ratios.append(mixed / (mixed + kept) if mixed > 0 else 0.0)
        return torch.tensor(ratios, dtype=torch.float64)


def assert_squares_agree(found: Tensor, wanted: Tensor, reach: Tensor) -> None:
    assert torch.isfinite(found).all()
    assert (found >= 0).all()
    assert ((found.square() - wanted.square()).abs() <= ROUNDOFF * reach.square() + 1e-300).all()


STEPS = {
    "number": lambda: st.sampled_from((-0.5, 1.0, 3.0)),
    "vector": lambda: tensors(3),
    "residual": None,
    "norm": lambda: norms(3),
}


@st.composite
def histories(draw: st.DrawFn, batch: tuple[int, ...] = ()):
    """A mixture and what happens to it on its way through a block."""
    mixture = draw(mixtures(batch))
    n, steps = mixture.attention.shape[-1], []
    for name in draw(st.lists(st.sampled_from(sorted(STEPS)), max_size=4)):
        if name == "residual":
            steps.append((name, draw(tensors(*batch, n, 3))))
        elif name == "norm":
            steps.append((name, (draw(norms(3)), draw(tensors(*batch, n, 3)))))
        else:
            steps.append((name, draw(STEPS[name]())))
    return mixture, steps


def lived(mixture: Mixture, steps) -> Parts:
    parts = parts_of(mixture)
    for name, what in steps:
        parts = {
            "number": lambda parts, what: parts.scaled(what),
            "vector": lambda parts, what: parts.scaled(what),
            "residual": lambda parts, what: parts.plus_residual(what),
            "norm": lambda parts, what: parts.through(*what),
        }[name](parts, what)
    return parts


def lived_longhand(mixture: Mixture, steps) -> Longhand:
    longhand = Longhand(mixture)
    for name, what in steps:
        if name == "residual":
            longhand.add_residual(what)
        elif name == "norm":
            longhand.through(*what)
        else:
            longhand.scale(what)
    return longhand


def post_norm_block(n_heads: int, batch: tuple[int, ...] = ()):
    """Attention, residual, norm, norm, as in BERT; numbers without zeros or repeats."""
    mixture = random_mixture(n_heads, n_heads=n_heads, batch=batch)
    generator = torch.Generator().manual_seed(9)
    random = torch.randn(4, 6, generator=generator, dtype=torch.float64)
    full = torch.randn(2, *batch, 5, 6, generator=generator, dtype=torch.float64)
    first, second = Norm("layer", random[0], random[1], 1e-2), Norm("layer", random[2], random[3], 1e-12)
    return mixture, [("residual", mixture.residual), ("norm", (first, full[0])), ("norm", (second, full[1]))]


# Against loops and scalars


@pytest.mark.parametrize("kept", range(4), ids=["attention", "residual", "one norm", "two norms"])
@pytest.mark.parametrize("n_heads", [1, 2, 3, 4])
def test_lengths_and_ratios_are_those_of_the_vectors_built_one_by_one(n_heads, kept):
    mixture, steps = post_norm_block(n_heads)
    parts, longhand = lived(mixture, steps[:kept]), lived_longhand(mixture, steps[:kept])
    close(parts.lengths(), longhand.lengths())
    close(parts.mixing_ratio(), longhand.mixing_ratio())
    close(parts.total, longhand.total())


@few
@given(histories())
def test_lengths_equal_the_built_vectors_after_any_steps_whatever_cancels(history):
    parts, longhand = lived(*history), lived_longhand(*history)
    assert_squares_agree(parts.lengths(), longhand.lengths(), longhand.reach)


@few
@given(histories())
def test_the_parts_of_a_row_sum_to_its_total_after_any_steps(history):
    parts, longhand = lived(*history), lived_longhand(*history)
    torch.testing.assert_close(parts.total, longhand.total(), rtol=1e-9, atol=1e-12 * (1 + longhand.reach.sum().item()))


@few
@given(mixtures(), tensors(3))
def test_parts_and_output_bias_are_what_attention_puts_out(mixture, bias):
    n_heads = mixture.attention.shape[0]
    heads = [mixture.attention[h] @ mixture.value[h] for h in range(n_heads)]
    output = torch.cat(heads, dim=-1) @ mixture.weight.reshape(-1, 3) + bias  # as models compute it
    torch.testing.assert_close(Longhand(mixture).total() + bias, output, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(parts_of(mixture).total + bias, output, rtol=1e-9, atol=1e-9)


@few
@given(st.data(), mixtures())
def test_a_norm_of_a_sum_is_the_sum_of_its_parts(data, mixture):
    norm = data.draw(norms(3))
    full = mixture.total + mixture.residual
    found = parts_of(mixture).plus_residual(mixture.residual).through(norm, full).total
    bias = 0 if norm.bias is None else norm.bias
    torch.testing.assert_close(found + bias, normalise(full, norm), rtol=1e-9, atol=1e-9)


def test_the_denominator_is_that_of_the_true_row_and_not_of_the_sum_of_parts():
    mixture = random_mixture(3)
    norm, full = Norm("layer", None, None, 0.0), mixture.total * 10  # a row ten times as long
    close(
        parts_of(mixture).through(norm, full).lengths() * 10, parts_of(mixture).through(norm, mixture.total).lengths()
    )


# Steps


def test_a_step_that_does_nothing_changes_nothing():
    parts = parts_of(random_mixture(0)).plus_residual(random_mixture(0).residual)
    close(parts.scaled(1.0).lengths(), parts.lengths())
    close(parts.through(None, parts.total).lengths(), parts.lengths())


@pytest.mark.parametrize("factor", [-2.0, 0.5])
def test_scaling_scales_every_length_and_no_ratio(factor):
    parts = parts_of(random_mixture(0)).plus_residual(random_mixture(0).residual)
    close(parts.scaled(factor).lengths(), parts.lengths() * abs(factor))
    close(parts.scaled(factor).mixing_ratio(), parts.mixing_ratio())


def test_two_residuals_add_up_as_vectors():
    mixture = random_mixture(1)
    twice = parts_of(mixture).plus_residual(mixture.residual).plus_residual(mixture.residual)
    close(twice.lengths(), parts_of(mixture).plus_residual(2 * mixture.residual).lengths())


def test_a_residual_touches_the_diagonal_alone():
    mixture = random_mixture(1)
    plain, with_own = parts_of(mixture).lengths(), parts_of(mixture).plus_residual(mixture.residual).lengths()
    off = ~torch.eye(5, dtype=torch.bool)
    assert torch.equal(with_own[off], plain[off])
    own = mixture.vectors().sum(0)[range(5), range(5)] + mixture.residual
    close(with_own.diagonal(), own.norm(dim=-1))


def test_steps_return_new_parts_and_change_nothing():
    mixture, steps = post_norm_block(3)
    before = [t.clone() for t in (mixture.attention, mixture.value, mixture.weight, mixture.residual)]
    parts = lived(mixture, steps)
    first = parts.lengths(), parts.mixing_ratio(), parts.lengths_per_head()
    again = parts.lengths(), parts.mixing_ratio(), parts.lengths_per_head()
    assert all(torch.equal(one, other) for one, other in zip(first, again, strict=True))
    after = (mixture.attention, mixture.value, mixture.weight, mixture.residual)
    assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))


# Symmetries and corners


@few
@given(histories(), st.randoms(use_true_random=False))
def test_the_order_of_the_heads_changes_nothing(history, random):
    mixture, steps = history
    order = random.sample(range(len(mixture.weight)), len(mixture.weight))
    mixed = replace(
        mixture, attention=mixture.attention[order], value=mixture.value[order], weight=mixture.weight[order]
    )
    reach = lived_longhand(mixture, steps).reach
    assert_squares_agree(lived(mixed, steps).lengths(), lived(mixture, steps).lengths(), 2 * reach)


@few
@given(histories(batch=(2,)))
def test_a_leading_batch_axis_gives_the_results_of_each_example(history):
    mixture, steps = history
    found = lived(mixture, steps)
    for b in range(2):
        own = Mixture(mixture.attention[b], mixture.value[b], mixture.weight, mixture.residual[b])
        own_steps = []
        for name, what in steps:
            if name == "norm":
                own_steps.append((name, (what[0], what[1][b])))
            else:
                own_steps.append((name, what[b] if name == "residual" else what))
        alone, reach = lived(own, own_steps), lived_longhand(own, own_steps).reach
        assert_squares_agree(found.lengths()[b], alone.lengths(), 2 * reach)
        torch.testing.assert_close(found.total[b], alone.total, rtol=1e-9, atol=1e-12 * (1 + reach.sum().item()))


@pytest.mark.parametrize("n_heads", [1, 2, 3, 4])
def test_a_batch_has_the_ratios_and_head_lengths_of_each_example(n_heads):
    mixture, steps = post_norm_block(n_heads, batch=(3,))
    found = lived(mixture, steps)
    for b in range(3):
        own = Mixture(mixture.attention[b], mixture.value[b], mixture.weight, mixture.residual[b])
        residual, *through = steps
        own_steps = [("residual", residual[1][b]), *((name, (norm, full[b])) for name, (norm, full) in through)]
        alone = lived(own, own_steps)
        close(found.lengths()[b], alone.lengths())
        close(found.mixing_ratio()[b], alone.mixing_ratio())
        close(found.lengths_per_head()[b], alone.lengths_per_head())


@few
@given(mixtures(maps=causal_maps), st.data())
def test_what_a_causal_model_cannot_see_has_length_zero_exactly(mixture, data):
    norm = data.draw(norms(3))
    parts = parts_of(mixture).plus_residual(mixture.residual).through(norm, mixture.total + mixture.residual)
    for lengths in (parts.lengths(), parts.lengths_per_head()):
        assert torch.equal(lower_half(lengths), lengths)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_heads_that_cancel_exactly_give_zero_and_never_nan(dtype):
    mixture = random_mixture(0, n=16, n_heads=3)
    shared = mixture.attention[:1].expand(3, -1, -1)
    value = torch.stack([mixture.value[0], mixture.value[1], -mixture.value[0] - mixture.value[1]])
    weight = mixture.weight[:1].expand(3, -1, -1)
    parts = Parts(shared.to(dtype), value.to(dtype), weight.to(dtype), torch.zeros(16, 6, dtype=dtype))
    sources = parts.sources()
    squares = quadratic_forms(parts.attention, sources @ sources.transpose(-1, -2))
    assert (squares < 0).any()  # so a root without a guard would be NaN
    sizes = parts.lengths_per_head().sum(0)
    assert torch.isfinite(parts.lengths()).all()
    assert (parts.lengths() <= 10 * torch.finfo(dtype).eps ** 0.5 * sizes).all()


@few
@given(mixtures(batch=(2,)))
def test_lengths_per_head_are_those_of_each_heads_vector(mixture):
    close(parts_of(mixture).lengths_per_head(), mixture.vectors().norm(dim=-1))


def test_lengths_per_head_feel_the_norms_and_not_the_residual():
    mixture, steps = post_norm_block(3)
    found = lived(mixture, steps).lengths_per_head()
    for h in range(3):
        alone = Mixture(
            mixture.attention[h : h + 1], mixture.value[h : h + 1], mixture.weight[h : h + 1], mixture.residual
        )
        close(found[h], lived_longhand(alone, steps[1:]).lengths())


def test_one_head_has_the_lengths_of_its_only_head():
    parts = parts_of(random_mixture(5, n_heads=1))
    close(parts.lengths(), parts.lengths_per_head()[0])


# Mixing ratio


@few
@given(histories())
def test_the_mixing_ratio_lies_between_zero_and_one(history):
    ratio = lived(*history).mixing_ratio()
    assert ((ratio >= 0) & (ratio <= 1)).all()


def test_the_mixing_ratio_takes_the_length_of_the_sum_and_not_the_sum_of_lengths():
    # Row 0 receives (1, 0) from itself, and (3, 0) and (-2, 0) from the others: |3 - 2| / (|3 - 2| + 1) = 1/2, not 5/6.
    value = torch.tensor([[[1.0, 0.0], [3.0, 0.0], [-2.0, 0.0]]], dtype=torch.float64)
    mixture = Mixture(
        torch.ones(1, 3, 3, dtype=torch.float64), value, torch.eye(2, dtype=torch.float64)[None], value[0]
    )
    assert parts_of(mixture).mixing_ratio()[0].item() == pytest.approx(0.5, abs=1e-12)


def test_one_token_mixes_nothing():
    mixture, norm = random_mixture(2, n=1), Norm("layer", None, None, 1e-12)
    parts = parts_of(mixture).plus_residual(mixture.residual)
    parts = parts.through(norm, mixture.total + mixture.residual)
    assert parts.mixing_ratio().tolist() == pytest.approx([0.0], abs=1e-12)
    assert parts.lengths().shape == (1, 1)


def test_tokens_that_attend_to_themselves_alone_mix_nothing():
    mixture = random_mixture(2)
    alone = replace(mixture, attention=torch.eye(5, dtype=torch.float64).expand(2, 5, 5))
    assert parts_of(alone).mixing_ratio().tolist() == pytest.approx([0.0] * 5, abs=1e-12)


def test_a_row_that_holds_nothing_has_ratio_zero_and_not_nan():
    mixture = random_mixture(2)
    nothing = replace(mixture, value=torch.zeros_like(mixture.value))
    assert parts_of(nothing).mixing_ratio().tolist() == [0.0] * 5
    assert parts_of(nothing).lengths().sum() == 0


def test_a_row_that_gets_everything_from_others_has_ratio_one():
    mixture = random_mixture(2)
    others = mixture.attention * (1 - torch.eye(5, dtype=torch.float64))
    assert parts_of(replace(mixture, attention=others)).mixing_ratio().tolist() == pytest.approx([1.0] * 5, abs=1e-12)


# The quadratic form


@pytest.mark.parametrize("short", [0, SHORT])
@given(st.integers(1, 4), st.integers(1, 4), st.integers(1, 4), st.data())
def test_quadratic_forms_sum_over_all_pairs_of_heads(short, n_heads, n_queries, n_keys, data):
    attention, half = data.draw(tensors(n_heads, n_queries, n_keys)), data.draw(tensors(n_keys, n_heads, n_heads))
    gram = half + half.transpose(-1, -2)
    with patch.object(quadratic, "SHORT", short):  # planes of heads, and one product for each key
        found = quadratic_forms(attention, gram)
    torch.testing.assert_close(found, longhand.quadratic_forms(attention, gram), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("rows", [0, 1, 2, 3, 6, 7, 100])
@pytest.mark.parametrize("batch", [(), (2,), (2, 3)])
def test_blocks_of_rows_give_what_one_block_gives(monkeypatch, batch, rows):
    mixture = random_mixture(4, n=7, n_heads=3, batch=batch)
    sources = parts_of(mixture).sources()
    gram = sources @ sources.transpose(-1, -2)
    whole = quadratic_forms(mixture.attention, gram)
    monkeypatch.setattr(quadratic, "SHORT", 0)
    monkeypatch.setattr(quadratic, "PLANE_ELEMENTS", rows * math.prod(batch) * 7)  # 7 keys: so many rows at once
    close(quadratic_forms(mixture.attention, gram), whole)
    close(whole, mixture.vectors().sum(-4).square().sum(-1))


@example(n=0)
@given(st.integers(1, 3))
def test_queries_and_keys_may_differ_in_number(n):
    attention = torch.ones(2, n + 2, n + 1, dtype=torch.float64)
    gram = torch.eye(2, dtype=torch.float64).expand(n + 1, 2, 2)
    assert torch.equal(quadratic_forms(attention, gram), torch.full((n + 2, n + 1), 2.0, dtype=torch.float64))
