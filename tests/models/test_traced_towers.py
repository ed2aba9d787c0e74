"""A model of two towers: each side by its own tower, and the similarity as a score."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.tracing.senses import noise, photo
from tests.tracing.twin import BLUE, RED, clip, processor, siglip, twin, words
from torch import Tensor

import contextmix as cm
from contextmix.errors import BadInput, BadOption, UnsupportedModel
from contextmix.models.traced_towers import TracedTowers

IMAGE = photo()


@pytest.fixture(scope="module")
def model() -> TracedTowers:
    return twin()


def test_each_side_is_explained_by_its_own_tower(model: TracedTowers) -> None:
    text, image = model.explain(RED), model.explain(IMAGE)
    assert text.tokens.pieces == ("<s>", "what", "is", "red", "?", "</s>")
    assert image.tokens.pieces[:3] == ("[CLS]", "r0c0", "r0c1")
    assert (text.provenance.notes["tower"], image.provenance.notes["tower"]) == ("text_model", "vision_model")
    both = model.explain({"image": IMAGE, "text": RED})
    assert list(both) == ["text", "image"]
    np.testing.assert_array_equal(both["text"].values, text.values)
    np.testing.assert_array_equal(both["image"].values, image.values)


def test_a_tower_gives_what_it_gives_when_it_is_loaded_alone(model: TracedTowers) -> None:
    inner: Any = model.model
    alone = cm.load(inner.vision_model, processor().image_processor).explain(IMAGE, "value_zeroing")
    np.testing.assert_array_equal(model.explain(IMAGE, "value_zeroing").values, alone.values)


def test_a_text_is_read_causally_and_its_maps_are_zero_above_the_diagonal(model: TracedTowers) -> None:
    assert model.is_causal
    assert (model.query_of(RED), model.query_of(IMAGE)) == (-1, 0)
    assert not np.triu(model.explain(RED, "attention").values, 1).any()


@pytest.mark.parametrize(("kind", "path"), [("text", "text_model"), ("image", "vision_model")])
def test_really_zeroed_values_are_value_zeroing(kind: str, path: str) -> None:
    """Hooks of this test on the plain model: nothing of contextmix runs in it."""
    model = twin(torch.float64)
    model.model.set_attn_implementation("eager")  # which computes its softmax in float32, so both runs must
    source = {"text": RED, "image": IMAGE}[kind]
    found = model.explain(source, "value_zeroing", layers="all", distance="euclidean", normalise=False)
    (one,) = model.encode(source)
    tensors = {name: value[None] for name, value in one.tensors.items()}
    blocks = model.model.get_submodule(path).encoder.layers
    for number, block in enumerate(blocks):
        clean = _left(model.model, kind, tensors, block)
        for token in range(found.shape[-1]):
            zeroed = _left(model.model, kind, tensors, block, token)
            moved = (zeroed - clean)[0].norm(dim=-1).numpy()
            np.testing.assert_allclose(found.values[number, :, token], moved, rtol=0, atol=1e-9)


def _left(model: Any, kind: str, tensors: Any, block: Any, token: int | None = None) -> Tensor:
    """What a block of the plain model writes when it reads what it read, with one token's values at zero."""
    left: list[Tensor] = []

    def zero(module: Any, args: Any, output: Tensor) -> Tensor:
        output = output.clone()
        output[:, token] = 0
        return output

    hooks = [block.register_forward_hook(lambda module, args, output: left.append(output))]
    if token is not None:
        hooks.append(block.self_attn.v_proj.register_forward_hook(zero))
    with torch.no_grad():
        (model.get_text_features if kind == "text" else model.get_image_features)(**tensors)
    for hook in hooks:
        hook.remove()
    return left[0]


def test_the_score_is_the_models_own_similarity() -> None:
    """Longhand, in float64: the plain model's own logits, and their gradient at what enters the first block."""
    model = twin(torch.float64)
    found = model.explain({"image": IMAGE, "text": RED}, "gradient_inputs", reduce="sum")
    one = {kind: model.towers[kind].encode(source)[0] for kind, source in (("text", RED), ("image", IMAGE))}
    tensors = {name: value[None] for each in one.values() for name, value in each.tensors.items()}
    plain: Any = model.model
    for kind, part in (("text", plain.text_model), ("image", plain.vision_model)):
        entered: list[Tensor] = []

        def keep(module: Any, args: Any, kwargs: Any, entered: list[Tensor] = entered) -> None:
            states = args[0] if args else kwargs["hidden_states"]
            if states.requires_grad:
                states.retain_grad()
            entered.append(states)

        with part.encoder.layers[0].register_forward_pre_hook(keep, with_kwargs=True):
            plain(**tensors).logits_per_image[0, 0].backward()
        grad = entered[0].grad
        assert grad is not None
        expected = (grad * entered[0]).sum(-1)[0].detach().numpy()
        np.testing.assert_allclose(found[kind].values, expected, rtol=1e-6, atol=1e-9)
        assert found[kind].provenance.notes["score"] == "the model's own similarity"


def test_two_texts_are_contrasted(model: TracedTowers) -> None:
    how: dict[str, Any] = {"method": "gradient_inputs", "reduce": "sum"}
    contrast = model.explain(IMAGE, target=(RED, BLUE), **how)
    apart = [model.explain(IMAGE, target=one, **how).values for one in (RED, BLUE)]
    np.testing.assert_allclose(contrast.values, apart[0] - apart[1], atol=1e-5)
    assert (contrast.provenance.notes["target"], contrast.provenance.notes["foil"]) == (RED, BLUE)


def test_the_other_verbs(model: TracedTowers) -> None:
    pair = {"image": IMAGE, "text": RED}
    assert [len(one.layers) for one in model.trace(pair).values()] == [2, 2]
    compared = model.compare(pair, ["globenc", "gradient_inputs"])
    assert {kind: one.spearman.shape for kind, one in compared.items()} == {"text": (2, 2), "image": (2, 2)}
    explored = model.explore(pair)
    assert all("gradient_inputs" in one.maps for one in explored.values())
    assert "gradient_inputs" not in model.explore(RED).maps
    mixed = model.explain([RED, IMAGE, BLUE])
    assert [len(one.tokens) for one in mixed] == [6, 17, 7]
    assert len(model.encode([RED, pair])) == 3


def test_a_file_is_an_image_and_model_inputs_are_divided(model: TracedTowers, tmp_path: Path) -> None:
    from PIL import Image

    file = tmp_path / "photo.png"
    Image.fromarray(IMAGE).save(file)
    for given in (file, str(file)):
        np.testing.assert_array_equal(model.explain(given).values, model.explain(IMAGE).values)
    tensors = processor()(text=[RED], images=[IMAGE], return_tensors="pt")
    found = model.explain(dict(tensors))
    np.testing.assert_allclose(found["text"][0].values, model.explain(RED).values, atol=1e-6)
    assert len(found["image"][0].tokens) == 17


def test_a_folder_holds_all_that_is_needed(tmp_path: Path) -> None:
    clip().save_pretrained(tmp_path)
    processor().save_pretrained(tmp_path)
    found = cm.load(tmp_path)
    assert isinstance(found, TracedTowers)
    assert found.towers["image"].processor is not None
    assert len(found.explain(RED).tokens) == 6


def test_check_proves_all_towers(model: TracedTowers) -> None:
    report = model.check()
    assert len(report.anatomy) == 4 == report.checks.layers
    assert [block.path.split(".")[0] for block in report.anatomy.blocks] == ["text_model"] * 2 + ["vision_model"] * 2
    assert report.parity < 1e-5
    assert cm.load(siglip()).check().checks.layers == 4
    assert model.anatomy().blocks == report.anatomy.blocks


@pytest.mark.parametrize(
    ("asked", "error", "said"),
    [
        ({"source": {"image": IMAGE, "sound": IMAGE}}, BadInput, "read texts and images, but the source has sound"),
        ({"source": {"image": IMAGE, "text": None}}, BadInput, "nothing .None. for one of them"),
        ({"source": (noise(), 16000)}, BadInput, "Got a sound, but the towers of this model read texts and"),
        ({"source": IMAGE, "method": "gradient"}, BadOption, "similarity of two sides; got only one"),
        ({"source": IMAGE, "method": "gradient", "target": "all"}, BadOption, "similarity of two sides"),
        ({"source": IMAGE, "method": "gradient", "target": (RED, RED)}, BadOption, "the same thing twice"),
        ({"source": RED, "method": "gradient", "target": BLUE}, BadInput, "its similarity to images"),
        ({"source": IMAGE, "method": "globenc", "target": RED}, BadOption, "names a score"),
        ({"source": IMAGE, "target": RED}, BadOption, "names a score"),
        (
            {"source": {"image": IMAGE, "text": RED}, "method": "gradient", "target": BLUE},
            BadOption,
            "combined with both sides",
        ),
        ({"source": []}, BadInput, "The list is empty"),
        ({"source": {"pixel_values": IMAGE, "cat": 1}}, BadInput, "No tower of this model reads cat"),
    ],
)
def test_what_is_refused(model: TracedTowers, asked: dict[str, Any], error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        model.explain(**asked)


def test_what_a_tower_lacks_is_said() -> None:
    only_texts = cm.load(clip(), words())
    assert len(only_texts.explain(RED).tokens) == 6
    with pytest.raises(BadInput, match="loaded without its image processor"):
        only_texts.explain(IMAGE)


def test_it_goes_on_with_no_text(model: TracedTowers) -> None:
    with pytest.raises(UnsupportedModel, match="does not generate text"):
        model.explain_generation(RED)
    with pytest.raises(BadInput, match="found on two inputs"):
        model.anatomy({"input_ids": torch.ones(1, 3, dtype=torch.long)})
    with pytest.raises(BadOption, match="has no score by itself"):
        model.attribute(model.encode(RED)[0], _plan(), None, None)


def _plan() -> Any:
    from contextmix.plugins.plan import make_plan

    return make_plan("gradient")


def test_a_run_over_texts_is_one_of_the_text_tower(model: TracedTowers, tmp_path: Path) -> None:
    (tmp_path / "data.jsonl").write_text(f'{{"text": "{RED}"}}\n{{"text": "{BLUE}"}}\n')
    run = cm.run(tmp_path / "data.jsonl", out=tmp_path / "out", model=model, methods=["value_zeroing"])
    kept = run.to_pandas()["value_zeroing"].tolist()
    for scores, text in zip(kept, (RED, BLUE), strict=True):
        expected = model.explain(text, "value_zeroing", layers=[-1], query=-1).layer(-1).values
        np.testing.assert_allclose(scores, expected, atol=1e-6)
