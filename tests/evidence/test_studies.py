"""The experiments that files speak of are those that are done."""

import pytest

from contextmix.errors import UnknownName
from contextmix.evidence.experiment import EXPERIMENTS
from contextmix.evidence.reproduce import experiments_of
from contextmix.evidence.studies import refuse_unknown, studies


def test_what_is_read_is_what_is_run():
    assert sorted((study, name) for study, names in studies().items() for name in names) == sorted(
        (one.study, one.name) for one in EXPERIMENTS.values()
    )


def test_what_does_not_exist_is_refused():
    for ask in (refuse_unknown, experiments_of):
        with pytest.raises(UnknownName, match=r"no study 'globnec'.*Did you mean 'globenc'"):
            ask("globnec")
        with pytest.raises(UnknownName, match=r"no experiment of value_zeroing 'cue'.*Did you mean 'cues'"):
            ask("value-zeroing", ["cue"])
    assert [one.name for one in experiments_of("value-zeroing", ["cues"])] == ["cues"]
