"""Every wire protocol by the name that the settings give it."""

from collections.abc import Mapping

from exporter.protocols import kserve, ollama, openai
from exporter.protocols.gradio import gradio
from exporter.protocols.openai_embeddings import embeddings
from exporter.protocols.openai_images import images
from exporter.protocols.plain import plain
from exporter.protocols.rerank import rerank
from exporter.protocols.tei import tei
from exporter.protocols.tgi import tgi
from exporter.wire import Dialect

PROTOCOLS: Mapping[str, Dialect] = {
    "openai-chat": Dialect(ask=openai.chat, streams=True, chats=True),
    "openai-completions": Dialect(ask=openai.completions, streams=True),
    "openai-embeddings": Dialect(ask=embeddings, streams=False),
    "openai-images": Dialect(ask=images, streams=False),
    "rerank": Dialect(ask=rerank, streams=False, ranks=True),
    "tgi": Dialect(ask=tgi, streams=True, chats=True),
    "ollama": Dialect(ask=ollama.chat, streams=True, chats=True),
    "ollama-embed": Dialect(ask=ollama.embed, streams=False),
    "gradio": Dialect(ask=gradio, streams=True),
    "kserve": Dialect(ask=kserve.infer, streams=False, tensors=True),
    "triton-generate": Dialect(ask=kserve.generate, streams=True),
    "tei": Dialect(ask=tei, streams=False),
    "plain": Dialect(ask=plain, streams=False),
}
