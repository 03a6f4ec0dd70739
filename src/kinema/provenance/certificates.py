"""Signing certificates: the operator's, or a self-signed one of this user.

A self-signed identity has two certificates: a root, whose key is discarded after it has signed, and the
signing certificate that it issued. C2PA does not accept a certificate that signed itself, and readers can add
the root to their trusted roots.
"""

from __future__ import annotations

import datetime
import importlib.util
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from kinema.errors import UserError, missing_extra

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes

CERTIFICATE_FILE = "self-made.pem"
_EMAIL_PROTECTION = "1.3.6.1.5.5.7.3.4"
"""The extended key usage that C2PA requires of a signing certificate by default."""
_VALIDITY_YEARS = 20
"""Without a timestamp of a third party, signatures are valid only until the certificate expires."""


@dataclass(frozen=True, kw_only=True)
class SigningIdentity:
    """A certificate chain and its private key.

    Attributes:
        chain: certificates as PEM, the signing one first.
        key: private key of the first certificate, PKCS #8 as PEM, not encrypted.
        algorithm: C2PA's name of the signature algorithm: es256, es384, es512, ed25519 or ps256.
    """

    chain: bytes
    key: bytes
    algorithm: str

    def __repr__(self) -> str:
        """Without the key, because identities may be logged."""
        return f"SigningIdentity(algorithm={self.algorithm!r})"


def has_libraries() -> bool:
    """Whether the libraries for signing and verifying are installed."""
    return all(importlib.util.find_spec(name) for name in ("c2pa", "cryptography"))


def require_libraries() -> None:
    """Check that the libraries for signing are installed.

    Raises:
        UserError: they are not.
    """
    if not has_libraries():
        raise missing_extra("signing with content credentials", "provenance")


def signing_dir() -> Path:
    """The folder of this user's self-signed certificate."""
    return Path.home() / ".config" / "kinema" / "signing"


def load_self_signed(directory: Path | None = None) -> SigningIdentity:
    """The self-signed certificate of this user, created at the first call.

    Args:
        directory: its folder; None: `signing_dir()`.

    Raises:
        UserError: the folder can't be written, or the certificate is damaged or has expired.
    """
    directory = directory or signing_dir()
    path = directory / CERTIFICATE_FILE
    if not path.exists():
        _write_private(path, _create_certificates())
    return _parse_identity(path, _read_file(path), None)


def load_certificate(certificate: Path, key: Path | None = None) -> SigningIdentity:
    """The operator's certificate.

    Args:
        certificate: a PEM file, the signing certificate first, then its issuers.
        key: a PEM file. None: the key is in the certificate's file.

    Raises:
        UserError: a file can't be read, is not PEM, is encrypted or has expired, or the key belongs to
            another certificate.
    """
    return _parse_identity(certificate, _read_file(certificate), None if key is None else _read_file(key))


def load_identity(certificate: str, key: str) -> SigningIdentity:
    """The operator's certificate, or for an empty name the self-signed certificate of this user.

    Args:
        certificate: path of a PEM file, or empty.
        key: path of a PEM file; empty: the key is in the certificate's file.

    Raises:
        UserError: the certificate is not fit for signing, or the libraries are not installed.
    """
    require_libraries()
    return (
        load_certificate(Path(certificate), Path(key) if key else None) if certificate else load_self_signed()
    )


def root_pem(directory: Path | None = None) -> bytes | None:
    """The root of this user's self-signed certificate as PEM; None if there is none."""
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding

    path = (directory or signing_dir()) / CERTIFICATE_FILE
    if not path.exists():
        return None
    try:
        return x509.load_pem_x509_certificates(_read_file(path))[-1].public_bytes(Encoding.PEM)
    except ValueError:
        return None


def _parse_identity(path: Path, chain: bytes, key: bytes | None) -> SigningIdentity:
    from cryptography import x509
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    try:
        certificates = x509.load_pem_x509_certificates(chain)
        private = serialization.load_pem_private_key(chain if key is None else key, None)
    except TypeError:
        raise UserError(f"the key of {path} is encrypted; remove its password") from None
    except ValueError:
        raise UserError(
            f"{path} is not a certificate with its key in PEM; give both, the signing certificate first"
        ) from None
    first = certificates[0]
    if first.not_valid_after_utc < datetime.datetime.now(datetime.UTC):
        raise UserError(
            f"the certificate {path} expired on {first.not_valid_after_utc:%Y-%m-%d}; "
            "give another one (delete a self-signed one to create it again)"
        )
    public = private.public_key()
    der = Encoding.DER, PublicFormat.SubjectPublicKeyInfo
    if first.public_key().public_bytes(*der) != public.public_bytes(*der):
        raise UserError(f"the key does not belong to the first certificate in {path}; give its key")
    return SigningIdentity(
        chain=b"".join(certificate.public_bytes(Encoding.PEM) for certificate in certificates),
        key=private.private_bytes(
            Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ),
        algorithm=_signing_algorithm(private, path),
    )


def _signing_algorithm(key: object, path: Path) -> str:
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

    if isinstance(key, ed25519.Ed25519PrivateKey):
        return "ed25519"
    if isinstance(key, rsa.RSAPrivateKey) and key.key_size >= 2048:
        return "ps256"
    curves = {"secp256r1": "es256", "secp384r1": "es384", "secp521r1": "es512"}
    if isinstance(key, ec.EllipticCurvePrivateKey) and key.curve.name in curves:
        return curves[key.curve.name]
    raise UserError(
        f"the key of {path} has a type that C2PA does not support; "
        "use P-256, P-384, P-521, Ed25519 or RSA of 2048 bits or more"
    )


def _create_certificates() -> bytes:
    """Signing certificate, root and the signing key, as PEM."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import Encoding

    root_key = ec.generate_private_key(ec.SECP256R1())
    key = ec.generate_private_key(ec.SECP256R1())
    root = _build_certificate("Kinema self-signed root", "Kinema self-signed root", root_key, root_key)
    signing = _build_certificate("Kinema self-signed", "Kinema self-signed root", key, root_key)
    return (
        signing.public_bytes(Encoding.PEM)
        + root.public_bytes(Encoding.PEM)
        + key.private_bytes(Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )


def _build_certificate(
    name: str,
    issuer: str,
    key: CertificateIssuerPrivateKeyTypes,
    issuer_key: CertificateIssuerPrivateKeyTypes,
) -> x509.Certificate:
    """A root certificate if name and issuer are the same, otherwise a signing certificate."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.x509.oid import NameOID, ObjectIdentifier

    def build_name(common: str) -> x509.Name:
        return x509.Name(
            [
                x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Kinema"),
                x509.NameAttribute(NameOID.COMMON_NAME, common),
            ]
        )

    is_root = name == issuer
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(build_name(name))
        .issuer_name(build_name(issuer))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        # A day early, for readers whose clocks are behind.
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=365 * _VALIDITY_YEARS))
        .add_extension(x509.BasicConstraints(ca=is_root, path_length=0 if is_root else None), critical=True)
        .add_extension(
            x509.KeyUsage(
                digital_signature=not is_root,
                content_commitment=False,
                key_encipherment=False,
                data_encipherment=False,
                key_agreement=False,
                key_cert_sign=is_root,
                crl_sign=is_root,
                encipher_only=False,
                decipher_only=False,
            ),
            critical=True,
        )
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    if not is_root:
        parent = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key())
        purpose = x509.ExtendedKeyUsage([ObjectIdentifier(_EMAIL_PROTECTION)])
        builder = builder.add_extension(parent, critical=False).add_extension(purpose, critical=False)
    return builder.sign(issuer_key, hashes.SHA256())


def _write_private(path: Path, data: bytes) -> None:
    """Write a file that only its owner can read; an existing file is kept."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.parent.chmod(0o700)
        handle, name = tempfile.mkstemp(dir=path.parent)  # mkstemp creates it with mode 0600.
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.link(name, path)
        except FileExistsError:
            pass
        finally:
            Path(name).unlink()
    except OSError as error:
        raise UserError(
            f"can't write a signing certificate in {path.parent}: {error.strerror}; "
            "choose another folder, or do not sign"
        ) from None


def _read_file(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"can't read {path}: {error.strerror}; check its name and permissions") from None
