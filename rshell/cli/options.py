"""What the user asks of `rshell`: the command line and its help.

It is read as ssh reads its own: options stand before the host and right behind it, and end at the
first word of the command. `getopt` does exactly that and costs no start-up time. The result is
one frozen value that has been checked: nothing behind it asks twice.
"""

from __future__ import annotations

import getopt
import os
import shlex

from rshell.cli.config import PROMPTS, load_config, may_be_alias
from rshell.cli.usage import LONG, SHORT, SHORTER, find_conflict
from rshell.errors import ConfigurationError
from rshell.reach.ways import Way
from rshell.values import DEFAULT_PORT, NAME_RULE, Address, frozen, is_name

_JOB_VERBS = {
    "--detach": "start",
    "--jobs": "list",
    "--logs": "logs",
    "--wait": "wait",
    "--kill-job": "kill",
}
_NAMED_SHELL_VERBS = {"-S": "attach", "--shells": "list", "--kill-shell": "end"}


@frozen
class JobOptions:
    """What is asked of the server's jobs; `name` is None where there is none yet."""

    verb: str
    name: str | None = None
    follow: bool = False


@frozen
class NamedShellOptions:
    """What is asked of the server's named shells: `verb` is "attach", "watch", "list" or "end".

    `name` is empty for "list".
    """

    verb: str
    name: str = ""


@frozen
class Options:
    """What was asked for. `action` is "run", "doctor", "stop", "login", "help" or "version".

    `address` is None with `local`, `via` and `way`, which is a way in. `command` None asks for the
    remote shell. `prompt` is "own" or "rshell", None where the config file has the say.
    """

    action: str = "run"
    address: Address | None = None
    local: bool = False
    via: str | None = None
    way: Way | None = None
    background: bool | None = None
    command: str | None = None
    no_stdin: bool = False
    terminal: bool = False
    timeout: float | None = None
    resume_window: float | None = None
    json: bool = False
    fingerprint: str | None = None
    ca: str | None = None
    verbose: bool = False
    prompt: str | None = None
    no_login: bool = False
    job: JobOptions | None = None
    named: NamedShellOptions | None = None

    @property
    def where(self) -> str:
        """The server's name for people."""
        if self.way is not None:
            return self.way.name
        return self.via or ("local" if self.local else str(self.address))

    @property
    def way_back(self) -> str:
        """The words of a command line that lead to the same server again."""
        if self.via is not None:
            return f"--via {shlex.quote(self.via)} --background"
        if self.way is not None and "://" not in self.way.name:
            return f"--via {shlex.quote(self.way.name)} --bootstrap"
        return "--local" if self.local else self.where

    @property
    def wants_prompt(self) -> bool:
        """Whether this is for somebody at a terminal who gave no command."""
        from rshell.terminal.pty import is_terminal

        asks_for_command = self.command is not None or self.terminal or self.json or self.job
        if asks_for_command or (self.named is not None and not self.attaches_to):
            return False
        return not self.no_stdin and is_terminal(0) and is_terminal(1)

    @property
    def tells_link(self) -> bool:
        """Whether to say that the link was cut, and is back: on a terminal, or with `-v`.

        The prompt's toolbar says so itself.
        """
        from rshell.terminal.pty import is_terminal

        return self.verbose or (is_terminal(2) and not self.wants_prompt)

    @property
    def attaches_to(self) -> str:
        """The named shell that the prompt is for, empty for a shell that ends with us."""
        named = self.named
        return named.name if named is not None and named.verb == "attach" else ""


class UsageError(ConfigurationError):
    """The command line makes no sense; the message says what would."""


def parse(arguments: list[str]) -> Options:
    """Read a command line. Raises UsageError, AddressError and ConfigurationError."""
    given, host, words = _split(arguments)
    for action in ("help", "version"):
        if f"--{action}" in given or (action == "help" and "-h" in given):
            return Options(action=action)
    if "-l" in given:
        raise UsageError(
            "-l is not for rshell: commands run as the user of the server. Leave out the user."
        )
    command = given.get("-c")
    if words:
        if command is not None:
            raise UsageError(f"both -c and {' '.join(words)!r} are commands. Give one of them.")
        command = " ".join(words)
    via, local = given.get("--via"), "--local" in given
    job = _find_job(given, command)
    has_way = via is not None and "--bootstrap" in given
    if "--bootstrap" in given:
        if via is None:
            raise UsageError("--bootstrap goes with --via")
        del given["--via"], given["--bootstrap"]  # it is a way in, like others
    named = _find_named_shell(given)
    asked = given if command is None else {**given, "CMD": command}
    if "--background" in given:  # such a link can be made anew
        asked = {option: value for option, value in asked.items() if option != "--resume-window"}
    _refuse_conflicts(asked if host is None else {**asked, "HOST": host})
    if "--login" in given:
        return Options(action="login")
    address, way = None, None
    if via is not None and has_way:
        way, via = Way.of_words(via), None
    elif local and ("--doctor" in given or "--stop" in given):
        way = Way("this machine", ("env",))
    elif via is None and not local:
        address, way = find_place(host, given.get("-p"))
        if address is not None and address.path is not None:
            _refuse_conflicts({**asked, "SOCKET": str(address)})
    if way is not None:
        _refuse_conflicts({**asked, "WAY": way.name})
    action = next((verb for verb in ("doctor", "stop") if f"--{verb}" in given), "run")
    background = _find_background(given, way, lasts=job is not None or named is not None)
    return Options(
        action=action,
        address=address,
        way=way,
        background=background,
        local=local,
        via=via,
        command=command,
        no_stdin="-n" in given,
        terminal="-t" in given,
        timeout=_seconds(given.get("--timeout")),
        resume_window=window_of(given.get("--resume-window")),
        json="--json" in given,
        fingerprint=given.get("--fingerprint"),
        ca=given.get("--ca"),
        verbose="-v" in given,
        prompt=_prompt(given.get("--prompt")),
        no_login="--no-login" in given,
        job=job,
        named=named,
    )


def _find_background(given: dict[str, str], way: Way | None, *, lasts: bool) -> bool | None:
    """Return whether a server is to stay in the background; None for what is usual there."""
    needy = next((o for o in ("--doctor", "--stop", "--no-background") if o in given), None)
    if needy is not None and way is None:
        raise UsageError(f"{needy} is for a way in, such as ssh://host or docker://name")
    if "--background" in given:
        if "--local" not in given and "--via" not in given:
            raise UsageError("--background goes with --local and --via; others have it already")
        return True
    if lasts and "--via" in given:
        raise UsageError(
            "the server of --via ends with this client, and its shells and jobs with it. Have CMD "
            "end in 'rshell-server --stdio --background', and give --background."
        )
    if lasts and "--local" in given:
        return True
    return False if "--no-background" in given else None


def _find_job(given: dict[str, str], command: str | None) -> JobOptions | None:
    option = next((option for option in _JOB_VERBS if option in given), None)
    if option is None:
        return None
    if (option == "--detach") != (command is not None):
        wanted = "needs a command, -c CMD or words" if command is None else "takes no command"
        raise UsageError(f"{option} {wanted}")
    name = given.get("--name") if option == "--detach" else given[option] or None
    if name is not None or option in ("--logs", "--wait", "--kill-job"):
        _check_name(name or "", "job")
    return JobOptions(_JOB_VERBS[option], name, follow="-f" in given)


def _find_named_shell(given: dict[str, str]) -> NamedShellOptions | None:
    option = next((option for option in _NAMED_SHELL_VERBS if option in given), None)
    if option is None:
        return None
    name = given[option]
    if option != "--shells":
        _check_name(name, "named shell")
    return NamedShellOptions("watch" if "--share" in given else _NAMED_SHELL_VERBS[option], name)


def require_terminal(options: Options) -> None:
    """Raise UsageError where the terminals that we have do not fit what is asked for.

    A named shell needs them to be shown; a prompt has no command to end in time.
    """
    if options.timeout is not None and options.wants_prompt:
        raise UsageError("--timeout goes with a command, not with a prompt")
    if (options.prompt is not None or options.no_login) and not options.wants_prompt:
        option = "--no-login" if options.prompt is None else "--prompt"
        raise UsageError(f"{option} is for the prompt, which needs a terminal for stdin and stdout")
    named = options.named
    if named is None or named.verb in ("list", "end"):
        return
    from rshell.terminal.pty import is_terminal

    if not (is_terminal(0) and is_terminal(1)):
        raise UsageError(
            "-S needs a terminal for stdin and stdout. For a script without one, start a job: "
            "--detach -c CMD."
        )


def _check_name(name: str, of: str) -> None:
    if not is_name(name):
        raise UsageError(f"not a {of}'s name: {name!r}. {NAME_RULE}")


def _refuse_conflicts(given: dict[str, str]) -> None:
    if conflict := find_conflict(given):
        raise UsageError(conflict)


def _split(arguments: list[str]) -> tuple[dict[str, str], str | None, list[str]]:
    """Return (options, host, words of the command). Options may stand behind the host, too."""
    given: dict[str, str] = {}
    words = _take_options(arguments, given)
    if not words or "--local" in given or "--via" in given:
        return given, None, words
    return given, words[0], _take_options(words[1:], given)


def _take_options(arguments: list[str], given: dict[str, str]) -> list[str]:
    """Add the options at the start of `arguments` to `given`; return what follows them."""
    try:
        pairs, words = getopt.getopt(arguments, SHORT, LONG)
    except getopt.GetoptError as error:
        raise UsageError(f"{error.msg}. See rshell --help.") from None
    for name, value in pairs:
        option = SHORTER.get(name, name)
        before = given.setdefault(option, value)
        if before != value:
            raise UsageError(f"both {before!r} and {value!r} are given for {name}. Give one.")
    return words


def find_place(host: str | None, port: str | None) -> tuple[Address | None, Way | None]:
    """Return the address of a server, or else the way in, that the words or a default name."""
    wanted = None if port is None else Address.parse(f"localhost:{port}").port
    # An empty HOST, such as an unset variable of a script, must not run things here instead.
    text, source, config = host, "HOST", None
    if text is None:
        text, source = os.environ.get("RSHELL_HOST"), "$RSHELL_HOST"
    if text is None or (text == "" and host is None):
        config = load_config()
        text, source = config.default_host or "localhost", "default_host"
    if may_be_alias(text):
        found = (config or load_config()).find(text)
        if found != text:
            text, source = found, f"the alias {text!r}, which is"
    way = Way.parse(text)
    if way is not None:
        if port is not None:
            raise UsageError(f"--port goes with a host, not with {text!r}: ssh://host:PORT")
        return None, way
    if "@" in text:
        raise UsageError(
            f"{text!r} names a user; commands run as the user of the server. Leave it out."
        )
    address = Address.parse(text, default_port=wanted or DEFAULT_PORT)
    if wanted is not None and address.path is None and address.port != wanted:
        raise UsageError(f"{source} {text!r} names a port, and --port another. Give one of them.")
    return address, None


def _prompt(text: str | None) -> str | None:
    if text is not None and text not in PROMPTS:
        raise UsageError(f"--prompt is {' or '.join(PROMPTS)}, not {text!r}")
    return text


def window_of(text: str | None) -> float | None:
    """Return the seconds of --resume-window. Raises UsageError."""
    return 0.0 if text == "0" else _seconds(text, "--resume-window")


def _seconds(text: str | None, option: str = "--timeout") -> float | None:
    if text is None:
        return None
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < 1e9:
        raise UsageError(f"{option} needs a positive number of seconds, not {text!r}")
    return seconds
