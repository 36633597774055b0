"""Commands that meddle with what the shell on a terminal is driven by: it goes on."""

from __future__ import annotations

import asyncio

from rshell.client.client import Client
from rshell.values import TerminalSize
from tests.support.session import tls_session

HARMLESS = {
    "report pipe": "exec 9>&-",
    "pipe of commands": "exec 8>&-; exec 8<&-",
    "terminal": "exec 6<&-; exec 7>&-",
    "stdin": "exec </dev/null",
    "PROMPT_COMMAND": "PROMPT_COMMAND='echo mine'",
    "PS1": "PS1='mine> '; PS2='more> '; PS4='trace> '",
    "unset PS1": "unset PS1 PS2",
    "nounset": "set -u",
    "noglob": "set -f",
    "break": "break",
    "return": "f() { return 3; }; f",
    "continue": "continue",
    "trap EXIT": "trap 'echo bye' EXIT",
    "IFS": "IFS=0123456789",
    "posix": "set -o posix",
    "cd": "cd() { echo no; }",
    "printf": "printf() { echo no; }",
    "our names": "unset __rshell_status; unset -f __rshell_return; __rshell_status=x",
    "readonly": "readonly PWD",
    "verbose": "set +v",
}


async def test_the_shell_outlives(program: str) -> None:
    async def outlive(client: Client, name: str, command: str) -> None:
        async with client.open_shell(terminal=TerminalSize(80, 24)) as shell:
            await shell.run(command)
            alive = await shell.run("echo al''ive")
            assert alive.stdout.splitlines()[-1] == b"alive", name
            done = await shell.run("x=6; echo al''ive $x")
            assert done.stdout.splitlines()[-1].startswith(b"alive"), name
            assert done.exit_status == 0 and not done.restarted, name

    async with tls_session() as client:
        await asyncio.gather(*(outlive(client, *item) for item in HARMLESS.items()))
