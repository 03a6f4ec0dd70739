"""Parsing of request bodies into named fields, from JSON, multipart or a URL-encoded form.

The official client sends JSON or multipart, depending on its version, and writes nested values of a
multipart body with brackets: `video[id]`, `storyboard[][prompt]`. Scalars of a multipart body are text;
validation gives them types.

A body is checked before it is parsed: its size without files and data URLs, and the number of its values.
Otherwise two megabytes of `[0,0,0,...]` would become a gigabyte of objects and error messages. Large bodies
are parsed in a thread, so that the event loop goes on.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import hashlib
import json
import re
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import NoReturn
from urllib.parse import parse_qsl

from python_multipart.exceptions import FormParserError
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request

from kinema.server.errors import ApiError, bad_request
from kinema.server.settings import Limits

MAX_FIELDS = 1000
MAX_FILES = 40
MAX_NESTING = 5
"""Of bracketed field names."""
MAX_JSON_VALUES = 10_000
MAX_JSON_DEPTH = 64
_IN_THREAD_BYTES = 32 * 1024
"""Smaller bodies are parsed at once: that takes less time than the change of threads."""
_FIELD_NAME = re.compile(r"([^\[\]]{1,100})((?:\[[^\[\]]{0,100}\])*)")

Fields = dict[str, object]


@contextlib.asynccontextmanager
async def parse_body(request: Request) -> AsyncIterator[Fields]:
    """The fields of a request; uploaded files exist while the block runs.

    Args:
        request: its body is not read yet.

    Raises:
        ApiError: the body is neither a JSON object nor a well-formed form, or is beyond the limits.
    """
    limits: Limits = request.app.state.server.settings.limits
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type == "multipart/form-data":
        form = await _parse_multipart(request, limits)
        try:
            yield unflatten(list(form.multi_items()))
        finally:
            await form.close()
    elif media_type == "application/x-www-form-urlencoded":
        body = await _read_body(request, limits.max_json_bytes)
        yield await _parse_in_thread(_parse_urlencoded, body)
    elif media_type in ("application/json", "") or media_type.endswith("+json"):
        body = await _read_body(request, limits.max_body_bytes)
        parse = functools.partial(parse_json_object, max_bytes=limits.max_json_bytes)
        yield await _parse_in_thread(parse, body) if body else {}
    else:
        raise bad_request(
            f"A body of type {media_type[:100]!r} is not supported; send JSON or multipart/form-data.",
            param="content-type",
        )


async def _read_body(request: Request, max_bytes: int) -> bytearray:
    """The whole body. Starlette's `Request.body` would keep a second copy until the response."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > max_bytes:
            raise _too_large_error(max_bytes)
    return body


async def _parse_in_thread(parse: Callable[[bytearray], Fields], body: bytearray) -> Fields:
    return parse(body) if len(body) < _IN_THREAD_BYTES else await asyncio.to_thread(parse, body)


def _too_large_error(max_bytes: int) -> ApiError:
    return ApiError(
        413, f"The request has more than the {max_bytes >> 10} KiB allowed without its files and data URLs; "
        "send images as files (multipart/form-data) or data URLs.",
        code="too_large", param="body", headers={"connection": "close"}, retry=False,
    )  # fmt: skip


class _MultipartParser(MultiPartParser):
    """Remembers whether the last boundary was read."""

    saw_last_boundary = False

    def on_end(self) -> None:
        """Called at the last boundary."""
        self.saw_last_boundary = True


async def _parse_multipart(request: Request, limits: Limits) -> FormData:
    stream_errors: list[Exception] = []

    async def stream() -> AsyncGenerator[bytes, None]:
        try:
            async for chunk in request.stream():
                yield chunk
        except (ApiError, ClientDisconnect) as error:
            stream_errors.append(error)
            raise MultiPartException("the body ended early") from None
        # An exception in the stream makes the parser close the files of incomplete parts.
        if not parser.saw_last_boundary:
            raise MultiPartException("it is truncated")

    parser = _MultipartParser(
        request.headers,
        stream(),
        max_files=MAX_FILES,
        max_fields=MAX_FIELDS,
        max_part_size=limits.max_body_bytes,
    )
    try:
        form = await parser.parse()
    except MultiPartException as error:
        message = f"The form can't be parsed: {error.message}"
        raise stream_errors[0] if stream_errors else bad_request(message, param="body") from None
    except (FormParserError, ValueError, LookupError, AssertionError) as error:
        raise bad_request(f"The form can't be parsed ({type(error).__name__}).", param="body") from None
    try:
        await asyncio.to_thread(_check_fields, form, limits.max_json_bytes)
    except BaseException:
        await form.close()
        raise
    return form


def _check_fields(form: FormData, max_bytes: int) -> None:
    """Check the size of the fields that are not files; a field may hold a data URL, or JSON with some."""
    num_chars = 0
    for name, value in form.multi_items():
        num_chars += len(name)
        if isinstance(value, str) and not _is_data_url(value):
            try:
                num_chars += _scan_json(value, max_bytes) if value[:1] in ("{", "[") else len(value)
            except ValueError as error:
                raise bad_request(
                    f"The field {name[:100]!r} is too large: {error}.", param=name[:100]
                ) from None
        if num_chars > max_bytes:
            raise _too_large_error(max_bytes)


def _parse_urlencoded(body: bytearray) -> Fields:
    try:
        items = parse_qsl(body.decode(), keep_blank_values=True, errors="strict", max_num_fields=MAX_FIELDS)
    except ValueError as error:
        raise bad_request(f"The form can't be parsed ({type(error).__name__}).", param="body") from None
    return unflatten([*items])


def parse_json_object(body: bytes | bytearray, max_bytes: int) -> Fields:
    """The object in a JSON text.

    Args:
        body: UTF-8.
        max_bytes: size without data URLs.

    Raises:
        ApiError: the text is not a JSON object, or is too large.
    """
    try:
        text = body.decode()
        del body
        if _scan_json(text, max_bytes) > max_bytes:
            raise _too_large_error(max_bytes)
        values = _load_json(text)
    except ValueError as error:
        raise bad_request(f"The body is not JSON: {error}", param="body") from None
    if not isinstance(values, dict):
        raise bad_request("The body is not a JSON object; send {...} with named values.", param="body")
    return values


def parse_json_text(text: str) -> object:
    """The value of a form field that holds JSON.

    Raises:
        ValueError: it is not JSON, or has too many values.
    """
    _scan_json(text, len(text))
    return _load_json(text)


def _load_json(text: str) -> object:
    try:
        values: object = json.loads(text, parse_constant=_reject_constant)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    level = [values]
    for _ in range(MAX_JSON_DEPTH + 1):
        level = [
            inner
            for outer in level
            if isinstance(outer, dict | list)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
        if not level:
            return values
    raise ValueError(f"it is nested more than {MAX_JSON_DEPTH} levels deep")


def _scan_json(text: str, max_chars: int) -> int:
    """Length of a JSON text without the strings that are data URLs; the scan ends beyond `max_chars`.

    Raises:
        ValueError: the text has more than `MAX_JSON_VALUES` values.
    """
    num_chars = num_values = position = 0
    while True:
        start = text.find('"', position)
        gap_end = len(text) if start < 0 else start
        num_values += sum(text.count(mark, position, gap_end) for mark in ",[{")
        if num_values > MAX_JSON_VALUES:
            raise ValueError(f"it has more than {MAX_JSON_VALUES} values")
        num_chars += gap_end - position
        if start < 0 or num_chars > max_chars:
            return num_chars
        end = text.find('"', start + 1)
        if end < 0 or not _is_data_url(text, start + 1) or text[end - 1] == "\\":
            end = _find_string_end(text, start + 1, start + 1 + max_chars)
            num_chars += end + 1 - start
        position = end + 1


def _find_string_end(text: str, position: int, limit: int) -> int:
    """Index of the quotation mark that ends a string; the search ends at the text's end or beyond `limit`."""
    while position <= limit:
        end = text.find('"', position)
        if end < 0:
            return len(text)
        before = text[position:end]
        if (len(before) - len(before.rstrip("\\"))) % 2 == 0:
            return end
        position = end + 1
    return position


def _is_data_url(text: str, start: int = 0) -> bool:
    return text[start : start + 5].lower() == "data:"


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
            raise bad_request(f"{name[:100]!r} is not a field name.", param=name[:100])
        path = [match[1], *re.findall(r"\[([^\[\]]*)\]", match[2])]
        if len(path) > MAX_NESTING:
            raise bad_request(f"{name[:100]!r} is nested too deeply.", param=name[:100])
        _insert(fields, path, value, name)
    return {name: _indexed_dicts_to_lists(value) for name, value in fields.items()}


def _insert(node: Fields, path: list[str], value: object, name: str) -> None:
    head, rest = path[0], path[1:]
    if not rest:
        if head in node:
            raise bad_request(f"{name[:100]!r} occurs twice.", param=name[:100])
        node[head] = value
        return
    if rest[0] == "":
        entries = node.setdefault(head, [])
        if not isinstance(entries, list):
            raise bad_request(f"{name[:100]!r} occurs as two different types.", param=name[:100])
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
        raise bad_request(f"{name[:100]!r} occurs as two different types.", param=name[:100])
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
    return _hash_fields(fields) if _is_small(fields) else await asyncio.to_thread(_hash_fields, fields)


def _is_small(fields: Fields) -> bool:
    """Whether the fields are numbers and short texts only."""
    values = fields.values()
    is_flat = all(value is None or isinstance(value, str | int | float) for value in values)
    return is_flat and sum(len(value) for value in values if isinstance(value, str)) < _IN_THREAD_BYTES


def _hash_fields(fields: Fields) -> str:
    def hash_file(value: object) -> dict[str, str]:
        if not isinstance(value, UploadFile):
            raise TypeError(f"a field of type {type(value).__name__} has no hash")
        value.file.seek(0)
        digest = hashlib.sha256()
        while chunk := value.file.read(1 << 20):
            digest.update(chunk)
        value.file.seek(0)
        # No accepted field name starts with a null character.
        return {"\0file": digest.hexdigest()}

    text = json.dumps(fields, sort_keys=True, default=hash_file)
    return hashlib.sha256(text.encode()).hexdigest()


def read_idempotency_key(request: Request) -> str | None:
    """The Idempotency-Key of a request, if it has one.

    Raises:
        ApiError: it is too long.
    """
    key = request.headers.get("idempotency-key")
    if key is not None and not (0 < len(key) <= 255 and key.isprintable()):
        raise ApiError(
            400, "An Idempotency-Key has 1 to 255 printable characters.", param="Idempotency-Key", retry=False
        )
    return key
