"""What terminals answer, and what they are asked, cut anywhere."""

from __future__ import annotations

from rshell.terminal.answers import Answers, Questions

ANSWERS = (
    "\x1b[?62;4c",
    "\x1b[>1;10;0c",
    "\x1b]11;rgb:1111/2222/3333\x07",
    "\x1b]52;c;aGk=\x1b\\",
    "\x1b[?2026;2$y",
    "\x1b[4;2$y",
    "\x1b[I",
    "\x1b[O",
    "\x1b[0n",
    "\x1b[?1u",
    "\x1b[8;24;80t",
    "\x1b[?997;1n",
    "\x1bP>|xterm(390)\x1b\\",
    "\x1bP1$r0m\x1b\\",
    "\x1b_Gi=1;OK\x1b\\",
)
KEYS = (
    *(
        "\x1b",
        "\x1b\x1b",
        "\x1b\r",
        "\x1bx",
        "\x1b[",
        "\x1b]",
        "\x1bP",
        "\x1b_",
        "\x1b[A",
        "\x1bOA",
    ),
    *("\x1b[1;5C", "\x1b[15~", "\x1b[97;5u", "\x1b[<0;1;1M", "\x1b[3;1R"),
    "\x1b[200~a paste\x1b[201~",
)
QUESTIONS = (
    *(
        b"\x05",
        b"\x1bZ",
        b"\x1b[c",
        b"\x1b[0c",
        b"\x1b[>c",
        b"\x1b[6n",
        b"\x1b[?6n",
        b"\x1b[?2026$p",
    ),
    *(
        b"\x1b]11;?\x07",
        b"\x1b]4;1;?\x1b\\",
        b"\x1b]52;c;?\x07",
        b"\x1b[>q",
        b"\x1b[?u",
        b"\x1b[18t",
    ),
    *(b"\x1bP+q544e\x1b\\", b"\x1bP$qm\x1b\\", b"\x1b_Gi=1,a=q;AAAA\x1b\\"),
)
SHOWN = (
    *(b"\x1b[31mred\x1b[0m", b"\x1b[2J\x1b[H", b"\x1b[?1049h", b"\x1b[8;24;80t", b"\x1b[4 q"),
    *(b"\x1b]0;title?\x07", b"\x1b]8;;http://x/?\x1b\\l\x1b]8;;\x1b\\", b"\x1b"),
)


def test_answers_are_taken_out_wherever_they_are_cut() -> None:
    for answer in ANSWERS:
        for cut in range(len(answer) + 1):
            answers = Answers()
            keys = answers.take("a" + answer[:cut]) + answers.take(answer[cut:] + "b")
            assert keys + answers.rest() == "ab", (answer, cut)


def test_keys_stay_keys_wherever_they_are_cut() -> None:
    for typed in KEYS:
        for cut in range(len(typed) + 1):
            answers = Answers()
            keys = answers.take(typed[:cut]) + answers.take(typed[cut:])
            assert keys + answers.rest() == typed, (typed, cut)


def test_an_answer_without_an_end_is_not_typed_and_not_kept() -> None:
    answers = Answers()
    assert not answers.take("\x1b]52;c;")
    for _ in range(100):
        assert not answers.take("A" * 1000)
        assert len(answers._kept) < 20_000
    assert answers.rest() == "" and answers.take("ls") == "ls"


def test_questions_are_taken_out_wherever_they_are_cut() -> None:
    for question in QUESTIONS:
        for cut in range(len(question) + 1):
            questions = Questions()
            shown = questions.take(b"a" + question[:cut]) + questions.take(question[cut:] + b"b")
            assert shown + questions.rest() == b"ab", (question, cut)


def test_what_is_no_question_is_shown_wherever_it_is_cut() -> None:
    for output in SHOWN:
        for cut in range(len(output) + 1):
            questions = Questions()
            shown = questions.take(output[:cut]) + questions.take(output[cut:])
            assert shown + questions.rest() == output, (output, cut)


def test_what_looks_like_many_beginnings_takes_no_time() -> None:
    """A pattern that tries every end of every beginning would take hours for this."""
    size = 2**18
    for part in ("\x1b]", "\x1b[1;", "\x1b]1;", "\x1b_G", "\x1b]1;" + "?;" * size):
        Answers().take(part * (size // len(part) or 1))
        Questions().take(part.encode() * (size // len(part) or 1))
    Questions().take(b"\x1b_G" + b"a=q" * size)
