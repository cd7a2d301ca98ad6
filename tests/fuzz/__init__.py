"""What no stranger may break: every parser, asked with what nobody has thought of; `python -m tests.fuzz` for long."""
