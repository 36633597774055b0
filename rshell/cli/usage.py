"""What `rshell --help` prints."""

from __future__ import annotations

HELP = """\
usage: rshell [OPTIONS] [HOST[:PORT]] [OPTIONS] [COMMAND...]

Open a prompt on another machine, run a command there, or its shell on a script from stdin.

  rshell host:7000                  a prompt; Ctrl-D or exit leaves, ~. at once
  rshell -c "ls -l"                 on $RSHELL_HOST, default_host, or localhost:7000
  rshell host:7000 -S work          a prompt that outlives this terminal, or back to it
  rshell host:7000 make test        words are joined by blanks and run by the remote shell
  rshell host < script.sh           the remote shell runs the script
  rshell --local -c "uname -a"      no server needed
  rshell --via 'docker exec -i web rshell-server --stdio' -c "ps"

where:
  HOST[:PORT], [IPv6]:PORT, unix:/path
  -p, --port PORT       the port, where HOST names none (7000)
      --local           start a server of our own, for this session alone
      --via CMD         reach a server through the stdio of CMD

what:
  -c, --command CMD     run CMD in the remote shell
  -n                    read no stdin
  -t                    give the command a terminal; without a command, the remote shell
      --resume-window S try for S seconds to come back after a cut (300); 0 gives up at once
      --timeout S       end the command after S seconds, with status 124
      --json            print one JSON object that says how it ended and what it printed

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

  -v, --verbose         say why
      --version, --help

The status is the command's own; 128 and the signal's number; 124 after a timeout; and 255, with
one line that says why, for whatever went wrong between here and there.
"""
