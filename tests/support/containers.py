"""Containers, or what a way in sees of them: a root of their own with nothing in it but a Python.

Each is a process in namespaces of its own (files, processes, network, host name), whose root holds
a shell, a handful of programs, and the oldest Python of this machine that the server side runs on.
Its first process reaps nobody, as in most containers. There is no network but its loopback. As root
nothing else is needed; others need user namespaces. `docker`, `podman` and `kubectl` on the PATH
are stand-ins (tests/support/ways/stand_in.py) that lead there.

Hazard: only this process knows of what is mounted, so the end of a container removes nothing of
the machine's: its root is a directory of small files.
"""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from rshell.reach.stage import OLDEST
from tests.support.commands import until

_PROGRAMS = (
    *("cat", "sleep", "head", "id", "env", "stty", "ls", "rm", "touch", "sha256sum", "uname"),
    *("tty", "hostname", "dd", "wc", "tee", "mkdir"),
)
_LIBRARIES = ("lib", "lib64", "usr/lib", "usr/lib64")
_STAND_IN = Path(__file__).parent / "ways" / "stand_in.py"
TOOLS = ("docker", "podman", "kubectl")
DEADLINE = 30.0

# What a container is made of. $1 is its root; the directory of its Python is $2, and that
# of its library $3.
_MAKE = """
set -e
mount --make-rprivate /
mount --rbind "$1" "$1"
mount -t tmpfs none "$1/home" -o mode=755
mkdir -m 700 "$1/home/me"
for d in null zero full random urandom tty; do mount --bind /dev/$d "$1/dev/$d"; done
mount -t devpts none "$1/dev/pts" -o newinstance,ptmxmode=0666,mode=620
for d in lib lib64 usr/lib usr/lib64; do
    if [ -d "$1/$d" ] && [ ! -L "$1/$d" ]; then mount --rbind "/$d" "$1/$d"; fi
done
[ -z "$2" ] || mount --bind "$2" "$1$2"
"""
_HAS_PROC = 'mount -t proc none "$1/proc"\n'
_HAS_TMP = 'mount -t tmpfs none "$1/tmp" -o mode=1777\n'
# Said from inside: who is told before the root has changed still sees the machine's own.
_BEGIN = 'exec chroot "$1" /bin/sh -c "echo ready; exec /bin/sleep 100000"\n'

# Of each, what else is said to the shell that makes it.
WEB = _HAS_PROC + _HAS_TMP
FULL_HOME = (
    WEB + 'mount -o remount,size=4k "$1/home"; cat /dev/zero >"$1/home/me/big" 2>&- || true\n'
)
READ_ONLY_ROOT = (
    _HAS_PROC
    + 'mount -t tmpfs none "$1/dev/shm" -o mode=1777\n'
    + 'mount -o remount,ro "$1/home"; mount -o remount,bind,ro "$1"\n'
)
NO_PROC = _HAS_TMP
NOTHING_TO_WRITE = 'mount -o remount,ro "$1/home"; mount -o remount,bind,ro "$1"\n'
NO_PYTHON = (
    WEB
    + 'mkdir "$1/home/bin"; cp "$1/bin/sh" "$1/bin/sleep" "$1/home/bin"\n'
    + 'mount --bind "$1/home/bin" "$1/bin"\n'
)
OLD_PYTHON = (
    NO_PYTHON + 'printf "#!/bin/sh\\nexit 1\\n" >"$1/bin/python3"; chmod 755 "$1/bin/python3"\n'
)
NO_ASYNCIO = WEB + 'mount -t tmpfs none "$1$3/asyncio"\n'


def find_pythons() -> dict[tuple[int, int], str]:
    """Return the Pythons of this machine that can serve, by their version, the oldest first."""
    home = pwd.getpwuid(os.getuid()).pw_dir
    pyenv = Path(os.environ.get("PYENV_ROOT", f"{home}/.pyenv"), "versions")
    found = {sys.version_info[:2]: sys.executable}
    for minor in range(OLDEST[1], 20):
        kept = [str(path) for path in sorted(pyenv.glob(f"3.{minor}.*/bin/python3"))]
        on_path = shutil.which(f"python3.{minor}")
        # What is called a Python there may be a shim of pyenv, for one that is not chosen.
        for path in [*kept, *([on_path] if on_path and "shims" not in on_path else [])]:
            found.setdefault((3, minor), path)
    return dict(sorted(found.items()))


class Machine:
    """A root directory from which containers are made, and stand-ins that lead into them.

    `bin` is for the PATH; `python` is the version of the Python inside.
    """

    def __init__(self, directory: Path) -> None:
        self.bin = directory / "bin"
        self.root = directory / "root"
        self.containers: dict[str, int] = {}
        self._stack = contextlib.ExitStack()
        self.bin.mkdir(parents=True)
        for tool in TOOLS:
            path = self.bin / tool
            path.write_text(f'#!/bin/sh\nexec {sys.executable} -I -S {_STAND_IN} "$0" "$@"\n')
            path.chmod(0o755)
        self.python = self._make_root()

    def _make_root(self) -> tuple[int, int]:
        root = self.root
        for name in ("bin", "dev/pts", "dev/shm", "home", "proc", "tmp", "etc", "usr/lib"):
            (root / name).mkdir(parents=True)
        for name in _LIBRARIES:
            if Path("/", name).is_symlink():
                (root / name).symlink_to(Path("/", name).readlink())
            elif Path("/", name).is_dir():
                (root / name).mkdir(parents=True, exist_ok=True)
        for name in ("null", "zero", "full", "random", "urandom", "tty"):
            (root / "dev" / name).touch()
        (root / "dev/ptmx").symlink_to("pts/ptmx")
        (root / "etc/passwd").write_text("me:x:0:0:me:/home/me:/bin/sh\n")
        sh = shutil.which("busybox") or shutil.which("dash") or "/bin/sh"
        shutil.copy(sh, root / "bin/sh")
        for name in _PROGRAMS:
            if found := shutil.which(name):
                shutil.copy(found, root / "bin" / name)
        version, path = next(iter(find_pythons().items()))
        code = (
            "import os, sys; print(sys.base_prefix); print(os.path.realpath(sys.executable)); "
            "print(os.path.dirname(os.__file__))"
        )
        done = subprocess.run([path, "-I", "-S", "-c", code], check=True, capture_output=True)
        prefix, program, self._library = done.stdout.decode().splitlines()
        self._prefix = "" if prefix == "/usr" else prefix
        if self._prefix:
            (root / prefix[1:]).mkdir(parents=True)
            (root / "bin" / f"python3.{version[1]}").symlink_to(program)
        else:
            shutil.copy(program, root / "bin" / f"python3.{version[1]}")
        return version

    def start(self, name: str, how: str = WEB) -> None:
        """Start a container. Raises OSError where this machine has no namespaces for us."""
        own_user = "" if os.geteuid() == 0 else "-U -r"
        said = self.bin / f"{name}.said"
        # Not our child: those of a test are looked at when it ends.
        script = f'unshare {own_user} -m -p -f -n -u -i --kill-child "$@" >{said} 2>&1 & echo $!'
        words = [str(self.root), self._prefix, self._library]
        made = ["sh", "-c", _MAKE + how + _BEGIN, "sh", *words]
        done = subprocess.run(["sh", "-c", script, "sh", *made], check=True, stdout=subprocess.PIPE)
        pid = int(done.stdout)
        self._stack.callback(_end, pid)
        until(lambda: b"ready" in said.read_bytes() or _has_ended(pid), "a root")
        if b"ready" not in said.read_bytes():
            raise OSError(f"no container can be made here: {said.read_text().strip()}")
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        self.containers[name] = int(children[0])
        (self.bin / "containers.json").write_text(json.dumps(self.containers))

    def calls(self) -> list[dict[str, Any]]:
        """Return how the stand-ins were called: the process id and argv of each, in order."""
        path = self.bin / "calls"
        lines = path.read_text().splitlines() if path.exists() else []
        return [json.loads(line) for line in lines]

    def inside(self, name: str, *command: str) -> str:
        """Return what a command prints in a container."""
        done = subprocess.run(
            [str(self.bin / "docker"), "exec", "-i", name, *command],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=DEADLINE,
            check=False,
        )
        return done.stdout.decode()

    def processes(self, name: str) -> list[str]:
        """Return the command lines of the processes in a container but the first, living ones."""
        first = self.containers[name]
        space = Path(f"/proc/{first}/ns/pid").readlink()
        found = []
        for directory in Path("/proc").iterdir():
            if directory.name.isdigit() and int(directory.name) != first:
                with contextlib.suppress(OSError):
                    if (directory / "ns/pid").readlink() == space:
                        words = (directory / "cmdline").read_bytes().split(b"\0")
                        if any(words):  # not a zombie
                            found.append(b" ".join(words).decode(errors="replace").strip())
        return found

    def files(self, name: str) -> list[str]:
        """Return the files, sockets and whatever in the directories that can be written."""
        root = Path(f"/proc/{self.containers[name]}/root")
        places = [root / place for place in ("home", "tmp", "dev/shm")]
        found = [path for place in places for path in place.rglob("*") if not path.is_dir()]
        return sorted(str(path.relative_to(root)) for path in found)

    def close(self) -> None:
        """End all containers."""
        self._stack.close()


def _end(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    until(lambda: _has_ended(pid), "the end of a container")


def _has_ended(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True
