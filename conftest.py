"""Settings of every test run of the workspace."""

from __future__ import annotations

import os

# Tests run in several processes; each with a thread per core would only stand in the others' way.
os.environ.setdefault("OMP_NUM_THREADS", "1")
