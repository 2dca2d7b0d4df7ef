"""Lets a thread that waits for another give up its processor soon: imported before torch, which reads this.

A layer of a network ends when its last thread is done. Where another program holds one of the processors,
that thread waits for its turn, and the others, by default, for long spin in place of it: training beside a
busy program then falls to a fraction of its speed. `tests/bench/mnist.py` measures it.
"""

import os

os.environ.setdefault("GOMP_SPINCOUNT", "1000")  # rounds; the default of GNU OpenMP is 300,000
