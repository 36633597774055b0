"""What the user asks: ssh's shape, no way to mean one thing and get another; help."""

from __future__ import annotations

import re
from typing import Any

import pytest

from rshell.cli.options import (
    JobOptions,
    NamedShellOptions,
    Options,
    UsageError,
    parse,
    require_terminal,
)
from rshell.cli.usage import HELP, LONG, SHORT
from rshell.errors import AddressError, ConfigurationError
from rshell.reach.ways import Way
from rshell.security.files import config_directory
from rshell.values import Address

MORE: dict[str, Any] = {"no_stdin": True, "json": True, "command": "ls -n"}


def with_named(verb: str, name: str = "", **more: Any) -> Options:
    return Options(address=Address("h"), named=NamedShellOptions(verb, name), **more)


COMMAND_LINES: list[tuple[list[str], Options]] = [
    (["web"], Options(address=Address("web"))),
    (["web:1", "ls", "-l", "-c"], Options(address=Address("web", 1), command="ls -l -c")),
    (["-c", "ls", "web"], Options(address=Address("web"), command="ls")),
    (["--command=", "web"], Options(address=Address("web"), command="")),
    (["-p", "22", "web"], Options(address=Address("web", 22))),
    (["--port", "22", "web:22"], Options(address=Address("web", 22))),
    (["-p22", "::1"], Options(address=Address("::1", 22))),
    (["unix:/s", "id"], Options(address=Address("", 0, "/s"), command="id")),
    (["--local", "-c", "ls -l"], Options(local=True, command="ls -l")),
    (["--via", "docker exec x", "-c", "ls"], Options(via="docker exec x", command="ls")),
    (["docker://x", "ls"], Options(way=Way.parse("docker://x"), command="ls")),
    (["--via", "chroot /x", "--bootstrap"], Options(way=Way.of_words("chroot /x"))),
    (["--stop", "ssh://x"], Options(action="stop", way=Way.parse("ssh://x"))),
    (["ssh://x", "--doctor"], Options(action="doctor", way=Way.parse("ssh://x"))),
    (["ssh://x", "--no-background"], Options(way=Way.parse("ssh://x"), background=False)),
    (["--via", "x", "--background"], Options(via="x", background=True)),
    (["-tv", "h"], Options(address=Address("h"), terminal=True, verbose=True)),
    (["-vn", "h", "-v"], Options(address=Address("h"), no_stdin=True, verbose=True)),
    (["--timeout", "3", "h", "--timeout=3"], Options(address=Address("h"), timeout=3.0)),
    (["h", "-n", "--json", "ls", "-n"], Options(address=Address("h"), **MORE)),
    (["--timeout", "1.5", "h"], Options(address=Address("h"), timeout=1.5)),
    (["--resume-window", "2.5", "h"], Options(address=Address("h"), resume_window=2.5)),
    (["h", "--resume-window=0"], Options(address=Address("h"), resume_window=0.0)),
    (["--prompt=rshell", "h"], Options(address=Address("h"), prompt="rshell")),
    (
        ["h", "--no-login", "--prompt", "own"],
        Options(address=Address("h"), prompt="own", no_login=True),
    ),
    (["--json", "-v", "h"], Options(address=Address("h"), json=True, verbose=True)),
    (
        ["--fingerprint", "F", "--ca", "system", "h"],
        Options(address=Address("h"), fingerprint="F", ca="system"),
    ),
    (
        ["--detach", "h", "sleep", "1"],
        Options(address=Address("h"), command="sleep 1", job=JobOptions("start")),
    ),
    (
        ["h", "--detach", "--name", "a.1", "-c", "x"],
        Options(address=Address("h"), command="x", job=JobOptions("start", "a.1")),
    ),
    (["--jobs", "h"], Options(address=Address("h"), job=JobOptions("list"))),
    (["h", "--logs", "a"], Options(address=Address("h"), job=JobOptions("logs", "a"))),
    (
        ["--logs", "a", "-f", "h"],
        Options(address=Address("h"), job=JobOptions("logs", "a", follow=True)),
    ),
    (["--wait=a", "h"], Options(address=Address("h"), job=JobOptions("wait", "a"))),
    (["--kill-job", "a", "h"], Options(address=Address("h"), job=JobOptions("kill", "a"))),
    (["-S", "a.1", "h"], with_named("attach", "a.1")),
    (["h", "-Sa"], with_named("attach", "a")),
    (["h", "-S", "a", "--resume-window=5"], with_named("attach", "a", resume_window=5.0)),
    (["--share", "h", "-S", "a"], with_named("watch", "a")),
    (["h", "--shells"], with_named("list")),
    (["--shells", "--json", "h"], with_named("list", json=True)),
    (["--kill-shell", "a", "h"], with_named("end", "a")),
    (["h", "--kill-shell=a", "--json"], with_named("end", "a", json=True)),
]


def test_command_lines() -> None:
    for arguments, expected in COMMAND_LINES:
        assert parse(arguments) == expected, arguments


def test_actions_ask_for_no_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RSHELL_HOST", "-nonsense")
    for argument in ("--help", "-h", "--version", "--login"):
        action = "help" if argument == "-h" else argument[2:]
        assert parse([argument]) == Options(action=action)


NONSENSE = [
    (["--no-such"], "See rshell --help"),
    (["-x"], "See rshell --help"),
    (["-c"], "See rshell --help"),
    (["-c", "ls", "web", "id"], "Give one of them"),
    (["--local", "--via", "x"], "one of --local and --via"),
    (["--local", "-p", "22"], "--port goes with a host"),
    (["-l", "root", "web"], "user of the server"),
    (["root@web"], "user of the server"),
    (["--timeout", "0", "h"], "positive"),
    (["--timeout", "-1", "h"], "positive"),
    (["--timeout", "nan", "h"], "positive"),
    (["--timeout", "inf", "h"], "positive"),
    (["--timeout", "soon", "h"], "positive"),
    (["--resume-window", "-1", "h"], "--resume-window needs a positive"),
    (["--resume-window", "nan", "h"], "--resume-window needs a positive"),
    (["--detach", "h"], "--detach needs a command"),
    (["--jobs", "h", "ls"], "--jobs takes no command"),
    (["--wait", "a", "-c", "ls"], "--wait takes no command"),
    (["--wait", "a", "--kill-job", "a", "h"], "give one of"),
    (["--detach", "-t", "-c", "ls"], "--detach does not go with -t: a job has no terminal"),
    (["--detach", "--timeout", "1", "-c", "ls"], "--detach does not go with --timeout"),
    (["--jobs", "-t", "h"], "--jobs does not go with -t"),
    (["-f", "h"], "-f goes with --logs"),
    (["--wait", "a", "-f", "h"], "-f goes with --logs"),
    (["--name", "a", "h"], "--name goes with --detach"),
    (["--logs", "a", "--name", "a", "h"], "--name goes with --detach"),
    (["--logs", "a", "--json", "h"], "--logs does not go with --json"),
    (["--logs", "../a", "h"], "not a job's name"),
    (["--logs", "", "h"], "not a job's name"),
    (["--detach", "--name=", "-c", "ls"], "not a job's name"),
    (["-S", "../a", "h"], "not a named shell's name"),
    (["-S", "", "h"], "not a named shell's name"),
    (["-S", "-c", "ls", "h"], "not a named shell's name"),
    (["--kill-shell", "a b", "h"], "not a named shell's name"),
    (["-S", "a", "-c", "ls", "h"], "'ls': type commands at its prompt"),
    (["-S", "a", "h", "ls", "-l"], "'ls -l': type commands at its prompt"),
    (["-S", "a", "-t", "h"], "-S does not go with -t: type commands"),
    (["-S", "a", "-n", "h"], "-S does not go with -n"),
    (["-S", "a", "--json", "h"], "-S does not go with --json"),
    (["-S", "a", "--timeout", "1", "h"], "-S does not go with --timeout"),
    (["--shells", "--via", "x"], "the server of --via ends with this client"),
    (["--jobs", "--via", "x"], "the server of --via ends with this client"),
    (["h", "--background"], "--background goes with --local and --via"),
    (["h", "--no-background"], "--no-background is for a way in"),
    (["h", "--doctor"], "--doctor is for a way in"),
    (["h", "--bootstrap"], "--bootstrap goes with --via"),
    (["ssh://h", "-p", "22"], "--port goes with a host"),
    (["ssh://h", "--ca", "system"], "a way in 'ssh://h' does not go with --ca"),
    (["ssh://h", "--stop", "--doctor"], "one of --doctor and --stop"),
    (["ssh://h", "--stop", "-S", "a"], "--stop does not go with -S"),
    (["ssh://h", "--no-background", "--jobs"], "--no-background does not go with --jobs"),
    (["--shells", "h", "ls"], "does not go with the command 'ls': leave that out"),
    (["--kill-shell", "a", "-t", "h"], "does not go with -t: leave that out"),
    (["--share", "h"], "--share goes with -S NAME"),
    (["--share", "--shells", "h"], "--share goes with -S NAME, not with --shells"),
    (["-S", "a", "--shells", "h"], "give one of -S and --shells"),
    (["-S", "a", "--jobs", "h"], "give one of -S and --jobs"),
    (["-t", "--json", "-c", "ls", "h"], "-t does not go with --json"),
    (["-tn", "-c", "ls", "h"], "-t does not go with -n"),
    (["h:7100", "-p", "7101", "ls"], "HOST 'h:7100' names a port, and --port another"),
    (["[::1]:7100", "-p", "7101"], "'[::1]:7100' names a port"),
    (["-p", "7101", "unix:/s"], "the socket 'unix:/s' does not go with -p"),
    (["--ca", "system", "unix:/s"], "the socket 'unix:/s' does not go with --ca"),
    (["--fingerprint", "F", "unix:/s"], "does not go with --fingerprint"),
    (["--fingerprint", "F", "--local"], "--local does not go with --fingerprint"),
    (["--via", "x", "--ca", "system"], "--via does not go with --ca"),
    (["--via", "x", "--resume-window", "5"], "--via does not go with --resume-window"),
    (["--local", "--resume-window=0"], "--local does not go with --resume-window"),
    (["-c", "ls", "-c", "id", "h"], "both 'ls' and 'id' are given for -c"),
    (["-c", "ls", "h", "--command", "id"], "both 'ls' and 'id' are given for --command"),
    (["-p", "1", "h", "--port=2"], "both '1' and '2' are given for --port"),
    (["--timeout", "1", "h", "--timeout", "2"], "both '1' and '2' are given for --timeout"),
    (["--login", "web"], "--login does not go with the host: it asks for the token line"),
    (["--login", "-c", "ls"], "--login does not go with the command: it asks"),
    (["--login", "--json"], "--login does not go with --json"),
    (["--login", "--local"], "--login does not go with --local"),
    (["--login", "--jobs"], "--login does not go with --jobs"),
]


def test_what_makes_no_sense_is_explained() -> None:
    for arguments, message in NONSENSE:
        with pytest.raises(UsageError) as caught:
            parse(arguments)
        assert message in str(caught.value), arguments


def test_a_port_beside_the_one_of_the_environment_or_the_config_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config_directory().mkdir(parents=True)
    (config_directory() / "config.toml").write_text('default_host = "web:9"\n')
    with pytest.raises(UsageError, match="default_host 'web:9' names a port"):
        parse(["-p", "22"])
    monkeypatch.setenv("RSHELL_HOST", "box:8")
    with pytest.raises(UsageError, match=r"\$RSHELL_HOST 'box:8' names a port"):
        parse(["-p", "22"])
    assert parse(["-p", "8"]).address == Address("box", 8)


def test_a_port_is_a_port() -> None:
    for port in ("0", "65536", "-1", "x", "", "22 ", "7000:1"):
        with pytest.raises(AddressError, match=r"port|host"):
            parse(["-p", port, "web"])
            pytest.fail(port)


def test_an_empty_host_of_a_script_does_not_mean_this_machine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """`rshell "$HOST" rm -r build`, with HOST not set."""
    monkeypatch.setenv("RSHELL_HOST", "web")
    for host in ("", " ", "a b", "[", "-h\n"):
        with pytest.raises(AddressError):
            parse(["--", host, "rm -r build"])
            pytest.fail(host)


def test_the_host_comes_from_the_environment_then_the_config_then_here(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert parse([]).address == Address("localhost", 7000)
    assert parse(["-p", "22"]).address == Address("localhost", 22)
    config_directory().mkdir(parents=True)
    (config_directory() / "config.toml").write_text('default_host = "configured:9"\n')
    assert parse(["-c", "ls"]).address == Address("configured", 9)
    monkeypatch.setenv("RSHELL_HOST", "environment:8")
    assert parse(["-c", "ls"]).address == Address("environment", 8)
    assert parse(["given"]).address == Address("given", 7000)
    monkeypatch.setenv("RSHELL_HOST", "")  # as good as not set
    assert parse([]).address == Address("configured", 9)


def test_without_a_home_there_is_no_config_and_the_rest_works(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME"):
        monkeypatch.delenv(name)
    monkeypatch.setattr("pwd.getpwuid", {}.__getitem__)  # as with no passwd entry
    with pytest.raises(ConfigurationError, match="Set HOME"):
        config_directory()
    assert parse([]).address == Address("localhost", 7000)


def test_a_broken_config_is_reported_only_where_it_is_needed() -> None:
    config_directory().mkdir(parents=True)
    (config_directory() / "config.toml").write_text("default_host = ")
    assert parse(["given:7000"]).address == Address("given")
    for arguments in ([], ["given"]):  # which may be an alias
        with pytest.raises(ConfigurationError, match=r"config\.toml"):
            parse(arguments)


def test_an_alias_stands_wherever_a_host_may(monkeypatch: pytest.MonkeyPatch) -> None:
    config_directory().mkdir(parents=True)
    (config_directory() / "config.toml").write_text(
        'default_host = "web"\n[hosts]\nweb = "ssh://me@web.lan"\n'
        'db = "10.0.0.5:9"\nbox = "b.lan"\n'
    )
    web, db = Way.parse("ssh://me@web.lan"), Address("10.0.0.5", 9)
    for arguments in (["web"], [], ["web", "-c", "ls"], ["web", "--doctor"], ["--stop", "web"]):
        assert parse(arguments).way == web, arguments
    for arguments in (["db"], ["db", "uptime"], ["-p", "9", "db"]):
        assert parse(arguments).address == db, arguments
    assert parse(["-p", "22", "box"]).address == Address("b.lan", 22)
    # With a port or a dot it is the host of that name.
    assert parse(["web:7000"]).address == Address("web")
    assert parse(["web."]).address == Address("web.")
    monkeypatch.setenv("RSHELL_HOST", "db")
    assert parse(["-c", "ls"]).address == db
    with pytest.raises(UsageError, match="the alias 'db', which is '10"):
        parse(["-p", "22", "db"])
    with pytest.raises(UsageError, match="--port goes with a host"):
        parse(["-p", "22", "web"])


def test_a_named_shell_without_a_terminal_is_refused_and_a_job_proposed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for more in ([], ["--share"]):
        options = parse(["-S", "a", "h", *more])
        for on_terminal in ({0}, {1}, set[int]()):
            monkeypatch.setattr("rshell.terminal.pty.is_terminal", on_terminal.__contains__)
            assert not options.wants_prompt
            with pytest.raises(UsageError, match="--detach -c CMD"):
                require_terminal(options)
        monkeypatch.setattr("rshell.terminal.pty.is_terminal", {0, 1}.__contains__)
        require_terminal(options)


PROMPTS: list[tuple[list[str], bool, str]] = [
    (["h"], True, ""),
    (["h", "-S", "a"], True, "a"),
    (["h", "-S", "a", "--share"], False, ""),
    (["h", "--shells"], False, ""),
    (["h", "--kill-shell", "a"], False, ""),
    (["h", "--jobs"], False, ""),
]


def test_who_gets_the_prompt_and_of_which_shell(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("rshell.terminal.pty.is_terminal", {0, 1}.__contains__)
    for arguments, prompt, name in PROMPTS:
        options = parse(arguments)
        require_terminal(options)
        assert (options.wants_prompt, options.attaches_to) == (prompt, name)
    for arguments, refused in ((["h"], True), (["-t", "h"], False), (["-c", "ls", "h"], False)):
        options = parse(["--timeout", "5", *arguments])
        if refused:
            with pytest.raises(UsageError, match="--timeout goes with a command"):
                require_terminal(options)
        else:
            require_terminal(options)


def test_what_is_for_the_prompt_needs_one(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="--prompt is own or rshell, not 'x'"):
        parse(["--prompt", "x", "h"])
    monkeypatch.setattr("rshell.terminal.pty.is_terminal", lambda fd: fd == 0)
    for option in ("--prompt=own", "--no-login"):
        with pytest.raises(UsageError, match="is for the prompt, which needs a terminal"):
            require_terminal(parse([option, "h"]))
    monkeypatch.setattr("rshell.terminal.pty.is_terminal", lambda fd: True)
    require_terminal(parse(["--prompt=own", "--no-login", "-S", "x", "h"]))


def test_help_names_every_option() -> None:
    for name in LONG:
        assert f"--{name.rstrip('=')}" in HELP
    for letter in set(SHORT) - set(":vhlf"):  # the long names of these are there
        assert re.search(rf"^  -{letter}\b", HELP, re.MULTILINE), letter
    assert all(len(line) <= 100 for line in HELP.splitlines())
