"""Three services as published guides have people write them, faults kept; only their models are stubs."""
