"""What holds for all tests holds wherever they are started."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path


def test_ctrl_c_reaches_what_tests_start_from_a_scripts_background_too():
    """There SIGINT is ignored, and a process that is started ignores it as well."""
    said = "import conftest, signal; print(signal.getsignal(signal.SIGINT).__name__)"
    done = subprocess.run(
        [sys.executable, "-c", said],
        cwd=Path(__file__).parent,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "default_int_handler\n", done.stderr
