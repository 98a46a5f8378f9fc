"""The lecture as a notebook, `docs/lecture.ipynb`: executed here, and kept with what it prints.

`python -m tests.lecture` executes it whole and writes it back: five minutes on two cores.
"""
