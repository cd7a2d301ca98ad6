"""Everything at work on a machine with nothing: a scripted model, simulated GPUs, and what can befall them."""
