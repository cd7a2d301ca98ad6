"""The way in: a health check by itself, and anything else with all that it needs."""

import os
import sys


def main() -> int:
    """Run the command that was typed."""
    # Each loads what it needs and no more: the health check is begun every half minute, and the rest takes twenty
    # times as long to load.
    if sys.argv[1:2] == ["healthcheck"]:
        from exporter.commands.healthcheck import healthcheck  # noqa: PLC0415  as above

        return healthcheck(sys.argv[2:], os.environ)
    from exporter.__main__ import main as command_line  # noqa: PLC0415  as above

    return command_line()
