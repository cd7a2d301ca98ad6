"""What the program costs, beside what it replaces and beside what is possible: `python -m tests.bench`."""
