"""The servers that are measured: an rshell-server of our own, and a private sshd.

Strategy: both live in a temporary directory with keys made for the occasion, listen on the
loopback only or in a network namespace (path.py), run as the present user, and end with the `with`
block.

Hazard: a bash that sshd starts reads ~/.bashrc, which one that rshell-server starts does not, and
that may take longer than everything else together. So sshd's commands get an empty home directory.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from getpass import getuser
from pathlib import Path

from rshell.security.credentials import local_token

HOST = "127.0.0.1"
_START_SECONDS = 60.0
_SSHD_CONFIG = """\
Port {port}
ListenAddress {host}
HostKey {directory}/host_key
PidFile none
AuthorizedKeysFile {directory}/client_key.pub
StrictModes no
UsePAM no
PasswordAuthentication no
PrintMotd no
LogLevel INFO
Subsystem sftp internal-sftp
SetEnv HOME={directory}
"""


class Unavailable(Exception):
    """A peer can't be measured here; the message says why."""


@dataclass(frozen=True)
class RshellServer:
    """A running rshell-server. `token` is a line for `rshell.connect`."""

    pid: int
    host: str
    port: int
    unix: str
    token: str
    env: dict[str, str]

    @property
    def address(self) -> str:
        """Where it listens with TLS."""
        return f"{self.host}:{self.port}"

    def command(self, command: str, *, address: str | None = None) -> list[str]:
        """Return the argv of `rshell -c COMMAND`; its environment is `env`."""
        return [*program("rshell"), "-c", command, address or self.address]


@dataclass(frozen=True)
class Sshd:
    """A running sshd and the options of an ssh that may log in."""

    host: str
    port: int
    directory: Path

    def command(self, command: str, *options: str, port: int | None = None) -> list[str]:
        """Return the argv of `ssh HOST COMMAND`, with more options before the host."""
        settled = [f"UserKnownHostsFile={self.directory}/known_hosts", "BatchMode=yes"]
        settled += ["StrictHostKeyChecking=no", "LogLevel=ERROR", "IdentitiesOnly=yes"]
        argv = ["ssh", "-F", "none", "-p", str(port or self.port)]
        argv += ["-i", f"{self.directory}/client_key"]
        for option in settled:
            argv += ["-o", option]
        return [*argv, *options, f"{getuser()}@{self.host}", command]


@contextmanager
def rshell_server(
    directory: Path, *, host: str = HOST, inside: Sequence[str] = ()
) -> Iterator[RshellServer]:
    """Run an rshell-server on a free port and a Unix socket, its state in `directory`.

    `inside` comes before its argv, and `host` is an address there.
    """
    directory.mkdir(mode=0o700)
    unix, log = directory / "socket", directory / "log"
    foreign = ("RSHELL_", "PYTHON")
    env = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    env |= {"XDG_STATE_HOME": f"{directory}/state", "XDG_CONFIG_HOME": f"{directory}/config"}
    # The prompt's figures are to be rshell's, not those of somebody's startup files.
    home = directory / "home"
    home.mkdir()
    env["HOME"] = str(home)
    # An installed program has its bytecode, whatever this checkout keeps. Servers side by side
    # share it, or each would be compiled anew.
    env["PYTHONPYCACHEPREFIX"] = f"{directory.parent}/bytecode"
    argv = [*inside, *program("rshell-server")]
    argv += ["--host", host, "--port", "0", "--unix", str(unix)]
    with _running(argv, lambda: _told_port(log, host) is not None, env, log) as process:
        line, port = local_token(directory / "state" / "rshell" / "server"), _told_port(log, host)
        assert line is not None and port is not None
        yield RshellServer(process.pid, host, port, f"unix:{unix}", str(line), env)


@contextmanager
def private_sshd(
    directory: Path, *, host: str = HOST, inside: Sequence[str] = (), near: Sequence[str] = ()
) -> Iterator[Sshd]:
    """Run an sshd with its keys in `directory`. Raises Unavailable where that is not possible.

    `inside` comes before its argv, `host` is an address there, and `near` comes before an ssh's.
    """
    program = shutil.which("sshd") or shutil.which("sshd", path="/usr/sbin:/usr/local/sbin")
    if program is None or not shutil.which("ssh") or not shutil.which("ssh-keygen"):
        raise Unavailable("OpenSSH's server and client are not both installed")
    directory.mkdir(mode=0o700)
    for name in ("host_key", "client_key"):
        keygen = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(directory / name)]
        subprocess.run(keygen, check=True, stdin=subprocess.DEVNULL)
    port = free_port()
    config = directory / "sshd_config"
    log = directory / "log"
    config.write_text(_SSHD_CONFIG.format(host=host, port=port, directory=directory))
    argv = [*inside, program, "-D", "-e", "-f", str(config)]
    with _running(argv, lambda: "Server listening" in log.read_text(), dict(os.environ), log):
        sshd = Sshd(host, port, directory)
        tried = subprocess.run([*near, *sshd.command("true")], capture_output=True, check=False)
        if tried.returncode:
            raise Unavailable(f"ssh can't log in: {tried.stderr.decode(errors='replace').strip()}")
        yield sshd


@contextmanager
def _running(
    argv: list[str], is_ready: Callable[[], bool], env: dict[str, str], log: Path
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server until the block ends; it is ready when the block begins."""
    with log.open("wb") as both:
        process = subprocess.Popen(
            argv, env=env, stdin=subprocess.DEVNULL, stdout=both, stderr=both
        )
    try:
        deadline = time.monotonic() + _START_SECONDS
        while not is_ready():
            if process.poll() is not None or time.monotonic() > deadline:
                told = log.read_text(errors="replace").strip()
                raise Unavailable(f"{Path(argv[0]).name} does not start: {told}")
            time.sleep(0.02)
        yield process
    finally:
        process.terminate()
        try:
            process.wait(_START_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _told_port(log: Path, host: str) -> int | None:
    """Return the port that an rshell-server says it listens on, None while it has not said so."""
    found = re.search(rf"listens at {re.escape(host)}:(\d+)", log.read_text(errors="replace"))
    return None if found is None else int(found[1])


def free_port() -> int:
    """Return a loopback port that was free a moment ago."""
    with socket.socket() as sock:
        sock.bind((HOST, 0))
        return int(sock.getsockname()[1])


def program(name: str) -> list[str]:
    """Return the argv of a command of this very Python, installed or not."""
    installed = Path(sys.executable).with_name(name)
    if installed.exists():
        return [str(installed)]
    module = name.removeprefix("rshell-")
    return [sys.executable, "-m", f"rshell.cli.{module}"]
