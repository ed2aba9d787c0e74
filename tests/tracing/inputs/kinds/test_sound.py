"""Sounds: every frame hears what its time says, found by changing one sample after the other."""

import numpy as np
import pytest
import torch
import transformers
from scipy.io import wavfile
from tests.tracing.senses import SPEECH, WHISPER, build, hearing, noise, saved, whisper

import contextmix as cm
from contextmix.errors import BadInput, UnsupportedModel
from contextmix.tokens.places import Frames

RATE = 16000


def heard_by(run, sound, sample):
    """The frames that change when one sample does."""
    other = sound.copy()
    other[sample] += 0.5
    return set((run(other) != run(sound)).any(-1).nonzero().flatten().tolist())


@pytest.mark.parametrize("architecture", ["Wav2Vec2Model", "HubertModel"])
def test_frames_of_raw_sound_hear_exactly_their_window(architecture):
    model = hearing(architecture)
    sound = noise(223)
    places = model.explain((sound, RATE)).tokens.places
    with torch.no_grad():

        def run(samples):
            return model.model.feature_extractor(torch.from_numpy(samples)[None])[0].T

        assert len(places) == len(run(sound))
        for sample in range(len(sound)):
            times = [places.time(token) for token in range(len(places))]
            expected = {token for token, (start, end) in enumerate(times) if start <= sample / RATE < end - 1e-9}
            assert heard_by(run, sound, sample) == expected


def test_frames_of_a_spectrogram_hear_their_window_and_nothing_else():
    model = whisper()
    sound = noise(RATE)
    places = model.explain((sound, RATE)).tokens.places
    encoder = model.model.encoder
    with torch.no_grad():

        def run(samples):
            features = model.processor(samples, sampling_rate=RATE, return_tensors="pt")["input_features"]
            return encoder.conv2(torch.nn.functional.gelu(encoder.conv1(features)))[0].T

        assert len(places) == len(run(sound)) == 50
        for sample in range(1000, 15000, 611):
            found = heard_by(run, sound, sample)
            windows = [
                (places.first + places.step * n, places.first + places.step * n + places.reach) for n in range(50)
            ]
            assert found <= {n for n, (start, end) in enumerate(windows) if start <= sample < end}
            # Hann's window is next to nothing at its edges
            assert found >= {n for n, (start, end) in enumerate(windows) if start + 40 <= sample < end - 40}


def test_windows_by_hand():
    # wav2vec2's own convolutions: 25 ms every 20 ms
    config = {**SPEECH, "conv_kernel": [10, 3, 3, 3, 3, 2, 2], "conv_stride": [5, 2, 2, 2, 2, 2, 2]}
    config |= {"conv_dim": [8] * 7, "num_feat_extract_layers": 7}
    model = cm.load(build("Wav2Vec2Model", config), transformers.Wav2Vec2FeatureExtractor())
    tokens = model.explain((noise(RATE), RATE)).tokens
    assert (len(tokens), tokens.pieces[:3], tokens.pieces[-1]) == (49, ("0.00s", "0.02s", "0.04s"), "0.96s")
    assert tokens.places == Frames(RATE, RATE, 320, 0, 400, tuple(range(49)))
    assert tokens.places.time(48) == (0.96, 0.985)
    # Whisper's: a frame every 20 ms; window 25 ms, two more hops on either side
    tokens = whisper().explain((noise(8000), RATE)).tokens
    assert tokens.places == Frames(RATE, 8000, 320, -520, 1040, tuple(range(50)))
    assert (tokens.pieces[12], tokens.places.slot(12)) == ("0.24s", (0.23, 0.25))


def test_frames_in_the_silence_that_was_added_are_special():
    tokens = whisper().explain((noise(8000), RATE)).tokens
    # the window of frame n begins at 320·n − 520, so the first one wholly behind 8000 samples is number 27
    assert [position for position, mark in enumerate(tokens.special) if mark] == list(range(27, 50))
    assert not any(whisper().explain((noise(RATE), RATE)).tokens.special)


def test_a_sound_of_every_length_has_as_many_frames_as_the_model():
    model = hearing()
    for samples in (30, 31, 49, 50, 51, 799):
        assert len(model.explain((noise(samples), RATE)).tokens) == int(
            model.model._get_feat_extract_output_lengths(torch.tensor(samples))
        )


def test_ways_to_give_a_sound(tmp_path):
    model = hearing()
    steps = (noise() * 32768).round().astype(np.int16)
    sound = (steps / 32768).astype(np.float32)
    expected = model.explain(sound, sampling_rate=RATE)
    wavfile.write(tmp_path / "sound.wav", RATE, steps)
    wavfile.write(tmp_path / "float.wav", RATE, sound)
    wavfile.write(tmp_path / "bytes.wav", RATE, (steps // 256 + 128).astype(np.uint8))
    eight_bits = model.explain(((steps // 256 / 128).astype(np.float32), RATE))
    assert np.array_equal(model.explain(tmp_path / "bytes.wav").values, eight_bits.values)
    assert expected.tokens.places.samples == 1600
    for given in ((sound, RATE), (steps, RATE), tmp_path / "sound.wav", str(tmp_path / "float.wav")):
        assert np.array_equal(model.explain(given).values, expected.values)
    assert np.array_equal(model.explain(torch.from_numpy(sound), sampling_rate=RATE).values, expected.values)
    first, second = model.explain([sound, sound[:800]], sampling_rate=RATE)
    assert np.array_equal(first.values, expected.values)
    assert second.tokens.places.samples == 800


def test_a_sound_as_the_data_sets_of_hugging_face_hold_it():
    model, sound = hearing(), noise()
    expected = model.explain((sound, RATE))
    for given in (
        {"array": sound, "sampling_rate": RATE},
        {"path": "speech.wav", "array": sound, "sampling_rate": np.int64(RATE)},
        {"array": sound.tolist(), "sampling_rate": RATE},
        {"array": torch.from_numpy(sound), "sampling_rate": RATE},
        {"raw": sound, "sampling_rate": RATE},
    ):
        found = model.explain(given)
        assert found.tokens == expected.tokens
        assert np.array_equal(found.values, expected.values)
    first, second = model.explain([{"array": sound[:n], "sampling_rate": RATE} for n in (800, 1600)])
    assert (first.tokens.places.samples, second.tokens.places.samples) == (800, 1600)
    assert np.array_equal(second.values, expected.values)
    with pytest.raises(BadInput, match="The sound has 16000 samples per second, but sampling_rate=8000"):
        model.explain({"array": sound, "sampling_rate": RATE}, sampling_rate=8000)
    with pytest.raises(BadInput):
        model.explain({"array": sound, "sampling_rate": 8000})  # the model was trained on another rate


@pytest.mark.parametrize("kind", ["wav2vec2", "whisper"])
def test_a_folder_brings_its_feature_extractor(kind, tmp_path):
    traced = hearing() if kind == "wav2vec2" else whisper()
    folder = saved(traced.model, traced.processor, tmp_path / "model")
    sound = (noise(), RATE)
    assert np.array_equal(cm.load(folder).explain(sound).values, traced.explain(sound).values)


def test_padded_tensors_are_unpadded():
    model = hearing(attention_probs_dropout_prob=0.0)
    alone = model.explain({"input_values": noise(800)})
    values = np.zeros((2, 1600), np.float32)
    values[0], values[1, :800] = noise(1600), noise(800)
    mask = np.zeros((2, 1600), np.int64)
    mask[0], mask[1, :800] = 1, 1
    _, short = model.explain({"input_values": values, "attention_mask": mask})
    assert np.array_equal(short.values, alone.values)
    assert short.tokens.pieces == alone.tokens.pieces
    mask[1, 10] = 0
    with pytest.raises(BadInput, match="hole"):
        model.explain({"input_values": values, "attention_mask": mask})


def test_features_know_their_time_and_without_a_rate_nothing_is_guessed():
    heard = whisper()
    features = heard.processor(noise(RATE), sampling_rate=RATE, return_tensors="pt")["input_features"]
    (result,) = heard.explain({"input_features": features})
    assert result.tokens.places == Frames(RATE, RATE, 320, -520, 1040, tuple(range(50)))
    alone = cm.load(heard.model).explain({"input_features": features[0]})
    assert np.array_equal(alone.values, result.values)
    assert (alone.tokens.pieces[:2], alone.tokens.places) == (("#0", "#1"), None)


def test_the_predicted_class_of_a_sound_and_its_gradient():
    model = hearing(num_labels=2, id2label={0: "yes", 1: "no"}, classifier_proj_size=8)
    result = model.explain((noise(), RATE))
    assert result.provenance.notes["prediction"]["label"] in ("yes", "no")
    gradient = model.explain((noise(), RATE), "gradient_inputs", target="no")
    assert gradient.tokens == result.tokens


def test_frames_that_are_squeezed_before_the_blocks_have_no_known_time():
    model = cm.load(build("SEWModel", {**SPEECH, "squeeze_factor": 2}), transformers.Wav2Vec2FeatureExtractor())
    try:
        result = model.explain({"input_values": noise()})
    except UnsupportedModel as reason:
        pytest.skip(f"SEW is not read: {reason}")
    assert result.tokens.places is None
    with pytest.raises(UnsupportedModel, match="its convolutions make 79 frames and its blocks see 39 tokens"):
        model.explain((noise(), RATE))


@pytest.mark.parametrize(
    ("source", "rate", "sentence"),
    [
        (noise(0), RATE, "The sound is empty"),
        (
            noise(),
            8000,
            r"hears 16000 samples per second and the sound has 8000.*resample_poly\(samples, 16000, 8000\)",
        ),
        (noise(), None, "number of samples per second is unknown"),
        (noise(), 16000.5, "must be a number of samples per second"),
        (noise(29), RATE, "has 29 samples and one frame needs 30, 2 ms"),
        (np.where(np.arange(1600) == 7, np.nan, 0), RATE, "1 of 1600 samples are NaN or infinite, the first at 7"),
        (np.zeros((1600, 2), np.float32), RATE, "2 channels"),
        (np.zeros((2, 1600), np.float32), RATE, "2 channels"),
        (np.zeros(1600, complex), RATE, "complex128"),
    ],
)
def test_bad_sounds(source, rate, sentence):
    with pytest.raises(BadInput, match=sentence):
        hearing().explain(source, sampling_rate=rate)


def test_a_pair_that_contradicts_the_rate():
    with pytest.raises(BadInput, match=r"has 8000 samples per second, but sampling_rate=16000"):
        hearing().explain((noise(), 8000), sampling_rate=16000)


def test_a_sound_longer_than_the_model_hears_is_not_cut_silently():
    model = whisper()
    long = noise(RATE + 1)
    with pytest.raises(BadInput, match=r"lasts 1.00 s and the model hears 1 s at once"):
        model.explain((long, RATE))
    cut = model.explain((long, RATE), truncate=True)
    assert np.array_equal(cut.values, model.explain((long[:RATE], RATE)).values)
    assert cut.tokens.places.samples == RATE


@pytest.mark.parametrize(("name", "content"), [("a.wav", b"RIFF"), ("b.wav", b""), ("c.wav", b"no sound at all")])
def test_files_that_are_no_sound(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(BadInput, match="cannot be read as a sound"):
        hearing().explain(tmp_path / name)


def test_whisper_needs_its_own_length_of_features():
    with pytest.raises(BadInput, match="does not read these input_features"):
        whisper().explain({"input_features": torch.randn(80, 60)})


assert WHISPER["max_source_positions"] == 50  # what the numbers above count on
