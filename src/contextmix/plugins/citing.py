"""BibTeX for the papers behind methods, aggregations and metrics."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

from contextmix.plugins import papers
from contextmix.plugins.papers import Paper
from contextmix.plugins.registry import AGGREGATIONS, METHODS, METRICS

_KOBAYASHI = "Kobayashi, Goro and Kuribayashi, Tatsuki and Yokoi, Sho and Inui, Kentaro"
_FERRANDO = r"Ferrando, Javier and G{\'a}llego, Gerard I. and "
AUTHORS: dict[Paper, str] = {
    papers.BRUNNER_2020: "Brunner, Gino and Liu, Yang and Pascual, Damian and Richter, Oliver and "
    "Ciaramita, Massimiliano and Wattenhofer, Roger",
    papers.ABNAR_2020: "Abnar, Samira and Zuidema, Willem",
    papers.KOBAYASHI_2020: _KOBAYASHI,
    papers.KOBAYASHI_2021: _KOBAYASHI,
    papers.MODARRESSI_2022: "Modarressi, Ali and Fayyaz, Mohsen and Yaghoobzadeh, Yadollah and "
    "Pilehvar, Mohammad Taher",
    papers.VASWANI_2017: "Vaswani, Ashish and Shazeer, Noam and Parmar, Niki and Uszkoreit, Jakob and Jones, Llion and "
    r"Gomez, Aidan N. and Kaiser, {\L}ukasz and Polosukhin, Illia",
    papers.MOHEBBI_2023: r"Mohebbi, Hosein and Zuidema, Willem and Chrupa{\l}a, Grzegorz and Alishahi, Afra",
    papers.FERRANDO_2022: _FERRANDO + r"Costa-juss{\`a}, Marta R.",
    papers.SUN_2021: r"Sun, Kaiser and Marasovi{\'c}, Ana",
    papers.MODARRESSI_2023: "Modarressi, Ali and Fayyaz, Mohsen and Aghazadeh, Ehsan and Yaghoobzadeh, Yadollah and "
    "Pilehvar, Mohammad Taher",
    papers.FERRANDO_2023: _FERRANDO + r"Tsiamas, Ioannis and Costa-juss{\`a}, Marta R.",
    papers.COHEN_WANG_2025: "Cohen-Wang, Benjamin and Chuang, Yung-Sung and Madry, Aleksander",
    papers.SMILKOV_2017: "Smilkov, Daniel and Thorat, Nikhil and Kim, Been and Vi{\\'e}gas, Fernanda and "
    "Wattenberg, Martin",
    papers.ZHAO_2021: "Zhao, Zihao and Wallace, Eric and Feng, Shi and Klein, Dan and Singh, Sameer",
    papers.SIMONYAN_2014: "Simonyan, Karen and Vedaldi, Andrea and Zisserman, Andrew",
    papers.ZEILER_2014: "Zeiler, Matthew D. and Fergus, Rob",
    papers.SUNDARARAJAN_2017: "Sundararajan, Mukund and Taly, Ankur and Yan, Qiqi",
    papers.SPEARMAN_1904: "Spearman, Charles",
    papers.KENDALL_1945: "Kendall, Maurice G.",
    papers.PEARSON_1895: "Pearson, Karl",
    papers.ADEBAYO_2018: "Adebayo, Julius and Gilmer, Justin and Muelly, Michael and Goodfellow, Ian and "
    "Hardt, Moritz and Kim, Been",
    papers.DEYOUNG_2020: "DeYoung, Jay and Jain, Sarthak and Rajani, Nazneen Fatema and Lehman, Eric and "
    "Xiong, Caiming and Socher, Richard and Wallace, Byron C.",
    papers.YIN_2022: "Yin, Kayo and Neubig, Graham",
    papers.PETSIUK_2018: "Petsiuk, Vitali and Das, Abir and Saenko, Kate",
    papers.CHEN_2020: "Chen, Hanjie and Zheng, Guangtao and Ji, Yangfeng",
}
"""Who wrote a paper, as BibTeX spells it; a paper that is missing here is cited with its first author "and others"."""

SMALL_WORDS = {"a", "an", "the", "on", "note", "is", "not", "only"}
ANTHOLOGY = "https://aclanthology.org/"
DOI = "https://doi.org/"


def papers_of(name: str) -> list[Paper]:
    """The papers behind a method, an aggregation, a metric, or a method and an aggregation joined by ``+``.

    Args:
        name: What users type, such as ``"globenc"`` or ``"norm+rollout"``.

    Returns:
        One paper, or two.

    Raises:
        BadOption: If nothing has this name.

    Example:
        >>> [paper.short for paper in papers_of("norm+rollout")]
        ['Kobayashi et al. 2020', 'Abnar & Zuidema 2020']
    """
    method, plus, aggregation = name.partition("+")
    if plus:
        found = [METHODS.described(method).paper, AGGREGATIONS.described(aggregation).paper]
        return list(dict.fromkeys(found))
    for registry in (AGGREGATIONS, METRICS):
        if name.replace("-", "_") in registry.names:
            return [registry.described(name).paper]
    return [METHODS.described(name).paper]


def bibliography(names: Iterable[str]) -> str:
    """BibTeX entries of all papers behind these names, each once.

    Args:
        names: As `papers_of` takes them.

    Returns:
        The entries, with an empty line between two.

    Raises:
        BadOption: If nothing has one of the names.

    Example:
        >>> print(bibliography(["globenc"]).splitlines()[0])
        @inproceedings{modarressi2022globenc,
    """
    return "\n\n".join(map(bibtex, dict.fromkeys(paper for name in names for paper in papers_of(name))))


def bibtex(paper: Paper) -> str:
    """One paper as a BibTeX entry; what is not known is left out.

    Args:
        paper: What to cite.

    Returns:
        The entry.
    """
    journal = re.fullmatch(r"(.+) (\d+)", paper.venue)
    fields = {
        "title": f"{{{paper.title}}}",
        "author": AUTHORS.get(paper) or _first(paper.authors),
        **({"journal": journal[1], "volume": journal[2]} if journal else {"booktitle": _book(paper)}),
        "year": str(paper.year),
        "doi": _doi(paper.url),
        "url": paper.url,
    }
    lines = [f"  {name:9} = {{{text}}}" for name, text in fields.items() if text]
    kind = "article" if journal else "inproceedings"
    return f"@{kind}{{{_key(paper)},\n" + ",\n".join(lines) + "\n}"


def _first(authors: str) -> str:
    return authors.replace(" et al.", " and others").replace(" & ", " and ")


def _book(paper: Paper) -> str:
    start = "" if paper.venue.startswith("Findings") or "workshop" in paper.venue else "Proceedings of "
    return f"{start}{paper.venue} {paper.year}"


def _doi(url: str) -> str:
    if url.startswith(ANTHOLOGY):
        return "10.18653/v1/" + url.removeprefix(ANTHOLOGY)
    return url.removeprefix(DOI) if url.startswith(DOI) else ""


def _key(paper: Paper) -> str:
    words = [word for word in re.findall(r"\w+", paper.title.lower()) if word not in SMALL_WORDS]
    author = re.split(r"\W", paper.authors.lower())[0]
    plain = unicodedata.normalize("NFKD", f"{author}{paper.year}{words[0]}")
    return plain.encode("ascii", "ignore").decode()
