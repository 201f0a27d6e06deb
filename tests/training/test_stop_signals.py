"""Signals: the first saves, the second kills, or gives up on a full disk."""

import math
import os
import signal

import pytest

from gan.errors import Preempted
from gan.training.stop_signals import STOP_SIGNALS, Stop


@pytest.fixture
def heard():
    """Signals that reach whoever handled them before; those handlers come back at the end."""
    heard = []
    before = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    for number in STOP_SIGNALS:
        signal.signal(number, lambda number, _: heard.append(number))
    yield heard
    for number, handler in before.items():
        signal.signal(number, handler)


def send(*numbers: int) -> None:
    for number in numbers:
        os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_stop__is_noted_once_and_the_next_signal_does_what_it_did_before(heard, number):
    with Stop() as stop:
        stop.await_steps()
        assert not stop.after_call()
        send(number)
        assert stop.after_call()
        assert stop.name == signal.Signals(number).name
        assert heard == []
        send(number, signal.SIGTERM)
        assert heard == [number, signal.SIGTERM]


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_stop__ends_at_once_what_has_nothing_to_save(heard, number):
    with pytest.raises(Preempted, match=f"{signal.Signals(number).name}: nothing to save"), Stop():
        send(number)
    send(number)
    assert heard == [number]


def test_stop__a_closed_terminal_is_ignored_under_nohup(heard):
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with Stop() as stop:
        stop.await_steps()
        send(signal.SIGHUP)
        assert not stop.after_call()
        send(signal.SIGTERM)
        assert stop.after_call()
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN


@pytest.mark.parametrize("before", [0, 1])
def test_await_disk__each_signal_shortens_the_wait_and_only_the_third_kills(heard, before):
    with Stop() as stop:
        stop.await_steps()
        send(*[signal.SIGTERM] * before)
        stop.await_disk()
        times = [stop.time_left()]
        for number in (signal.SIGHUP, signal.SIGINT)[before:]:
            send(number)
            times.append(stop.time_left())
        assert times == [math.inf, 20, 0][before:]
        assert heard == []
        send(signal.SIGTERM)
        assert heard == [signal.SIGTERM]
