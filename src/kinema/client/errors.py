"""Errors of the client."""

from __future__ import annotations

from kinema.errors import UserError


class ClientError(UserError):
    """The server refused a request, or could not be reached.

    Args:
        message: what is wrong, in the server's words.
        status: HTTP status; None: there was no answer.
        code: identifier for programs.
        param: the field that is wrong.
        retry_after_s: when the server asks to try again.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        code: str | None = None,
        param: str | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.code, self.param, self.retry_after_s = status, code, param, retry_after_s
