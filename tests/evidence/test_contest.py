"""Contests where the truth is known: who is best, who is level, who cannot be judged."""

import numpy as np
import pytest

from contextmix.datasets.storage.settings import Settings
from contextmix.evidence.choices import by_construction
from contextmix.evidence.contest import contest
from contextmix.evidence.words import check_sentence, overall, sentence, undefined_said
from contextmix.plugins.contracts import Scored
from contextmix.statistics.significance import holm, paired_test
from contextmix.statistics.summaries import interval


def scored(values) -> list[Scored]:
    return [Scored(None, "constant scores") if np.isnan(value) else Scored(float(value)) for value in values]


@pytest.fixture(scope="module")
def drawn() -> dict[str, list[Scored]]:
    """60 texts: `good` and `twin` have the same mean, `poor` is 0.3 below them, random scores 0.6."""
    draws = np.random.default_rng(5)
    text = draws.normal(0, 0.2, 60)
    text -= text.mean()

    def around(mean: float) -> list[Scored]:
        noise = draws.normal(0, 0.05, 60)
        return scored(mean + text + noise - noise.mean())

    return {"poor": around(0.4), "good": around(0.701), "twin": around(0.7), "random": around(0.1)}


def test_the_best_its_twin_and_the_others(drawn):
    found = contest("aopc", drawn, higher=True)
    assert found.best.method == "good"
    assert [one.method for one in found.level] == ["twin"]
    assert found.beats("random")
    text = sentence(found)
    assert text.startswith("aopc (more is better): good has the best mean, 0.7")
    assert "Not significantly different: twin (p = " in text
    assert "poor" not in text
    assert "It beats random scores (0.1" in text


def test_less_is_better_turns_everything_round(drawn):
    found = contest("log_odds", drawn, higher=False)
    assert (found.best.method, found.level) == ("poor", [])
    assert found.beats("random") is False  # random scores are far lower
    assert "Each of the other 2 methods is worse. It does not beat random scores" in sentence(found)
    two = contest("log_odds", {name: drawn[name] for name in ("poor", "good")}, higher=False)
    assert "of 60 texts. good is worse." in sentence(two)


def test_p_values_are_those_of_paired_tests_corrected_by_holm(drawn):
    found = contest("aopc", drawn, higher=True, seed=4)
    others = ["poor", "twin", "random"]
    raw = [paired_test(drawn["good"], drawn[other], seed=4).p_value for other in others]
    assert [found[other].p_value for other in others] == holm(raw).tolist()
    own = interval(drawn["poor"], seed=4)
    assert (found["poor"].interval.low, found["poor"].interval.high) == (own.low, own.high)


def test_what_is_true_by_construction_does_not_win(drawn):
    perfect = {**drawn, "occlusion": [Scored(1.0)] * 60}
    found = contest("blank_out", perfect, higher=True, out={"occlusion": "it is a near-duplicate"})
    assert found.best.method == "good"
    assert found["occlusion"].test is None
    assert found["occlusion"].out == "it is a near-duplicate"


def test_few_texts_name_no_winner():
    few = {"a": scored([0.1] * 9), "b": scored([0.5] * 9), "random": scored([0.0] * 9)}
    found = contest("aopc", few, higher=True)
    assert (found.best, found.level, found.beats("random")) == (None, [], None)
    assert "needs a number for at least 10 texts, and there are 9" in sentence(found)
    assert found["a"].interval.reason == "9 examples: at least 10 are needed for an interval"


def test_a_method_with_a_number_for_few_texts_is_not_compared(drawn):
    rare = scored([9.0] * 20 + [np.nan] * 40)
    found = contest("aopc", {**drawn, "rare": rare}, higher=True)
    assert found.best.method == "good"
    assert "rare is not compared: values for only 20 texts, while others have 60." in sentence(found)
    assert undefined_said([found, found]) == [
        "No number for some texts, by aopc and aopc: 40 × constant scores (of a method at most)."
    ]


def test_scores_without_any_number_are_said_and_not_nan():
    nothing = [Scored(None, "constant scores")] * 12
    found = contest("spearman", {"a": nothing, "random": nothing}, higher=True)
    assert found.best is None
    assert "constant scores" in sentence(found)
    assert found["a"].summary.mean is None


def test_nobody_is_better_than_chance():
    draws = np.random.default_rng(0)
    found = contest("aopc", {name: scored(draws.normal(size=40)) for name in ("a", "b", "random")}, higher=True)
    assert found.beats("random") is False
    assert "and so no method does" in sentence(found)


def test_equal_numbers_are_level():
    same = scored(np.linspace(0, 1, 20))
    found = contest("aopc", {"a": same, "b": same, "random": scored(np.zeros(20))}, higher=True)
    assert found["b" if found.best.method == "a" else "a"].p_value == 1.0


def test_overall_counts_how_often_a_method_is_best_or_level(drawn):
    contests = [contest("aopc", drawn, higher=True), contest("log_odds", drawn, higher=False)]
    contests.append(contest("sufficiency", {name: drawn[name] for name in ("good", "poor", "random")}, higher=True))
    said = overall(contests, "of faithfulness")
    assert said.startswith(
        "Of the 3 metrics of faithfulness, most often best or not significantly worse than the best: good (2"
    )
    assert overall(contests[:1], "of faithfulness") == ""


def test_the_check_with_random_weights_names_who_does_not_need_them():
    draws = np.random.default_rng(1)
    rows = {"blind": scored(draws.normal(0.9, 0.05, 30)), "sound": scored(draws.normal(0, 0.1, 30))}
    found = contest("randomised_weights", {**rows, "random": scored(np.ones(30))}, higher=False, compared=False,
                    out={"random": "it does not use the weights"})  # fmt: skip
    text = check_sentence(found)
    assert "stays much the same (Spearman's ρ above 0.5) for blind (0.9" in text
    assert "1 other method changes more" in text
    sound = contest("randomised_weights", {"sound": rows["sound"]}, higher=False, compared=False)
    assert "changes for every method" in check_sentence(sound)


def test_position_alone_is_a_baseline_and_the_methods_below_it_are_named(drawn):
    found = contest("aopc", {**drawn, "recency": [Scored(one.value + 0.2) for one in drawn["poor"]]}, higher=True)
    assert found.best.method == "good"
    assert [one.method for one in found.baselines] == ["random", "recency"]
    assert (found.beats("random"), found.beats("recency"), found.beats("poor")) == (True, True, None)
    assert (found.not_above("random"), found.not_above("recency")) == ([], ["poor"])
    assert "It beats position alone (0.6" in sentence(found)
    assert "No better than position alone by the mean: poor." in sentence(found)
    assert "No better than random" not in sentence(found)
    best = contest("aopc", {"poor": drawn["poor"], "recency": drawn["good"]}, higher=True)
    assert best.best.method == "poor"  # a baseline is never called best
    assert best.beats("recency") is False
    assert "It does not beat position alone" in sentence(best)
    less = contest("log_odds", {**drawn, "recency": drawn["twin"]}, higher=False)
    assert less.not_above("recency") == ["good", "twin"]  # an equal mean is no better one


def test_mean_attention_is_a_baseline_that_reads_the_weights(drawn):
    rivals = {"poor": drawn["poor"], "twin": drawn["twin"], "attention+mean": drawn["good"]}
    found = contest("aopc", rivals, higher=True)
    assert found.beats("attention+mean") is False
    assert "It does not beat mean attention" in sentence(found)
    assert found.not_above("attention+mean") == ["poor", "twin"]
    assert (found.best.method, found.level) == ("twin", [])  # a baseline is neither best nor level with the best
    asked = Settings(("random", "attention+mean"), metrics=("randomised_weights",))
    reasons = [by_construction("randomised_weights", name, asked) for name in asked.methods]
    assert reasons == ["it does not use the weights", ""]
