"""Prompts with images, layer by layer in float64, against hooks of the tests' own; and what lies around the blocks."""

import numpy as np
import pytest
import torch
import transformers
from tests.tracing.pictured import EXACT, QUESTION, built, picture
from tests.tracing.tiny import in_float64, vivid

import contextmix as cm
from contextmix.errors import TraceDoesNotAddUp
from contextmix.traces.anatomy import Anatomy
from contextmix.tracing.recording.quiet import as_called, quiet_run
from contextmix.tracing.recording.stack import Tower, image_id, stack_of

SOURCE = {"image": picture(), "text": QUESTION}
WITH_EVERY_LAYER = ["value_zeroing", "norm_encoder", "alti"]


@pytest.fixture(scope="module", params=EXACT)
def family(request):
    """A model in float64, its loaded form, and its inputs as it is called with them.

    Eager attention takes its softmax in float32 where fused attention takes it in float64, so all runs here are eager.
    """
    model, reader = built(request.param)
    model = in_float64(model)
    model.set_attn_implementation("eager")
    loaded = cm.load(model, reader)
    (inputs,) = loaded.encode(SOURCE)
    called = as_called({name: value.unsqueeze(0) for name, value in inputs.tensors.items()})
    return model, loaded, called


def blocks_of(model, loaded):
    return [model.get_submodule(block.path) for block in loaded.anatomy().blocks]


def run(model, called, hooks=()):
    """A plain run with hooks: (module, hook) pairs."""
    handles = [module.register_forward_hook(hook) for module, hook in hooks]
    try:
        with torch.no_grad():
            return model(**called, use_cache=False, output_attentions=True)
    finally:
        for handle in handles:
            handle.remove()


def first(output):
    return output[0] if isinstance(output, tuple) else output


def test_value_zeroing_is_what_zeroed_values_change(family):
    model, loaded, called = family
    blocks = blocks_of(model, loaded)
    found = loaded.explain(SOURCE, "value_zeroing", layers="all").values
    states = [{} for _ in blocks]

    def seeing(layer, key):
        return lambda module, args, output: states[layer].__setitem__(key, first(output)[0].clone())

    run(model, called, [(block, seeing(number, None)) for number, block in enumerate(blocks)])
    count = found.shape[-1]
    for layer, block in enumerate(blocks):
        distances = np.zeros((count, count))
        for token in range(count):

            def zero(module, args, output, token=token):
                output = output.clone()
                output[:, token] = 0
                return output

            run(model, called, [(block.self_attn.v_proj, zero), (block, seeing(layer, token))])
            for query in range(count):
                clean, other = states[layer][None][query], states[layer][token][query]
                cosine = float(clean @ other / clean.norm() / other.norm())
                distances[query, token] = 1 - cosine
        expected = distances / distances.sum(-1, keepdims=True)
        assert np.abs(found[layer] - expected).max() <= 1e-9


def test_attention_is_the_models_and_nothing_flows_where_it_is_zero(family):
    model, loaded, called = family
    trace = loaded.trace(SOURCE)
    whole = run(model, called).attentions[-len(trace.layers) :]
    for layer, attention in zip(trace.layers, whole, strict=True):
        assert torch.equal(layer.attention, attention[0].to(layer.attention.dtype))
    for method in WITH_EVERY_LAYER:
        maps = loaded.explain(SOURCE, method, layers="all").values
        for layer, attention in zip(maps, whole, strict=True):
            shut = (attention[0] == 0).all(0).numpy() & ~np.eye(len(layer), dtype=bool)
            assert shut.any() or model.config.model_type == "paligemma"  # whose prompt sees all of itself
            assert (layer[shut] == 0).all()


def test_the_parts_are_what_the_projection_wrote(family):
    model, loaded, called = family
    trace, blocks = loaded.trace(SOURCE), blocks_of(model, loaded)
    wrote = {}

    def note(layer):
        return lambda module, args, output: wrote.__setitem__(layer, output[0].clone())

    run(model, called, [(block.self_attn.o_proj, note(number)) for number, block in enumerate(blocks)])
    for number, (layer, block) in enumerate(zip(trace.layers, blocks, strict=True)):
        weight = block.self_attn.o_proj.weight.detach()
        total = torch.zeros_like(wrote[number])
        width = weight.shape[1] // len(layer.attention)
        for head, (attention, value) in enumerate(zip(layer.attention, layer.value, strict=True)):
            own = weight[:, head * width : (head + 1) * width]
            for query in range(len(total)):
                for key in range(len(total)):
                    total[query] += attention[query, key] * (own @ value[key])
        assert float((total - wrote[number]).abs().max()) <= 1e-9 * float(wrote[number].abs().max()) + 1e-12


def test_evidence_adds_up_to_the_score(family):
    model, loaded, called = family
    found = loaded.explain(SOURCE, signed=True)
    notes = found.provenance.notes
    assert found.values.sum() == pytest.approx(notes["signed"], abs=1e-9)
    assert notes["signed"] + notes["elsewhere"] == pytest.approx(notes["linear"], abs=1e-9)
    logits = quiet_run(model, called).logits[0, -1]
    assert notes["target_id"] == int(logits.argmax())
    placed = [token for token in range(len(found.tokens)) if found.tokens.places.box(token) is not None]
    assert np.abs(found.values[placed]).max() > 0


def test_a_missed_block_is_refused_though_it_runs_before_the_first_named_one():
    model, reader = built("llava")
    anatomy = cm.load(model, reader).anatomy()
    later = cm.load(model, reader, anatomy=Anatomy(anatomy.blocks[1:]))
    with pytest.raises(TraceDoesNotAddUp, match="LlamaAttention attends outside of the blocks"):
        later.explain(SOURCE, "attention")
    earlier = cm.load(model, reader, anatomy=Anatomy(anatomy.blocks[:1]))
    with pytest.raises(TraceDoesNotAddUp, match="attends outside of the blocks"):
        earlier.explain(SOURCE, "attention")


def test_without_images_nothing_may_attend_before_the_blocks():
    model, reader = built("llava")
    path = cm.load(model, reader).anatomy().blocks[0].path
    assert Tower.of(model, path, {"input_ids": torch.ones(1, 3)}) is None
    assert stack_of(model, path) is model.model.language_model
    assert Tower.of(model.model.language_model, "layers.0", {"of images: pixel_values": torch.ones(1)}) is None


def test_the_mark_of_an_image_is_that_of_the_model_before_those_of_its_parts():
    model, _ = built("llava")
    mark = model.config.image_token_id
    model.config.text_config.image_token_id = mark + 1
    assert image_id(model) == mark
    model.config.image_token_id = None
    assert image_id(model) == mark + 1


@pytest.fixture(scope="module")
def llama4():
    """Llama 4, whose image tower has an eager attention of another name beside that of its text.

    transformers 5.24 runs no Llama 4 with an image tower, also without contextmix: it asks the output of the language
    model for a field that it has not. So the field is put there.
    """
    torch.manual_seed(0)
    sight = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "image_size": 32, "patch_size": 8}
    sight |= {"intermediate_size": 128, "pixel_shuffle_ratio": 0.5}
    sight |= dict.fromkeys(("projector_input_dim", "projector_output_dim", "vision_output_dim"), 32)
    text = {"hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 4, "num_key_value_heads": 2}
    text |= {"intermediate_size": 48, "intermediate_size_mlp": 48, "vocab_size": 40, "head_dim": 8}
    text |= {"num_local_experts": 2, "moe_layers": [1], "attention_chunk_size": 8, "pad_token_id": 0}
    config = transformers.Llama4Config(vision_config=sight, text_config=text, image_token_index=5, boi_token_index=6)
    config.image_token_id = 5
    model = in_float64(vivid(transformers.Llama4ForConditionalGeneration(config)))
    model.set_attn_implementation("eager")
    model.language_model.register_forward_hook(lambda module, args, output: setattr(output, "image_outputs", None))
    return model


def test_llama_4_with_an_image(llama4):
    ids = torch.tensor([[9, 7, *[5] * 4, 11, 12, 13, 14, 15]])
    pixels = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(0)).double()
    called, loaded = {"input_ids": ids, "pixel_values": pixels}, cm.load(llama4)
    (found,) = loaded.explain(called, "value_zeroing", layers="all")
    assert found.tokens.pieces[2:6] == ("r0c0", "r0c1", "r1c0", "r1c1")
    blocks, states = blocks_of(llama4, loaded), {}
    for number, block in enumerate(blocks):
        for token in (None, *range(ids.shape[1])):

            def zero(module, args, output, token=token):
                output = output.clone()
                output[:, token] = 0
                return output

            def see(module, args, output, token=token):
                states[token] = first(output)[0].clone()

            zeroing = [] if token is None else [(block.self_attn.v_proj, zero)]
            run(llama4, called, [*zeroing, (block, see)])
        others = torch.stack([states[token] for token in range(ids.shape[1])], 1)
        distances = 1 - torch.nn.functional.cosine_similarity(states[None][:, None], others, dim=-1, eps=0)
        expected = distances / distances.sum(-1, keepdim=True)
        assert np.abs(found.values[number] - expected.numpy()).max() <= 1e-6  # its norms compute in float32
        assert (np.triu(found.values[number], 1) == 0).all()
    (signed,) = loaded.explain(called, signed=True)
    notes = signed.provenance.notes
    assert notes["signed"] + notes["elsewhere"] == pytest.approx(notes["linear"], abs=1e-6)
    assert np.abs(signed.values[2:6]).max() > 0
