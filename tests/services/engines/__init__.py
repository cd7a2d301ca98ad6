"""Small services, each served by a real model server; their models are stubs that can be spoilt while they run."""
