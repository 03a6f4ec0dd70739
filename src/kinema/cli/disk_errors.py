"""Errors of the disk as one line, for commands that write folders and can be run again."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

from kinema.errors import UserError

_DISK_ERRORS = {
    errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.EFBIG, errno.ENOTDIR,
}  # fmt: skip


@contextlib.contextmanager
def disk_errors(place: Path | str) -> Iterator[None]:
    """Turn a full, broken or protected disk into one line.

    Args:
        place: what is written.

    Raises:
        UserError: the disk refused to write.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _DISK_ERRORS:
            raise
        raise UserError(
            f"can't write {place}: {os.strerror(error.errno)}; free space or choose another folder, then "
            "run the same command again: what is finished is kept"
        ) from None
