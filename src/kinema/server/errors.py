"""What goes wrong, as the API says it: `{"error": {"message", "type", "param", "code"}}`."""

from __future__ import annotations

import errno
import json
import sqlite3

from kinema.errors import UserError

_ERROR_TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}


class ApiError(Exception):
    """An answer that is no success."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        headers: dict[str, str] | None = None,
        retry: bool | None = None,
    ) -> None:
        """Say it.

        Args:
            status: of HTTP.
            message: what is wrong and what to do.
            code: a word for programs.
            param: the field that is wrong.
            headers: more headers.
            retry: tells clients whether the same request may succeed later; None leaves it to the status.
        """
        super().__init__(message)
        self.status, self.message, self.code, self.param = status, message, code, param
        self.headers = dict(headers or {})
        if retry is not None:
            self.headers["x-should-retry"] = "true" if retry else "false"

    def body(self) -> bytes:
        """The answer's body."""
        return error_body(self.status, self.message, code=self.code, param=self.param)


def error_body(status: int, message: str, *, code: str | None = None, param: str | None = None) -> bytes:
    """The body of an answer that is no success."""
    kind = _ERROR_TYPES.get(status, "invalid_request_error" if status < 500 else "server_error")
    return json.dumps({"error": {"message": message, "type": kind, "param": param, "code": code}}).encode()


def bad_request(message: str, *, param: str | None = None, code: str | None = None) -> ApiError:
    """400: the request is wrong, and will be wrong again."""
    return ApiError(400, message, param=param, code=code, retry=False)


def not_found(message: str) -> ApiError:
    """404."""
    return ApiError(404, message, code="not_found", retry=False)


def to_api_error(error: Exception) -> ApiError | None:
    """What an exception means to a caller; None: a mistake of ours, to be logged."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, UserError):
        return bad_request(str(error))
    if isinstance(error, sqlite3.OperationalError):
        return ApiError(503, "The server's store is busy or its disk is full; try again.",
                        code="storage", headers={"retry-after-ms": "2000"})  # fmt: skip
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return ApiError(503, "The server's disk is full; try again later.", code="disk_full", retry=False)
    return None
