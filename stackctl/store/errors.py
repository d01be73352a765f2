"""What goes wrong with images and objects, told apart by what a caller can do about it."""

from __future__ import annotations

import errno

from stackctl.errors import StackctlError, UsageError

FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
GONE = frozenset(
    {
        errno.EIO,
        errno.ESTALE,
        errno.ETIMEDOUT,
        errno.ENOTCONN,
        errno.EHOSTDOWN,
        errno.EHOSTUNREACH,
        errno.ENETDOWN,
        errno.ENETUNREACH,
        errno.ECONNREFUSED,
        errno.ECONNRESET,
        errno.ECONNABORTED,
        errno.ENODEV,
        errno.ENXIO,
        errno.EREMOTEIO,
    }
)

SHORT = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN})
"""The machine has no open files or memory left: no fault of what was asked for."""


class NotFound(StackctlError):
    """There is no image, object or file of this name."""


class StoreGone(StackctlError):
    """The store, or the disk or mount of a folder, does not answer now: the same call may succeed later."""


class CannotWrite(UsageError):
    """Results cannot be written: the folder is none, not writable, or full."""


class NoSpace(CannotWrite):
    """There is no room left: the same call may succeed once somebody made some."""
