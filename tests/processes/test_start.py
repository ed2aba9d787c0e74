"""How processes are started: with a pipe, without the script of the caller, and deaf to Ctrl-C."""

import os
import signal
import subprocess
import sys

from contextmix.processes.start import start


def report(pipe, word):
    """What a process finds, told through the pipe."""
    pipe.send((word, pipe.recv(), getattr(sys.modules["__main__"], "__file__", None)))


def test_a_process_speaks_through_its_pipe_and_never_hears_ctrl_c():
    process, pipe = start(report, "first", modules=(__name__,), name="speaker")
    if sys.platform != "win32":
        os.kill(process.pid, signal.SIGINT)  # blocked or ignored, whoever started the server of processes
    pipe.send("hello")
    word, heard, script = pipe.recv()
    process.join(30)
    assert (word, heard, process.exitcode, process.name) == ("first", "hello", 0, "speaker")
    assert script is None or script != getattr(sys.modules["__main__"], "__file__", None)


def test_a_closed_pipe_says_that_the_other_side_is_gone():
    process, pipe = start(report, "second", modules=(__name__,))
    process.kill()
    process.join(30)
    try:
        pipe.recv()
    except (EOFError, OSError):
        return
    raise AssertionError("the end of the process was not seen")


def test_a_script_without_a_guard_may_start_one():
    """Without `if __name__ == "__main__"` a process that imported the script again would start itself for ever."""
    script = (
        "from contextmix.processes.start import start\nimport time\n"
        "process, pipe = start(time.sleep, modules=('time',))\nprint('once')\nprocess.kill()\nprocess.join()\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "once\n"
