"""Every wire protocol by the name that the settings give it."""

from collections.abc import Mapping

from exporter.protocols.openai import chat, completions
from exporter.protocols.plain import plain
from exporter.wire import Dialect

PROTOCOLS: Mapping[str, Dialect] = {
    "openai-chat": Dialect(ask=chat, streams=True),
    "openai-completions": Dialect(ask=completions, streams=True),
    "plain": Dialect(ask=plain, streams=False),
}
