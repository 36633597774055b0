"""The command line of `rshell` as tables: its help, its options, and which can't both hold.

An option that is ignored without a word does something else than what was asked: every pair that
contradicts each other is refused, and the message says what to do. Options have one name here, the
shorter one; `HOST`, `CMD` and `SOCKET` stand for what was given as words.
"""

from __future__ import annotations

from collections.abc import Mapping

HELP = """\
usage: rshell [OPTIONS] [HOST[:PORT]] [OPTIONS] [COMMAND...]

Open a prompt on another machine, run a command there, or its shell on a script from stdin.

  rshell host:7000                  a prompt; Ctrl-D or exit leaves, ~. at once
  rshell -c "ls -l"                 on $RSHELL_HOST, default_host, or localhost:7000
  rshell host:7000 -S work          a prompt that outlives this terminal, or back to it
  rshell host:7000 make test        words are joined by blanks and run by the remote shell
  rshell host < script.sh           the remote shell runs the script
  rshell docker://web               nothing is installed there but a Python
  rshell --local -c "uname -a"      no server needed

where:
  HOST[:PORT], [IPv6]:PORT, unix:/path
  ssh://[USER@]HOST[:PORT], docker://NAME, podman://NAME, kubectl://[NAMESPACE/]POD
                        a way in; the server is brought along, and ends when idle
  NAME                  an alias, of [hosts] in config.toml: web = "ssh://me@web.example"
      --doctor          say what is found there, and what works
      --stop            end and remove all that rshell left there
      --no-background   leave no server there: the session ends with its link
      --background      with --local or --via: have it stay, and keep shells and jobs
  -p, --port PORT       the port, where HOST names none (7000)
      --local           start a server here, for this session; it stays for named shells and jobs
      --via CMD         reach a server through the stdio of CMD
      --bootstrap       with --via: CMD runs the words behind it over there, as a way in

what:
  -c, --command CMD     run CMD in the remote shell
  -n                    read no stdin
  -t                    give the command a terminal; without a command, the remote shell
      --resume-window S try for S seconds to come back after a cut (300); 0 gives up at once
      --timeout S       end the command after S seconds, with status 124
      --json            print one JSON object that says how it ended and what it printed

at the prompt:
      --prompt own|rshell   show the shell's own prompt, as without it, or rshell's
      --no-login        don't have the shell read what a login shell reads

named shells, prompts which outlive the client:
  -S NAME               make the shell NAME, or attach to it; ~d while a command runs, or
                        Ctrl-X Ctrl-D at the prompt, leaves it running
  -S NAME --share       watch it, without touching it
      --shells          list the shells; --json too
      --kill-shell NAME end a shell and what runs in it

jobs, which outlive the client (with -c CMD or words for --detach):
      --detach          start a job, print its name and leave; --name NAME chooses the name
      --jobs            list the jobs; --json too
      --logs NAME       print what is kept of a job's output; -f, --follow goes on to its end
      --wait NAME       wait for a job and exit with its status
      --kill-job NAME   end a job

trust:
      --login           store a token line from 'rshell-token add', read from the terminal
      --fingerprint F   accept this certificate only
      --ca FILE|system  check the certificate against an authority, and the host's name

  -v, --verbose         say who you are to the server, and the round trip
      --version, --help

The status is the command's own; 128 and the signal's number; 124 after a timeout; and 255, with
one line that says why, for whatever went wrong between here and there.
"""

SHORT = "c:np:tvhl:fS:"
_OF_WAY = ["bootstrap", "doctor", "stop", "no-background", "background"]
_OF_LINK = ["port=", "local", "via=", "resume-window=", "fingerprint=", "ca=", "login"]
_OF_COMMAND = ["command=", "timeout=", "json"]
_OF_PROMPT = ["prompt=", "no-login"]
_OF_SHELLS = ["share", "shells", "kill-shell="]
_OF_JOBS = ["detach", "name=", "jobs", "logs=", "follow", "wait=", "kill-job="]
LONG = [
    *_OF_LINK,
    *_OF_WAY,
    *_OF_COMMAND,
    *_OF_PROMPT,
    *_OF_SHELLS,
    *_OF_JOBS,
    "verbose",
    "version",
    "help",
]
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
