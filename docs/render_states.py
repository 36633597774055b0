"""Print the state tables and diagrams of docs/protocol.md from the tables in the code.

    python docs/render_states.py

prints them all. In the page each stands between `<!-- states NAME -->` and `<!-- end -->`; a
test compares the two.
"""

from __future__ import annotations

import sys
from pathlib import Path

if __name__ == "__main__":  # started as a file, where the package is only beside it
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from rshell.protocol.channel import TRANSITIONS
from rshell.protocol.frames import FIRST_CHANNEL_TYPE, FrameType
from rshell.protocol.login import ACTING, RECEIVING
from rshell.protocol.session import Role


def table(heads: list[str], rows: list[list[str]]) -> str:
    """Return a markdown table."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def diagram(moves: list[tuple[str, str, str]]) -> str:
    """Return a mermaid diagram of (from, to, label); moves between the same two states merge."""
    labels: dict[tuple[str, str], list[str]] = {}
    for before, after, label in moves:
        labels.setdefault((before, after), []).append(label)
    lines = [
        f"    {before.replace('-', '_')} --> {after.replace('-', '_')}: {', '.join(names)}"
        for (before, after), names in labels.items()
    ]
    return "\n".join(["```mermaid", "stateDiagram-v2", *lines, "```"])


def render_handshake(role: Role) -> str:
    """Return the table and the diagram of one end's handshake."""
    rows: list[list[str]] = []
    moves: list[tuple[str, str, str]] = []
    for (actor, stage, frame_type), after in RECEIVING.items():
        if actor is role:
            rows.append([f"`{stage.value}`", f"receives {frame_type.name}", f"`{after.value}`"])
            moves.append((stage.value, after.value, frame_type.name))
    for (actor, stage, action), after in ACTING.items():
        if actor is role:
            rows.append([f"`{stage.value}`", f"decides: {action}", f"`{after.value}`"])
            moves.append((stage.value, after.value, action))
    text = table(["stage", "what happens", "next stage"], rows)
    return f"{text}\n\n{diagram(moves)}"


def render_channel() -> str:
    """Return the table and the diagram of one half of a channel."""
    types = [each for each in FrameType if each > FIRST_CHANNEL_TYPE]
    rows = []
    moves = []
    for half, allowed in TRANSITIONS.items():
        after = [f"`{allowed[each].value}`" if each in allowed else "" for each in types]
        rows.append([f"`{half.value}`", *after])
        moves += [(half.value, allowed[each].value, each.name) for each in types if each in allowed]
    text = table(["the sender's half", *(each.name for each in types)], rows)
    return f"{text}\n\n{diagram(moves)}"


def render_types() -> str:
    """Return the table of frame types."""
    rows = [
        [
            str(each.value),
            each.name,
            "a channel" if each >= FIRST_CHANNEL_TYPE else "the link (channel 0)",
            "yes" if each >= FIRST_CHANNEL_TYPE else "no",
        ]
        for each in FrameType
    ]
    return table(["type", "name", "belongs to", "sequenced"], rows)


def render() -> dict[str, str]:
    """Return every part by the name that marks its place in docs/protocol.md."""
    return {
        "types": render_types(),
        "handshake-server": render_handshake(Role.SERVER),
        "handshake-client": render_handshake(Role.CLIENT),
        "channel": render_channel(),
    }


if __name__ == "__main__":
    for name, text in render().items():
        print(f"<!-- states {name} -->\n{text}\n<!-- end -->\n")
