"""A stand-in for docker, podman and kubectl, which runs a command in one of the tests' containers.

Run as `python -I -S stand_in.py TOOL ARGUMENT...` by a file called TOOL that is on the PATH. It
takes what the real tool's `exec` takes, in the order that the real tool wants, refuses anything
else as that tool does, and hands bytes on between its own stdio and that of the command, as the
real tools do: who kills it cuts the way in, and the command sees the end of its input.

`containers.json`, beside TOOL, says which there are: the process ids of their first processes. Each
run writes its process id and its arguments into `calls`, a line of JSON.

It needs `nsenter`.
"""

import json
import os
import select
import subprocess
import sys
from pathlib import Path
from typing import Any

_BLOCK = 65536
# What stands before the name, and whether a value follows. Anything else is refused.
_OPTIONS = {
    "docker": {"-i": False, "-u": True},
    "podman": {"-i": False, "-u": True},
    "kubectl": {"-i": False, "-c": True},
}
_BEFORE_EXEC: dict[str, dict[str, bool]] = {
    "docker": {},
    "podman": {},
    "kubectl": {"--context": True, "-n": True},
}
_ENVIRONMENT = {"PATH": "/bin", "HOME": "/home/me", "WHERE": "over there"}


def main() -> int:
    """Run the command; return its status, or the tool's own."""
    path, arguments = Path(sys.argv[1]), sys.argv[2:]
    tool = path.name
    with path.with_name("calls").open("a") as calls:
        calls.write(json.dumps({"pid": os.getpid(), "argv": [tool, *arguments]}) + "\n")
    containers = json.loads(path.with_name("containers.json").read_text())
    given, words = _options(_BEFORE_EXEC[tool], arguments)
    if words[:1] != ["exec"]:
        return _refuse(tool, 1, f"unknown command {words[:1]}")
    more, words = _options(_OPTIONS[tool], words[1:])
    given.update(more)
    if tool == "kubectl":  # options may stand behind the pod, as far as the two dashes
        name, (more, words) = words[0], _options(_OPTIONS[tool], words[1:])
        given.update(more)
        if words[:1] != ["--"]:
            return _refuse(tool, 1, "exec [POD] [COMMAND] is not supported: use [POD] -- [COMMAND]")
        command = words[1:]
        if name not in containers:
            return _refuse(tool, 1, f'Error from server (NotFound): pods "{name}" not found')
    else:
        name, command = words[0], words[1:]
        if name not in containers:
            return _refuse(tool, 1, f"Error response from daemon: No such container: {name}")
    if "-i" not in given:
        return _refuse(tool, 1, "without -i there is no stdin")
    if not command:
        return _refuse(tool, 1, "requires at least 2 arguments")
    pid = containers[name]
    env = {**_ENVIRONMENT, "USER_GIVEN": given.get("-u", "")}
    inside = ["nsenter", "-t", str(pid), "-m", "-u", "-i", "-n", "-p", "-r", "-w"]
    if os.geteuid() != 0:
        inside += ["-U", "--preserve-credentials"]
    return _relay([*inside, "--", *command], env)


def _options(known: dict[str, bool], words: list[str]) -> tuple[dict[str, Any], list[str]]:
    """Return the options at the start of `words`, and what follows them."""
    given = {}
    while words and words[0] in known:
        has_value = known[words[0]]
        given[words[0]] = words[1] if has_value else ""
        words = words[2 if has_value else 1 :]
    return given, words


def _refuse(tool: str, status: int, why: str) -> int:
    print(why, file=sys.stderr)
    return status


def _relay(argv: list[str], env: dict[str, str]) -> int:
    popen = subprocess.Popen(
        argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env, bufsize=0
    )
    assert popen.stdin is not None and popen.stdout is not None
    towards, back = popen.stdin.fileno(), popen.stdout.fileno()
    ends = {0: towards, back: 1}
    while back in ends:
        ready, _, _ = select.select(list(ends), [], [])
        for fd in ready:
            data = os.read(fd, _BLOCK)
            if not (data and _write(ends[fd], data)):
                if fd == 0:
                    popen.stdin.close()
                del ends[fd]
    return popen.wait()


def _write(fd: int, data: bytes) -> bool:
    """Write all of it; return whether somebody reads."""
    try:
        while data:
            data = data[os.write(fd, data) :]
    except BrokenPipeError:
        return False
    return True


sys.exit(main())
