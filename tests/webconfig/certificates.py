"""Certificates of an authority that lives as long as a test."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import bcrypt
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

PASSWORD = b"open sesame"
HASH = bcrypt.hashpw(PASSWORD, b"$2b$04$abcdefghijklmnopqrstuu").decode()


@dataclass(frozen=True, slots=True, kw_only=True)
class Papers:
    """Files with certificates and keys, by what is the matter with them."""

    folder: Path
    authority: trustme.CA
    stranger: trustme.CA

    @property
    def ca(self) -> Path:
        return self.folder / "ca.pem"

    def issue(self, name: str, *identities: str, valid: bool = True, by: trustme.CA | None = None) -> Path:
        """A file with a certificate and its key."""
        now = datetime.now(UTC)
        until = now + timedelta(days=1) if valid else now - timedelta(hours=1)
        made = (by or self.authority).issue_cert(*identities, not_before=now - timedelta(days=2), not_after=until)
        file = self.folder / name
        made.private_key_and_cert_chain_pem.write_to_path(file)
        return file


def papers(folder: Path) -> Papers:
    """A server's certificate and those of clients, good and bad."""
    made = Papers(folder=folder, authority=trustme.CA(), stranger=trustme.CA())
    made.authority.cert_pem.write_to_path(made.ca)
    made.issue("server.pem", "localhost", "127.0.0.1")
    made.issue("prometheus.pem", "prometheus.example")
    made.issue("other.pem", "other.example")
    made.issue("expired.pem", "prometheus.example", valid=False)
    made.issue("stranger.pem", "prometheus.example", by=made.stranger)
    return made


def self_signed(file: Path, name: x509.GeneralName) -> None:
    """A certificate that nobody vouches for, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "self")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([name]), critical=False)
        .sign(key, hashes.SHA256())
    )
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    file.write_bytes(secret + made.public_bytes(Encoding.PEM))
