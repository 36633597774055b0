"""rshell-get and rshell-put as they run inside of a shell; the first argument says which.

A copy of this file is in a directory on the shell's PATH, and runs there by itself: nothing of
rshell is imported. It says what is asked for, waits, and says what it is told, with that status.
The server takes its end for the wish to stop.
"""

from __future__ import annotations

import os
import signal
import socket
import sys

_UNREACHABLE = 255
_INTERRUPTED = 130
_CANT = "this works in a shell of rshell only; from anywhere else, use rshell-cp"


def ask(place: str, words: list[bytes]) -> tuple[int, bytes]:
    """Return the status, and what is to be said, for `words`: a name, a directory, arguments.

    Raises OSError.
    """
    answer = b""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
        server.connect(place)
        server.sendall(b"%d\0%s" % (len(words), b"".join(word + b"\0" for word in words)))
        while True:
            block = server.recv(65536)
            if not block:
                break
            answer += block
    status, _, text = answer.partition(b" ")
    if not status.isdigit():
        raise OSError(0, "the server gave no answer; it may have ended")
    return int(status), text


def main() -> int:
    """Do what the arguments say, and return the status."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # whoever started us is to know of it
    name, *arguments = map(os.fsencode, sys.argv[1:])
    place = os.environ.get("RSHELL_CLIENT", "")
    try:
        status, text = ask(place, [name, os.getcwdb(), *arguments]) if place else (0, b"")
        why = "" if place else _CANT
    except (ConnectionRefusedError, FileNotFoundError):  # of a shell that has ended, or no cwd
        why = _CANT
    except OSError as error:
        why = error.strerror or str(error)
    if why:
        status, text = _UNREACHABLE, b"%s: %s\n" % (name, why.encode())
    while text:
        text = text[os.write(2 if status else 1, text) :]
    if status == _INTERRUPTED and signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
        # The answer may be faster than the key. A shell leaves its loops for this alone.
        os.kill(os.getpid(), signal.SIGINT)
    return status


if __name__ == "__main__":
    sys.exit(main())
