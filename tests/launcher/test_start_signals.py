"""A signal to stop is heard, wherever it strikes."""

from __future__ import annotations

import subprocess
import sys

from tests.harness.waiting import SECONDS

STRUCK_IN_A_DESTRUCTOR = """
import os, signal, time
from mage_dbt.launcher.start import stop_on_signals

class Struck:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.1)

stop_on_signals()
struck = Struck()
try:
    del struck
    print("lost", flush=True)
    time.sleep(600)
except KeyboardInterrupt:
    signal.setitimer(signal.ITIMER_REAL, 0)  # as `main` does: heard once is enough
    print("heard")
"""


def test_a_signal_that_strikes_in_a_destructor_is_heard_all_the_same() -> None:
    done = subprocess.run(
        [sys.executable, "-P", "-c", STRUCK_IN_A_DESTRUCTOR],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=True,
    )
    assert done.stdout.split() == ["lost", "heard"]
