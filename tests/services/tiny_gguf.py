"""A model of half a megabyte with random weights, as a GGUF file that llama.cpp loads: it says nonsense without end."""

import random
import struct
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, chain, pairwise
from pathlib import Path

CONTEXT, WIDTH, INNER, LAYERS, HEADS = 512, 64, 128, 2, 4
ALIGNMENT = 32
WORDS = ("the", "and", "hello", "world", "quick", "brown", "fox", "server", "prompt", "token")
SPECIAL = ("<|bos|>", "<|eos|>", "<|im_start|>", "<|im_end|>", "<|unk|>", "<|pad|>")
SPACE = "\u0120"
ORDINARY_KIND, SPECIAL_KIND = 1, 3
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)

Value = bool | int | float | str | Sequence[str] | Sequence[int]


@dataclass(frozen=True, slots=True)
class Tensor:
    """Weights, the fastest dimension first."""

    shape: Sequence[int]
    weights: "array[float]"  # in quotes, since Python 3.11 knows no array of something


def write(file: Path) -> Path:
    """Make the file of the model, the same each time."""
    letters, merges = _vocabulary()
    metadata = dict(_metadata(letters, merges))
    tensors = dict(_tensors(letters))
    head = _padded(b"".join(_head(metadata, tensors)))
    file.write_bytes(head + b"".join(_padded(tensor.weights.tobytes()) for tensor in tensors.values()))
    return file


def _vocabulary() -> tuple[Sequence[str], Sequence[str]]:
    """Every byte as GPT-2 writes it, then some words with the merges that lead to them."""
    tokens = dict.fromkeys(_letter(byte) for byte in range(256))
    merges = []
    for word in chain(WORDS, [SPACE + word for word in WORDS]):
        for shorter, longer in pairwise(accumulate(word)):
            if longer not in tokens:
                merges.append(f"{shorter} {longer[-1]}")
                tokens[longer] = None
    return tuple(tokens), merges


def _letter(byte: int) -> str:
    return chr(byte) if _is_printable(byte) else chr(256 + sum(not _is_printable(less) for less in range(byte)))


def _is_printable(byte: int) -> bool:
    return byte in range(33, 127) or byte in range(161, 173) or byte in range(174, 256)


def _metadata(letters: Sequence[str], merges: Sequence[str]) -> Iterator[tuple[str, Value]]:
    first_special = len(letters)
    yield "general.architecture", "llama"
    yield "general.name", "tiny-random"
    yield "general.alignment", ALIGNMENT
    yield "llama.context_length", CONTEXT
    yield "llama.embedding_length", WIDTH
    yield "llama.block_count", LAYERS
    yield "llama.feed_forward_length", INNER
    yield "llama.attention.head_count", HEADS
    yield "llama.attention.head_count_kv", HEADS
    yield "llama.attention.layer_norm_rms_epsilon", 1e-5
    yield "llama.rope.dimension_count", WIDTH // HEADS
    yield "llama.vocab_size", len(letters) + len(SPECIAL)
    yield "tokenizer.ggml.model", "gpt2"
    yield "tokenizer.ggml.pre", "gpt-2"
    yield "tokenizer.ggml.tokens", [*letters, *SPECIAL]
    yield "tokenizer.ggml.token_type", [ORDINARY_KIND] * len(letters) + [SPECIAL_KIND] * len(SPECIAL)
    yield "tokenizer.ggml.merges", merges
    yield "tokenizer.ggml.bos_token_id", first_special + SPECIAL.index("<|bos|>")
    yield "tokenizer.ggml.eos_token_id", first_special + SPECIAL.index("<|eos|>")
    yield "tokenizer.ggml.padding_token_id", first_special + SPECIAL.index("<|pad|>")
    yield "tokenizer.ggml.add_bos_token", False
    yield "tokenizer.chat_template", TEMPLATE


def _tensors(letters: Sequence[str]) -> Iterator[tuple[str, Tensor]]:
    chance = random.Random(0)

    def drawn(*shape: int, spread: float = 1.0) -> Tensor:
        size = shape[0] * shape[1]
        return Tensor(shape, array("f", (chance.gauss(0, spread) for _ in range(size))))

    even = Tensor([WIDTH], array("f", [1.0] * WIDTH))
    every = len(letters) + len(SPECIAL)
    yield "token_embd.weight", drawn(WIDTH, every)
    yield "output_norm.weight", even
    yield "output.weight", _without_end(drawn(WIDTH, every), letters)
    square, out, back = (WIDTH, WIDTH), (WIDTH, INNER), (INNER, WIDTH)
    parts = {"attn_q": square, "attn_k": square, "attn_v": square, "attn_output": square}
    parts |= {"ffn_gate": out, "ffn_up": out, "ffn_down": back}
    for layer in range(LAYERS):
        yield f"blk.{layer}.attn_norm.weight", even
        yield f"blk.{layer}.ffn_norm.weight", even
        for part, shape in parts.items():
            yield f"blk.{layer}.{part}.weight", drawn(*shape, spread=0.6 / shape[0] ** 0.5)


def _without_end(output: Tensor, letters: Sequence[str]) -> Tensor:
    """Only what can be printed can win, so that an answer never ends by itself."""
    for token in range(len(letters) + len(SPECIAL)):
        if token not in range(32, 127) and token not in range(256, len(letters)):
            output.weights[token * WIDTH : (token + 1) * WIDTH] = array("f", [0.0] * WIDTH)
    return output


def _head(metadata: Mapping[str, Value], tensors: Mapping[str, Tensor]) -> Iterator[bytes]:
    yield b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(metadata))
    for key, value in metadata.items():
        yield _text(key) + _typed(value)
    offset = 0
    for name, tensor in tensors.items():
        yield _text(name) + struct.pack(f"<I{len(tensor.shape)}Q", len(tensor.shape), *tensor.shape)
        yield struct.pack("<IQ", 0, offset)
        offset += len(_padded(tensor.weights.tobytes()))


def _typed(value: Value) -> bytes:
    """A value after the number of its kind, as GGUF numbers them."""
    match value:
        case bool():
            return struct.pack("<I?", 7, value)
        case int():
            return struct.pack("<II", 4, value)
        case float():
            return struct.pack("<If", 6, value)
        case str():
            return struct.pack("<I", 8) + _text(value)
        case [int(), *_]:
            return struct.pack(f"<IIQ{len(value)}i", 9, 5, len(value), *value)
        case _:
            return struct.pack("<IIQ", 9, 8, len(value)) + b"".join(_text(str(each)) for each in value)


def _text(text: str) -> bytes:
    return struct.pack("<Q", len(text.encode())) + text.encode()


def _padded(content: bytes) -> bytes:
    return content + bytes(-len(content) % ALIGNMENT)
