"""The gallery: twelve questions, each listed and answered by a page."""

from pathlib import Path

import pytest
from scripts.docs import gallery


def test_twelve_questions_are_listed_each_once():
    page = gallery.gallery_page()
    assert len({one.name for one in gallery.QUESTIONS}) == len({one.asked for one in gallery.QUESTIONS}) == 12
    assert all(page.count(f"gallery/{one.name}.html") == 1 for one in gallery.QUESTIONS)


def test_the_page_of_the_home_page_exists():
    home = (Path(__file__).parents[2] / "docs" / "index.md").read_text(encoding="utf-8")
    assert f'src="gallery/{gallery.QUESTIONS[0].name}.html"' in home


@pytest.mark.campaign
def test_every_question_is_answered_without_the_network(tmp_path: Path):
    gallery.write_gallery(tmp_path)
    for one in gallery.QUESTIONS:
        assert "https://cdn" not in (tmp_path / f"{one.name}.html").read_text(encoding="utf-8")
