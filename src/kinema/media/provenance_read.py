"""Reading content credentials back, and saying in one word whether they hold."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from kinema.media.probe import checked
from kinema.media.provenance import AI_MADE, LABEL, UNKNOWN, first_line, kind_of, require, settings
from kinema.media.provenance_identity import root_of

State = Literal["valid", "tampered", "unsigned"]
Trust = Literal["known", "unknown"]

_HARMLESS = {"signingCredential.untrusted"}
"""A signer whom nobody vouches for: told as `unknown`, no reason to doubt the bytes."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """A film or picture that a film was made from.

    Attributes:
        title: its name.
        role: what it was used as; empty where another program doesn't say.
        sha256: of its file, as hexadecimal; empty where another program doesn't say.
        state: of its own credentials when it was used.
    """

    title: str
    role: str = ""
    sha256: str = ""
    state: State = "unsigned"


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
        ai_made: whether it declares that a trained model made it.
        actions: what was done, in C2PA's words (`c2pa.created`, ...).
        prompt: what was asked for.
        model: what made it.
        seed: of the noise.
        sources: what it was made from.
    """

    state: State
    problems: tuple[str, ...] = ()
    signer: str = ""
    trust: Trust = "unknown"
    tool: str = ""
    ai_made: bool = False
    actions: tuple[str, ...] = ()
    prompt: str = ""
    model: str = ""
    seed: int | None = None
    sources: tuple[Source, ...] = ()


def credentials(
    path: str | os.PathLike[str], *, roots: bytes = b"", place: Path | None = None
) -> Credentials:
    """Read and check a file's credentials. Never touches the network.

    Args:
        path: a film or picture.
        roots: certificates as PEM whose signatures count as known, beside this user's own.
        place: folder of this user's own certificate, instead of the usual one.

    Raises:
        UserError: the file does not exist or is empty; or the libraries are not installed.
    """
    require()
    import c2pa

    source = checked(path)
    if source.is_dir():
        return Credentials(state="unsigned", problems=("a folder of pictures can't carry credentials",))
    options = settings()
    anchors = roots + (root_of(place) or b"")
    if anchors:
        options.update({"trust": {"user_anchors": anchors.decode("ascii", "replace")}})
    try:
        with c2pa.Context(options) as context, source.open("rb") as file:
            # The library guesses most kinds by itself, but an archive can be anything.
            kind = kind_of(file)
            with c2pa.Reader(None if kind == UNKNOWN else kind, file, context=context) as reader:
                told = json.loads(reader.json())
    except c2pa.C2paError.ManifestNotFound:
        return Credentials(state="unsigned", problems=("nobody signed it",))
    except c2pa.C2paError.NotSupported:
        kind = source.suffix or "this kind of"
        return Credentials(state="unsigned", problems=(f"{kind} files can't carry credentials",))
    except c2pa.C2paError as error:
        return Credentials(state="tampered", problems=(f"its credentials are damaged: {first_line(error)}",))
    return _said(told)


def _said(told: Mapping[str, Any]) -> Credentials:
    """What the library reports, as ours. Who signed may have written anything, so every kind is checked."""
    manifest = _map(_map(told.get("manifests")).get(str(told.get("active_manifest"))))
    assertions = [_map(entry) for entry in _list(manifest.get("assertions"))]
    ours = next((_map(entry.get("data")) for entry in assertions if entry.get("label") == LABEL), {})
    actions = [
        _map(action)
        for entry in assertions
        if str(entry.get("label", "")).startswith("c2pa.actions")
        for action in _list(_map(entry.get("data")).get("actions"))
    ]
    results = _map(_map(told.get("validation_results")).get("activeManifest"))
    state: State = "valid" if told.get("validation_state") in ("Valid", "Trusted") else "tampered"
    problems = tuple(dict.fromkeys(_failures(results))) or ("its credentials do not hold",)
    signature = _map(manifest.get("signature_info"))
    tool = next((_map(entry) for entry in _list(manifest.get("claim_generator_info"))), {})
    seed = str(ours.get("seed", ""))
    return Credentials(
        state=state,
        problems=problems if state == "tampered" else (),
        signer=str(signature.get("common_name") or signature.get("issuer") or ""),
        trust="known" if told.get("validation_state") == "Trusted" else "unknown",
        tool=f"{tool.get('name', '')} {tool.get('version', '')}".strip(),
        ai_made=any(action.get("digitalSourceType") == AI_MADE for action in actions),
        actions=tuple(str(action.get("action", "")) for action in actions),
        prompt=str(ours.get("prompt", "")),
        model=str(ours.get("model", "")),
        seed=int(seed) if seed.isdecimal() and len(seed) < 20 else None,
        sources=tuple(_sources(manifest, ours)),
    )


_WORDS = {
    "assertion.bmffHash.mismatch": "the film was changed after it was signed",
    "assertion.dataHash.mismatch": "the file was changed after it was signed",
    "assertion.collectionHash.mismatch": "a picture in the archive was changed after it was signed",
    "assertion.hashedURI.mismatch": "what it says of itself was changed after it was signed",
    "claimSignature.mismatch": "the signature does not belong to what it says of itself",
    "signingCredential.invalid": "the certificate is not one that may sign",
    "signingCredential.expired": "the certificate had run out",
    "claimSignature.outsideValidity": "the certificate had run out",
}


def _failures(results: Mapping[str, Any]) -> Iterator[str]:
    for failure in map(_map, _list(results.get("failure"))):
        code = str(failure.get("code", ""))
        if code not in _HARMLESS:
            yield _WORDS.get(code, f"{failure.get('explanation', 'a check failed')} ({code})")


def _sources(manifest: Mapping[str, Any], ours: Mapping[str, Any]) -> Iterator[Source]:
    """The ingredients that C2PA knows, in order, with what our assertion adds."""
    more = [_map(entry) for entry in _list(ours.get("sources"))]
    for number, ingredient in enumerate(map(_map, _list(manifest.get("ingredients")))):
        own = more[number] if number < len(more) else {}
        yield Source(
            title=str(ingredient.get("title", "")),
            role=str(own.get("role", "")),
            sha256=str(own.get("sha256", "")),
            state=_state(ingredient),
        )


def _state(ingredient: Mapping[str, Any]) -> State:
    if "active_manifest" not in ingredient:
        return "unsigned"
    results = _map(_map(ingredient.get("validation_results")).get("activeManifest"))
    return "tampered" if list(_failures(results)) else "valid"


def _map(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []
