"""Whether the exporter beside it answers, as a container's engine asks every so often.

It is begun anew for each look, so that it loads next to nothing: no model of the settings, and no TLS.
"""

import io
import socket
import sys
from collections.abc import Iterator, Mapping, Sequence

PROGRAM = "model-sidecar"
ADDRESS, FILE = "--web.listen-address", "--config.file"
VARIABLE = "MODEL_SIDECAR_WEB__LISTEN_ADDRESS"
DEFAULT = ":10068"
PATIENCE = 3.0  # Seconds for each step of one look.
MOST = 4096
# An engine takes 2 for a mistake of its own.
HEALTHY, UNHEALTHY = 0, 1
REQUEST = b"GET /-/healthy HTTP/1.1\r\nHost: localhost\r\nUser-Agent: model-sidecar\r\nConnection: close\r\n\r\n"
# Who answers in one of these ways is there, and lets in only whom it should.
HEALTHY_ANSWERS: Mapping[tuple[bytes, bytes], str] = {
    (b"200", b"model-sidecar is healthy."): "answers",
    (b"400", b"Client sent an HTTP request to an HTTPS server."): "answers, and wants TLS",
    (b"401", b"Unauthorized"): "answers, and wants a password",
    (b"429", b"Too Many Requests"): "answers, and limits how often",
}
HELP = f"""usage: {PROGRAM} healthcheck [{ADDRESS} ADDRESS] [{FILE} FILE]

Asks the {PROGRAM} that runs beside it, and ends with 0 where it answers and 1 where it does not. Where it listens is
told by these flags, else by those that the container's first process was given, {VARIABLE},
the file of settings, or is {DEFAULT}.
"""


def healthcheck(arguments: Sequence[str], environ: Mapping[str, str]) -> int:
    """Ask it at each address that it listens on."""
    if "--help" in arguments or "-h" in arguments:
        sys.stdout.write(HELP)
        return HEALTHY
    for flag, value in _flags(arguments):
        if flag not in {ADDRESS, FILE} or not value:
            found = "has no value" if flag in {ADDRESS, FILE} else "is no argument"
            sys.stderr.write(f"{PROGRAM} healthcheck: {flag} {found}; see {PROGRAM} healthcheck --help\n")
            return UNHEALTHY
    looks = [_asked(address) for address in _addresses(arguments or _first_process(), environ)]
    for _, told in looks:
        sys.stdout.write(f"{told}\n")
    return HEALTHY if all(healthy for healthy, _ in looks) else UNHEALTHY


def _flags(words: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Each word, those that are flags of ours with their values, in either form."""
    rest = iter(words)
    for word in rest:
        name, joined, value = word.partition("=")
        if name in {ADDRESS, FILE}:
            yield name, value if joined else next(rest, "")
        else:
            yield word, ""


def _first_process() -> Sequence[str]:
    """What a container's first process was given, where that is the exporter; by it alone its flags are known here."""
    words = _read("/proc/1/cmdline").split("\0")
    programs = [number for number, word in enumerate(words) if word.rpartition("/")[2] == PROGRAM]
    return words[programs[0] + 1 :] if programs else ()


def _addresses(words: Sequence[str], environ: Mapping[str, str]) -> Sequence[str]:
    """Where it listens: by its flags, the environment, its file or by default, each before the next."""
    flags = list(_flags(words))
    variables = [text for name, text in environ.items() if name.upper() == VARIABLE and text]
    files = [value for flag, value in flags if flag == FILE]
    return (
        [value for flag, value in flags if flag == ADDRESS]
        or _listed(*variables[:1])
        or _listed(*(_in_file(_read(file)) for file in files[-1:]))
        or [DEFAULT]
    )


def _listed(*told: str) -> list[str]:
    """The addresses in a text that holds one, or several as JSON has them."""
    return [address for text in told for address in (text.split('"')[1::2] if '"' in text else [text]) if address]


def _in_file(text: str) -> str:
    """The setting as the environment would hold it; empty where the file has none, or is none of YAML."""
    if "listen_address" not in text:
        return ""
    # Dearer than all the rest, and needed by few.
    import yaml  # noqa: PLC0415

    try:
        document = yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506  both are safe
        told = document["web"]["listen_address"]
    except (yaml.YAMLError, KeyError, TypeError):
        return ""
    return told if isinstance(told, str) else "".join(f'"{address}"' for address in told)


def _read(file: str) -> str:
    """All that stands in a file; nothing where it cannot be read, since then the exporter could not either."""
    try:
        with io.FileIO(file) as opened:
            return opened.read().decode(errors="replace")
    except OSError:
        return ""


def _asked(address: str) -> tuple[bool, str]:
    """Whether it answers there, and a line that says so."""
    host, _, port = address.rpartition(":")
    try:
        answer = _answer(host.strip("[]") or "127.0.0.1", int(port))
    except (OSError, ValueError) as error:
        return False, f"{address} does not answer: {error}"
    status, body = answer[9:12], answer.partition(b"\r\n\r\n")[2].strip()
    told = HEALTHY_ANSWERS.get((status, body))
    if told is None:
        return False, f"{address} answers otherwise than {PROGRAM}: {answer[:40]!r}"
    return True, f"{address} {told}"


def _answer(host: str, port: int) -> bytes:
    """The whole answer, as far as it is of interest."""
    # As bytes, since for a text the codec of international names is loaded, which takes half as long as the rest.
    with socket.create_connection((host.encode(), port), PATIENCE) as connection:  # type: ignore[arg-type]  # as above
        connection.sendall(REQUEST)
        answer = b""
        while (more := connection.recv(MOST)) and len(answer) < MOST:
            answer += more
    return answer
