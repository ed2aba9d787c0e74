"""What the decoder is to have written: texts, ids, what it was fed, what it writes itself; and what is refused."""

import numpy as np
import pytest
import torch
import transformers
from tests.models.two_stacks.models import BART, LONG, SIZES, T5, WRITTEN, build, source
from tests.tracing.tiny import word_pieces

import contextmix as cm
from contextmix.errors import BadInput, BadOption, TooLong

IDS = {"input_ids": source("bart")["input_ids"][0]}


@pytest.fixture(scope="module")
def bart():
    return cm.load(build("bart", decoder_start_token_id=3), word_pieces())  # 3 is [SEP], as BART starts with </s>


def test_a_text_is_read_with_the_marks_of_its_tokenizer(bart):
    trace = bart.trace("a deep film", output="the film was very unreal")
    assert trace.encoder.tokens.pieces == ("[CLS]", "a", "deep", "film", "[SEP]")
    assert trace.target.written.pieces == ("[CLS]", "the", "film", "was", "very", "un", "##real", "[SEP]")
    assert trace.target.read.pieces == ("[SEP]", *trace.target.written.pieces[:-1])


def test_a_start_that_the_tokenizer_writes_itself_is_not_written_twice():
    traced = cm.load(build("whisper"), word_pieces())  # [CLS] is 2, as is Whisper's start here
    trace = traced.trace(source("whisper"), output="the film")
    assert trace.target.read.pieces == ("[CLS]", "the", "film")
    assert trace.target.written.pieces == ("the", "film", "[SEP]")
    assert trace.encoder.tokens.pieces == tuple(f"#{number}" for number in range(6))


def test_words_of_source_and_target_are_merged_apart(bart):
    found = bart.explain("a meanful film", "alti_rollout", output="the film was unreal")
    merged = found.words()
    assert merged.tokens.pieces == (
        *("[CLS]", "a", "meanful", "film", "[SEP]"),
        *("[SEP]", "[CLS]", "the", "film", "was", "unreal"),
    )
    assert merged.query_tokens.pieces[-2:] == ("unreal", "[SEP]")
    np.testing.assert_allclose(merged.values.sum(-1), 1)


def test_ids_are_what_they_are(bart):
    by_ids = bart.trace(IDS, output=torch.tensor([WRITTEN]))
    assert by_ids.target.written.ids == tuple(WRITTEN)
    assert not by_ids.target.generated


def test_what_the_decoder_is_fed_is_what_it_reads(bart):
    fed = [3, *WRITTEN[:-1]]
    trace = bart.trace({**IDS, "decoder_input_ids": [fed]})
    assert trace.target.read.ids == tuple(fed)
    with torch.no_grad():
        logits = bart.model(input_ids=IDS["input_ids"][None], decoder_input_ids=torch.tensor([fed])).logits
    assert trace.target.written.ids == (*fed[1:], int(logits[0, -1].argmax()))


def test_left_to_itself_the_model_writes_greedily(case):
    found = case.traced.explain(case.flat, "alti_rollout", max_new_tokens=6)
    ids = [case.model.config.decoder_start_token_id]
    for _ in found.query_tokens.ids:
        with torch.no_grad():
            logits = case.model(**case.inputs, decoder_input_ids=torch.tensor([ids]), use_cache=False).logits
        ids.append(int(logits[0, -1].argmax()))
    assert found.query_tokens.ids == tuple(ids[1:])
    assert len(ids) == 7 or ids[-1] == 2
    assert found.provenance.notes["output"] == "generated"
    forced = case.traced.explain(case.flat, "alti_rollout", output=ids[1:])
    assert forced.provenance.notes["output"] == "given"
    if case.family != "mbart":  # it starts with the last token of what is given
        np.testing.assert_allclose(forced.values, found.values, rtol=1e-9, atol=1e-12)


def test_the_notes_say_how_it_was_asked_to_write_and_what_was_not_followed():
    model = build("bart")
    model.generation_config.update(do_sample=True, num_beams=3)
    traced = cm.load(model)
    notes = traced.explain(IDS, "alti_rollout", max_new_tokens=4).provenance.notes["generation"]
    assert notes["ids"] == model.generate(**source("bart"), do_sample=False, max_new_tokens=4)[0].tolist()
    assert (notes["settings"]["num_beams"], notes["settings"]["max_new_tokens"]) == (3, 4)
    assert notes["left_out"] == {"do_sample": True}
    greedy = traced.explain(IDS, "alti_rollout", max_new_tokens=4, generation={"num_beams": 1})
    assert greedy.provenance.notes["generation"]["settings"]["num_beams"] == 1
    with pytest.raises(BadOption, match="generation settings have no effect"):
        traced.explain(IDS, "alti_rollout", output=WRITTEN, generation={"num_beams": 1})


def test_mbart_starts_with_the_language_that_its_labels_end_with():
    traced = cm.load(build("mbart"))
    assert traced.trace(IDS, output=[7, 31, 2, 9]).target.read.ids == (9, 7, 31, 2)


def test_a_model_that_stops_at_once_still_wrote_its_last_token(bart):
    model = build("bart")
    with torch.no_grad():
        model.final_logits_bias[0, 2] = 1e4
    trace = cm.load(model).trace(IDS)
    assert trace.target.written.ids == (2,)
    assert trace.cross.layers[0].attention.shape == (2, 1, 7)


@pytest.mark.parametrize(
    ("output", "error", "said"),
    [
        ("", BadInput, "empty"),
        ("  \n", BadInput, "empty"),
        ([], BadInput, "not empty"),
        ([[1, 2], [3, 4]], BadInput, "one sequence of token ids"),
        ([1.5, 2.0], BadInput, "one sequence of token ids"),
        ([7, 99], BadInput, "token ids from 7 to 99"),
        ([-1], BadInput, "token ids from -1"),
        (object(), BadInput, "neither a text nor token ids"),
        ([7] * 25, TooLong, "25"),
        ("film " * 30, TooLong, "32"),
    ],
)
def test_outputs_that_cannot_be_read_are_refused(bart, output, error, said):
    with pytest.raises(error, match=said):
        bart.explain(IDS, output=output)


def test_a_target_may_be_as_long_as_the_decoder_reads(bart):
    assert len(bart.trace(IDS, output=[7] * 24).target.read) == 24
    assert len(cm.load(build("whisper")).trace(source("whisper"), output=[7] * 24).target.read) == 24
    with pytest.raises(TooLong):
        cm.load(build("whisper")).trace(source("whisper"), output=[7] * 25)


def test_other_bad_questions_are_refused(bart):
    with pytest.raises(BadOption, match="at least 1"):
        bart.trace(IDS, max_new_tokens=0)
    with pytest.raises(BadOption, match="Leave one out"):
        bart.trace({**IDS, "decoder_input_ids": [[2, 7]]}, output=WRITTEN)
    with pytest.raises(BadInput, match="2 sources need a list of as many outputs"):
        bart.trace([IDS, IDS], output=[WRITTEN])
    with pytest.raises(BadInput, match="2 sources need a list of as many outputs"):
        bart.trace([IDS, IDS], output="the film")
    with pytest.raises(BadInput, match="empty"):
        bart.trace([])
    with pytest.raises(BadInput, match="Got an object of type object"):
        bart.trace(object())
    with pytest.raises(BadInput, match="hold 2 sequences"):
        bart.trace({"input_ids": torch.full((2, 4), 7)}, output=WRITTEN)
    with pytest.raises(BadInput, match="does not read labels"):
        bart.trace({**IDS, "labels": IDS["input_ids"]}, output=WRITTEN)
    with pytest.raises(TooLong):
        bart.trace({"input_ids": torch.full((25,), 7)}, output=WRITTEN)
    with pytest.raises(BadInput, match="without a tokenizer"):
        cm.load(build("bart")).trace(IDS, output="the film")


def test_a_model_without_a_head_explains_what_it_is_given_and_writes_nothing():
    config = transformers.BartConfig(**{**SIZES, **BART, **LONG})
    traced = cm.load(transformers.BartModel(config))
    assert traced.explain(IDS, output=WRITTEN).shape == (5, 12)
    with pytest.raises(BadInput, match="no head to write with"):
        traced.explain(IDS)
    with pytest.raises(BadInput, match="no language-model head"):
        traced.explain({**IDS, "decoder_input_ids": [[2, 7]]})


def test_an_encoder_model_of_the_same_family_has_one_stack():
    model = transformers.T5EncoderModel(transformers.T5Config(**{**SIZES, **T5}))
    traced = cm.load(model)
    assert not isinstance(traced, cm.TracedEncoderDecoder)
    assert traced.explain(IDS, "alti_rollout").shape == (7, 7)


def test_words_of_what_a_model_wrote_are_found_by_writing_it_again(bart, monkeypatch):
    ids = [3, *(word_pieces().convert_tokens_to_ids(["the", "mean", "##ing", "un", "##real", "[SEP]"]))]
    generate = "contextmix.tracing.runs.written.GenerationMixin.generate"
    monkeypatch.setattr(generate, lambda *_, **__: torch.tensor([ids]))
    merged = bart.explain("a deep film", "alti_rollout").words()
    assert merged.query_tokens.pieces == ("the", "meaning", "unreal", "[SEP]")
    ids[2] = 34  # an id that the model knows and the tokenizer does not
    with pytest.raises(BadInput, match="Words were asked for"):
        bart.explain("a deep film", "alti_rollout").words()


def test_explain_generation_is_explain_by_another_name(bart):
    found = bart.explain_generation("a deep film", "alti_rollout", continuation="the film")
    np.testing.assert_array_equal(found.values, bart.explain("a deep film", "alti_rollout", output="the film").values)
    assert bart.explain_generation("a deep film", max_new_tokens=3).shape[0] <= 3
    with pytest.raises(BadOption, match="contrast"):
        bart.explain_generation("a deep film", contrast=True)
    with pytest.raises(BadInput, match=r"[Oo]nly one prompt"):
        bart.explain_generation(["a deep film", "a film"])


def test_several_texts_and_a_pair_of_texts(bart):
    three = bart.trace(("a film", "the film", "film"), output=["good", "bad", "deep"])
    assert [trace.target.written.pieces[1] for trace in three] == ["good", "bad", "deep"]
    pair = bart.trace({"text": "a film", "text_pair": "the film"}, output="good")
    assert pair.encoder.tokens.pieces == ("[CLS]", "a", "film", "[SEP]", "the", "film", "[SEP]")


def test_a_sound_is_explained_at_its_times():
    rate, samples = 16000, np.random.default_rng(0).normal(size=16000).astype(np.float32)
    model = build("whisper", torch.float32, max_source_positions=50, num_mel_bins=80)
    traced = cm.load(model, transformers.WhisperFeatureExtractor(chunk_length=1))
    found = traced.explain((samples, rate), "alti_rollout", output=WRITTEN)
    assert found.tokens.pieces[:3] == ("0.00s", "0.02s", "0.04s")
    assert found.shape == (5, 55)
    source, target = cm.source_and_target(found)
    assert source.tokens.places.time(1)[0] == found.tokens.places.time(1)[0]
    assert len(source.tokens.places) == 50
    assert target.tokens.places is None
    same = traced.explain(samples, "alti_rollout", output=WRITTEN, sampling_rate=rate)
    np.testing.assert_array_equal(same.values, found.values)
    cross = cm.measure(traced.trace((samples, rate), output=WRITTEN), "norm_encoder", stream="cross")
    assert (cross.tokens.pieces[-1], cross.tokens.places.numbers[-1]) == ("[residual]", None)
    two = traced.explain([(samples, rate), (samples, rate)], "alti_rollout", output=[WRITTEN, WRITTEN])
    np.testing.assert_array_equal(two[1].values, found.values)
