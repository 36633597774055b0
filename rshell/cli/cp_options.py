"""What the user asks of `rshell-cp`: options, and which paths are on which machine.

Hazard: a colon may be part of a file's name. What has a slash before its first colon is a path of
this machine, as with scp: write ./a:b.
"""

from __future__ import annotations

import getopt
import re
from typing import Optional, Union

from rshell.channels.files.messages import TransferOptions
from rshell.cli.options import UsageError, find_place, window_of
from rshell.errors import LocalProtocolError
from rshell.reach.ways import Way
from rshell.values import Address, frozen

HELP = """\
usage: rshell-cp [OPTIONS] SOURCE... TARGET

Copy files and trees to another machine, from there, or from one to another. Every file arrives
whole or not at all, its hash is compared, and what was cut is taken up where it stopped.

  rshell-cp report.pdf host:                 into the directory of the server
  rshell-cp -r host:7000:/var/log logs       /var/log becomes logs/log
  rshell-cp -r site/ docker://web:/srv       what is in site goes into /srv
  rshell-cp 'host:*.csv' .                   the server expands the pattern
  rshell-cp -r a:data b:                     through this machine, not onto its disk
  tar c . | rshell-cp - host:backup.tar      stdin, or stdout as the TARGET

SOURCE and TARGET: [HOST:]PATH, with HOST as for rshell:
  HOST[:PORT]:PATH, [IPv6][:PORT]:PATH, unix:/socket:PATH, ssh://[USER@]HOST[:PORT]:PATH,
  docker://NAME:PATH, podman://NAME:PATH, kubectl://[NAMESPACE/]POD:PATH, ALIAS:PATH, and
  :PATH for $RSHELL_HOST or default_host
      --local, --via CMD   :PATH is on the server that they start or reach

what is sent:
  -r, --recursive       directories too; of DIR/ what is in it
      --hard-links      keep files one that are one
  -p, --preserve        give modes as they are, without the umask
      --setuid          with -p: setuid and setgid, too
  -X, --attributes      as -p, and owners, extended attributes and ACLs
      --numeric-ids     with -X: users and groups by number, not by name

what is there already is left if its size and time are the same, and compared by blocks if not:
      --checksum        compare what size and time call equal
  -u, --update          leave newer files
      --no-clobber      leave all that exist
      --backup          keep what is replaced as NAME~
      --delete          remove what was not sent (with -r)
      --inplace         write into the old file, which is torn meanwhile
      --fsync           wait for the disk
      --dry-run         change nothing, and say what would be done

  -v, --verbose         print each name
  -q, --quiet           no progress
      --json            print an object for each file, and one for all
      --fingerprint F, --ca FILE|system, --resume-window S, --no-background: as for rshell
      --version, --help

The status is 0 where everything arrived, 1 where some did not, and 255 for whatever went wrong
between here and there. Ctrl-C leaves what the same command takes up again.
"""

_SHORT = "rRpXuvqh"
_FLAGS = {
    "recursive": ("-r", "-R"),
    "hard_links": (),
    "preserve": ("-p",),
    "setuid": (),
    "checksum": (),
    "update": ("-u",),
    "no_clobber": (),
    "backup": (),
    "delete": (),
    "inplace": (),
    "fsync": (),
    "dry_run": (),
    "attributes": ("-X",),
    "numeric_ids": (),
}
_LONG = [name.replace("_", "-") for name in _FLAGS]
_LONG += ["verbose", "quiet", "json", "help", "version", "local", "via=", "no-background"]
_LONG += ["fingerprint=", "ca=", "resume-window="]

_SCHEME = r"(?:ssh|docker|podman|kubectl)://(?:[^:\[]*@)?(?:\[[^\]]*\]|[^:\[]*)"
_PLACE = re.compile(
    rf"(?P<host>unix:/[^:]*|(?:{_SCHEME}|\[[^\]]*\]|[^:/\[]*)(?::\d+(?=:))?):(?P<path>.*)\Z",
    re.DOTALL,
)


@frozen
class Place:
    """Where something is: `host` is None for this machine, and "" for the usual one."""

    path: str
    host: Optional[str] = None

    @classmethod
    def parse(cls, text: str) -> Place:
        """Read `[HOST:]PATH`; a remote path that is empty is the server's directory."""
        found = _PLACE.match(text)
        if found is None or text.startswith(("/", "./", "../")):
            return cls(text)
        return cls(found["path"] or ".", found["host"])

    @property
    def is_stdio(self) -> bool:
        """Whether this is stdin or stdout."""
        return self.host is None and self.path == "-"


@frozen
class CopyOptions:
    """What was asked for. `action` is "copy", "help" or "version"."""

    action: str = "copy"
    sources: tuple[Place, ...] = ()
    target: Place = Place("")
    transfer: TransferOptions = TransferOptions()
    local: bool = False
    via: Optional[str] = None
    background: Optional[bool] = None
    fingerprint: Optional[str] = None
    ca: Optional[str] = None
    resume_window: Optional[float] = None
    verbose: bool = False
    quiet: bool = False
    json: bool = False

    def find(self, host: str) -> Union[Address, Way, None]:
        """Return where a host is; None for the server of --local and --via. Raises AddressError."""
        if self.local or self.via is not None:
            return None
        address, way = find_place(host or None, None)
        return way or address


def parse(arguments: list[str]) -> CopyOptions:
    """Read a command line. Raises UsageError, AddressError and ConfigurationError."""
    try:
        pairs, words = getopt.gnu_getopt(arguments, _SHORT, _LONG)
    except getopt.GetoptError as error:
        raise UsageError(f"{error.msg}. See rshell-cp --help.") from None
    given = dict(pairs)
    if "--help" in given or "-h" in given:
        return CopyOptions("help")
    if "--version" in given:
        return CopyOptions("version")
    if len(words) < 2:
        raise UsageError("rshell-cp takes a SOURCE and a TARGET. See rshell-cp --help.")
    flags = {
        name: any(option in given for option in (f"--{name.replace('_', '-')}", *short))
        for name, short in _FLAGS.items()
    }
    try:
        transfer = TransferOptions(**flags)
    except LocalProtocolError as error:
        raise UsageError(f"these options do not go together: {error}") from None
    options = CopyOptions(
        sources=tuple(map(Place.parse, words[:-1])),
        target=Place.parse(words[-1]),
        transfer=transfer,
        local="--local" in given,
        via=given.get("--via"),
        background=False if "--no-background" in given else None,
        fingerprint=given.get("--fingerprint"),
        ca=given.get("--ca"),
        resume_window=window_of(given.get("--resume-window")),
        verbose="--verbose" in given or "-v" in given,
        quiet="--quiet" in given or "-q" in given,
        json="--json" in given,
    )
    _check(options)
    return options


def _check(options: CopyOptions) -> None:
    sources, target = options.sources, options.target
    places = (*sources, target)
    if options.local and options.via is not None:
        raise UsageError("give one of --local and --via")
    if not any(place.host is not None for place in places):
        raise UsageError("no machine is named: write HOST:PATH for the SOURCE or the TARGET")
    if target.host is None and any(place.host is None for place in sources):
        raise UsageError(f"both {_local(sources)!r} and {target.path!r} are on this machine")
    if len({place.host is None for place in sources}) > 1:
        raise UsageError("the sources are all on this machine, or all on others")
    if any(place.is_stdio for place in places) and len(sources) > 1:
        raise UsageError("stdin and stdout go with one SOURCE and one TARGET")
    if options.local or options.via is not None:
        named = next((place.host for place in places if place.host), None)
        if named is not None:
            raise UsageError(f"{named!r} does not go with --local and --via: write :PATH")


def _local(sources: tuple[Place, ...]) -> str:
    return next(place.path for place in sources if place.host is None)
