"""BibTeX: every method can be cited in full, and entries hold together."""

import re

import pytest

from contextmix.errors import ContextMixError
from contextmix.plugins.citing import AUTHORS, bibliography, bibtex, papers_of
from contextmix.plugins.papers import Paper
from contextmix.plugins.registry import AGGREGATIONS, METHODS


@pytest.mark.parametrize("name", [*METHODS.names, *AGGREGATIONS.names])
def test_every_paper_of_a_method_names_all_its_authors(name: str):
    (paper,) = papers_of(name)
    entry = bibtex(paper)
    assert paper in AUTHORS
    assert entry.count("{") == entry.count("}")
    first = paper.authors.split()[0]
    assert AUTHORS[paper].startswith(f"{first}, "), "the first author is the one that tables name"
    assert ("et al." in paper.authors) == (AUTHORS[paper].count(" and ") > 1)


def test_keys_tell_papers_apart():
    keys = re.findall(r"^@\w+\{(.*),$", "\n".join(map(bibtex, AUTHORS)), re.MULTILINE)
    assert len(set(keys)) == len(keys) == len(AUTHORS)
    assert all(re.fullmatch(r"[a-z]+\d{4}[a-z]+", key) for key in keys)


def test_globenc_longhand():
    assert bibliography(["globenc", "norm_encoder"]) == (
        "@inproceedings{modarressi2022globenc,\n"
        "  title     = {{GlobEnc: Quantifying Global Token Attribution by Incorporating the Whole Encoder Layer in "
        "Transformers}},\n"
        "  author    = {Modarressi, Ali and Fayyaz, Mohsen and Yaghoobzadeh, Yadollah and Pilehvar, Mohammad Taher},\n"
        "  booktitle = {Proceedings of NAACL 2022},\n"
        "  year      = {2022},\n"
        "  doi       = {10.18653/v1/2022.naacl-main.19},\n"
        "  url       = {https://aclanthology.org/2022.naacl-main.19}\n"
        "}"
    )


def test_a_journal_has_a_volume():
    entry = bibliography(["kendall"])
    assert entry.startswith("@article{kendall1945")
    assert "journal   = {Biometrika}" in entry
    assert "volume    = {33}" in entry


def test_a_paper_whose_authors_are_not_known_keeps_its_first():
    entry = bibtex(Paper("Nobody et al.", 2099, "A Title", "ACL", "https://example.org"))
    assert "author    = {Nobody and others}" in entry
    assert "doi" not in entry


def test_a_name_that_nothing_has_is_refused():
    with pytest.raises(ContextMixError, match="globnec"):
        papers_of("globnec")
