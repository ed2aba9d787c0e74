"""Consoles, texts and names that are not UTF-8: nothing breaks, and no sign of a number is lost."""

import io
import os
import subprocess
import sys

import pytest

from contextmix.cli import main
from contextmix.cli.arguments import read_text
from contextmix.errors import BadInput
from contextmix.views.terminal import plain

LATIN = b"caf\xe9"
posix = pytest.mark.skipif(sys.platform != "linux", reason="names are bytes there")


@pytest.fixture
def typed():
    """The command line as a process, with bytes as arguments and any encoding of the console."""

    def start(*arguments, stdin=b"", encoding=None, cwd=None):
        code = "import sys; sys.argv[0] = 'contextmix'; from contextmix.cli import main; main()"
        own = {"PYTHONIOENCODING": encoding} if encoding else {}
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "100", "LC_ALL": "C.UTF-8", **own}
        command = [sys.executable, "-c", code, *map(os.fsencode, arguments)]
        done = subprocess.run(command, input=stdin, capture_output=True, env=environment, cwd=cwd, timeout=300)
        assert b"Traceback" not in done.stderr, done.stderr.decode()
        return done

    return start


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "latin-1", "utf-8"])
def test_a_sign_that_an_encoding_lacks_becomes_a_plainer_one(encoding):
    said = "−0.5 “film” 電 \udce9".encode(encoding, plain.NAME).decode(encoding)
    assert said.startswith(("-0.5", "−0.5"))
    assert said.endswith("\\udce9")
    assert "film" in said


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-16"])
def test_a_minus_stays_a_minus_on_every_console(monkeypatch, encoding):
    def told(written_in):
        written = io.BytesIO()
        monkeypatch.setattr(
            "sys.argv", ["contextmix", "compare", "a good film", "--methods", "globenc,random,gradient"]
        )
        monkeypatch.setattr("sys.stdout", io.TextIOWrapper(written, encoding=written_in, write_through=True))
        with pytest.raises(SystemExit) as leave:
            main()
        assert leave.value.code == 0
        return written.getvalue().decode(written_in)

    wanted, found = told("utf-8"), told(encoding)
    assert "−1: the opposite one" in wanted
    signs = str.maketrans({"−": "-", "“": '"', "”": '"', "·": "*"})
    assert found.translate(signs) == wanted.translate(signs)


@posix
@pytest.mark.parametrize("verb", ["explain", "compare", "generate"])
def test_a_text_with_half_a_character_is_refused(typed, verb):
    done = typed(verb, b"a " + LATIN + b" film")
    assert done.returncode == 1
    assert b"The text holds half a character (U+DCE9, at position 5)" in done.stderr


@pytest.mark.parametrize(
    ("content", "console", "wanted"),
    [
        ("a café".encode(), "utf-8", "a café"),
        ("a café".encode(), "ascii", "a café"),
        ("a café".encode(), "cp1252", "a café"),
        ("\ufeffa café".encode(), "utf-8", "a café"),
        ("a café".encode("cp1252"), "cp1252", "a café"),
        ("a café".encode("cp1252"), "utf-8", None),
        ("a café".encode("cp1252"), "ascii", None),
    ],
)
def test_a_pipe_is_read_as_utf8_or_as_the_console_writes(monkeypatch, tmp_path, content, console, wanted):
    (tmp_path / "pipe").write_bytes(content)
    with (tmp_path / "pipe").open(encoding=console, errors="surrogateescape") as piped:
        monkeypatch.setattr("sys.stdin", piped)
        if wanted is not None:
            assert read_text("-", None) == wanted
            return
        with pytest.raises(BadInput, match="byte 6 is not UTF-8"):
            read_text(None, None)


def test_a_file_that_is_not_utf8_or_a_pipe(tmp_path):
    (tmp_path / "latin.txt").write_bytes(b"a " + LATIN)
    with pytest.raises(BadInput, match=r"latin\.txt: byte 6 is not UTF-8"):
        read_text(None, tmp_path / "latin.txt")
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe.txt")
        with pytest.raises(BadInput, match="is a named pipe, and reading it could"):
            read_text(None, tmp_path / "pipe.txt")


@posix
def test_names_that_are_not_utf8(typed, tmp_path):
    """Data, folder of results, page and file: read, written, resumed, and told."""
    (tmp_path / os.fsdecode(LATIN + b".csv")).write_text("text,label\ngood film,1\nbad film,0\n")
    out = b"out-" + LATIN
    for _ in range(2):
        done = typed("run", LATIN + b".csv", "--out", out, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert rb"out-caf\udce9" in done.stdout
    code = (
        "import contextmix as cm, sys; found = cm.open_run(sys.argv[1]); print(len(found), found.finished, "
        "list(found.to_pandas()['source']), found.row(1).shape, ascii(found.manifest['data']['files'][0]['name']))"
    )
    read = subprocess.run([sys.executable, "-c", code, out], cwd=tmp_path, capture_output=True, check=True).stdout
    assert read.decode().strip() == r"2 True ['caf\\udce9.csv:2', 'caf\\udce9.csv:3'] (4,) 'caf\udce9.csv'"
    for flag, ending in (("--json", b".json"), ("--html", b".html")):
        assert typed("explain", "a film", flag, LATIN + ending, cwd=tmp_path).returncode == 0
        again = typed("explain", "a film", flag, LATIN + ending, cwd=tmp_path)
        assert again.returncode == 1
        assert rb"caf\udce9" in again.stderr
    assert typed("explain", "a film", "--model", LATIN, cwd=tmp_path).returncode == 1
