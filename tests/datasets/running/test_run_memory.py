"""Memory follows the shard, not the data set."""

import os
import subprocess
import sys

import pytest
from tests.datasets.runs import save_tiny

pytestmark = pytest.mark.campaign

resource = pytest.importorskip("resource", reason="this system does not tell the peak of a process")

# One process, the small run first: a peak never falls again.
CODE = """
import resource, sys, tempfile
from tests.datasets.runs import many, measured
for rows in map(int, sys.argv[2:]):
    with tempfile.TemporaryDirectory() as folder:
        with open(folder + "/rows.txt", "w") as file:
            file.writelines(row["text"] + "\\n" for row in many(rows))
        found = measured(folder + "/rows.txt", folder + "/out", model=sys.argv[1], maps=True, shard_size=100)
        assert found.finished
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def peaks(model, *rows):
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", CODE, str(model), *map(str, rows)]
    done = subprocess.run(command, capture_output=True, env=environment, check=True, timeout=300)
    return [int(line) for line in done.stdout.split()]


def test_ten_times_the_rows_take_no_more_memory(tmp_path):
    few, many = peaks(save_tiny(tmp_path / "model"), 300, 3000)
    assert many <= 1.1 * few
