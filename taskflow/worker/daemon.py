"""What makes a process one that runs in the background: a pid file, a log file, another user.

A log file is opened before the user is changed, a pid file after: so its owner can remove it again.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path

from taskflow.errors import ConfigError

__all__ = ["Pidfile", "become", "is_ours", "ready_pipe", "say_ready", "write_log_to"]

READY = "TASKFLOW_READY_FD"
"""In the environment of a process that is to tell, by a pipe, when it is ready."""


class Pidfile:
    """Says in a file which process this is; it is there as long as the process.

    Args:
        path: Where.

    Raises:
        ConfigError: Another process that lives has it, or it cannot be written.
    """

    def __init__(self, path: str) -> None:
        self._path = Path(path)
        fresh = self._path.with_name(f".{self._path.name}.{os.getpid()}")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            fresh.write_text(f"{os.getpid()}\n", encoding="ascii")
            while not self._is_taken_by(fresh):
                self._let_go_of_the_dead()
        except OSError as error:
            raise ConfigError(f"The pid file {path} cannot be written: {error.strerror}.") from error
        finally:
            fresh.unlink(missing_ok=True)

    def _is_taken_by(self, fresh: Path) -> bool:
        """Of two that start at one moment one has it."""
        try:
            self._path.hardlink_to(fresh)
        except FileExistsError:
            return self.read(str(self._path)) == os.getpid()  # this process has started anew
        return True

    def _let_go_of_the_dead(self) -> None:
        other = self.read(str(self._path))
        if other is not None and is_ours(other):
            raise ConfigError(
                f"{self._path} says that process {other} runs already: stop it, or name another --pidfile."
            )
        self._path.unlink(missing_ok=True)

    @staticmethod
    def read(path: str) -> int | None:
        """The process id in a pid file; `None` when there is none."""
        try:
            word = Path(path).read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError):
            return None
        return int(word) if word.isdigit() else None

    def remove(self) -> None:
        """Remove the file, if it still speaks of this process."""
        if self.read(str(self._path)) == os.getpid():
            with suppress(OSError):
                self._path.unlink()


def is_ours(pid: int) -> bool:
    """Whether a process lives, and is a taskflow: numbers are used again for other programs."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False
    return b"taskflow" in words


def write_log_to(path: str) -> None:
    """Append all that this process and its children print to a file, which only its owner can read.

    Raises:
        ConfigError: It cannot be opened.
    """
    try:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise ConfigError(f"The log file {path} cannot be opened: {error.strerror}.") from error
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os.dup2(fd, 1)
    os.dup2(fd, 2)
    os.close(fd)


def become(user: str | None, group: str | None, mask: int | None) -> None:
    """Be another user, of another group, with another umask; what is `None` stays.

    Raises:
        ConfigError: There is no such user or group, or this process may not.
    """
    import grp
    import pwd

    try:
        account = None if user is None else pwd.getpwuid(int(user)) if user.isdigit() else pwd.getpwnam(user)
        if group is not None:
            gid = int(group) if group.isdigit() else grp.getgrnam(group).gr_gid
        else:
            gid = account.pw_gid if account is not None else os.getgid()
        if account is not None and os.getuid() != account.pw_uid:
            os.initgroups(account.pw_name, gid)
        if os.getgid() != gid:
            os.setgid(gid)
        if account is not None and os.getuid() != account.pw_uid:
            os.setuid(account.pw_uid)
            os.environ.update(HOME=account.pw_dir, USER=account.pw_name, LOGNAME=account.pw_name)
    except KeyError as error:
        raise ConfigError(f"There is no such user or group: {error.args[0]}") from error
    except PermissionError as error:
        raise ConfigError("Only root can be another user or group: leave --uid and --gid out.") from error
    if mask is not None:
        os.umask(mask)


def ready_pipe() -> int | None:
    """Where this process is to tell that it is ready, if it is; nobody else inherits it from here on."""
    fd = os.environ.pop(READY, "")
    if not fd.isdigit():
        return None
    with suppress(OSError):
        os.set_inheritable(int(fd), False)
        return int(fd)
    return None


def say_ready(fd: int | None, *, quiet: bool) -> None:
    """Tell who started this process in the background, and waits, that it works.

    Args:
        fd: What `ready_pipe` gave.
        quiet: What it prints from now on goes nowhere: nobody has named a file for it.
    """
    if fd is None:
        return
    with suppress(OSError):
        os.write(fd, b"ready\n")
        os.close(fd)
    if quiet:
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, 1)
        os.dup2(nothing, 2)
        os.close(nothing)
