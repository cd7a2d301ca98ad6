"""The way in, which loads what was asked for and no more."""

import gc
import os
import sys


def main() -> int:
    """Run the command that was typed."""
    # What is loaded at the start is no garbage, and to look for some takes a fifth of that time.
    gc.disable()
    # Pydantic would search all that is installed for plugins; what checks settings is to be ours alone.
    os.environ["PYDANTIC_DISABLE_PLUGINS"] = "__all__"
    typed = sys.argv[1:]
    # A health check is begun every half minute, and all else takes twenty times as long to load.
    if typed[:1] == ["healthcheck"]:
        from exporter.commands.healthcheck import healthcheck  # noqa: PLC0415  as above

        return healthcheck(typed[1:], os.environ)
    from exporter import program  # noqa: PLC0415  as above

    if typed[:1] and typed[0] in program.COMMANDS:
        # These load what asks services, which the program itself puts off until the GPUs were seen.
        from exporter.commands.line import COMMANDS  # noqa: PLC0415  as above

        return program.status(COMMANDS[typed[0]], typed[1:])
    return program.status(program.run, typed)
