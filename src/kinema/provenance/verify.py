"""Reading and checking content credentials."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from kinema.atomic_io import require_readable
from kinema.provenance.certificates import require_libraries, root_pem
from kinema.provenance.manifest import (
    AI_GENERATED,
    ASSERTION_LABEL,
    UNKNOWN_MIME,
    c2pa_settings,
    first_line,
    sniff_mime,
)

CredentialState = Literal["valid", "tampered", "unsigned"]
SignerTrust = Literal["known", "unknown"]

_IGNORED_FAILURES = {"signingCredential.untrusted"}
"""An untrusted signer is reported as `unknown`; the file itself is not in doubt."""


@dataclass(frozen=True, kw_only=True)
class SourceRecord:
    """A video or image that a video was generated from.

    Attributes:
        title: its name.
        role: how it was used; empty if the signing program did not declare it.
        sha256: SHA-256 of its file in hexadecimal; empty if the signing program did not declare it.
        state: state of its own credentials when it was used.
    """

    title: str
    role: str = ""
    sha256: str = ""
    state: CredentialState = "unsigned"


@dataclass(frozen=True, kw_only=True)
class Credentials:
    """The content credentials of a file, and whether they are valid.

    Attributes:
        state: `valid`: the signed content is unchanged. `tampered`: it was changed, or the credentials are
            damaged. `unsigned`: there are no credentials.
        problems: why it is `tampered` or `unsigned`, one line each.
        signer: name in the certificate.
        trust: `known` if the certificate is this user's or was issued by one of the trusted roots.
        tool: the signing program and its version.
        ai_generated: whether it declares that a trained model generated it.
        actions: C2PA actions (`c2pa.created`, ...).
        prompt: the prompt.
        model: the name of the model.
        seed: the seed of the noise.
        sources: input videos and images.
    """

    state: CredentialState
    problems: tuple[str, ...] = ()
    signer: str = ""
    trust: SignerTrust = "unknown"
    tool: str = ""
    ai_generated: bool = False
    actions: tuple[str, ...] = ()
    prompt: str = ""
    model: str = ""
    seed: int | None = None
    sources: tuple[SourceRecord, ...] = ()


def verify_credentials(
    path: str | os.PathLike[str], *, roots: bytes = b"", directory: Path | None = None
) -> Credentials:
    """Read and check the credentials of a file, without the network.

    Args:
        path: a video or image.
        roots: trusted root certificates as PEM, in addition to this user's.
        directory: folder of this user's certificate; None: `signing_dir()`.

    Raises:
        UserError: the file does not exist or is empty; or the libraries are not installed.
    """
    require_libraries()
    import c2pa

    source = require_readable(path)
    if source.is_dir():
        return Credentials(state="unsigned", problems=("a folder of images can't carry credentials",))
    options = c2pa_settings()
    trusted_roots = roots + (root_pem(directory) or b"")
    if trusted_roots:
        options.update({"trust": {"user_anchors": trusted_roots.decode("ascii", "replace")}})
    try:
        with c2pa.Context(options) as context, source.open("rb") as file:
            # The library detects most types by itself, but not what an archive contains.
            mime_type = sniff_mime(file)
            with c2pa.Reader(
                None if mime_type == UNKNOWN_MIME else mime_type, file, context=context
            ) as reader:
                report = json.loads(reader.json())
    except c2pa.C2paError.ManifestNotFound:
        return Credentials(state="unsigned", problems=("it has no credentials",))
    except c2pa.C2paError.NotSupported:
        kind = source.suffix or "this kind of"
        return Credentials(state="unsigned", problems=(f"{kind} files can't carry credentials",))
    except c2pa.C2paError as error:
        return Credentials(state="tampered", problems=(f"its credentials are damaged: {first_line(error)}",))
    return _parse_report(report)


def _parse_report(report: Mapping[str, Any]) -> Credentials:
    """The library's report as `Credentials`. Its contents are untrusted, so every type is checked."""
    manifest = _as_mapping(_as_mapping(report.get("manifests")).get(str(report.get("active_manifest"))))
    assertions = [_as_mapping(entry) for entry in _as_list(manifest.get("assertions"))]
    ours = next(
        (_as_mapping(entry.get("data")) for entry in assertions if entry.get("label") == ASSERTION_LABEL), {}
    )
    actions = [
        _as_mapping(action)
        for entry in assertions
        if str(entry.get("label", "")).startswith("c2pa.actions")
        for action in _as_list(_as_mapping(entry.get("data")).get("actions"))
    ]
    results = _as_mapping(_as_mapping(report.get("validation_results")).get("activeManifest"))
    state: CredentialState = "valid" if report.get("validation_state") in ("Valid", "Trusted") else "tampered"
    problems = tuple(dict.fromkeys(_failure_messages(results))) or ("its credentials are invalid",)
    signature = _as_mapping(manifest.get("signature_info"))
    tool = next((_as_mapping(entry) for entry in _as_list(manifest.get("claim_generator_info"))), {})
    seed = str(ours.get("seed", ""))
    return Credentials(
        state=state,
        problems=problems if state == "tampered" else (),
        signer=str(signature.get("common_name") or signature.get("issuer") or ""),
        trust="known" if report.get("validation_state") == "Trusted" else "unknown",
        tool=f"{tool.get('name', '')} {tool.get('version', '')}".strip(),
        ai_generated=any(action.get("digitalSourceType") == AI_GENERATED for action in actions),
        actions=tuple(str(action.get("action", "")) for action in actions),
        prompt=str(ours.get("prompt", "")),
        model=str(ours.get("model", "")),
        seed=int(seed) if seed.isdecimal() and len(seed) < 20 else None,
        sources=tuple(_parse_sources(manifest, ours)),
    )


_FAILURE_MESSAGES = {
    "assertion.bmffHash.mismatch": "the video was changed after it was signed",
    "assertion.dataHash.mismatch": "the file was changed after it was signed",
    "assertion.collectionHash.mismatch": "an image in the archive was changed after it was signed",
    "assertion.hashedURI.mismatch": "its metadata was changed after it was signed",
    "claimSignature.mismatch": "the signature does not match its metadata",
    "signingCredential.invalid": "the certificate is not for signing",
    "signingCredential.expired": "the certificate had expired",
    "claimSignature.outsideValidity": "the certificate had expired",
}


def _failure_messages(results: Mapping[str, Any]) -> Iterator[str]:
    for failure in map(_as_mapping, _as_list(results.get("failure"))):
        code = str(failure.get("code", ""))
        if code not in _IGNORED_FAILURES:
            yield _FAILURE_MESSAGES.get(code, f"{failure.get('explanation', 'a check failed')} ({code})")


def _parse_sources(manifest: Mapping[str, Any], assertion: Mapping[str, Any]) -> Iterator[SourceRecord]:
    """The ingredients of the manifest in order, with the values of our assertion."""
    declared = [_as_mapping(entry) for entry in _as_list(assertion.get("sources"))]
    for number, ingredient in enumerate(map(_as_mapping, _as_list(manifest.get("ingredients")))):
        values = declared[number] if number < len(declared) else {}
        yield SourceRecord(
            title=str(ingredient.get("title", "")),
            role=str(values.get("role", "")),
            sha256=str(values.get("sha256", "")),
            state=_ingredient_state(ingredient),
        )


def _ingredient_state(ingredient: Mapping[str, Any]) -> CredentialState:
    if "active_manifest" not in ingredient:
        return "unsigned"
    results = _as_mapping(_as_mapping(ingredient.get("validation_results")).get("activeManifest"))
    return "tampered" if list(_failure_messages(results)) else "valid"


def _as_mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _as_list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []
