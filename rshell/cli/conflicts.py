"""Which options of `rshell` can't both hold, as tables.

An option that is ignored without a word does something else than what was asked: every pair that
contradicts each other is refused, and the message says what to do. Options have one name here, the
shorter one; `HOST`, `CMD` and `SOCKET` stand for what was given as words.
"""

from __future__ import annotations

from collections.abc import Mapping

SHORTER = {"--port": "-p", "--command": "-c", "--follow": "-f", "--verbose": "-v", "--help": "-h"}

_LASTING = (
    "-S",
    "--shells",
    "--kill-shell",
    "--detach",
    "--jobs",
    "--logs",
    "--wait",
    "--kill-job",
)
_ONE_OF = (("--local", "--via"), ("--doctor", "--stop"), _LASTING)

_GOES_WITH = (("-f", "--logs"), ("--name", "--detach"), ("--share", "-S"))

_NEVER: tuple[tuple[tuple[str, ...], tuple[str, ...], str], ...] = (
    (
        ("--login",),
        ("HOST", "CMD", "-p", "--local", "--via"),
        "it asks for the token line, or reads it from stdin, and that names its server",
    ),
    (
        ("--login",),
        (
            "--prompt",
            "--no-login",
            "-n",
            "-t",
            "--timeout",
            "--resume-window",
            "--json",
            "--fingerprint",
            "--ca",
        ),
        "it connects to nobody",
    ),
    (
        ("--login",),
        (*_LASTING, "--share", "-f", "--name", "--prompt", "--no-login"),
        "it connects to nobody",
    ),
    (("--local", "--via"), ("-p",), "--port goes with a host"),
    (("--local", "--via"), ("--fingerprint", "--ca"), "there is no certificate to check"),
    (("SOCKET",), ("-p", "--fingerprint", "--ca"), "it has no port and no certificate"),
    (("--local", "--via"), ("--resume-window",), "such a link can't be made anew"),
    (("WAY",), ("--fingerprint", "--ca"), "it has no certificate of ours"),
    (
        ("--doctor", "--stop"),
        ("CMD", "-t", "-n", "--timeout", "--login", "--no-background", *_LASTING),
        "it looks after the machine itself",
    ),
    (
        ("--no-background",),
        ("--resume-window", *_LASTING),
        "what stays needs a server that stays",
    ),
    (("-t",), ("--json",), "a terminal shows what is printed. Leave one of them out"),
    (("-t",), ("-n",), "the terminal's keys are the command's stdin. Leave one of them out"),
    (
        ("--prompt", "--no-login"),
        ("CMD", "-t", "-n", "--json", "--share", *_LASTING[1:]),
        "it is for the prompt",
    ),
    (("-S",), ("CMD", "-t", "--timeout", "-n", "--json"), "type commands at its prompt"),
    (("--shells", "--kill-shell"), ("CMD", "-t", "--timeout"), "leave that out"),
    (
        ("--detach", "--jobs", "--logs", "--wait", "--kill-job"),
        ("-t", "--timeout"),
        "a job has no terminal and no timeout",
    ),
    (("--logs",), ("--json",), "it prints the output as it is"),
)
_WORDS = {"WAY": "a way in", "HOST": "the host", "CMD": "the command", "SOCKET": "the socket"}
_SHOWN = {"-S": "-S NAME"}


def find_conflict(given: Mapping[str, str]) -> str:
    """Return what is wrong with these options together, "" where they can all hold."""
    for group in _ONE_OF:
        found = [option for option in group if option in given]
        if len(found) > 1:
            return f"give one of {' and '.join(found)}"
    for option, needed in _GOES_WITH:
        if option in given and needed not in given:
            others = [other for other in _LASTING if other in given]
            instead = f", not with {others[0]}" if others else ""
            return f"{option} goes with {_SHOWN.get(needed, needed)}{instead}"
    for options, unfit, advice in _NEVER:
        for option in options:
            found = [_show(other, given) for other in unfit if other in given]
            if option in given and found:
                return f"{_show(option, given)} does not go with {' and '.join(found)}: {advice}"
    return ""


def _show(option: str, given: Mapping[str, str]) -> str:
    if option not in _WORDS:
        return option
    # A token line that was given as words must not be shown.
    return _WORDS[option] if "--login" in given else f"{_WORDS[option]} {given[option]!r}"
