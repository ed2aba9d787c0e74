"""Maps of the image tower of a model of texts with images, and multiplied into those of the text."""

from typing import Any

import numpy as np
import pytest
import torch
import transformers
from numpy.typing import NDArray
from tests.tracing.pictured import QUESTION, SIGHT, TEXT, built, picture
from tests.tracing.tiny import build, vivid
from torch import Tensor

import contextmix as cm
from contextmix.errors import BadInput, BadOption, UnsupportedModel
from contextmix.models.traced_model import TracedModel

PROMPT = {"image": picture(), "text": QUESTION}
READ = ["llava", "llava_next", "paligemma", "gemma3", "idefics3", "internvl", "qwen2_vl", "qwen2_5_vl"]


def seeing(name: str, dtype: torch.dtype = torch.float32) -> TracedModel:
    model, reader = built(name)
    return cm.load(model.to(dtype), reader)


@pytest.mark.parametrize("name", READ)
def test_rows_sum_to_what_they_summed_to_and_reach_the_patches(name: str) -> None:
    model = seeing(name)
    for method in ("globenc", "alti_rollout", "evidence"):
        plain, found = model.explain(PROMPT, method), model.explain(PROMPT, method, tower="through")
        assert found.dims == plain.dims
        np.testing.assert_allclose(found.values.sum(-1), plain.values.sum(-1), rtol=2e-5, atol=1e-6)
        words = [place for place in range(len(plain.tokens)) if plain.tokens.places.box(place) is None]  # type: ignore[union-attr]
        text = [plain.tokens.pieces[place] for place in words]
        kept = [place for place, piece in enumerate(found.tokens.pieces) if piece in text]
        np.testing.assert_allclose(found.values[..., kept], plain.values[..., words], rtol=1e-6, atol=1e-9)
        boxes: Any = found.tokens.places
        assert sum(box is not None for box in boxes.boxes) >= 16


@pytest.mark.parametrize("name", ["llava", "gemma3"])
def test_the_product_longhand(name: str) -> None:
    """Loops over rows, places, tokens of the tower and patches, in float64; which tokens make a place is looked up in
    the plain model, by changing what the last block wrote for one token after the other."""
    model = seeing(name, torch.float64)
    plain = model.explain(PROMPT, "alti_rollout")
    tower = model.explain(PROMPT, "alti_rollout", tower="alone", layers=[-1]).layer(-1).values
    found = model.explain(PROMPT, "alti_rollout", tower="through")
    made_of = _made_of(model, len(tower))
    image = [place for place in range(len(plain.tokens)) if made_of[place].any()]
    assert image == list(range(image[0], image[-1] + 1))
    count = len(tower)
    for row in range(len(plain.tokens)):
        for patch in range(count):
            expected = 0.0
            for place in image:
                tokens = np.flatnonzero(made_of[place])
                share = sum(tower[token, patch] / tower[token].sum() for token in tokens) / len(tokens)
                expected += plain.values[row, place] * share
            assert found.values[row, image[0] + patch] == pytest.approx(expected, abs=1e-9)
    assert found.provenance.notes["tower_block"] == 1


def _made_of(model: TracedModel, count: int) -> NDArray[np.bool_]:
    """(place, token of the tower): which places of the plain model move with a token of the tower's last block."""
    (one,) = model.encode(PROMPT)
    tensors = {name.removeprefix("of images: "): value for name, value in one.tensors.items()}
    tensors = {name: value if value.ndim == 4 else value[None] for name, value in tensors.items()}
    plain: Any = model.model
    blocks = plain.model.vision_tower.encoder.layers
    entered: list[Tensor] = []

    def run(token: int | None = None) -> Tensor:
        def change(module: Any, args: Any, output: Tensor) -> Tensor:
            changed = output.clone()
            if token is not None:
                changed[:, token] += torch.linspace(-1, 2, output.shape[-1]).to(output).sin()
            return changed

        def read(module: Any, args: Any, kwargs: Any) -> None:
            entered.append((args[0] if args else kwargs["hidden_states"])[0])

        first = plain.model.language_model.layers[0]
        with (
            blocks[-1].register_forward_hook(change, prepend=True),
            first.register_forward_pre_hook(read, with_kwargs=True),
            torch.no_grad(),
        ):
            plain(**tensors)
        return entered[-1]

    clean = run()
    moved = [(run(token) - clean).abs().amax(-1) > 1e-9 for token in range(count)]
    return torch.stack(moved, -1).numpy()


@pytest.mark.parametrize("name", READ)
def test_the_tower_alone_is_the_map_of_its_own_model(name: str) -> None:
    model = seeing(name)
    found = model.explain(PROMPT, "value_zeroing", tower="alone")
    boxes: Any = found.tokens.places
    assert len(boxes) == found.shape[-1]
    (one,) = model.encode(PROMPT)
    if name == "llava":
        inner = cm.load(model.model.model.vision_tower)  # type: ignore[union-attr]
        (own,) = inner.explain({"pixel_values": one.tensors["of images: pixel_values"]}, "value_zeroing")
        np.testing.assert_allclose(found.values, own.values, atol=1e-6)
    assert "rows_end_at" not in found.provenance.notes


@pytest.mark.parametrize(
    ("name", "blocks", "values", "allowed"),
    [
        ("llava", "model.vision_tower.encoder.layers", "self_attn.v_proj", 1e-9),
        ("qwen2_vl", "model.visual.blocks", "attn.qkv", 1e-9),
        ("qwen2_5_vl", "model.visual.blocks", "attn.qkv", 1e-6),  # its norms compute in float32
    ],
)
def test_really_zeroed_values_are_value_zeroing(name: str, blocks: str, values: str, allowed: float) -> None:
    """Hooks of this test on the plain model, in float64: nothing of contextmix runs in it."""
    model = seeing(name, torch.float64)
    model.model.set_attn_implementation("eager")  # which computes its softmax in float32, so both runs must
    found = model.explain(PROMPT, "value_zeroing", tower="alone", distance="euclidean", normalise=False)
    (one,) = model.encode(PROMPT)
    tensors = {key.removeprefix("of images: "): value for key, value in one.tensors.items() if "of images" in key}
    for number, block in enumerate(model.model.get_submodule(blocks)):  # type: ignore[arg-type]
        reads = block.get_submodule(values)
        clean = _left(model.model, tensors, block, reads)
        for token in range(found.shape[-1]):
            moved = (_left(model.model, tensors, block, reads, token) - clean).norm(dim=-1).numpy()
            np.testing.assert_allclose(found.values[number, :, token], moved, rtol=0, atol=allowed)


def _left(model: Any, tensors: Any, block: Any, reads: Any, token: int | None = None) -> Tensor:
    """What a block of the plain tower writes, (token, d), with one token's values at zero."""
    left: list[Tensor] = []

    def zero(module: Any, args: Any, output: Tensor) -> Tensor:
        output = output.clone()
        if token is not None:
            width = block.get_submodule("attn.proj").in_features if output.ndim == 2 else output.shape[-1]
            output.flatten(0, -2)[token, -width:] = 0  # values stand behind queries and keys
        return output

    with (
        block.register_forward_hook(lambda module, args, output: left.append(output)),
        reads.register_forward_hook(zero),
        torch.no_grad(),
    ):
        model.get_image_features(**tensors)
    return left[0].flatten(0, -2)


def test_tiles_do_not_see_each_other() -> None:
    found = seeing("llava_next").explain(PROMPT, "attention", tower="alone")
    assert [place for place, piece in enumerate(found.tokens.pieces) if "CLS" in piece] == [0, 17, 34, 51, 68]
    tile = np.arange(85) // 17
    other = tile[:, None] != tile[None, :]
    assert other.any()
    assert not found.values[:, other].any()
    np.testing.assert_allclose(found.values.sum(-1), 1, atol=1e-5)


def test_a_row_of_the_tower() -> None:
    model = seeing("llava")
    whole = model.explain(PROMPT, tower="alone")
    np.testing.assert_allclose(model.explain(PROMPT, tower="alone", query="r1c2").values, whole.row("r1c2").values)


def _llava(layers: Any, depth: int = 3) -> TracedModel:
    config = transformers.LlavaConfig(
        vision_config={"model_type": "clip_vision_model", **SIGHT, "num_hidden_layers": depth, "projection_dim": 32},
        text_config={"model_type": "llama", **TEXT},
        image_token_index=built("llava")[0].config.image_token_index,
        vision_feature_select_strategy="default",
        vision_feature_layer=layers,
    )
    return cm.load(vivid(transformers.LlavaForConditionalGeneration(config)), built("llava")[1])


def test_only_blocks_that_the_text_reads_are_multiplied_in() -> None:
    model = _llava(-2)  # the last block is run, and nobody reads it
    found = model.explain(PROMPT, "globenc", tower="through")
    assert found.provenance.notes["tower_block"] == 1
    plain = model.explain(PROMPT, "globenc")
    read = model.explain(PROMPT, "globenc", tower="alone", layers=[1]).layer(1).values
    image = [place for place in range(len(plain.tokens)) if plain.tokens.places.box(place) is not None]  # type: ignore[union-attr]
    shares = (read / read.sum(-1, keepdims=True))[1:]  # place by place the tokens behind [CLS]
    columns = slice(image[0], image[0] + len(read))
    np.testing.assert_allclose(found.values[:, columns], plain.values[:, image] @ shares, rtol=1e-5)
    alone = _llava(-1, depth=1).explain(PROMPT, "globenc", tower="through")  # its only block is the whole encoder
    assert alone.provenance.notes["tower_block"] == 0
    with pytest.raises(UnsupportedModel, match="the text reads several blocks of the image tower, and not block 2"):
        _llava([0, -1]).explain(PROMPT, "globenc", tower="through")


def test_features_between_the_blocks_of_the_text_are_refused() -> None:
    model = seeing("qwen3_vl")
    assert len(model.explain(PROMPT, tower="alone").tokens) == 60
    for method in ("evidence", "globenc"):
        with pytest.raises(UnsupportedModel, match="some of them between its own blocks"):
            model.explain(PROMPT, method, tower="through")


def test_what_is_refused() -> None:
    model = seeing("llava")
    with pytest.raises(BadOption, match="map of single blocks"):
        model.explore(PROMPT, ["attention"], tower="through")
    with pytest.raises(BadOption, match="map of single blocks"):
        model.explain(PROMPT, "value_zeroing", tower="through")
    with pytest.raises(BadOption, match="explains a score, and the image tower by itself has none"):
        model.explain(PROMPT, "evidence", tower="alone")
    with pytest.raises(BadInput, match="this input holds none"):
        model.explain(QUESTION, "globenc", tower="through")
    with pytest.raises(BadOption, match="tower"):
        model.explain(PROMPT, "globenc", tower="beside")
    with pytest.raises(UnsupportedModel, match="no method that makes features of images alone"):
        cm.load(build("bert")).explain({"input_ids": torch.tensor([[1, 2]])}, "globenc", tower="alone")


def test_a_picture_and_a_page_show_the_patches(tmp_path: Any) -> None:
    found = seeing("gemma3").explain(PROMPT, tower="through")
    image = found.overlay(picture())
    assert image.size[0] >= 100
    found.save(tmp_path / "map.html", over=picture())
    assert "r3c3" in (tmp_path / "map.html").read_text(encoding="utf-8")
    assert cm.TokenMap.from_dict(found.to_dict()).tokens == found.tokens


def test_an_exploration_goes_through_the_tower_or_shows_it_alone(tmp_path: Any) -> None:
    model = seeing("gemma3")
    found = model.explore(PROMPT, ["globenc", "evidence"], tower="through")
    for name, one in found.maps.items():
        expected = model.explain(PROMPT, name, tower="through", **({} if name == "evidence" else {"layers": "all"}))
        np.testing.assert_allclose(one.values, expected.values, rtol=1e-5, atol=1e-7)
    assert list(model.explore(PROMPT, tower="through").maps)[:2] == ["globenc", "alti_rollout"]
    found.save(tmp_path / "page.html")
    assert "r3c3" in (tmp_path / "page.html").read_text(encoding="utf-8")
    alone = model.explore(PROMPT, tower="alone", query="r1c1")
    assert alone.query == 5
    assert len(alone.tokens) == 16
    np.testing.assert_allclose(alone.maps["attention"].values, model.explain(PROMPT, "attention", tower="alone").values)
