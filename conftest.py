"""For all tests: one thread, because on so small tensors threads only wait for each other."""

import os

os.environ["OMP_NUM_THREADS"] = "1"  # read once, when torch is loaded
