"""Draw docs/prompt.svg from a real session: `python docs/make_picture.py`.

Strategy: the real client runs in a pseudo-terminal against a server of its own in a temporary
directory; its output goes through a terminal emulator (pyte), and the screen that it leaves is
drawn cell by cell. Nothing in the picture was typed by hand.

Needs the `test` extra. The picture shows neither this machine's names nor its user's.
"""

from __future__ import annotations

import html
import os
import pty
import select
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pyte

COLUMNS, ROWS = 78, 23
CELL_WIDTH, CELL_HEIGHT, MARGIN = 8.4, 18, 12
ROOT = Path(__file__).resolve().parent.parent
QUIET = 0.4  # seconds without output after which the screen is taken to be complete
COLOURS = {
    "default": "#d8dee9",
    "green": "#a3be8c",
    "blue": "#81a1c1",
    "red": "#e06c75",
    "brown": "#ebcb8b",
    "cyan": "#88c0d0",
    "magenta": "#b48ead",
    "white": "#eceff4",
    "black": "#2e3440",
    "brightblack": "#7b8394",
}

# Somebody's own prompt: where they are, on which branch, and a red arrow after a failure.
PROFILE = r"""
branch() { git branch --show-current 2>/dev/null | sed 's/^/ on /'; }
PS1='\n\[\e[1;34m\]web \[\e[0;36m\]\w\[\e[35m\]$(branch)'
PS1+='\n\[\e[$(($? ? 31 : 32))m\]$ \[\e[0m\]'
"""

# What is typed, a step at a time.
STEPS = (
    "cd site\r",
    "for page in *.html; do\r",
    "  wc -c $page\r",
    "done\r",
    "python3 -c 'raise SystemExit(3)'\r",
    "cat docs/re\t",
)


def main() -> None:
    """Run the session and write the picture."""
    with tempfile.TemporaryDirectory() as directory:
        screen = record(Path(directory))
    target = ROOT / "docs" / "prompt.svg"
    target.write_text(draw(screen), encoding="utf-8")
    print(f"wrote {target.relative_to(ROOT)}")


def record(directory: Path) -> pyte.Screen:
    """Run the steps in a real client; return the screen they leave."""
    site = directory / "srv" / "site"
    prepare_site(site)
    (site.parent / ".bash_profile").write_text(PROFILE)
    environment = dict(os.environ) | {
        "XDG_STATE_HOME": str(directory / "state"),
        "XDG_CONFIG_HOME": str(directory / "config"),
        "HOME": str(site.parent),
        "PYTHONPATH": str(ROOT),
        "SHELL": "/bin/bash",
        "TERM": "xterm-256color",
        "GIT_CONFIG_GLOBAL": os.devnull,
    }
    environment.pop("NO_COLOR", None)
    screen = pyte.Screen(COLUMNS, ROWS)
    stream = pyte.ByteStream(screen)
    server, address = start_server(environment, site.parent)
    try:
        pid, master = pty.fork()
        if not pid:
            os.environ.update(environment)
            os.execv(sys.executable, [sys.executable, "-m", "rshell.cli.rshell", address])
        try:
            import fcntl
            import struct
            import termios

            fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
            follow(master, stream, screen)
            for step in STEPS:
                os.write(master, step.encode())
                follow(master, stream, screen)
        finally:
            os.close(master)
            os.waitpid(pid, 0)
    finally:
        server.terminate()
        server.wait()
    return screen


def prepare_site(site: Path) -> None:
    """Make a small site for the session to look at."""
    (site / "docs").mkdir(parents=True)
    for name, size in (("index.html", 5120), ("about.html", 2048)):
        (site / name).write_text("x" * size)
    for name in ("readme first.md", "release.md", "reference.md"):
        (site / "docs" / name).touch()
    subprocess.run(["git", "init", "-q", str(site)], check=True)


def start_server(environment: dict[str, str], home: Path) -> tuple[subprocess.Popen[str], str]:
    """Start a server on a fixed, unusual port; return it and its address."""
    server = subprocess.Popen(
        [sys.executable, "-m", "rshell.cli.server", "--port", "7321", "--cwd", str(home)],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert server.stdout is not None
    server.stdout.readline()
    return server, "localhost:7321"


def follow(master: int, stream: pyte.ByteStream, screen: pyte.Screen) -> None:
    """Feed the screen until the client has been quiet for a moment."""
    deadline = time.monotonic() + 10
    quiet = 3 * QUIET
    while time.monotonic() < deadline:
        if not select.select([master], [], [], quiet)[0]:
            return
        data = os.read(master, 65536)
        stream.feed(data)
        if b"\x1b[6n" in data:  # where is the cursor? a terminal answers that
            os.write(master, b"\x1b[%d;%dR" % (screen.cursor.y + 1, screen.cursor.x + 1))
        quiet = QUIET


def draw(screen: pyte.Screen) -> str:
    """Return the screen as SVG."""
    width = COLUMNS * CELL_WIDTH + 2 * MARGIN
    height = ROWS * CELL_HEIGHT + 2 * MARGIN
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" '
        'font-family="DejaVu Sans Mono, Menlo, Consolas, monospace" font-size="14">',
        f'<rect width="{width:.0f}" height="{height:.0f}" rx="8" fill="#2e3440"/>',
    ]
    for row in range(ROWS):
        parts += draw_row(screen, row)
    parts.append("</svg>")
    return "\n".join(parts) + "\n"


def draw_row(screen: pyte.Screen, row: int) -> list[str]:
    """Return one line of the screen: a rectangle and a text for each run of equal cells."""
    parts = []
    cells = [screen.buffer[row][column] for column in range(COLUMNS)]
    start = 0
    for column in range(1, COLUMNS + 1):
        if column < COLUMNS and cells[column]._replace(data="") == cells[start]._replace(data=""):
            continue
        cell = cells[start]
        text = "".join(each.data for each in cells[start:column])
        ink, paper = colour(cell.fg, "default"), colour(cell.bg, "")
        if cell.reverse:
            ink, paper = paper or COLOURS["black"], ink
        x, y = MARGIN + start * CELL_WIDTH, MARGIN + row * CELL_HEIGHT
        if paper:
            parts.append(
                f'<rect x="{x:.1f}" y="{y}" width="{(column - start) * CELL_WIDTH:.1f}" '
                f'height="{CELL_HEIGHT}" fill="{paper}"/>'
            )
        if text.strip():
            weight = ' font-weight="bold"' if cell.bold else ""
            parts.append(
                f'<text x="{x:.1f}" y="{y + 14}" fill="{ink}"{weight} xml:space="preserve" '
                f'textLength="{len(text) * CELL_WIDTH:.1f}">{html.escape(text)}</text>'
            )
        start = column
    return parts


def colour(name: str, otherwise: str) -> str:
    """Return a colour of the picture for one of the terminal's."""
    if name == "default":
        return COLOURS.get(otherwise, "")
    return COLOURS.get(name, f"#{name}" if len(name) == 6 else COLOURS["default"])


if __name__ == "__main__":
    main()
