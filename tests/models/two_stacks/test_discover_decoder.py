"""The anatomy of encoder–decoders: found, proved, and refused where it does not fit."""

from dataclasses import replace
from typing import Any

import pytest
import torch
import transformers
from tests.models.two_stacks.models import PLACES, WRITTEN, build, source
from tests.tracing.tiny import ROUNDOFF, SIZES, hook_count, settings, vivid
from torch import nn

import contextmix as cm
from contextmix.errors import BadInput, NotFinite, TapSilent, TraceDoesNotAddUp, UnsupportedModel
from contextmix.traces.anatomy import Anatomy
from contextmix.traces.encoder_decoder import EncoderDecoderAnatomy, StreamPlace

IDS = {"input_ids": source("bart")["input_ids"][0]}


def test_both_stacks_are_found_and_proved(case):
    assert isinstance(case.traced, cm.TracedEncoderDecoder)
    anatomy, place = case.traced.anatomy(), PLACES[case.family]
    assert (len(anatomy.blocks), len(anatomy.decoder)) == (2, 2)
    assert anatomy.layouts == (("pre-norm",) if place.pre else ("post-norm",))
    for number, block in enumerate(anatomy.decoder):
        assert block.path == f"{place.blocks}.{number}"
        assert block.own.attention.output == f"{place.own}.{place.output}"
        assert block.cross.attention.output == f"{place.cross}.{place.output}"
        norms = [
            block.own.attention.norm_in or block.own.attention.norm_after,
            block.cross.attention.norm_in or block.cross.attention.norm_after,
            block.cross.ffn.norm_in or block.cross.ffn.norm_after,
        ]
        assert tuple(norm.path for norm in norms) == place.norms
        assert {norm.kind for norm in norms} == {"rms" if place.rms else "layer"}
        assert block.query.factor == pytest.approx(8**-0.5 if case.family == "whisper" else 1.0)
    assert case.trace.checks.layers == 4
    assert case.trace.checks.conservation < 1e-12
    assert case.trace.checks.block_equation < (ROUNDOFF if place.rms else 1e-12)  # T5's norm runs in float32


def test_a_check_compares_with_a_plain_run_of_the_whole_model(case):
    report = case.traced.check(None if "input_ids" in case.flat else case.flat)
    assert report.parity < 1e-6
    assert report.checks.layers == 4
    assert report.n_heads == 2


def changed(traced: cm.TracedEncoderDecoder, **changes) -> cm.TracedEncoderDecoder:
    """The same model with another anatomy of its first decoder block."""
    anatomy = traced.anatomy()
    first = replace(anatomy.decoder[0], **changes)
    return cm.load(traced.model, anatomy=replace(anatomy, decoder=(first, *anatomy.decoder[1:])))


@pytest.fixture(scope="module")
def bart():
    return cm.load(build("bart"))


def test_a_norm_that_is_left_out_is_noticed(bart):
    block = bart.anatomy().decoder[0]
    bare = replace(block.own, attention=replace(block.own.attention, norm_after=None))
    with pytest.raises(TraceDoesNotAddUp, match="Layer 0: residual, attention and feed-forward"):
        changed(bart, own=bare).trace(IDS, output=WRITTEN)
    bare = replace(block.cross, attention=replace(block.cross.attention, norm_after=None))
    with pytest.raises(TraceDoesNotAddUp, match="Layer 0: residual, attention and feed-forward"):
        changed(bart, cross=bare).trace(IDS, output=WRITTEN)


def test_steps_that_are_exchanged_are_noticed(bart):
    block = bart.anatomy().decoder[0]
    swapped = replace(block.own.attention, output=block.cross.attention.output)
    with pytest.raises(TraceDoesNotAddUp, match="Layer 0: attention · value · output projection"):
        changed(bart, own=replace(block.own, attention=swapped)).trace(IDS, output=WRITTEN)


@pytest.mark.parametrize(
    "place", [StreamPlace("self_attn_layer_norm", written=False), StreamPlace("fc1", written=True)]
)
def test_a_stream_seen_in_the_wrong_place_is_noticed(bart, place):
    with pytest.raises(TraceDoesNotAddUp):
        changed(bart, between=place).trace(IDS, output=WRITTEN)


def test_a_block_that_is_not_named_is_noticed(bart):
    short = replace(bart.anatomy(), decoder=bart.anatomy().decoder[:1])
    with pytest.raises(TraceDoesNotAddUp, match="attends outside of the blocks"):
        cm.load(bart.model, anatomy=short).trace(IDS, output=WRITTEN)


def test_a_block_that_does_not_run_is_noticed(bart):
    long = replace(bart.anatomy(), decoder=(*bart.anatomy().decoder, bart.anatomy().decoder[1]))
    with pytest.raises(TapSilent, match="Decoder block 2 of 3"):
        cm.load(bart.model, anatomy=long).trace(IDS, output=WRITTEN)


def test_an_anatomy_of_one_stack_is_refused(bart):
    with pytest.raises(BadInput, match="EncoderDecoderAnatomy"):
        cm.load(bart.model, anatomy=Anatomy(bart.anatomy().blocks)).trace(IDS, output=WRITTEN)


def test_a_hand_written_anatomy_is_used(bart):
    again = cm.load(bart.model, anatomy=EncoderDecoderAnatomy(bart.anatomy().blocks, bart.anatomy().decoder))
    assert len(again.trace(IDS, output=WRITTEN).cross.layers) == 2


def refused(model, match: str) -> None:
    """A model is refused on the first question, and left as it was."""
    before, hooks = settings(model), hook_count(model)
    with pytest.raises(UnsupportedModel, match=match):
        cm.load(model).explain(IDS, output=WRITTEN)
    assert settings(model) == before
    assert hook_count(model) == hooks


class Squash(nn.Module):
    """Something in the place of a norm that no decomposition passes."""

    def forward(self, states):
        return torch.tanh(states)


class Roll(nn.Module):
    """Something that moves tokens about."""

    def forward(self, states):
        return states.roll(1, dims=1)


def test_a_block_that_is_put_together_otherwise_is_refused():
    model = build("bart")
    model.model.decoder.layers[1].self_attn_layer_norm = Squash()
    refused(model, r"the decoder block of attention calls 2 and 3 .*cannot be read")


def test_gated_heads_of_cross_attention_are_refused():
    model = build("bart")
    for layer in model.model.decoder.layers:
        layer.encoder_attn.out_proj.register_forward_pre_hook(lambda module, args: (args[0] * 0.5,))
    refused(model, "cross-attention has its heads behind a gate per head, which is read in one stack alone")


def test_mixing_between_the_stacks_is_refused():
    model = build("mbart")
    model.model.encoder.layer_norm = Roll()
    refused(model, "between the last block of the encoder and what it hands to the decoder")


def test_mixing_between_decoder_blocks_is_refused():
    model = build("bart")
    model.model.decoder.layers.insert(1, Between())
    refused(model, "layers beside the attention blocks made no attention call: model.decoder.layers.1")


class Between(nn.Module):
    """A layer without attention."""

    def forward(self, states, *args, **kwargs):
        return states.cumsum(1)


def trocr() -> Any:
    """A reader of pictures whose decoder computes attention itself."""
    size = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    encoder = transformers.ViTConfig(**size, image_size=8, patch_size=4)
    decoder = transformers.TrOCRConfig(
        vocab_size=40, d_model=16, decoder_layers=2, decoder_attention_heads=2, decoder_ffn_dim=32
    )
    config = transformers.VisionEncoderDecoderConfig.from_encoder_decoder_configs(
        encoder, decoder, decoder_start_token_id=2, pad_token_id=0
    )
    return vivid(transformers.VisionEncoderDecoderModel(config))


def test_a_decoder_outside_the_registry_is_heard():
    model, pixels = trocr().double(), torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(0)).double()
    traced = cm.load(model)
    report = traced.check({"pixel_values": pixels})
    assert report.parity < 1e-6  # the eager attention of its ViT takes the softmax in float32
    assert report.checks.conservation < 1e-9
    assert report.checks.layers == 4
    assert all(block.own.mixer and block.cross.mixer for block in traced.anatomy().decoder)
    found = traced.explain({"pixel_values": pixels}, "value_zeroing_rollout", output=WRITTEN)
    assert found.values.sum(-1) == pytest.approx(1)


class Squared(torch.nn.Linear):
    """A linear module that squares what it reads."""

    def forward(self, states):
        return super().forward(states.square())


def test_a_decoder_whose_mixers_cannot_be_separated_is_refused():
    model = trocr()
    for layer in model.decoder.model.decoder.layers:
        for attention in (layer.self_attn, layer.encoder_attn):
            attention.out_proj.__class__ = Squared
    with pytest.raises(UnsupportedModel, match=r"VisionEncoderDecoderModel\).*none of them is read by a linear module"):
        cm.load(model).explain({"pixel_values": torch.rand(1, 3, 8, 8)}, output=WRITTEN)


def test_an_encoder_and_a_decoder_of_other_families_and_widths_are_read():
    bert = transformers.BertConfig(**SIZES)
    gpt2 = transformers.GPT2Config(vocab_size=40, n_embd=24, n_layer=2, n_head=2, n_positions=24)
    config = transformers.EncoderDecoderConfig.from_encoder_decoder_configs(
        bert, gpt2, decoder_start_token_id=2, pad_token_id=0
    )
    traced = cm.load(vivid(transformers.EncoderDecoderModel(config)).double())
    assert traced.anatomy().layouts == ("post-norm", "pre-norm")
    assert traced.check().parity < 1e-9
    found = traced.explain(IDS, "value_zeroing_rollout", output=WRITTEN)
    assert found.values.sum(-1) == pytest.approx(1)


def test_experts_in_a_decoder_are_read():
    """They hold the tokens of a batch in one row."""
    sizes = {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_heads": 2, "num_layers": 2, "num_decoder_layers": 2}
    experts = {"num_experts": 4, "num_sparse_encoder_layers": 1, "num_sparse_decoder_layers": 1}
    config = transformers.SwitchTransformersConfig(vocab_size=40, **sizes, **experts)
    model = vivid(transformers.SwitchTransformersModel(config))
    assert {path.split(".")[0] for path, part in model.named_modules() if path.endswith("experts")} == {
        "encoder",
        "decoder",
    }
    report = cm.load(model).check()
    assert report.checks.layers == 4
    assert max(report.checks.conservation, report.checks.block_equation, report.parity) < 1e-5


def test_weights_that_overflow_are_called_what_they_are():
    model = build("mbart", torch.float32)
    with torch.no_grad():
        model.model.decoder.layers[1].encoder_attn.out_proj.weight.mul_(1e38)
    with pytest.raises(NotFinite):
        cm.load(model).explain(IDS, output=WRITTEN)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("family", ["bart", "t5"])
def test_half_precision_is_near_float32(family, dtype):
    exact = cm.load(build(family, torch.float32))
    found = cm.load(build(family, dtype))
    for method in ("globenc", "alti_rollout", "value_zeroing_rollout"):
        wanted = exact.explain(IDS, method, output=WRITTEN).values
        assert abs(found.explain(IDS, method, output=WRITTEN).values - wanted).max() < 0.02
