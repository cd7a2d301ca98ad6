"""What a driver tells of its GPUs, as readings: one module for each thing that it tells."""
