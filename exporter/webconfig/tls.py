"""A server's TLS as a file has it, by OpenSSL itself.

Not by the standard library, which can neither ask for a certificate without verifying it, nor look at one before
the handshake ends, nor take a key that is in no file.
"""

from collections.abc import Sequence
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from OpenSSL import SSL
from OpenSSL._util import lib
from OpenSSL.crypto import X509, X509StoreFlags

from exporter.webconfig.document import WrongWebConfig
from exporter.webconfig.file import FORWARD_SECRET, VERSIONS, ClientAuth, Pem, Tls

ASKED: dict[ClientAuth, int] = {
    ClientAuth.NOTHING: SSL.VERIFY_NONE,
    ClientAuth.REQUESTED: SSL.VERIFY_PEER,
    ClientAuth.ANY: SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT,
    ClientAuth.VERIFIED_IF_GIVEN: SSL.VERIFY_PEER,
    ClientAuth.VERIFIED: SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT,
}
HTTP = b"http/1.1"
# Every connection proves itself anew, by the certificates in force when it is made; a client cannot ask for more work.
OPTIONS = SSL.OP_NO_TICKET | SSL.OP_NO_RENEGOTIATION | SSL.OP_NO_COMPRESSION


def context(tls: Tls) -> SSL.Context:
    """TLS for connections that are made from now on; raises WrongWebConfig where what it needs cannot be had."""
    made = SSL.Context(SSL.TLS_SERVER_METHOD)
    made.set_options(OPTIONS | (SSL.OP_CIPHER_SERVER_PREFERENCE if tls.in_our_order else 0))
    made.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    made.set_alpn_select_callback(lambda _made, offered: HTTP if HTTP in offered else SSL.NO_OVERLAPPING_PROTOCOLS)
    _cipher(made, tls)
    _identify(made, tls)
    _ask(made, tls)
    return made


def _cipher(made: SSL.Context, tls: Tls) -> None:
    lowest, highest = tls.versions
    names = list(filter(None, tls.ciphers or FORWARD_SECRET.values()))
    if not names:  # all that are named are of TLS 1.3
        lowest = max(lowest, VERSIONS["TLS13"])
    if lowest < VERSIONS["TLS12"]:
        names.append("@SECLEVEL=0")  # without which OpenSSL speaks no version before 1.2
    made.set_min_proto_version(lowest)
    made.set_max_proto_version(highest)
    if names:
        made.set_cipher_list(":".join(names).encode())
    if tls.curves:  # The library has a word for one curve alone, and none for X25519.
        lib.SSL_CTX_set1_curves_list(made._context, ":".join(tls.curves).encode())


def _identify(made: SSL.Context, tls: Tls) -> None:
    leaf, *others = _certificates(tls.certificate, "cert")
    try:
        key = load_pem_private_key(_content(tls.key, "key"), password=None)
        made.use_certificate(leaf)
        made.use_privatekey(key)  # type: ignore[arg-type]  # of another kind than a server's it is refused here
        made.check_privatekey()
    except (ValueError, TypeError, UnsupportedAlgorithm, SSL.Error) as error:
        raise WrongWebConfig(
            f"{_named(tls.key, 'key')} is no private key of {_named(tls.certificate, 'cert')}"
        ) from error
    for each in others:
        made.add_extra_chain_cert(each)


def _ask(made: SSL.Context, tls: Tls) -> None:
    """Has clients show a certificate, and looks whether it will do."""
    verified = tls.client_auth in {ClientAuth.VERIFIED, ClientAuth.VERIFIED_IF_GIVEN}
    sans = tls.client_allowed_sans

    def will_do(_connection: SSL.Connection, shown: X509, _error: int, depth: int, valid: int) -> bool:
        if verified and not valid:
            return False
        return depth > 0 or sans is None or not sans.isdisjoint(alternative_names(shown))

    asked = ASKED[tls.client_auth]
    if asked and sans is not None:
        asked |= SSL.VERIFY_FAIL_IF_NO_PEER_CERT
    made.set_verify(asked, will_do)
    if tls.client_ca is not None:
        _trust(made, _certificates(tls.client_ca, "client_ca"))
    elif verified:
        made.set_default_verify_paths()


def _trust(made: SSL.Context, authorities: Sequence[x509.Certificate]) -> None:
    store = made.get_cert_store()
    assert store is not None  # noqa: S101  the context is new, and has one
    store.set_flags(X509StoreFlags.PARTIAL_CHAIN)  # what is listed is trusted, be it a root or not
    for each in authorities:
        store.add_cert(X509.from_cryptography(each))
        made.add_client_ca(each)


def alternative_names(certificate: X509) -> frozenset[str]:
    """The DNS names, addresses of mail and of hosts, and URIs that a certificate is for."""
    try:
        names = certificate.to_cryptography().extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        kinds = (x509.DNSName, x509.RFC822Name, x509.IPAddress, x509.UniformResourceIdentifier)
        return frozenset(str(each) for kind in kinds for each in names.get_values_for_type(kind))
    except (x509.ExtensionNotFound, x509.DuplicateExtension, ValueError):
        return frozenset()


def _certificates(pem: Pem, name: str) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(_content(pem, name))
    except ValueError as error:
        raise WrongWebConfig(f"{_named(pem, name)} is no certificate in PEM") from error


def _content(pem: Pem, name: str) -> bytes:
    try:
        return pem.read_bytes() if isinstance(pem, Path) else pem.encode()
    except OSError as error:
        raise WrongWebConfig(f"{_named(pem, name)} is not readable: {error.strerror or error}") from error


def _named(pem: Pem, name: str) -> str:
    return f"tls_server_config.{name}_file {pem}" if isinstance(pem, Path) else f"tls_server_config.{name}"
