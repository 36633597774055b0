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

_LONGEST = 64 * 1024  # bytes of a line

# Without a single quote, for sh passes it between two.
STAGE = r"""# rshell: its server side is brought along (docs/reach.md)
import os, sys
word, name = sys.argv[1:3]
def say(what, **facts):
    import json
    write(what, json.dumps(facts))
def write(what, text):
    data = ("\n" + word + " " + what + " " + text + "\n").encode()
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
home = os.environ.get("XDG_CACHE_HOME", "")
if not os.path.isabs(home):
    home = os.path.join(os.path.expanduser("~"), ".cache")
cache = os.path.join(home, "rshell")
others = ["%s/rshell-%d" % (place, os.geteuid()) for place in ("/tmp", "/dev/shm")]
def is_sent(data):
    import hashlib
    return hashlib.sha256(data).hexdigest() == name
def own(path):
    status = os.lstat(path)
    if status.st_uid != os.geteuid() or status.st_mode & 0o22:
        raise OSError(1, "it is not ours alone", path)
def check(place, path):
    own(place)
    own(path)
    with open(path, "rb") as file:
        if not is_sent(file.read()):
            raise OSError(5, "it is not what was written", path)
    return path
def there():
    for place in [cache] + others:
        try:
            return check(place, os.path.join(place, name + ".pyz"))
        except OSError:
            pass
    return ""
def keep(data):
    if not is_sent(data):
        raise ValueError("what has come is not what was sent")
    why = None
    for place in (cache, "", *others):
        try:
            return keep_in(place, data) if place else in_memory(data)
        except (OSError, AttributeError) as error:
            why = why or error
    raise OSError("there is no place for it (" + (why.filename or "") + ": " + why.strerror +
        "). Give it a home, a /tmp or a /dev/shm that it can write")
def keep_in(place, data):
    path = os.path.join(place, name + ".pyz")
    new = path + "." + os.urandom(8).hex()
    os.makedirs(place, 0o700, exist_ok=True)
    own(place)
    try:
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(data)
        os.rename(new, path)
    except OSError:
        for remove, left in ((os.unlink, new), (os.rmdir, place)):
            try:
                remove(left)
            except OSError:
                pass
        raise
    return check(place, path)
def in_memory(data):
    fd = os.memfd_create("rshell-server")
    kept = "/proc/self/fd/%d" % fd
    try:
        with os.fdopen(os.dup(fd), "wb") as file:
            file.write(data)
        os.set_inheritable(fd, True)
        with open(kept, "rb") as file:
            if is_sent(file.read()):
                return kept
    except OSError:
        pass
    os.close(fd)
    raise OSError(5, "it can not be read", kept)
begun = []
def greet(**facts):
    begun.append(1)
    say("serving", **facts)
try:
    import importlib.util
    for module in ("asyncio", "zlib", "json", "ssl"):
        if getattr(importlib.util.find_spec(module), "origin", None) is None:
            raise ImportError("No module named " + module)
    import json
    path = there()
    say("ready", python=sys.version.split()[0], program=sys.executable, there=bool(path))
    line = b""
    while line[-1:] != b"\n":
        line += read(1)
    wanted = json.loads(line)
    code = keep(read(wanted["size"])) if wanted["size"] else path
    sys.path.insert(0, code)
    from rshell.cli.arrival import main
    status = main(code, name, wanted, greet)
except Exception as error:
    if begun:
        raise
    why = str(error) or repr(error)
    if isinstance(error, ImportError):
        why = "its Python (" + sys.executable + ") is not whole: " + why
    # By hand: it may be json that is not there.
    kept = [c if c.isprintable() and c not in "\"\\" else "?" for c in ascii(why)[1:-1]]
    write("failed", "{\"why\": \"" + "".join(kept) + "\"}")
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
    """Finds the lines of the other side in what comes, whatever stands around them.

    What the other side says may be anything: it is kept as far as somebody may want to see it.
    """

    def __init__(self, word: str) -> None:
        self._mark = f"\n{word} ".encode()
        self._held = b"\n"

    def feed(self, data: bytes) -> Optional[tuple[str, Any]]:
        """Take what has come; return the kind and the facts of the next line, None without one."""
        self._held += data
        _, mark, rest = self._held.partition(self._mark)
        line, end, after = rest.partition(b"\n")
        if not mark or not end:
            # Of a banner the end, and room for a line that has begun.
            self._held = self._held[-_LONGEST:]
            return None
        kind, _, facts = line.decode(errors="replace").partition(" ")
        self._held = b"\n" + after if kind != "serving" else after
        try:
            return kind, json.loads(facts)
        except (ValueError, RecursionError):
            return kind, {}

    @property
    def rest(self) -> bytes:
        """What has come and is no line: a banner, or the first frames."""
        return self._held
