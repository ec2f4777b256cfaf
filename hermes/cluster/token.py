"""The token that keeps strangers off a Ray started here.

Ray listens on every interface of the machine, whatever address it is given, and whoever reaches it
can run code. So a Ray of ours asks for a token, on Ray versions too that would not by themselves;
and the file that holds it is for its owner's eyes, which Ray leaves to the umask.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import stat
import sys
import tempfile
from pathlib import Path

__all__ = ["require_token"]

_MODE = "RAY_AUTH_MODE"
_GIVEN = ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")
_BYTES = 32  # as Ray's own

_log = logging.getLogger(__name__)


def require_token() -> None:
    """Make the Ray that this process starts next ask for a token, and have one for it.

    Ray reads its mode when it is imported. Where it was before, it is left to ask by itself, which
    it does where nothing is set.
    """
    if "ray" not in sys.modules:
        os.environ.setdefault(_MODE, "token")
    if os.environ.get(_MODE, "token").lower() != "token":
        _log.warning(
            "%s=%s: whoever reaches this machine over the network while the study runs can run "
            "code on it; leave it unset for a Ray that asks for a token",
            _MODE,
            os.environ[_MODE],
        )
        return
    if any(os.environ.get(name) for name in _GIVEN):
        return
    path = Path.home() / ".ray" / "auth_token"
    try:
        _write_new(path)
    except OSError:
        if path.is_file():
            _close_to_others(path)
        else:  # a home that cannot be written: a token for this process and its children
            os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(_BYTES)


def _write_new(path: Path) -> None:
    """Make the file appear whole: another driver may look for it at the same moment."""
    path.parent.mkdir(mode=0o700, exist_ok=True)
    descriptor, draft = tempfile.mkstemp(dir=path.parent)  # for the owner alone
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_hex(_BYTES))
        os.link(draft, path)
    finally:
        os.unlink(draft)


def _close_to_others(path: Path) -> None:
    status = path.stat()
    if status.st_uid == os.getuid() and stat.S_IMODE(status.st_mode) & 0o077:
        with contextlib.suppress(OSError):
            path.chmod(0o600)
