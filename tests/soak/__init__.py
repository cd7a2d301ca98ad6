"""A month of the real program's life in minutes, and whether anything of it grows."""
