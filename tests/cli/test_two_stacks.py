"""The command line with an encoder–decoder."""

import re
from pathlib import Path

import pytest
import torch
from tests.models.two_stacks.models import build
from tests.tracing.tiny import word_pieces


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights and tokenizer of a tiny BART."""
    found = tmp_path_factory.mktemp("models") / "tiny-writer"
    build("bart", torch.float32, decoder_start_token_id=3).save_pretrained(found)
    word_pieces().save_pretrained(found)
    return found


def test_one_written_token_is_explained_by_source_and_target(run, place):
    result = run("explain", "a deep film", "--model", place, "--output", "the film was good", "--query", "film")
    assert result.exit_code == 0
    assert "What “film” (position 2) draws from each token" in result.stdout
    names = re.findall(r"^ *\d+  (\S+) ", result.stdout, re.MULTILINE)
    assert names == ["[CLS]", "a", "deep", "film", "[SEP]", "[SEP]", "[CLS]", "the", "film", "was", "good"]


def test_methods_are_compared_on_a_written_token(run, place):
    found = run("compare", "a deep film", "--model", place, "--methods", "globenc,alti_rollout", "--query", "0")
    assert found.exit_code == 0
    assert "(position 0) draws from each token" in " ".join(found.stdout.split())
    refused = run("compare", "a deep film", "--model", place)
    assert refused.exit_code == 1
    assert "attention leaves out the residual stream" in refused.stderr


def test_check_counts_the_blocks_of_both_stacks_and_names_their_parts(run, place):
    found = run("check", place)
    assert found.exit_code == 0
    assert "4 of 4" in found.stdout
    assert "attention of model.decoder.layers.0: output encoder_attn.out_proj" in found.stdout


def test_a_model_of_one_stack_has_no_output_to_name(run):
    found = run("explain", "a film", "--output", "film")
    assert found.exit_code == 1
    assert "no option of globenc 'output'" in found.stderr


def test_generate_shows_what_made_each_written_token(run, place):
    found = run("generate", "a deep film", "--model", place, "--continuation", "the film was good")
    assert found.exit_code == 0
    assert re.findall(r"^ *(\S+) +← ", found.stdout, re.MULTILINE)[1:5] == ["the", "film", "was", "good"]
    refused = run("explain", "a deep film", "--model", place, "--position", "1")
    assert refused.exit_code == 1
    assert "no option of globenc 'position'" in refused.stderr
