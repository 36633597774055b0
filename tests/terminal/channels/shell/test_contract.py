"""What every shell must do: the contract, tried with each shell of this machine.

All but the shells themselves is tested with bash alone, in the other modules here.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from rshell import (
    PIPE,
    ChannelReset,
    ProcessTimeout,
    Shell,
    ShellResult,
)
from rshell.channels.shell import completeness
from rshell.channels.shell.completeness import may_be_incomplete, says_incomplete, wants_more
from rshell.channels.shell.recipe import quote
from rshell.client.client import Client
from rshell.values import Bounds, TerminalSize
from tests.support.execution import no_leak
from tests.support.processes import gone, is_running
from tests.support.session import tls_session
from tests.terminal.channels.shell.test_completeness import a_context

BRIEF = Bounds(kill_grace=0.5)


@asynccontextmanager
async def shell_on(**options: Any) -> AsyncIterator[Shell]:
    async with tls_session(limits=BRIEF) as client, client.open_shell(**options) as shell:
        yield shell


def facts(result: ShellResult[bytes]) -> tuple[int | None, bytes, bytes]:
    return result.exit_status, result.stdout, result.stderr


async def output(shell: Shell, command: str) -> bytes:
    result = await shell.run(command)
    assert not result.restarted, result
    return result.stdout


async def test_what_the_shell_is_driven_by_may_be_redefined(program: str) -> None:
    """A function `command` wedged the shell, and an alias kept every command from running."""
    async with shell_on() as shell:
        for text in (
            "command() { echo x; }",
            "builtin() { echo x; }",
            "eval() { echo x; }",
            "printf() { echo x; }",
            "alias command=false builtin=false printf=false unset=false",
        ):
            await shell.run(text)
            assert await output(shell, "echo next; (exit 0)") == b"next\n"
            assert (await shell.run("(exit 7)")).exit_status == 7


# What stays.


async def test_directory_variables_and_functions_stay(program: str, tmp_path: Path) -> None:
    async with shell_on() as shell:
        assert shell.program == program
        assert shell.cwd == os.environ["HOME"]
        moved = await shell.run(f"cd '{tmp_path}'")
        assert moved.cwd == shell.cwd == str(tmp_path)
        await shell.run("x='a  b'; f() { echo \"<$1>\"; return 5; }; export EXPORTED=yes")
        assert await output(shell, "pwd; echo \"$x\"; f q; sh -c 'echo $EXPORTED'") == (
            os.fsencode(tmp_path) + b"\na  b\n<q>\nyes\n"
        )
        assert (await shell.run("f q")).exit_status == 5


async def test_aliases_stay(program: str) -> None:
    async with shell_on() as shell:
        await shell.run("alias hello='echo hi'")
        assert await output(shell, "hello") == b"hi\n"


async def test_the_status_before_can_be_asked_for(program: str) -> None:
    async with shell_on() as shell:
        assert (await shell.run("(exit 42)")).exit_status == 42
        assert await output(shell, "echo $?") == b"42\n"
        assert await output(shell, "echo $?") == b"0\n"


async def test_the_last_argument_before_can_be_asked_for(program: str) -> None:
    async with shell_on() as shell:
        for text, last in (
            ("echo a b; ", b"b"),
            ("printf %s \"it's a 'q'\" 'b\nc $x`y`'", b"b\nc $x`y`"),
            ("ls /no/such/file 2>/dev/null", b"/no/such/file"),
            ("set -e", b"-e"),
            ("set -u", b"-u"),
        ):
            await shell.run(text)
            assert await output(shell, 'printf %s "$_"') == last, text


async def test_the_statuses_of_a_pipeline_can_be_asked_for(program: str) -> None:
    name = {"bash": "PIPESTATUS", "zsh": "pipestatus"}.get(Path(program).name)
    async with shell_on() as shell:
        for text, status, parts in (
            ("false | true", 0, b"1 0"),
            ("false | true | (exit 3)", 3, b"1 0 3"),
            ("(exit 5)", 5, b"5"),
            ("IFS=0123456789; false | (exit 123)", 123, b"1 123"),
            ("unset IFS; set -e; set -u; true | (exit 7) | true", 0, b"0 7 0"),
        ):
            assert (await shell.run(text)).exit_status == status
            if name is None:  # this shell has none, and its status stays all the same
                assert await output(shell, 'printf %s "$?"') == b"%d" % status
            else:
                assert await output(shell, f"printf '%s ' \"${{{name}[@]}}\"") == parts + b" ", text


async def test_modes_of_a_shell_that_reads_lines_do_not_end_it(program: str) -> None:
    """A bash that was told to edit its lines went on to read ours with that, and died."""
    async with shell_on() as shell:
        await shell.run("kept=yes")
        for text in ("set -o vi", "set -o emacs", "bind -P", "set -o histexpand", "set -x"):
            done = await shell.run(text)
            assert not done.restarted and b"__rshell" not in done.stdout + done.stderr, text
            if Path(program).name == "bash" and text in ("set -o vi", "set -o emacs"):
                assert done.exit_status == 2 and b"edits no lines" in done.stderr
            done = await shell.run("echo $kept 'a\n!!' $_")
            assert done.stdout.startswith(b"yes a\n!!"), text
            assert b"__rshell" not in done.stderr, text
        await shell.run("set +x; set -e")
        assert facts(await shell.run("false || echo on")) == (0, b"on\n", b"")
        assert (await shell.run("false")).restarted


# Replies.


async def test_streams_are_separate_and_nothing_else_is_in_them(program: str) -> None:
    async with shell_on() as shell:
        assert facts(await shell.run("echo out; echo err >&2; (exit 3)")) == (
            3,
            b"out\n",
            b"err\n",
        )
        assert facts(await shell.run("printf 'no newline'")) == (0, b"no newline", b"")
        assert facts(await shell.run("printf '\\377\\001\\000x'")) == (0, b"\xff\x01\0x", b"")


async def test_a_command_that_a_signal_ended_has_nothing_of_the_shells_on_its_stderr(
    program: str,
) -> None:
    """bash sets the modes of its terminal then, and complained that it had none."""
    async with shell_on() as shell:
        for text, status in (
            ("yes | head -n 1 >/dev/null", 0),
            ("(kill -PIPE $(sh -c 'echo $PPID'))", 141),
            ("f() { yes | head -n 1; }; for i in 1 2; do f; done >/dev/null", 0),
        ):
            done = await shell.run(text)
            assert facts(done) == (status, b"", b""), text
        # The terminal is the shell's alone, and has no size that would be anybody's.
        assert (await shell.run("test -t 2")).exit_status == 1
        size = "unset LINES COLUMNS; sh -c :; echo ${LINES-none} ${COLUMNS-none}"
        assert await output(shell, size) == b"none none\n"


async def test_an_empty_command_is_a_whole_reply_at_once(program: str) -> None:
    async with shell_on() as shell:
        for command in ("", " ", "\n", "# nothing", ":", "\n\n  \n"):
            assert facts(await shell.run(command)) == (0, b"", b"")
            assert await output(shell, "echo on") == b"on\n"


async def test_many_short_commands_each_get_their_own_output(program: str) -> None:
    async with shell_on() as shell:
        for number in range(200):
            assert facts(await shell.run(f"echo {number}; (exit {number})")) == (
                number,
                b"%d\n" % number,
                b"",
            )


async def test_a_long_command_arrives_whole(program: str) -> None:
    text = "x" * 200_000
    async with shell_on() as shell:
        assert await output(shell, f"v={text}; echo ${{#v}}") == b"200000\n"


async def test_odd_characters_arrive_as_they_are(program: str) -> None:
    async with shell_on() as shell:
        for text in ("it's", "é漢🐚", "a\tb", "! !! $HOME `x` \\n", os.fsdecode(b"\xff\xfe")):
            quoted = "'" + text.replace("'", "'\\''") + "'"
            assert await output(shell, f"printf %s {quoted}") == os.fsencode(text)
        with pytest.raises(ValueError, match="NUL"):
            await shell.run("echo a\0b")
        assert await output(shell, "echo on") == b"on\n"


async def test_stdin_is_empty_unless_it_is_asked_for(program: str) -> None:
    async with shell_on() as shell:
        assert shell.stdin is None
        assert await output(shell, "cat; read -r x; echo end") == b"end\n"


async def test_commands_share_a_stdin_that_is_asked_for(program: str) -> None:
    async with shell_on(stdin=PIPE) as shell:
        assert shell.stdin is not None
        await shell.stdin.write(b"one\ntwo\n")
        assert await output(shell, 'read -r x; echo "<$x>"') == b"<one>\n"
        assert await output(shell, 'read -r y; echo "<$x $y>"') == b"<one two>\n"
        reading = asyncio.ensure_future(shell.run("cat"))
        await shell.stdin.write(b"more")
        await shell.stdin.close()
        assert (await reading).stdout == b"more"
        assert await output(shell, "cat; echo end") == b"end\n"


# The language.


SYNTAX_ERRORS = ["if", ")", "echo 'unterminated", 'echo "unterminated', "for", "a=(", "fi", "<<<<"]


async def test_a_syntax_error_is_a_reply_and_the_shell_goes_on(program: str) -> None:
    async with shell_on() as shell:
        await shell.run("kept=yes")
        for command in SYNTAX_ERRORS:
            result = await shell.run(command)
            assert result.exit_status not in (0, None), command
            assert result.stdout == b""
            assert not result.restarted
            assert await output(shell, "echo $kept") == b"yes\n", command


async def test_return_outside_of_a_function_is_told_even_where_it_ends_the_shell(
    program: str,
) -> None:
    async with shell_on() as shell:
        assert (await shell.run("return 3")).exit_status in (2, 3)
        assert await output(shell, "echo on") == b"on\n"


async def test_leaving_a_loop_that_is_not_there_harms_nobody(program: str) -> None:
    async with shell_on() as shell:
        await shell.run("kept=yes")
        for command in ("break", "continue", "while :; do break; done"):
            assert not (await shell.run(command)).restarted
            assert await output(shell, "echo $kept") == b"yes\n"


async def test_text_of_several_lines_runs_as_one(program: str) -> None:
    async with shell_on() as shell:
        script = "cat <<EOF\nhome is $((1+1))\nEOF\nif true\nthen\n  echo yes\nfi\n"
        assert await output(shell, script) == b"home is 2\nyes\n"
        assert await output(shell, "cat <<'E'\n$x 'q' \"d\"\nE") == b"$x 'q' \"d\"\n"


async def test_a_heredoc_without_its_end_does_not_swallow_what_follows(program: str) -> None:
    async with shell_on() as shell:
        await shell.run("cat <<EOF\nunfinished")
        assert await output(shell, "echo on") == b"on\n"


async def test_an_unknown_command_is_127(program: str) -> None:
    async with shell_on() as shell:
        result = await shell.run("no-such-command")
        assert result.exit_status == 127
        assert b"no-such-command" in result.stderr


# The end of the shell.


async def test_exit_is_told_and_a_new_shell_is_in_the_same_directory(
    program: str, tmp_path: Path
) -> None:
    async with shell_on() as shell:
        await shell.run(f"cd '{tmp_path}'; x=1")
        result = await shell.run("echo bye; exit 3")
        assert (result.exit_status, result.stdout, result.restarted) == (3, b"bye\n", True)
        assert result.stderr in (b"", b"exit\n")  # an interactive bash says so
        assert result.cwd == str(tmp_path)
        assert await output(shell, 'echo "<$x>"; pwd') == b"<>\n" + os.fsencode(tmp_path) + b"\n"


async def test_exec_replaces_the_shell_which_is_told(program: str) -> None:
    async with shell_on() as shell:
        result = await shell.run("exec sh -c 'echo other; exit 9'")
        assert (facts(result), result.restarted) == ((9, b"other\n", b""), True)
        assert await output(shell, "echo on") == b"on\n"


async def test_a_killed_shell_is_told_by_signal(program: str) -> None:
    async with shell_on() as shell:
        result = await shell.run("echo before; kill -9 $$; echo after")
        assert (result.signal, result.stdout, result.restarted) == ("SIGKILL", b"before\n", True)
        assert await output(shell, "echo on") == b"on\n"


async def test_a_shell_that_dies_while_idle_is_replaced_for_the_next_command(program: str) -> None:
    async with shell_on() as shell:
        pid = int(await output(shell, "echo $$"))
        os.kill(pid, signal.SIGKILL)
        await gone(pid)
        results = [await shell.run("echo on") for _ in range(2)]
        assert results[-1].stdout == b"on\n"
        assert results[0].stdout in (b"on\n", b"")  # it may have been told before it died
        assert (results[0].stdout == b"") is results[0].restarted


async def test_a_shell_ends_with_its_block_and_its_background_jobs_too(program: str) -> None:
    async with shell_on() as shell:
        words = (await output(shell, "sleep 100 & echo $$ $!")).split()
        pids = [int(word) for word in words]
        assert all(map(is_running, pids))
        shell.close()
        for pid in pids:
            await gone(pid)
        with pytest.raises(ChannelReset):
            await shell.run("echo on")


async def test_set_e_and_a_failure_end_the_shell_or_not_but_never_hang(program: str) -> None:
    async with shell_on() as shell:
        result = await shell.run("set -e; false; echo not reached")
        assert result.stdout == b""
        assert result.exit_status == 1
        assert await output(shell, "echo on") == b"on\n"


async def test_set_u_fails_the_command_and_not_the_protocol(program: str) -> None:
    async with shell_on() as shell:
        await shell.run("set -u")
        result = await shell.run('echo "$nothing"')
        assert result.exit_status != 0
        assert result.stdout == b""
        assert await output(shell, "echo on") == b"on\n"


# Timeouts and cancelling.

LOOPS = ["while :; do :; done", "sleep 100", "f() { while :; do sleep 100; done; }; f"]


async def test_a_timeout_interrupts_and_keeps_the_variables(program: str) -> None:
    async def time_out(client: Client, loop: str) -> None:
        async with client.open_shell() as shell:
            await shell.run("kept=yes")
            with pytest.raises(ProcessTimeout) as caught:
                await shell.run(f"echo begun; {loop}; echo not reached", timeout=1.0)
            assert (caught.value.timeout, caught.value.stdout) == (1.0, b"begun\n"), loop
            kept = await output(shell, "echo $kept")
            # busybox loses one now and then in a loop of nothing but builtins, and then all others.
            is_deaf = Path(program).resolve().name == "busybox" and loop == LOOPS[0]
            assert kept == b"yes\n" or (is_deaf and kept == b"\n"), loop

    async with tls_session(limits=Bounds(kill_grace=4.0)) as client:
        await asyncio.gather(*(time_out(client, loop) for loop in LOOPS))


async def test_a_command_that_takes_one_interrupt_is_given_a_second(program: str) -> None:
    """As when a signal is lost, which may happen while a command is being started."""
    async with tls_session(limits=Bounds(kill_grace=2.0)) as client, client.open_shell() as shell:
        await shell.run("kept=yes")
        script = "trap 'trap - INT' INT; echo begun; while :; do sleep 0.02; done"
        with pytest.raises(ProcessTimeout):
            await shell.run(f"sh -c {quote(script)}", timeout=0.5)
        assert await output(shell, 'echo "<$kept>"') == b"<yes>\n"


async def test_a_command_that_ignores_the_interrupt_costs_the_shell_its_life(program: str) -> None:
    async with shell_on() as shell:
        await shell.run("kept=yes; trap '' INT")
        with pytest.raises(ProcessTimeout):
            await shell.run("echo begun; while :; do sleep 0.02; done", timeout=0.1)
        assert await output(shell, 'echo "<$kept>"') == b"<>\n"


async def test_after_a_cancelled_call_the_next_gets_its_own_output_only(program: str) -> None:
    async with shell_on() as shell:
        for _ in range(3):
            running = asyncio.ensure_future(shell.run("echo old; sleep 100"))
            for _ in range(50):
                await asyncio.sleep(0)
            running.cancel()
            with pytest.raises(asyncio.CancelledError):
                await running
            assert facts(await shell.run("echo new")) == (0, b"new\n", b"")


async def test_interrupt_ends_a_loop_of_commands(program: str) -> None:
    async with shell_on() as shell:
        fifo = f"{os.environ['HOME']}/fifo"
        os.mkfifo(fifo)
        running = asyncio.ensure_future(
            shell.run(f"kept=yes; while :; do sh -c 'echo begun > {fifo}; exec sleep 100'; done")
        )
        assert await asyncio.to_thread(Path(fifo).read_bytes) == b"begun\n"
        shell.interrupt()
        result = await running
        assert result.exit_status != 0  # 130 but in zsh
        assert await output(shell, "echo $kept") == b"yes\n"
        shell.interrupt()  # harmless
        assert await output(shell, "echo on") == b"on\n"


# Jobs and meddling.


async def test_a_background_job_prints_into_a_later_reply(
    program_with_jobs: str, tmp_path: Path
) -> None:
    begin, ended = tmp_path / "begin", tmp_path / "ended"
    os.mkfifo(begin)
    os.mkfifo(ended)
    job = f"(read -r x < '{begin}'; echo \"late $x\"; echo > '{ended}') & echo soon"
    async with shell_on() as shell:
        assert await output(shell, job) == b"soon\n"
        await asyncio.to_thread(begin.write_bytes, b"job\n")
        reply = await output(shell, f"read -r x < '{ended}'; echo after")
        assert reply == b"late job\nafter\n"


async def test_children_inherit_only_the_usual_three(program: str) -> None:
    async with shell_on(stdin=PIPE) as shell:
        for command in ("ls /proc/self/fd", "sh -c 'ls /proc/self/fd'", "(ls /proc/self/fd)"):
            found = {int(number) for number in (await output(shell, command)).split()}
            assert found & set(range(3, 10)) <= {3}, command  # 3 is the listed directory itself


MEDDLING = [
    "exec 9>&-",
    "exec 8>&-; exec 7>&-; exec 6<&-",
    "exec 7>/dev/null 8>/dev/null 9>/dev/null",
    "exec >/dev/null 2>&1 </dev/null",
    "PS1='never seen> '; PS2='> '; PS4='+'",
    "PROMPT_COMMAND='echo never seen'",
    "trap '' INT",
    "trap 'echo trapped' INT",
    "unset PWD",
    "unset PATH; PATH=/usr/bin:/bin",
    "IFS=0123456789",
    "set -f",
    "set -u; unset PWD",
    "umask 077",
    "printf() { echo fake; }; echo() { :; }; unset -f echo",
    "alias printf='echo fake'",
    "cd /; OLDPWD=x",
    "PWD=/nonsense",
    "set -- a b c",
    "LC_ALL=C",
]


async def test_commands_that_meddle_with_the_shell_do_not_break_the_next(program: str) -> None:
    async def meddle(client: Client, command: str) -> str | None:
        async with client.open_shell() as shell:
            await shell.run("kept=yes")
            if (await shell.run(command)).restarted:
                return f"{command} ended the shell"
            found = facts(await shell.run("echo $kept; echo err >&2; (exit 3)"))
            return None if found == (3, b"yes\n", b"err\n") else f"{command}: {found}"

    async with tls_session(limits=BRIEF) as client:
        broken = await asyncio.gather(*(meddle(client, command) for command in MEDDLING))
    assert broken == [None] * len(MEDDLING)


async def test_a_directory_that_is_removed_under_the_shell(program: str, tmp_path: Path) -> None:
    directory = tmp_path / "gone"
    directory.mkdir()
    async with shell_on() as shell:
        await shell.run(f"cd '{directory}'")
        directory.rmdir()
        assert await output(shell, "echo on") == b"on\n"
        result = await shell.run("exit 1")
        assert result.restarted
        assert await output(shell, "echo on; pwd") == os.fsencode(f"on\n{Path.home()}\n")


async def test_a_directory_of_an_odd_name_is_told_as_it_is(program: str, tmp_path: Path) -> None:
    directory = tmp_path / os.fsdecode(b"it's \xff odd\nindeed")
    directory.mkdir()
    async with shell_on(cwd=str(directory)) as shell:
        result = await shell.run("exit 0")
        assert result.cwd == str(directory)
        assert (await output(shell, "pwd")) == os.fsencode(directory) + b"\n"


HARMLESS = {
    "report pipe": "exec 9>&-",
    "pipe of commands": "exec 8>&-; exec 8<&-",
    "terminal": "exec 6<&-; exec 7>&-",
    "stdin": "exec </dev/null",
    "PROMPT_COMMAND": "PROMPT_COMMAND='mine=yes'",
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


async def test_on_a_terminal_the_shell_outlives_what_meddles_with_it(program: str) -> None:
    async def outlive(client: Client, name: str, command: str) -> None:
        async with client.open_shell(terminal=TerminalSize(80, 24)) as shell:
            await shell.run(command)
            alive = await shell.run("echo al''ive")
            assert alive.stdout.splitlines()[-1] == b"alive", name
            done = await shell.run("x=6; echo al''ive $x")
            assert done.stdout.splitlines()[-1].startswith(b"alive"), name
            assert done.exit_status == 0 and not done.restarted, name

    harmless = HARMLESS.copy()
    if Path(program).name == "bash":
        del harmless["stdin"]  # which it reads lines from: that is its end, as without us
    async with tls_session() as client:
        await asyncio.gather(*(outlive(client, *item) for item in harmless.items()))


# Whether a text is whole.


JUDGED = {
    "echo 'a": True,
    "if true; then": True,
    "f() {": True,
    "cat <<EOF": True,
    "echo \\": True,
    "echo 'a'": False,
    "if true; then :; fi": False,
    "if true; fi": False,
    "echo ')' )": False,
    "echo '\udcff": True,
}
EARLY_ENDS = ["echo 'a", 'echo "a', "echo `a", "if true", "while true; do"]
EARLY_ENDS += ["(echo", "{ echo", "case x in"]
OTHER_ERRORS = ["echo )", "if true; fi", "fi", "echo | | cat", "echo 'whole'"]


async def test_the_whole_is_told_from_the_beginning(
    program: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(completeness, "_DEADLINE", 20.0)  # the judge is heard on a busy machine too
    with no_leak():
        for text, wants in JUDGED.items():
            assert await wants_more(a_context(), program, text) is wants, text


async def test_a_text_that_is_judged_is_never_run(
    program: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(completeness, "_DEADLINE", 20.0)
    made = tmp_path / "made"
    assert not await wants_more(a_context(), program, f"{{ : >'{made}'; }}")
    assert await wants_more(a_context(), program, f": >'{made}'; echo \"")
    assert not made.exists()


def test_the_complaint_about_an_early_end_is_known_and_told_from_others(program: str) -> None:
    for text in EARLY_ENDS:
        assert may_be_incomplete(text), text
        assert says_incomplete(complaint(program, text)), text
    for text in OTHER_ERRORS:
        assert not says_incomplete(complaint(program, text)), text


def complaint(shell: str, text: str) -> str:
    done = subprocess.run(
        [shell, "-n"],
        input=f"{text}\n",
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "LC_ALL": "C"},
        timeout=30,
        check=False,
    )
    return done.stderr


def test_what_is_quoted_is_one_word(program: str) -> None:
    for text in ("", "x", "'", "''", "'\\''", "a b\nc", "$x `y` !! \\", "-n", "*"):
        assert quote(text).startswith("'")
        script = f"printf '<%s>' {quote(text)}\n".encode()
        done = subprocess.run([program], input=script, stdout=subprocess.PIPE, check=True)
        assert done.stdout == f"<{text}>".encode(), text
