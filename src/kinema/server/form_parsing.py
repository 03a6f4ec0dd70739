"""Parsing of request bodies into named fields, from JSON, multipart or a URL-encoded form.

The official client sends JSON or multipart, depending on its version, and writes nested values of a
multipart body with brackets: `video[id]`, `storyboard[][prompt]`. Scalars of a multipart body are text;
validation gives them types.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
from collections.abc import AsyncGenerator, AsyncIterator
from typing import NoReturn

from python_multipart.exceptions import FormParserError
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import FormParser, MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request

from kinema.server.errors import ApiError, bad_request

MAX_FIELDS = 1000
MAX_FILES = 40
MAX_NESTING = 5
_FIELD_NAME = re.compile(r"([^\[\]]{1,100})((?:\[[^\[\]]{0,100}\])*)")

Fields = dict[str, object]


@contextlib.asynccontextmanager
async def parse_body(request: Request, *, max_field_bytes: int) -> AsyncIterator[Fields]:
    """The fields of a request; uploaded files exist while the block runs.

    Args:
        request: its body is not read yet.
        max_field_bytes: size of a field that is not a file.

    Raises:
        ApiError: the body is neither a JSON object nor a well-formed form.
    """
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type in ("multipart/form-data", "application/x-www-form-urlencoded"):
        form = await _parse_form(request, media_type, max_field_bytes)
        try:
            yield unflatten(list(form.multi_items()))
        finally:
            await form.close()
        return
    body = await request.body()
    if media_type not in ("application/json", "") and not media_type.endswith("+json"):
        raise bad_request(
            f"A body of type {media_type[:100]!r} is not supported; send JSON or multipart/form-data."
        )
    yield parse_json_object(body) if body else {}


class _MultipartParser(MultiPartParser):
    """Remembers whether the last boundary was read."""

    saw_last_boundary = False

    def on_end(self) -> None:
        """Called at the last boundary."""
        self.saw_last_boundary = True


async def _parse_form(request: Request, content_type: str, max_field_bytes: int) -> FormData:
    stream_errors: list[Exception] = []

    async def stream() -> AsyncGenerator[bytes, None]:
        try:
            async for chunk in request.stream():
                yield chunk
        except (ApiError, ClientDisconnect) as error:
            stream_errors.append(error)
            raise MultiPartException("the body ended early") from None
        # An exception in the stream makes the parser close the files of incomplete parts.
        if isinstance(parser, _MultipartParser) and not parser.saw_last_boundary:
            raise MultiPartException("it is truncated")

    if content_type == "multipart/form-data":
        parser: _MultipartParser | FormParser = _MultipartParser(
            request.headers,
            stream(),
            max_files=MAX_FILES,
            max_fields=MAX_FIELDS,
            max_part_size=max_field_bytes,
        )
    else:
        parser = FormParser(request.headers, stream(), max_fields=MAX_FIELDS, max_part_size=max_field_bytes)
    try:
        return await parser.parse()
    except MultiPartException as error:
        message = f"The form can't be parsed: {error.message}"
        raise stream_errors[0] if stream_errors else bad_request(message) from None
    except (FormParserError, ValueError, LookupError, AssertionError) as error:
        raise bad_request(f"The form can't be parsed ({type(error).__name__}).") from None


def parse_json_object(body: bytes) -> Fields:
    """The object in a JSON text.

    Raises:
        ApiError: the text is not a JSON object.
    """
    try:
        values = json.loads(body, parse_constant=_reject_constant)
    except RecursionError:
        raise bad_request("The JSON is nested too deeply.") from None
    except ValueError as error:
        raise bad_request(f"The body is not JSON: {error}") from None
    if not isinstance(values, dict):
        raise bad_request("The body is not a JSON object; send {...} with named values.")
    return values


def _reject_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is not a number")


def unflatten(items: list[tuple[str, object]]) -> Fields:
    """Fields with bracketed names as nested objects and lists.

    Raises:
        ApiError: a name is malformed, nested too deeply, or occurs twice.
    """
    fields: Fields = {}
    for name, value in items:
        match = _FIELD_NAME.fullmatch(name)
        if match is None:
            raise bad_request(f"{name[:100]!r} is not a field name.")
        path = [match[1], *re.findall(r"\[([^\[\]]*)\]", match[2])]
        if len(path) > MAX_NESTING:
            raise bad_request(f"{name[:100]!r} is nested too deeply.")
        _insert(fields, path, value, name)
    return {name: _indexed_dicts_to_lists(value) for name, value in fields.items()}


def _insert(node: Fields, path: list[str], value: object, name: str) -> None:
    head, rest = path[0], path[1:]
    if not rest:
        if head in node:
            raise bad_request(f"{name[:100]!r} occurs twice.")
        node[head] = value
        return
    if rest[0] == "":
        entries = node.setdefault(head, [])
        if not isinstance(entries, list):
            raise bad_request(f"{name[:100]!r} occurs as two different types.")
        if len(rest) == 1:
            entries.append(value)
            return
        last = entries[-1] if entries else None
        # The second `storyboard[][prompt]` starts the next entry.
        if not isinstance(last, dict) or rest[1] in last:
            last = {}
            entries.append(last)
        _insert(last, rest[1:], value, name)
        return
    inner = node.setdefault(head, {})
    if not isinstance(inner, dict):
        raise bad_request(f"{name[:100]!r} occurs as two different types.")
    _insert(inner, rest, value, name)


def _indexed_dicts_to_lists(value: object) -> object:
    """Objects with the keys 0, 1, 2, ... become lists."""
    if isinstance(value, list):
        return [_indexed_dicts_to_lists(entry) for entry in value]
    if not isinstance(value, dict):
        return value
    if value and set(value) == {str(index) for index in range(len(value))}:
        return [_indexed_dicts_to_lists(value[str(index)]) for index in range(len(value))]
    return {name: _indexed_dicts_to_lists(entry) for name, entry in value.items()}


async def hash_body(fields: Fields) -> str:
    """A hash of all fields and files: whether two requests with one Idempotency-Key are the same."""
    digest = hashlib.sha256()

    async def update_digest(value: object) -> None:
        if isinstance(value, UploadFile):
            await value.seek(0)
            while chunk := await value.read(1 << 20):
                digest.update(chunk)
            await value.seek(0)
        elif isinstance(value, dict):
            for name in sorted(value):
                digest.update(b"{" + name.encode("utf-8", "replace"))
                await update_digest(value[name])
        elif isinstance(value, list):
            for entry in value:
                digest.update(b"[")
                await update_digest(entry)
        else:
            digest.update(b"=" + str(value).encode("utf-8", "replace"))

    await update_digest(fields)
    return digest.hexdigest()


def read_idempotency_key(request: Request) -> str | None:
    """The Idempotency-Key of a request, if it has one.

    Raises:
        ApiError: it is too long.
    """
    key = request.headers.get("idempotency-key")
    if key is not None and not 0 < len(key) <= 255:
        raise ApiError(
            400, "An Idempotency-Key has 1 to 255 characters.", param="Idempotency-Key", retry=False
        )
    return key
