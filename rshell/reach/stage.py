"""What is said to a machine where nothing is installed, until its server speaks for itself.

1. The way in runs `sh`, which is given a script on its stdin. It looks for a Python that is new
   enough, and becomes `STAGE`, a program of that Python's.
2. `STAGE` answers with a line: what it is, and whether it has the bundle from an earlier time.
   What comes before that line is a banner or a profile's, and is shown if the line never comes.
3. We say in a line of JSON what is wanted, and send the bundle where it is not there.
4. It runs the bundle, which hands its stdin and stdout to the background server of that user
   (server/enter.py). A line says so; the server's frames follow.

Every line of theirs begins with a word that nobody could know before.

Hazard: a shell may read ahead on its stdin. Nothing is sent until `STAGE` has answered.
"""

from __future__ import annotations

import json
from typing import Any, Optional

OLDEST = (3, 9)
# The usual name first: a name that is there may be a script that takes its time to say no.
_PYTHONS = (
    "python3 python3.14 python3.13 python3.12 python3.11 python3.10 python3.9 python "
    "/usr/local/bin/python3 /usr/bin/python3 /opt/homebrew/bin/python3"
)

# Without a single quote, for sh passes it between two.
STAGE = r"""# rshell: its server side is brought along (docs/reach.md)
import os, sys
word, name = sys.argv[1:3]
def say(kind, **facts):
    import json
    data = ("\n" + word + " " + kind + " " + json.dumps(facts) + "\n").encode()
    while data:
        data = data[os.write(1, data):]
def read(size):
    data = b""
    while len(data) < size:
        part = os.read(0, size - len(data))
        if not part:
            sys.exit(1)
        data += part
    return data
def whole(path):
    import hashlib
    try:
        with open(path, "rb") as file:
            return hashlib.sha256(file.read()).hexdigest() == name
    except OSError:
        return False
home = os.environ.get("XDG_CACHE_HOME", "")
if not os.path.isabs(home):
    home = os.path.join(os.path.expanduser("~"), ".cache")
place = os.path.join(home, "rshell")
path = os.path.join(place, name + ".pyz")
def private():
    for part in (place, path):
        status = os.lstat(part)
        if status.st_uid != os.geteuid() or status.st_mode & 0o22:
            raise OSError(1, part + " is not ours alone")
def there():
    try:
        private()
    except OSError:
        return False
    return whole(path)
def keep(data):
    new = path + "." + str(os.getpid())
    try:
        os.makedirs(place, 0o700, exist_ok=True)
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(data)
        os.rename(new, path)
        private()
        return path
    except OSError as error:
        why = error
    try:
        os.unlink(new)
    except OSError:
        pass
    for make in (in_memory, in_tmp):
        try:
            return make(data)
        except (OSError, AttributeError):
            pass
    raise why
def in_memory(data):
    fd = os.memfd_create("rshell-server")
    with os.fdopen(os.dup(fd), "wb") as file:
        file.write(data)
    os.set_inheritable(fd, True)
    kept = "/proc/self/fd/%d" % fd
    if not whole(kept):
        raise OSError
    return kept
def in_tmp(data):
    import tempfile
    fd, kept = tempfile.mkstemp(suffix=".pyz", prefix="rshell-", dir="/dev/shm")
    with os.fdopen(fd, "wb") as file:
        file.write(data)
    return kept
try:
    import importlib.util, json
    for module in ("asyncio", "zlib", "json", "ssl"):
        if importlib.util.find_spec(module) is None:
            raise ImportError("this Python has no module " + module)
    say("ready", python=sys.version.split()[0], program=sys.executable, there=there())
    line = b""
    while line[-1:] != b"\n":
        line += read(1)
    wanted = json.loads(line)
    code = keep(read(wanted["size"])) if wanted["size"] else path
    sys.path.insert(0, code)
    from rshell.cli.arrival import main
    status = main(code, name, wanted, lambda **facts: say("serving", **facts))
except Exception as error:
    say("failed", why=str(error) or repr(error), name=type(error).__name__)
    status = 1
sys.exit(status)
"""

# One command for the shell, so that it has read all of it before it runs the first word.
_SCRIPT = """\
{{
f=
for p in {pythons}; do
if q=$(command -v "$p" 2>/dev/null) && [ -n "$q" ]; then
if "$q" -I -S -c 'import sys; sys.exit(sys.version_info < {oldest})' </dev/null >/dev/null 2>&1
then exec "$q" -I -S -c '{stage}' {word} {name}; fi
f="$f $q"
fi
done
echo; echo "{word} none [\\"$f\\"]"; exit 127
}}
"""


def script(word: str, name: str) -> bytes:
    """Return what `sh` is to run: `word` begins our lines, `name` is that of the bundle."""
    text = _SCRIPT.format(pythons=_PYTHONS, oldest=OLDEST, stage=STAGE, word=word, name=name)
    return text.encode()


def wanted(what: dict[str, Any], size: int) -> bytes:
    """Return the line that says what is wanted, before `size` bytes of the bundle."""
    return json.dumps(what | {"size": size}).encode() + b"\n"


class Answers:
    """Finds the lines of the other side in what comes, whatever stands around them."""

    def __init__(self, word: str) -> None:
        self._mark = f"\n{word} ".encode()
        self._held = b"\n"

    def feed(self, data: bytes) -> Optional[tuple[str, Any]]:
        """Take what has come; return the kind and the facts of the next line, None without one."""
        self._held += data
        _, mark, rest = self._held.partition(self._mark)
        line, end, after = rest.partition(b"\n")
        if not mark or not end:
            return None
        kind, _, facts = line.decode(errors="replace").partition(" ")
        self._held = b"\n" + after if kind != "serving" else after
        try:
            return kind, json.loads(facts)
        except ValueError:
            return kind, {}

    @property
    def rest(self) -> bytes:
        """What has come and is no line: a banner, or the first frames."""
        return self._held
