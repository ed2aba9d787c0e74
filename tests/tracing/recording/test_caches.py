"""A block that is given a key-value cache finds it as it was whenever it runs again."""

from typing import Any

import pytest
import torch
import transformers
from tests.tracing.tiny import FAMILIES, SIZES, token_ids, vivid

import contextmix as cm
from contextmix.tracing.recording.caches import untouched
from contextmix.tracing.recording.quiet import cache_name


class Keeping(transformers.LlamaModel):
    """A model that makes a cache whether it is told to keep one or not."""

    def forward(self, input_ids: Any = None, **kwargs: Any) -> Any:
        kwargs[str(cache_name(transformers.LlamaModel(self.config)))] = transformers.DynamicCache(config=self.config)
        return super().forward(input_ids, **kwargs)


def models() -> tuple[Any, Any]:
    config = transformers.LlamaConfig(**{**SIZES, **FAMILIES["llama"][1]})
    return vivid(Keeping(config)), vivid(transformers.LlamaModel(config))


def test_a_model_that_keeps_a_cache_all_the_same_is_traced_like_one_that_does_not():
    keeping, plain = (cm.load(model) for model in models())
    ids = token_ids(7)[0]
    for layer, own in zip(
        keeping.trace({"input_ids": ids}).layers, plain.trace({"input_ids": ids}).layers, strict=True
    ):
        torch.testing.assert_close(layer.attention, own.attention)
        for _ in range(2):
            torch.testing.assert_close(layer.replay(layer.residual_in), own.residual_out)
        torch.testing.assert_close(layer.replay_zeroed(2, None), own.replay_zeroed(2, None))
        torch.testing.assert_close(layer.replay_from_embeddings(layer.embeddings), own.residual_out)
    for method in ("globenc", "hta", "value_zeroing"):
        found, wanted = (one.explain({"input_ids": ids}, method).values for one in (keeping, plain))
        assert found == pytest.approx(wanted, abs=1e-5)


def test_a_copy_shares_what_it_holds_and_grows_alone():
    own = transformers.DynamicCache()
    keys, values = torch.randn(2, 1, 2, 3, 4)
    own.update(keys, values, 0)
    both = transformers.EncoderDecoderCache(own, transformers.DynamicCache())
    (other,), named = untouched(([own],)), untouched({"cache": both, "states": keys})
    assert named["states"] is keys
    for cache in (other[0], named["cache"].self_attention_cache):
        assert cache is not own
        cache.update(keys, values, 0)
        assert cache.get_seq_length() == 6
        assert own.get_seq_length() == 3
