"""A model's anatomy is found by looking, and what cannot be read is refused by name."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from tests.tracing.mixing import Squared
from tests.tracing.tiny import ENCODERS, MARKS, ROUNDOFF, SIZES, build, hook_count, settings, token_ids, vivid
from torch import Tensor, nn

import contextmix as cm
from contextmix.errors import NotFinite, TraceDoesNotAddUp, UnsupportedModel
from contextmix.models import loaded_model
from contextmix.traces.anatomy import Anatomy, BlockAnatomy, Sublayer
from contextmix.traces.places import NormPlace
from contextmix.tracing.discovery import blocks
from contextmix.tracing.discovery.blocks import discover
from contextmix.tracing.discovery.reader import BlockReader
from contextmix.tracing.discovery.sums import FurtherReader


def proved(traced: cm.TracedModel) -> Anatomy:
    """The anatomy, once the block equation held on another input than the probe."""
    trace = traced.trace({"input_ids": token_ids(9, seed=3)[0]})
    assert trace.checks.block_equation <= ROUNDOFF
    assert trace.checks.conservation <= ROUNDOFF
    return traced.anatomy()


# Found ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("head", ["Model", "ForSequenceClassification"])
@pytest.mark.parametrize("family", ENCODERS)
def test_a_post_norm_encoder_is_found_as_one(family: str, head: str):
    anatomy = proved(cm.load(build(family, head)))
    assert anatomy.layouts == ("post-norm",)
    assert len(anatomy.blocks) == SIZES["num_hidden_layers"]
    for block in anatomy.blocks:
        assert (block.attention.norm_after.kind, block.ffn.norm_after.kind) == ("layer", "layer")
        assert (block.attention.scale, block.ffn.scale) == (1.0, 1.0)
        assert not block.transposed


@pytest.mark.parametrize("family", [*ENCODERS, "llama", "gpt2"])
def test_a_model_of_one_layer_is_found(family: str):
    assert len(proved(cm.load(build(family, num_hidden_layers=1))).blocks) == 1


def test_every_part_of_bert_is_named(bert: cm.TracedModel):
    block = bert.anatomy().blocks[1]
    norms = [NormPlace(path, "layer") for path in ("attention.output.LayerNorm", "output.LayerNorm")]
    assert block.path == "encoder.layer.1"
    assert block.attention == Sublayer("attention.output.dense", norm_after=norms[0])
    assert (block.ffn.output, block.ffn.modules) == ("output.dense", ("intermediate", "output.dense"))
    assert (block.ffn.norm_in, block.ffn.norm_out, block.ffn.norm_after) == (None, None, norms[1])


def test_the_path_of_a_block_starts_at_the_loaded_model():
    assert cm.load(build("bert", "ForSequenceClassification")).anatomy().blocks[0].path == "bert.encoder.layer.0"


def test_a_shared_block_appears_once_per_run():
    blocks = proved(cm.load(build("albert", num_hidden_layers=3))).blocks
    assert [block.path for block in blocks] == ["encoder.albert_layer_groups.0"] * 3


def test_two_groups_of_shared_blocks_run_one_after_the_other():
    blocks = proved(cm.load(build("albert", num_hidden_layers=4, num_hidden_groups=2))).blocks
    assert [block.path[-1] for block in blocks] == ["0", "0", "1", "1"]


def test_two_blocks_within_a_shared_group_take_turns():
    blocks = proved(cm.load(build("albert", inner_group_num=2))).blocks
    assert [block.path[-1] for block in blocks] == ["0", "1", "0", "1"]


@pytest.mark.parametrize(
    ("family", "layouts", "kind"),
    [
        ("llama", ("pre-norm",), "rms"),
        ("gpt2", ("pre-norm",), "layer"),
        ("granite", ("pre-norm",), "rms"),
        ("gemma2", ("sandwich",), "rms"),
        ("olmo2", ("norm on output",), "rms"),
        ("modernbert", ("no norm", "pre-norm"), "layer"),
        ("phi", ("parallel",), "layer"),
        ("gpt_neox", ("parallel",), "layer"),
    ],
)
def test_other_layouts_are_found(family: str, layouts: tuple[str, ...], kind: str, request: pytest.FixtureRequest):
    anatomy = proved(request.getfixturevalue(family))
    part = anatomy.blocks[-1].attention
    assert anatomy.layouts == layouts
    assert {norm.kind for norm in (part.norm_in, part.norm_out, part.norm_after) if norm} == {kind}


def test_a_projection_stored_the_other_way_round_is_seen(gpt2: cm.TracedModel):
    assert gpt2.anatomy().blocks[0].transposed


def test_a_norm_stored_as_its_difference_from_one_is_seen(gemma2: cm.TracedModel):
    block = gemma2.anatomy().blocks[0]
    norms = (block.attention.norm_in, block.attention.norm_out, block.ffn.norm_in, block.ffn.norm_out)
    assert [norm.offset for norm in norms] == [1.0] * 4


def test_the_scale_of_a_sub_layer_is_measured(granite: cm.TracedModel):
    block = granite.anatomy().blocks[0]
    assert (block.attention.scale, block.ffn.scale) == pytest.approx((0.3, 0.3), rel=1e-5)


def test_experts_that_write_all_tokens_in_one_row_are_found():
    own = {"num_key_value_heads": 1, "head_dim": 8, "num_local_experts": 2, "intermediate_size_mlp": 32}
    config = transformers.Llama4TextConfig(**{**SIZES, **MARKS, **own})
    model = vivid(transformers.Llama4TextModel(config))
    written = []
    model.layers[1].feed_forward.register_forward_hook(lambda *call: written.append(call[-1][0].ndim))
    traced = cm.load(model)
    proved(traced)
    assert set(written) == {2}
    several = traced.trace({"input_ids": token_ids(9, batch=3)})
    assert [one.layers[1].ffn_out.shape for one in several] == [(9, 16)] * 3


class Summed(nn.Module):
    """Two feed-forward parts under one norm, which therefore reads a tensor that no module wrote."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner, self.norm = inner, nn.LayerNorm(16)

    def forward(self, states: Tensor) -> Tensor:
        return self.norm(self.inner(states) + self.inner(-states))


def test_a_norm_that_ends_a_black_box_is_part_of_it():
    model = build("llama")
    for layer in model.layers:
        layer.mlp = Summed(layer.mlp)
    anatomy = proved(cm.load(vivid(model)))
    assert anatomy.layouts == ("pre-norm",)
    assert {block.ffn.norm_out for block in anatomy.blocks} == {None}
    assert {block.ffn.output for block in anatomy.blocks} <= {"mlp", "mlp.norm"}


# Refused -------------------------------------------------------------------------------------------------------------


def refused(model: Any) -> str:
    """The sentence by which a model is refused; no number may have been measured, no setting or hook may stay."""
    before, hooks, measured = settings(model), hook_count(model), []
    traced = cm.load(model)
    with pytest.raises(UnsupportedModel) as refusal:
        measured.append(traced.explain({"input_ids": token_ids(5)[0]}))
    assert not measured
    assert settings(model) == before
    assert hook_count(model) == hooks
    return str(refusal.value)


class Gated(nn.Module):
    """A linear module whose input passes a gate first."""

    def __init__(self, dense: nn.Linear) -> None:
        super().__init__()
        self.dense = dense
        self.gate = nn.Parameter(torch.linspace(-1, 1, dense.in_features))

    def forward(self, heads: Tensor) -> Tensor:
        return self.dense(heads * self.gate.sigmoid())


@pytest.mark.parametrize(
    "layers", [["conv", "full_attention"], ["full_attention", "conv"], ["full_attention", "conv", "full_attention"]]
)
def test_a_layer_that_mixes_without_attention_is_refused(layers: list[str]):
    model = build("lfm2", num_hidden_layers=len(layers), layer_types=layers)
    for layer in model.layers:
        if hasattr(layer, "conv"):
            layer.conv = Squared(layer.conv)
    said = refused(model)
    assert f"layers.{layers.index('conv')} (Lfm2DecoderLayer)" in said
    assert "made no attention call" in said


def test_something_between_two_blocks_is_refused():
    model = build("bert")
    first = model.encoder.layer[0]
    model.encoder.layer[0] = nn.Module()
    model.encoder.layer[0].block = first
    model.encoder.layer[0].forward = lambda states, *args, **kwargs: first(states, *args, **kwargs).roll(1, dims=1)
    assert "something acts between these blocks" in refused(model)


def test_an_anatomy_that_does_not_rebuild_the_block_is_refused(monkeypatch: pytest.MonkeyPatch):
    """Whatever the matching of tensors takes for an anatomy, the block equation has the last word."""
    plain = BlockReader.ffn_place

    def mistaken(*args: Any) -> Any:
        ffn, *rest = plain(*args)
        return (replace(ffn, scale=1.01), *rest)

    monkeypatch.setattr(BlockReader, "ffn_place", mistaken)
    monkeypatch.setattr(blocks, "_READERS", (BlockReader, FurtherReader))  # others need no feed-forward part
    assert "rebuild its output only within" in refused(build("bert"))


@pytest.mark.parametrize("name", ["Bart", "T5"])
def test_a_search_for_one_stack_refuses_an_encoder_with_a_decoder_and_reads_its_encoder(name: str):
    sizes = {"vocab_size": 40, "d_model": 16}
    bart = {f"{part}_{size}": 2 for part in ("encoder", "decoder") for size in ("layers", "attention_heads")}
    bart |= {"encoder_ffn_dim": 32, "decoder_ffn_dim": 32}
    own = bart if name == "Bart" else {"d_kv": 8, "num_layers": 2, "num_heads": 2, "d_ff": 32}
    model = vivid(getattr(transformers, f"{name}Model")(getattr(transformers, f"{name}Config")(**sizes, **own)))
    with pytest.raises(UnsupportedModel, match=r"an encoder with a decoder.*get_encoder\(\)"):
        discover(model, {"input_ids": token_ids(5)})
    assert len(proved(cm.load(model.get_encoder())).blocks) == 2


def test_weights_that_overflow_are_called_what_they_are():
    model = build("bert").half()
    with torch.no_grad():
        model.encoder.layer[0].attention.self.value.weight.fill_(60000.0)
    with pytest.raises(NotFinite, match="gave NaN or infinity"):
        cm.load(model).anatomy()


def test_windows_in_which_tokens_are_not_what_they_were_are_refused():
    class Windowed(nn.Module):
        def __init__(self, inner: nn.Module) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, hidden_states: Tensor, **kwargs: Any) -> Any:
            halves = self.inner(2 * hidden_states.reshape(2, -1, hidden_states.shape[-1]), **kwargs)
            return (halves[0].reshape(hidden_states.shape), *halves[1:])

    config = transformers.SiglipVisionConfig(**SIZES, image_size=8, patch_size=4)
    model = vivid(transformers.SiglipVisionModel(config))
    model.encoder.layers[0].self_attn = Windowed(model.encoder.layers[0].self_attn)
    with pytest.raises(UnsupportedModel, match="its 1 × 4 tokens attend as 2 sequences of 2"):
        cm.load(model).check()


def test_a_model_of_several_models_is_refused_with_their_names():
    towers = {"text_config": {**SIZES, **MARKS}, "vision_config": {**SIZES, "image_size": 8, "patch_size": 4}}
    model = vivid(transformers.CLIPModel(transformers.CLIPConfig(**towers, projection_dim=16)))
    pair = {"input_ids": token_ids(6), "pixel_values": torch.zeros(1, 3, 8, 8)}
    with pytest.raises(UnsupportedModel, match=r"load one by itself: model\.text_model or model\.vision_model"):
        discover(model, pair)
    assert cm.load(model.text_model).check().anatomy.layouts == ("pre-norm",)
    assert cm.load(model.vision_model).check().anatomy.layouts == ("pre-norm",)


def test_of_two_norms_that_read_the_same_each_sublayer_has_its_own():
    model = build("gpt_neox")
    block = cm.load(model).anatomy().blocks[0]
    assert (block.attention.norm_in.path, block.ffn.norm_in.path) == ("input_layernorm", "post_attention_layernorm")


# Written by hand -----------------------------------------------------------------------------------------------------


def by_hand(number: int) -> BlockAnatomy:
    """BERT's block as a user would write it."""
    return BlockAnatomy(
        path=f"encoder.layer.{number}",
        attention=Sublayer("attention.output.dense", norm_after=NormPlace("attention.output.LayerNorm", "layer")),
        ffn=Sublayer("output.dense", norm_after=NormPlace("output.LayerNorm", "layer")),
    )


def test_a_hand_written_anatomy_is_taken_without_looking(bert: cm.TracedModel, monkeypatch: pytest.MonkeyPatch):
    source = {"input_ids": token_ids(7)[0]}
    expected = bert.explain(source).values
    monkeypatch.setattr(loaded_model, "discover", lambda *_: pytest.fail("it looked"))
    traced = cm.load(bert.model, anatomy=Anatomy((by_hand(0), by_hand(1))))
    assert np.array_equal(traced.explain(source).values, expected)


def test_the_hidden_gate_of_a_hand_written_anatomy_is_caught():
    model = build("bert")
    for layer in model.encoder.layer:
        layer.attention.output.dense = Gated(layer.attention.output.dense)
    attention = replace(by_hand(0).attention, output="attention.output.dense.dense")
    blocks = [replace(by_hand(number), attention=attention) for number in (0, 1)]
    with pytest.raises(TraceDoesNotAddUp, match="Something acts between the heads and the output"):
        cm.load(model, anatomy=Anatomy(tuple(blocks))).trace({"input_ids": token_ids(7)[0]})


RIGHT = by_hand(1)
WRONG = {
    "no norm": replace(RIGHT, attention=replace(RIGHT.attention, norm_after=None)),
    "another norm": replace(RIGHT, attention=replace(RIGHT.attention, norm_after=RIGHT.ffn.norm_after)),
    "another kind of norm": replace(RIGHT, ffn=replace(RIGHT.ffn, norm_after=NormPlace("output.LayerNorm", "rms"))),
    "another offset": replace(RIGHT, ffn=replace(RIGHT.ffn, norm_after=NormPlace("output.LayerNorm", "layer", 1.0))),
    "another scale": replace(RIGHT, ffn=replace(RIGHT.ffn, scale=0.99)),
    "weight the other way round": replace(RIGHT, transposed=True),
    "another projection": replace(RIGHT, attention=replace(RIGHT.attention, output="attention.self.key")),
    "a projection of another size": replace(RIGHT, attention=replace(RIGHT.attention, output="intermediate.dense")),
    "half of the feed-forward part": replace(RIGHT, ffn=replace(RIGHT.ffn, output="intermediate")),
    "the other block": by_hand(0),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_anatomy_does_not_add_up(bert: cm.TracedModel, wrong: str):
    traced = cm.load(bert.model, anatomy=Anatomy((by_hand(0), WRONG[wrong])))
    with pytest.raises(TraceDoesNotAddUp):
        traced.explain({"input_ids": token_ids(7)[0]})
    assert hook_count(bert.model) == 0


@pytest.mark.parametrize("blocks", [(0,), (1,)])
def test_an_anatomy_with_too_few_blocks_does_not_add_up(bert: cm.TracedModel, blocks: tuple[int, ...]):
    traced = cm.load(bert.model, anatomy=Anatomy(tuple(map(by_hand, blocks))))
    with pytest.raises(TraceDoesNotAddUp, match="outside of the blocks"):
        traced.explain({"input_ids": token_ids(7)[0]})


def test_an_anatomy_with_too_few_runs_of_a_shared_block_does_not_add_up(albert: cm.TracedModel):
    traced = cm.load(albert.model, anatomy=Anatomy(albert.anatomy().blocks[:1]))
    with pytest.raises(TraceDoesNotAddUp, match="Block 1 of 1 ran, and the anatomy names no more"):
        traced.explain({"input_ids": token_ids(7)[0]})


@pytest.mark.parametrize("path", ["encoder.layer.7", "encoder.layers.0"])
def test_an_anatomy_with_a_wrong_path_is_refused(bert: cm.TracedModel, path: str):
    traced = cm.load(bert.model, anatomy=Anatomy((by_hand(0), replace(by_hand(1), path=path))))
    with pytest.raises(UnsupportedModel, match=f"names the module '{path}', and BertModel has none"):
        traced.explain({"input_ids": token_ids(7)[0]})
    assert hook_count(bert.model) == 0


def test_an_anatomy_with_a_wrong_path_in_the_block_leaves_no_hook(bert: cm.TracedModel):
    wrong = replace(by_hand(1), ffn=replace(by_hand(1).ffn, output="output.linear"))
    with pytest.raises(UnsupportedModel, match=r"names the module 'output\.linear', and BertLayer has none"):
        cm.load(bert.model, anatomy=Anatomy((by_hand(0), wrong))).explain({"input_ids": token_ids(7)[0]})
    assert hook_count(bert.model) == 0
