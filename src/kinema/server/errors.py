"""Errors of the HTTP API: `{"error": {"message", "type", "param", "code"}}`."""

from __future__ import annotations

import contextlib
import errno
import json
from collections.abc import Iterator

from kinema.errors import UserError
from kinema.server.file_store import DamagedFileError
from kinema.server.job import RequestTooLargeError, StorageQuotaError
from kinema.server.job_store import StoreBusyError

_PARAMS = {401: "authorization", 404: "path", 405: "method", 408: "body", 413: "body"}
"""What an error that names no field of the request is about; else the request as a whole."""
_ERROR_TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}


class ApiError(Exception):
    """An error response.

    Args:
        status: HTTP status.
        message: what is wrong and what to do.
        code: identifier for programs.
        param: the request field that is wrong; None: the status says what is.
        headers: additional response headers.
        retry: whether the same request may succeed later, for clients; None leaves that to the status.
    """

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
        super().__init__(message)
        self.status, self.message, self.code, self.param = status, message, code, param
        self.headers = dict(headers or {})
        if retry is not None:
            self.headers["x-should-retry"] = "true" if retry else "false"

    @property
    def about(self) -> str:
        """The field of the request, or the part of it, that the error is about."""
        return self.param or _PARAMS.get(self.status, "request")

    def body(self) -> bytes:
        """The response body."""
        kind = _ERROR_TYPES.get(self.status, "invalid_request_error" if self.status < 500 else "server_error")
        error = {"message": self.message, "type": kind, "param": self.about, "code": self.code}
        return json.dumps({"error": error}).encode()


def bad_request(message: str, *, param: str | None = None, code: str | None = None) -> ApiError:
    """400: the request is invalid, and a retry will not help."""
    return ApiError(400, message, param=param, code=code, retry=False)


def not_found(message: str, *, param: str | None = None) -> ApiError:
    """404."""
    return ApiError(404, message, param=param, code="not_found", retry=False)


def disk_full() -> ApiError:
    """503: there is no disk space."""
    return ApiError(503, "The server's disk is full; try again later.", code="disk_full", retry=False)


@contextlib.contextmanager
def error_param(param: str) -> Iterator[None]:
    """Name the request field in errors of the block that do not name one."""
    try:
        yield
    except ApiError as error:
        error.param = error.param or param
        raise


def to_api_error(error: Exception) -> ApiError | None:
    """The response for an exception; None for a bug in the server, which belongs in the log."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, UserError):
        return bad_request(str(error))
    if isinstance(error, StorageQuotaError):
        return ApiError(429, str(error), code="storage_full", retry=False)
    if isinstance(error, RequestTooLargeError):
        return ApiError(413, str(error), code="request_too_large", retry=False)
    if isinstance(error, DamagedFileError):
        return ApiError(500, "The stored file is damaged; generate the video again.", code="video_damaged",
                        retry=False)  # fmt: skip
    if isinstance(error, StoreBusyError):
        return ApiError(503, "The server's database is busy or its disk is full; try again.",
                        code="storage", headers={"retry-after-ms": "2000", "retry-after": "2"})  # fmt: skip
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return disk_full()
    return None
