"""The table of states: nothing runs twice, nothing waits for ever, and every report is answered."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rshell.channels.shell.native.machine import TABLE, Do, Event, ShellMachine, State

E, S = Event, State


def after(*events: Event) -> ShellMachine:
    """Return a machine that has taken these events."""
    machine = ShellMachine()
    for event in events:
        machine.on(event)
    return machine


def test_a_line_is_handed_over_and_its_ending_told_once() -> None:
    machine = after(E.REPORT)
    assert machine.on(E.TAKEN) == (Do.TELL, Do.GO, Do.NEXT)
    assert machine.on(E.LINE) == (Do.HAND_OVER,)
    assert machine.on(E.ECHOED) == (Do.RELEASE,)
    assert machine.on(E.REPORT) == (Do.TAKE,)
    assert machine.on(E.TAKEN) == (Do.TELL, Do.GO, Do.NEXT)
    assert machine.state is State.IDLE


def test_a_report_before_the_end_of_the_echo_ends_the_command_all_the_same() -> None:
    machine = after(E.REPORT, E.TAKEN, E.LINE)
    assert machine.on(E.REPORT) == (Do.RELEASE, Do.TAKE)


def test_hooks_that_were_lost_are_asked_for_a_report_by_an_empty_line() -> None:
    machine = after(E.REPORT, E.TAKEN, E.LINE, E.ECHOED)
    assert machine.on(E.EDITOR) == (Do.PROBE,)
    assert machine.on(E.LOST) == (Do.HAND_OVER_NOTHING,)
    assert machine.on(E.ECHOED) == (Do.RELEASE,)
    assert machine.on(E.REPORT) == (Do.TAKE,)


def test_what_may_be_a_prompt_is_shown_unless_it_is_one() -> None:
    for event in (E.KEPT, E.TIMEOUT):
        machine = after(E.REPORT, E.TAKEN, E.LINE, E.ECHOED, E.EDITOR)
        assert machine.on(event) == (Do.SHOW,)
        assert machine.on(E.REPORT) == (Do.TAKE,)
    machine = after(E.REPORT, E.TAKEN, E.QUESTION, E.TIMEOUT)
    assert machine.on(E.KEPT) == (Do.LISTEN, Do.NEXT)  # fish, which reports no such interrupt
    assert machine.state is State.IDLE


def test_a_line_waits_for_an_answer_a_moment_only() -> None:
    machine = after(E.REPORT, E.TAKEN, E.QUESTION)
    assert machine.on(E.LINE) == (Do.HURRY,)
    assert machine.on(E.TIMEOUT) == (Do.NO_ANSWER, Do.INTERRUPT)
    assert machine.on(E.REPORT) == (Do.RENEW, Do.GO, Do.LOOK)
    assert machine.on(E.TIMEOUT) == (Do.INTERRUPT,)  # its line editor hears no keys
    assert machine.on(E.REPORT) == (Do.RENEW, Do.GO, Do.LOOK)
    assert machine.on(E.AWAKE) == (Do.LISTEN, Do.NEXT)
    assert machine.on(E.LINE) == (Do.HAND_OVER,)


def test_a_question_that_nobody_waits_for_gets_a_moment_too() -> None:
    machine = after(E.REPORT, E.TAKEN, E.QUESTION)
    assert machine.on(E.STALE) == (Do.HURRY,)
    assert machine.on(E.ANSWER) == (Do.ANSWER, Do.NEXT)
    assert machine.state is State.IDLE


def test_a_question_that_hears_no_interrupt_costs_the_shell_once_a_line_waits() -> None:
    machine = after(E.REPORT, E.TAKEN, E.QUESTION, E.TIMEOUT)
    assert machine.on(E.TIMEOUT) == (Do.INTERRUPT,)
    assert machine.on(E.TIMEOUT) == (Do.END,)
    assert machine.on(E.LINE) == (Do.HURRY,)
    assert machine.on(E.TIMEOUT) == (Do.END,)
    assert machine.on(E.ANSWER) == (Do.LOOK,)  # it was only slow
    assert machine.on(E.AWAKE) == (Do.LISTEN, Do.NEXT)


@pytest.mark.parametrize("state", [state for state in State if state is not State.LEFT])
def test_whatever_it_does_a_shell_that_reports_is_idle_in_the_end(state: State) -> None:
    machine = ShellMachine()
    machine.state = state
    done: list[Do] = []
    for event in (E.ECHOED, E.REPORT, E.TAKEN, E.AWAKE):
        done += machine.on(event)
    assert machine.state is State.IDLE
    assert done.count(Do.GO) == 1 or state is State.REPORTING  # its report was before these


def test_a_shell_that_has_ended_does_nothing() -> None:
    machine = after(E.EXIT)
    for event in Event:
        assert machine.on(event) == ()
        assert machine.state is State.LEFT


def test_every_state_of_the_table_is_reached() -> None:
    reached, fresh = {State.STARTING}, {State.STARTING}
    while fresh:
        fresh = {to for (of, _), (to, _) in TABLE.items() if of in fresh} - reached
        reached |= fresh
    assert reached | {State.LEFT} == set(State)


@given(st.lists(st.sampled_from([event for event in Event if event is not Event.EXIT])))
def test_each_report_is_answered_once_and_each_line_told_once(events: list[Event]) -> None:
    """A shell that has reported waits, and reports no more until it may go on."""
    machine = ShellMachine()
    waiting = handed = told = 0
    for event in events:
        if event is Event.REPORT and (waiting or (machine.state is State.STARTING and told)):
            continue
        if event is Event.TAKEN and machine.state is not State.REPORTING:
            continue
        before = machine.state
        actions = machine.on(event)
        waiting += (event is Event.REPORT) - actions.count(Do.GO)
        handed += Do.HAND_OVER in actions
        told += Do.TELL in actions
        assert waiting in (0, 1)
        assert waiting == (machine.state is State.REPORTING)
        assert told <= handed + 1  # and the startup files
        assert Do.HAND_OVER not in actions or before is State.IDLE
