# SPDX-License-Identifier: Apache-2.0
"""What every service's process does alike."""

import subprocess
import sys

CRASHES = """
import os, resource, subprocess
from caryatid.services.process import keep_memory
keep_memory()
keep_memory()
limits = subprocess.run(["cat", "/proc/self/limits"], capture_output=True, text=True, check=True).stdout
print(next(line.split()[-3:-1] for line in limits.splitlines() if line.startswith("Max core file size")))
print(open("/proc/self/status").read().count("Name:"), os.listdir("/proc/self/fd") != [])
os.kill(os.getpid(), 11)
"""


def test_no_process_leaves_its_memory_in_a_file(tmp_path):
    """Nor do those that it starts."""
    done = subprocess.run([sys.executable, "-c", CRASHES], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stdout == "['1', '1']\n1 True\n", done.stderr
    assert done.returncode == -11
    assert list(tmp_path.iterdir()) == []
