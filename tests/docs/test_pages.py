"""The pages that people read: every block of Python runs, every command exists, and the site holds together."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from PIL import Image
from scipy.io import wavfile
from tests.models.two_stacks.models import bilingual
from tests.models.two_stacks.models import build as two_stacks
from tests.tracing.pictured import built
from tests.tracing.senses import IMAGE_MODELS, build, hearing, noise, photo, saved
from tests.tracing.twin import clip
from tests.tracing.twin import processor as twin_processor
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast, WhisperFeatureExtractor
from typer.testing import CliRunner

from contextmix.cli import app

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
FRAMES = {  # of 20 ms, as wav2vec 2.0 has them
    "conv_dim": [8] * 7,
    "conv_kernel": [10, 3, 3, 3, 3, 2, 2],
    "conv_stride": [5, 2, 2, 2, 2, 2, 2],
    "num_feat_extract_layers": 7,
}
KINDS = ("good", "bad", "dull", "fine", "warm", "slow", "deep", "flat", "new", "old")
WORDS = ["[PAD]", "[UNK]", "</s>", "Das", "Haus", "ist", "klein", ".", "The", "house", "is", "small"]


def blocks(page: Path, language: str) -> list[str]:
    return [text for name, text in BLOCK.findall(page.read_text(encoding="utf-8")) if name == language]


def commands(page: Path) -> list[str]:
    return [
        line[2:] for text in blocks(page, "console") for line in text.splitlines() if line.startswith("$ contextmix")
    ]


def named(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files and models that pages speak of, small and random."""
    place = tmp_path_factory.mktemp("pages")
    architecture, config, processor = IMAGE_MODELS["vit"]
    saved(build(architecture, config), processor, place / "path/to/vit")
    heard = hearing(**FRAMES)
    saved(heard.model, heard.processor, place / "path/to/wav2vec2")
    saved(*built("llava"), place / "path/to/llava")
    saved(clip(), twin_processor(), place / "path/to/clip")
    for name in ("photo.jpg", "left.jpg", "right.jpg"):
        Image.fromarray(photo()).save(place / name)
    wavfile.write(place / "speech.wav", 16000, noise(8000))
    two_stacks("bart").float().save_pretrained(place / "a translation model")
    _words().save_pretrained(place / "a translation model")
    speaks = bilingual(max_source_positions=50).float()  # one second
    saved(speaks, WhisperFeatureExtractor(feature_size=8, chunk_length=1), place / "path/to/whisper")
    _words().save_pretrained(place / "path/to/whisper")
    reviews = [{"text": f"a {word} film .", "label": 1} for word in KINDS]
    (place / "reviews.jsonl").write_text("".join(json.dumps(row) + "\n" for row in reviews * 2))
    return place


def _words() -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.WordLevel({word: number for number, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 2)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", eos_token="</s>", model_max_length=24
    )


@pytest.fixture
def _closed() -> Iterator[None]:
    yield
    from matplotlib import pyplot

    pyplot.close("all")


@pytest.mark.usefixtures("_closed")
@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python")], ids=named)
def test_every_block_of_python_runs(page: Path, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(shutil.copytree(place, tmp_path / "own"))
    names: dict[str, Any] = {"__name__": "page", "samples": noise(8000)}
    for text in blocks(page, "python"):
        exec(compile(text, named(page), "exec"), names)  # blocks of a page go on where the one before ended


@pytest.mark.parametrize("page", [page for page in PAGES if commands(page)], ids=named)
def test_every_command_is_one_that_exists(page: Path):
    whole = typer.main.get_command(app)
    for line in commands(page):
        verb, *given = shlex.split(line)[1:]
        command = whole.get_command(None, verb)  # type: ignore[attr-defined]
        assert command is not None, line
        command.make_context(verb, given)  # a wrong option would be refused


@pytest.mark.parametrize("number", [0, 1])
def test_the_readme_shows_what_its_commands_print(number: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("COLUMNS", "80")
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    both = re.compile(r"^```console\n\$ ([^\n]*)\n```\n\n```text\n(.*?)^```", re.MULTILINE | re.DOTALL)
    command, shown = both.findall(text)[number]
    result = CliRunner().invoke(app, shlex.split(command)[1:])
    assert result.exit_code == 0
    assert result.stdout.split() == shown.split()


@pytest.mark.campaign
def test_the_site_has_no_broken_link_and_a_page_for_every_plugin(tmp_path: Path):
    environment = {**os.environ, "CONTEXTMIX_DOCS_QUICK": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-b", "dummy", "docs", str(tmp_path)]
    found = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=500, check=False)
    assert found.returncode == 0, found.stderr
    for folder in ("methods", "aggregations", "metrics"):
        names = {path.stem for path in (ROOT / "src/contextmix" / folder).glob("*.py")} - {"__init__"}
        assert {path.stem for path in (ROOT / "docs/generated" / folder).glob("*.md")} - {"index"} == names
    errors = (ROOT / "docs/generated/errors.md").read_text(encoding="utf-8")
    assert "## `TraceDoesNotAddUp`" in errors
    assert "There is no token at position …" in errors
