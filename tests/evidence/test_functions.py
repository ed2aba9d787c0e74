"""Functions of the user, and other libraries by them, in the table of a comparison."""

import numpy as np
import pytest
import torch
from tests.evidence.texts import TEXTS

import contextmix as cm
from contextmix.errors import BadOption, OtherRun
from contextmix.evidence.contest import BASELINES
from contextmix.evidence.evaluate import evaluate


def evaluated(model, out, functions, **more):
    rows = [{"text": text} for text in TEXTS[:11]]
    known = {"methods": ["gradient_inputs", *functions], "metrics": ["aopc"], "progress": False, **more}
    return evaluate(rows, out, model=model, **known), cm.open_run(out / "runs" / "metrics")


def test_functions_stand_in_the_table_with_their_own_numbers(model, tmp_path):
    asked = []

    def letters(text):
        asked.append(text)
        return [len(one) for one in model.encode(text)[0].tokens.pieces]

    def by_word(text):
        return cm.scores([len(one) for one in text.split()], text.split(), text=text)

    metrics = ["aopc", "spearman", "randomised_weights"]
    report, run = evaluated(model, tmp_path, [letters, by_word], metrics=metrics, sanity=3)
    assert list(report.tables[0].shown.index) == ["gradient_inputs", "letters", "by_word", *BASELINES]
    for number, text in enumerate(TEXTS[:11]):
        tokens = model.encode(text)[0].tokens
        assert run.row(number, "letters").values.tolist() == [len(one) for one in tokens.pieces]
        assert run.row(number, "by_word").words().values.sum() == sum(map(len, text.split()))
    assert report.tables[0].shown.loc["by_word", "randomised_weights ↓"].endswith("†")  # it knows no other weights
    before = len(asked)
    again, _ = evaluated(model, tmp_path, [letters, by_word], metrics=metrics, sanity=3)
    assert again.tables[0].shown.equals(report.tables[0].shown)
    assert len(set(asked[before:])) == 3  # the trial alone; what is there is not measured again


def test_a_function_that_changed_is_another_run(model, tmp_path):
    def mine(text):
        return [1.0, *range(len(text.split())), 1.0]

    evaluated(model, tmp_path, [mine])

    def mine(text):
        return [2.0, *range(len(text.split())), 1.0]

    with pytest.raises(OtherRun, match="mine"):
        evaluated(model, tmp_path, [mine])


def test_rows_say_why_a_function_gave_none(model, tmp_path):
    def moody(text):
        if text == TEXTS[0]:
            return [float("nan")] * len(model.encode(text)[0].tokens)
        if text == TEXTS[1]:
            raise ValueError("no mood")
        return [0.0] if text == TEXTS[10] else model.explain(text, "occlusion")

    _, run = evaluated(model, tmp_path, [moody])
    reasons = run.failures()["reason"].tolist()
    assert len(reasons) == 3
    assert "moody gave NaN or infinite scores for the tokens" in reasons[0]
    assert reasons[1] == "moody failed on this text: ValueError: no mood"
    assert "moody gave scores of the shape (1,)" in reasons[2]
    np.testing.assert_allclose(run.row(5, "moody").values, model.explain(TEXTS[5], "occlusion").values, rtol=1e-6)


def test_a_function_that_fits_no_text_is_refused_before_the_work(model, tmp_path):
    def short(text):
        return [1.0]

    with pytest.raises(BadOption, match=r"The method short cannot be used here.* short gave scores of the shape"):
        evaluated(model, tmp_path, [short])
    assert not (tmp_path / "runs").exists()

    def words(text):
        return model.explain(text, "occlusion")

    with pytest.raises(BadOption, match="called words, as a column"):
        evaluated(model, tmp_path, [words])


def test_functions_stay_in_one_process(model, tmp_path):
    path = tmp_path / "rows.txt"
    path.write_text("a film\n")

    def mine(text):
        return model.explain(text, "occlusion")

    with pytest.raises(BadOption, match="mine: a function stays in the process that has it"):
        cm.run(path, tmp_path / "out", model="demo", methods=[mine], workers=2, progress=False)


def test_captum_stands_beside_ours_with_its_own_numbers(model, tmp_path):
    """Both integrate from the mask by the midpoint rule, so they agree with each other too."""
    ways = pytest.importorskip("captum.attr")

    def captum_path(text):
        tokens = model.encode(text)[0].tokens
        ids, special = torch.tensor([tokens.ids]), torch.tensor([tokens.special])
        found = ways.LayerIntegratedGradients(lambda ids: model.model(ids).logits, model.model.bert.embeddings)
        target = int(model.model(ids).logits.argmax())
        start = torch.where(special, ids, model.tokenizer.mask_token_id)
        how = {"n_steps": 50, "method": "riemann_middle", "internal_batch_size": 50}
        return cm.scores(found.attribute(ids, target=target, baselines=start, **how), tokens)

    options = {"integrated_gradients": {"baseline": "mask"}}
    report, run = evaluated(model, tmp_path, ["integrated_gradients", captum_path], options=options)
    assert {"integrated_gradients", "captum_path"} < set(report.tables[0].shown.index)
    for number in (0, 7):
        found = run.row(number, "captum_path").values
        assert np.array_equal(found, captum_path(TEXTS[number]).values.astype(np.float32))
        np.testing.assert_allclose(found, run.row(number, "integrated_gradients").values, rtol=1e-3, atol=1e-7)


def test_captums_kernel_shap_scores_words(model, tmp_path):
    """Pieces of a word are one feature; what all words give is the whole difference from a text without them."""
    ways = pytest.importorskip("captum.attr")

    def parts(text):
        tokens = model.encode(text)[0].tokens
        ids, special = torch.tensor([tokens.ids]), torch.tensor([tokens.special])
        words = torch.tensor([[0 if word is None else word + 1 for word in tokens.words]])
        return ids, words, torch.where(special, ids, model.tokenizer.mask_token_id)

    def said(ids):
        return model.model(ids).logits.softmax(-1)

    def kernel_shap(text):
        ids, words, start = parts(text)
        torch.manual_seed(0)
        with torch.no_grad():
            how = {"target": int(said(ids).argmax()), "feature_mask": words, "n_samples": 200}
            found = ways.KernelShap(said).attribute(ids, baselines=start, **how)
        return found / torch.bincount(words[0])[words]  # of each piece its part of the word

    _, run = evaluated(model, tmp_path, [kernel_shap])
    for number in (0, 9):
        ids, _, start = parts(TEXTS[number])
        with torch.no_grad():
            both = said(torch.cat([ids, start]))
        chosen = int(both[0].argmax())
        found = run.row(number, "kernel_shap").values
        np.testing.assert_allclose(found.sum(), float(both[0, chosen] - both[1, chosen]), atol=1e-4)
        assert np.abs(found).max() > 0
