"""Memory follows the shard, not the data set."""

import os
import subprocess
import sys

import pytest
from tests.datasets.runs import save_tiny

resource = pytest.importorskip("resource", reason="this system does not tell the peak of a process")

CODE = """
import resource, sys, tempfile
import contextmix as cm
from tests.datasets.runs import many, measured
with tempfile.TemporaryDirectory() as folder:
    with open(folder + "/rows.txt", "w") as file:
        file.writelines(row["text"] + "\\n" for row in many(int(sys.argv[1])))
    found = measured(folder + "/rows.txt", folder + "/out", model=sys.argv[2], maps=True, shard_size=100)
    assert found.finished
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def peak(rows, model):
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", CODE, str(rows), str(model)]
    done = subprocess.run(command, capture_output=True, env=environment, check=True, timeout=300)
    return int(done.stdout)


def test_ten_times_the_rows_take_no_more_memory(tmp_path):
    model = save_tiny(tmp_path / "model")
    assert peak(3000, model) <= 1.1 * peak(300, model)
