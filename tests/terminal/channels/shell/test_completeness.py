"""Texts that end too early, as the text itself and as every shell tells it."""

from __future__ import annotations

import pytest

from rshell.channels.shell.completeness import may_be_incomplete, wants_more_text


@pytest.mark.parametrize(
    ("text", "wants"),
    [
        ("echo a\\", True),
        ("echo a\\\\", False),
        ("echo a\\\nb", False),
        ("cat <<EOF", True),
        ("cat <<EOF\nEOF2", True),
        ("cat <<EOF\ntext\nEOF", False),
        ("cat <<-EOF\n\tEOF", False),
        ("cat <<'EOF'\n$x", True),
        ('cat <<"EOF"\n$x\nEOF', False),
        ("cat <<A <<B\nA", True),
        ("cat <<A <<B\nA\nB", False),
        ("cat <<<word", False),
        ("echo '<<EOF'", False),
        ("echo $((1 <<x))", False),
        ("true # <<EOF", False),
        ("for x", True),
        ("for x in a b", True),
        ("echo for x", False),
        ("for x in a; do echo; done", False),
        ("cat <<EOF\n\tEOF", True),
        ("cat <<EOF\nx\\", True),
        ("cat <<EOF\na'b\nEOF\necho x", False),
        ("cat <<\\EOF\nx\nEOF", False),
        ("cat <<EOF-1\nhello", True),
        ("cat <<EOF-1\nhello\nEOF-1", False),
        ('cat <<"A B"\nzz\nA B', False),
        ("cat <<EOF; echo 'a\nEOF\n'", True),
        ("python3 -c '\nn = 3\nprint(1 << n)\n'", False),
        ('git commit -m "fix\nuse a << b here\ndone"', False),
        ("echo $'it\\'s <<EOF'", False),
        ("x=1; echo $[1<<x]", False),
        ("echo $(( (1+(2)) << x ))", False),
        ("echo $(( 1 <<", False),
        ("# foo \\", False),
        ("true;# foo \\", False),
        ("true;#\\", False),
        ("echo a# \\", True),
        ("echo a\\#b \\", True),
        ("echo a &&", True),
        ("echo a || # why", True),
        ("ls |\n", True),
        ("[[ a &&", True),
        ("sleep 1 &", False),
        ("echo a >|", False),
        ("echo '&&'", False),
    ],
)
def test_a_text_that_goes_on_is_told_from_one_that_only_looks_so(text: str, wants: bool) -> None:
    assert wants_more_text(text) is wants
    if wants:
        assert may_be_incomplete(text)


@pytest.mark.parametrize(
    "text", ["ls -l", "cd /tmp; pwd", "iffy format dodo", "a=1 b", "", "a # b"]
)
def test_a_plain_command_is_not_worth_a_question(text: str) -> None:
    assert not may_be_incomplete(text)
