"""SmoothGrad longhand; its authors' code is for images."""

import numpy as np
import pytest
import torch
from tests.methods.classifiers import TEXT, autograd, embedded, loaded
from tests.methods.longhand import length
from tests.tracing.tiny import one_thread

from contextmix.errors import BadOption


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    with one_thread():
        yield


def noisy(embeddings, samples, noise, seed):
    """The inputs whose gradients are averaged, one by one from the same draws."""
    drawn = torch.Generator().manual_seed(seed)
    width = noise * (max(embeddings.flatten().tolist()) - min(embeddings.flatten().tolist()))
    return [embeddings + width * torch.randn(embeddings.shape, generator=drawn) for _ in range(samples)]


@pytest.mark.parametrize("target", [0, 2])
def test_gradients_are_averaged_before_their_length_is_taken(target):
    model = loaded()
    points = noisy(embedded(model.model), 3, 0.2, 5)
    found = [autograd(model.model, point, target).numpy() for point in points]
    wanted = [length([sum(one[row][d] for one in found) / 3 for d in range(len(found[0][row]))])
              for row in range(len(found[0]))]  # fmt: skip
    said = model.explain(TEXT, "smooth_gradient", target=target, samples=3, noise=0.2, seed=5)
    np.testing.assert_allclose(said.values, wanted, rtol=1e-6)
    assert said.quantity == "gradient"


def test_without_noise_it_is_the_gradient():
    model = loaded()
    plain = model.explain(TEXT, "gradient").values
    np.testing.assert_allclose(model.explain(TEXT, "smooth_gradient", samples=2, noise=0.0).values, plain, rtol=1e-9)
    assert not np.allclose(model.explain(TEXT, "smooth_gradient", samples=2).values, plain, rtol=1e-3)


@pytest.mark.parametrize("options", [{"samples": 0}, {"noise": -0.1}])
def test_numbers_that_mean_nothing(options):
    with pytest.raises(BadOption, match="at least 1 input with noise of at least 0"):
        loaded().explain(TEXT, "smooth_gradient", **options)
