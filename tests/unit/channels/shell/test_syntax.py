"""What gets which colour, and above all which names are offered to be judged."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rshell.channels.shell.syntax import COMMAND, highlight
from tests.unit.channels.shell.test_scanner import TEXTS


def marked(text: str, *, is_fish: bool = False) -> list[tuple[str, str]]:
    return [(text[start:end], kind) for start, end, kind in highlight(text, is_fish=is_fish)]


def commands(text: str, *, is_fish: bool = False) -> str:
    """Return the names that may be judged."""
    return " ".join(word for word, kind in marked(text, is_fish=is_fish) if kind == COMMAND)


@given(TEXTS, st.booleans())
def test_what_is_coloured_is_in_order_and_does_not_overlap(text: str, is_fish: bool) -> None:
    behind = 0
    for start, end, _ in highlight(text, is_fish=is_fish):
        assert behind <= start < end <= len(text)
        behind = end


def test_each_part_has_its_own_colour() -> None:
    text = "for x in a; do ls -l --color=auto \"a $x b\" 'c' ${y} 2>&1 >f | cat; done # end"
    assert marked(text) == [
        ("for", "keyword"),
        ("in", "keyword"),
        (";", "operator"),
        ("do", "keyword"),
        ("ls", "command"),
        ("-l", "option"),
        ("--color", "option"),
        ('"a ', "quote"),
        ("$x", "variable"),
        (' b"', "quote"),
        ("'c'", "quote"),
        ("${y}", "variable"),
        ("2>&1", "operator"),
        (">", "operator"),
        ("|", "operator"),
        ("cat", "command"),
        (";", "operator"),
        ("done", "keyword"),
        ("# end", "comment"),
    ]
    assert marked("cat <<-E; ls\nbody\n\tE\nls") == [
        ("cat", "command"),
        ("<<-", "operator"),
        ("E", "quote"),
        (";", "operator"),
        ("ls", "command"),
        ("body\n\tE\n", "quote"),
        ("ls", "command"),
    ]


def test_only_what_is_a_command_for_sure_may_be_judged() -> None:
    for text, names in [
        ("a; b & c | d |& e && f || g\nh", "a b c d e f g h"),
        ("./a; /bin/b; ~/c; 'd'; \\e; $f; g*; h?; !!; !i; %1; =j; ^k^l", ""),
        ("A=1 B[2]=3 C+=4 d e", "d"),
        ("x=$(a b)c d; $(e f)g h; `i j` k", "a d e i"),
        ("x=`a`b c", "a c"),
        ("x=(a\nb) c; x+=(d) e", "c e"),
        (">f a <g; b 2>&1 >&- c; d &>e f; 2>h i <<<j k", "a b d i"),
        ("if a; then b; elif c; then d; else e; fi; while f; do g; done", "a b c d e f g"),
        ("! a; time b; { c; }; (d; e)f; until g; do :; done", "a b c d e g"),
        ("for a in b c; do d; done; select e in f; do g; done; for ((h;i;j)); do k; done", "d g k"),
        ("case a in b|c) d;; (e) f ;;& *) g\nh; esac; i", "d f g h i"),
        ("case a in b) $(c) d\nesac; e", "c e"),
        ("case a in esac; b", "b"),
        ("[[ a && ( b || c ) ]] && d; [ e = f ] || g", "d [ g"),
        ("[[ a\n&& b ]]\nc", "c"),
        ("a() { b; }; a; function c { d; }; c; e () (f); e; function g() { h; }; g", "b d f h"),
        ("alias a='b c' d=e; a; d; f", "alias f"),
        ("a <(b c) >(d) e", "a b d"),
        ("a *(.) !(b|c) @(d)", "a"),
        ("a; . b; c", "a"),
        ("a; source b; c", "a"),
        ("a; eval b; c", "a"),
        ("a; PATH=b; c", "a"),
        ("a; export PATH=b; c", "a export"),
        ("path=(b); c", ""),
        ("sudo a; exec b; command c", "sudo exec command"),
        ("a <<E | b\nc\nE\nd", "a b d"),
        ('a "$(b "c; d" e)" f', "a"),
        ("a 'b; c", "a"),
        ("a # b; c", "a"),
        ("日本 語; ø", "日本 ø"),
        ("a-b.c:d_e+f", "a-b.c:d_e+f"),
    ]:
        assert commands(text) == names, text


def test_the_language_of_fish() -> None:
    for text, names in [
        ("a (b c) d; (e)", "a b e"),
        ("for x in (a); b; end", "a b end"),
        ("switch $x\ncase a\nb\nend\nc", "switch b end c"),
        ("function a; b; end; a", "b end"),
        ("set -x PATH b; c", "set"),
        ("a 'it\\'s; b'; c", "a c"),
    ]:
        assert commands(text, is_fish=True) == names, text
