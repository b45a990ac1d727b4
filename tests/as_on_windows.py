"""Makes a process on Linux lack what Windows lacks, and refuse what it refuses: a simulation, no Windows.

With SIGNPREP_TESTS_SYSTEM=macos it lacks what macOS lacks.

It lies as `sitecustomize.py` on PYTHONPATH, so that processes which others start have it too. What is missing is so
for signprep's own modules; the libraries that it stands on know both systems, and see the one that they are on.
"""

import builtins
import io
import os
import re
import types
from contextlib import suppress
from pathlib import Path


def _names(*lines: str) -> list[str]:
    return [name for line in lines for name in line.split()]


MODULES = {"fcntl", "resource", "pwd", "grp", "termios", "tty", "pty", "posix", "syslog", "readline"}
ON_MACOS = {
    "os": [
        "O_DIRECT",
        "O_PATH",
        "O_TMPFILE",
        "posix_fadvise",
        "posix_fallocate",
        "sched_getaffinity",
        "sched_setaffinity",
    ],
    "signal": ["sigtimedwait", "sigwaitinfo"],
}
ON_WINDOWS = {
    "os": _names(
        "O_CLOEXEC O_DIRECTORY O_DSYNC O_NOCTTY O_NOFOLLOW O_NONBLOCK O_PATH O_SYNC O_TMPFILE chown chroot",
        "fchmod fchown fork forkpty getegid geteuid getgid getgroups getloadavg getpgid getpgrp getpriority",
        "getsid getuid initgroups killpg lchown lockf major mkfifo mknod nice openpty pathconf posix_fadvise",
        "posix_fallocate posix_spawn pread preadv pwrite readv register_at_fork sched_getaffinity",
        "sched_setaffinity sched_yield sendfile setpgid setpriority setsid sync sysconf tcgetpgrp ttyname",
        "uname wait wait3 wait4 waitid writev",
    ),
    "signal": _names(
        "SIGALRM SIGBUS SIGCHLD SIGCONT SIGHUP SIGKILL SIGPIPE SIGQUIT SIGSTOP SIGTSTP SIGUSR1 SIGUSR2",
        "SIGWINCH alarm getitimer pause pthread_kill pthread_sigmask setitimer siginterrupt sigpending",
        "sigwait sigwaitinfo",
    ),
}
REFUSED_NAME = re.compile(r'[<>:"|?*\x00-\x1f]|[. ]$|^(con|prn|aux|nul|com[1-9]|lpt[1-9])(\..*)?$', re.IGNORECASE)
POSIX_ALONE = ("/proc/", "/dev/", "/sys/")


def _without(module: types.ModuleType, missing: list[str]) -> types.ModuleType:
    copy = types.ModuleType(module.__name__)
    copy.__dict__.update({name: value for name, value in vars(module).items() if name not in missing})
    return copy


_import = builtins.__import__
_IS_WINDOWS = os.environ.get("SIGNPREP_TESTS_SYSTEM") != "macos"
_COPIES = {
    name: _without(_import(name), missing) for name, missing in (ON_WINDOWS if _IS_WINDOWS else ON_MACOS).items()
}
if _IS_WINDOWS:
    _COPIES["os"].name = "nt"  # type: ignore[attr-defined]


def _lacking(name, globals=None, locals=None, fromlist=(), level=0):
    by_signprep = str((globals or {}).get("__name__", "")).startswith("signprep")
    if by_signprep and _IS_WINDOWS and name in MODULES:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)
    if by_signprep and name in _COPIES:
        return _COPIES[name]
    return _import(name, globals, locals, fromlist, level)


def _open_files() -> set[str]:
    """Files that this process has open, or mapped into its memory."""
    found = set()
    for descriptor in Path("/proc/self/fd").iterdir():
        with suppress(OSError):  # the one of this list is closed again
            found.add(str(descriptor.readlink()))
    with _open("/proc/self/maps", encoding="utf-8", errors="surrogateescape") as maps:
        found |= {line.split(maxsplit=5)[5].rstrip("\n") for line in maps if len(line.split(maxsplit=5)) > 5}
    return found


def _refusing_open_files(function):
    def refusing(path, *others, **options):
        opened = _open_files()
        for each in (path, *others[:1]):
            if isinstance(each, str | os.PathLike) and options.get("dir_fd") is None:
                real = os.path.realpath(each)
                if real in opened or any(name.startswith(real + "/") for name in opened):
                    raise PermissionError(13, "The process cannot access the file because it is being used", str(each))
        return function(path, *others, **options)

    return refusing


def _refusing_names(function, *, writes=lambda *_: True):
    def refusing(path, *others, **options):
        if isinstance(path, str | os.PathLike) and writes(*others, *options.values()):
            text = os.path.abspath(os.fspath(path))  # noqa: PTH100  (and not where links lead)
            if not text.startswith(POSIX_ALONE) or text.startswith("/dev/shm/"):
                for part in text.split("/"):
                    if part not in ("", ".", "..") and REFUSED_NAME.search(part):
                        raise OSError(22, "The filename, directory name, or volume label syntax is incorrect", text)
        return function(path, *others, **options)

    return refusing


def _is_written(*arguments) -> bool:
    return any(isinstance(found, str) and set(found) & set("wax+") and len(found) < 4 for found in arguments[:1])


def _refusing_both(function):
    return lambda source, target, **options: _refusing_names(lambda to: function(source, to, **options))(target)


_open = io.open
builtins.__import__ = _lacking
if _IS_WINDOWS:
    for _name in ("replace", "rename"):
        setattr(os, _name, _refusing_both(getattr(os, _name)))
    for _name in ("replace", "rename", "unlink", "remove", "rmdir"):
        setattr(os, _name, _refusing_open_files(getattr(os, _name)))
    os.mkdir = _refusing_names(os.mkdir)
    io.open = builtins.open = _refusing_names(_open, writes=_is_written)
