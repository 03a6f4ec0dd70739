"""Reading content credentials back, and saying in one word whether they hold."""

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
"""A signer whom nobody vouches for: told as `unknown`, no reason to doubt the bytes."""


@dataclass(frozen=True, kw_only=True)
class SourceRecord:
    """A video or image that a video was made from.

    Attributes:
        title: its name.
        role: what it was used as; empty where another program doesn't say.
        sha256: of its file, as hexadecimal; empty where another program doesn't say.
        state: of its own credentials when it was used.
    """

    title: str
    role: str = ""
    sha256: str = ""
    state: CredentialState = "unsigned"


@dataclass(frozen=True, kw_only=True)
class Credentials:
    """What a file says of how it was made, and whether it may be believed.

    Attributes:
        state: `valid`: not one byte that counts was changed since it was signed. `tampered`: something was.
            `unsigned`: there is nothing to check.
        problems: why it is `tampered`, or why there is nothing; one line each.
        signer: name in the certificate.
        trust: `known` where the certificate is one's own or hangs on one of the given roots.
        tool: the program and its version.
        ai_generated: whether it declares that a trained model made it.
        actions: what was done, in C2PA's words (`c2pa.created`, ...).
        prompt: what was asked for.
        model: what made it.
        seed: of the noise.
        sources: what it was made from.
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
    """Read and check a file's credentials. Never touches the network.

    Args:
        path: a video or image.
        roots: certificates as PEM whose signatures count as known, beside this user's own.
        directory: folder of this user's own certificate, instead of the usual one.

    Raises:
        UserError: the file does not exist or is empty; or the libraries are not installed.
    """
    require_libraries()
    import c2pa

    source = require_readable(path)
    if source.is_dir():
        return Credentials(state="unsigned", problems=("a folder of images can't carry credentials",))
    options = c2pa_settings()
    anchors = roots + (root_pem(directory) or b"")
    if anchors:
        options.update({"trust": {"user_anchors": anchors.decode("ascii", "replace")}})
    try:
        with c2pa.Context(options) as context, source.open("rb") as file:
            # The library guesses most kinds by itself, but an archive can be anything.
            kind = sniff_mime(file)
            with c2pa.Reader(None if kind == UNKNOWN_MIME else kind, file, context=context) as reader:
                told = json.loads(reader.json())
    except c2pa.C2paError.ManifestNotFound:
        return Credentials(state="unsigned", problems=("nobody signed it",))
    except c2pa.C2paError.NotSupported:
        kind = source.suffix or "this kind of"
        return Credentials(state="unsigned", problems=(f"{kind} files can't carry credentials",))
    except c2pa.C2paError as error:
        return Credentials(state="tampered", problems=(f"its credentials are damaged: {first_line(error)}",))
    return _parse_report(told)


def _parse_report(report: Mapping[str, Any]) -> Credentials:
    """What the library reports, as ours. Who signed may have written anything, so every kind is checked."""
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
    problems = tuple(dict.fromkeys(_failure_messages(results))) or ("its credentials do not hold",)
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
    "assertion.hashedURI.mismatch": "what it says of itself was changed after it was signed",
    "claimSignature.mismatch": "the signature does not belong to what it says of itself",
    "signingCredential.invalid": "the certificate is not one that may sign",
    "signingCredential.expired": "the certificate had run out",
    "claimSignature.outsideValidity": "the certificate had run out",
}


def _failure_messages(results: Mapping[str, Any]) -> Iterator[str]:
    for failure in map(_as_mapping, _as_list(results.get("failure"))):
        code = str(failure.get("code", ""))
        if code not in _IGNORED_FAILURES:
            yield _FAILURE_MESSAGES.get(code, f"{failure.get('explanation', 'a check failed')} ({code})")


def _parse_sources(manifest: Mapping[str, Any], assertion: Mapping[str, Any]) -> Iterator[SourceRecord]:
    """The ingredients that C2PA knows, in order, with what our assertion adds."""
    more = [_as_mapping(entry) for entry in _as_list(assertion.get("sources"))]
    for number, ingredient in enumerate(map(_as_mapping, _as_list(manifest.get("ingredients")))):
        own = more[number] if number < len(more) else {}
        yield SourceRecord(
            title=str(ingredient.get("title", "")),
            role=str(own.get("role", "")),
            sha256=str(own.get("sha256", "")),
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
