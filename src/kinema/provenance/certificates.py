"""Who signs: a certificate made here once, or the operator's own.

The self-made one is two certificates: a root, whose key is thrown away as soon as it has signed, and the
signing certificate below it. C2PA does not accept a certificate that signed itself, and with the root a
reader can be told to trust this maker's videos and no others.
"""

from __future__ import annotations

import datetime
import importlib.util
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from kinema.errors import UserError

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes

CERTIFICATE_FILE = "self-made.pem"
_EMAIL_PROTECTION = "1.3.6.1.5.5.7.3.4"
"""Purpose that C2PA asks of a signing certificate where no other list of purposes is given."""
_VALIDITY_YEARS = 20
"""Without a time stamp of a third party, videos count as validly signed only while the certificate lasts."""


@dataclass(frozen=True, kw_only=True)
class SigningIdentity:
    """What signs a video.

    Attributes:
        chain: certificates as PEM, the signing one first.
        key: private key of the first certificate, PKCS #8 as PEM, not encrypted.
        algorithm: C2PA's name of it: es256, es384, es512, ed25519 or ps256.
    """

    chain: bytes
    key: bytes
    algorithm: str

    def __repr__(self) -> str:
        """Without the key: identities end up in logs."""
        return f"Identity(algorithm={self.algorithm!r})"


def require_libraries() -> None:
    """Check that the libraries for signing are there.

    Raises:
        UserError: they are not installed.
    """
    if not all(importlib.util.find_spec(name) for name in ("c2pa", "cryptography")):
        raise UserError(
            'content credentials need c2pa-python; install it with: pip install "kinema[provenance]"'
        )


def signing_dir() -> Path:
    """Where the self-made certificate of this user lives."""
    return Path.home() / ".config" / "kinema" / "signing"


def load_self_signed(directory: Path | None = None) -> SigningIdentity:
    """The certificate of this user, made at the first call.

    Args:
        directory: another folder than `signing_dir()`.

    Raises:
        UserError: the folder can't be written, or the certificate is damaged or has run out.
    """
    directory = directory or signing_dir()
    path = directory / CERTIFICATE_FILE
    if not path.exists():
        _write_private(path, _create_certificates())
    return _parse_identity(path, _read_file(path), None)


def load_certificate(certificate: Path, key: Path | None = None) -> SigningIdentity:
    """The operator's certificate.

    Args:
        certificate: PEM, the signing certificate first, then those that it hangs on.
        key: PEM. None: it is in the same file.

    Raises:
        UserError: a file can't be read, is no PEM, is encrypted or has run out, or the two don't belong
            together.
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
    """The self-made root as PEM, to know one's own videos again; None where there is none yet."""
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
        raise UserError(f"the key of {path} is encrypted; give it without a password") from None
    except ValueError:
        raise UserError(
            f"{path} is not a certificate with its key in PEM; give both, the signing certificate first"
        ) from None
    first = certificates[0]
    if first.not_valid_after_utc < datetime.datetime.now(datetime.UTC):
        raise UserError(
            f"the certificate {path} ran out on {first.not_valid_after_utc:%Y-%m-%d}; "
            "give another (a self-made one is made anew once the old file is gone)"
        )
    public = private.public_key()
    der = Encoding.DER, PublicFormat.SubjectPublicKeyInfo
    if first.public_key().public_bytes(*der) != public.public_bytes(*der):
        raise UserError(f"the key does not belong to the first certificate in {path}; give the two that do")
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
        f"the key of {path} is of a kind that C2PA does not sign with; "
        "use P-256, P-384, P-521, Ed25519 or RSA of 2048 bits or more"
    )


def _create_certificates() -> bytes:
    """Signing certificate, root and the signing key, as PEM."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import Encoding

    root_key = ec.generate_private_key(ec.SECP256R1())
    key = ec.generate_private_key(ec.SECP256R1())
    root = _build_certificate("Kinema self-made root", "Kinema self-made root", root_key, root_key)
    signing = _build_certificate("Kinema self-made", "Kinema self-made root", key, root_key)
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
    """A root where name and issuer are the same, else a certificate for signing."""
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
        # A day early, for readers whose clocks are a little behind.
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
    """Write it readable by its owner alone; of several that try at once, the first one's stays."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.parent.chmod(0o700)
        handle, name = tempfile.mkstemp(dir=path.parent)  # mkstemp makes it 0600.
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
            f"can't keep a signing certificate in {path.parent}: {error.strerror}; "
            "choose another folder, or don't sign"
        ) from None


def _read_file(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"can't read {path}: {error.strerror}; check the name and its permissions") from None
