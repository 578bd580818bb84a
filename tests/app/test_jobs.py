"""Work in the background: what it tells, how it ends, whose turn it is."""

import threading
import time

import pytest

from one2345.app.jobs import Event, Failed, Finished, Job, Slots, Step, Waiting
from one2345.errors import InputError


def all_of(job: Job) -> list[Event]:
    return [event for batch in job.batches() for event in batch]


def test_what_happens_is_told_in_order() -> None:
    def work(job: Job) -> str:
        job.progress("views", 0, 2)
        job.progress("views", 2, 2)
        return "done"

    job = Job(work, seconds=10).start()
    assert all_of(job) == [Step("views", 0, 2), Step("views", 2, 2), Finished("done")]
    assert not job.running


def test_events_come_in_batches() -> None:
    def work(job: Job) -> None:
        for i in range(50):
            job.progress("views", i, 50)

    batches = list(Job(work, seconds=10).start().batches(0.5))
    assert len(batches) < 10 and sum(map(len, batches)) == 51


def test_an_error_is_a_sentence_and_a_defect_is_told_too() -> None:
    def wrong(job: Job) -> None:
        raise InputError("the picture is empty")

    def defect(job: Job) -> None:
        raise KeyError("secret")

    assert all_of(Job(wrong, seconds=10).start()) == [Failed("the picture is empty")]
    (failed,) = all_of(Job(defect, seconds=10).start())
    assert isinstance(failed, Failed) and "KeyError" in failed.message and "secret" not in failed.message


def test_it_ends_where_it_is_told_to() -> None:
    begun = threading.Event()

    def work(job: Job) -> None:
        begun.set()
        while True:
            time.sleep(0.01)
            job.check()

    job = Job(work, seconds=60).start()
    begun.wait(5)
    job.cancel()
    assert job.wait(5)
    assert all_of(job) == [Failed("Cancelled.", cancelled=True)]


def test_nothing_is_told_after_a_request_to_end() -> None:
    ready, go = threading.Event(), threading.Event()

    def work(job: Job) -> None:
        ready.set()
        go.wait(5)
        job.progress("views", 1, 2)

    job = Job(work, seconds=60).start()
    ready.wait(5)
    job.cancel()
    go.set()
    assert all_of(job) == [Failed("Cancelled.", cancelled=True)]


def test_a_time_limit() -> None:
    def work(job: Job) -> None:
        while True:
            time.sleep(0.01)
            job.check()

    (failed,) = all_of(Job(work, seconds=0.05).start())
    assert isinstance(failed, Failed) and "longer than the 0.05 seconds" in failed.message


def test_turns_are_taken_and_waiting_is_no_work() -> None:
    slots = Slots(at_once=1, waiting=1)
    go = threading.Event()
    first = Job(lambda job: go.wait(5), seconds=10, slots=slots).start()
    time.sleep(0.05)
    second = Job(lambda job: job.check(), seconds=0.2, slots=slots).start()
    assert next(second.batches()) == [Waiting()]
    with pytest.raises(InputError, match="too many people are waiting"):
        Job(lambda job: None, seconds=10, slots=slots).start()
    time.sleep(0.3)  # longer than the second may take
    go.set()
    assert all_of(second) == [Finished(None)] and first.wait(5)
    assert Job(lambda job: None, seconds=10, slots=slots).start().wait(5), "the places are free again"


def test_waiting_can_be_given_up() -> None:
    slots = Slots(at_once=1, waiting=1)
    go = threading.Event()
    first = Job(lambda job: go.wait(5), seconds=10, slots=slots).start()
    time.sleep(0.05)
    second = Job(lambda job: None, seconds=10, slots=slots).start()
    second.cancel()
    assert second.wait(5) and all_of(second)[-1] == Failed("Cancelled.", cancelled=True)
    go.set()
    assert first.wait(5)
