"""What is kept, what may wait, and what is called what."""

import pytest

import contextmix as cm
from contextmix.serve.asking import display_names, is_slow
from contextmix.serve.jobs import Job, Shelf
from contextmix.serve.limits import Limits
from contextmix.serve.pool import Full, Pool


def done(size: int = 1) -> Job:
    job = Job({})
    job.finish(b"x" * size)
    return job


def test_finished_ones_go_when_they_are_too_many_and_waiting_ones_never():
    shelf = Shelf(Limits(kept=2))
    waiting, old, looked_at, new = Job({}), done(), done(), done()
    shelf.put(waiting)
    shelf.put(looked_at)
    shelf.put(old)
    assert shelf.get(looked_at.id) is looked_at
    shelf.put(new)
    assert [shelf.get(job.id) is job for job in (waiting, old, looked_at, new)] == [True, False, True, True]


def test_finished_ones_go_when_they_are_too_large():
    shelf = Shelf(Limits(kept_bytes=10))
    first, second = done(6), done(6)
    shelf.put(first)
    shelf.put(second)
    assert (shelf.get(first.id), shelf.get(second.id)) == (None, second)


def test_finished_ones_go_when_nobody_looked_at_them_for_long():
    now = [0.0]
    shelf = Shelf(Limits(kept_seconds=10), clock=lambda: now[0])
    seen, forgotten = done(), done()
    shelf.put(seen)
    shelf.put(forgotten)
    now[0] = 8.0
    assert shelf.get(seen.id) is seen
    now[0] = 16.0
    assert (shelf.get(seen.id), shelf.get(forgotten.id)) == (seen, None)
    assert len(shelf) == 1


def test_ids_cannot_be_guessed():
    ids = {Job({}).id for _ in range(1000)}
    assert len(ids) == 1000
    assert min(map(len, ids)) >= 24  # 18 random bytes


def test_a_full_queue_says_when_to_come_back_and_takes_more_after_a_cancel():
    pool = Pool(cm.load, {"demo": "demo"}, 2, Limits(queue=3))  # not started: nothing is taken from the queue
    jobs = [Job({}) for _ in range(3)]
    for job in jobs:
        pool.submit(job)
    assert [pool.ahead(job) for job in jobs] == [0, 1, 2]
    with pytest.raises(Full) as refusal:
        pool.submit(Job({}))
    assert 1 <= refusal.value.seconds <= 60
    pool.cancel(jobs[0])
    assert pool.ahead(jobs[2]) == 1
    pool.submit(Job({}))


def test_names_say_no_folder():
    found = display_names(["demo", "models/bert", "other/bert/", "org/bert"])
    assert found == {"demo": "demo", "bert": "models/bert", "bert-2": "other/bert/", "bert-3": "org/bert"}


def test_what_is_slow_is_told_from_the_cost():
    slow = {name for name, cost in cm.methods()["cost"].items() if is_slow(cost)}
    assert {"value_zeroing", "value_zeroing_rollout", "decompx", "hta", "hta_inputs", "occlusion"} <= slow
    assert {"integrated_gradients", "attention_flow", "norm_encoder_ffn"} <= slow
    assert not slow & {"globenc", "attention", "attention_rollout", "norm_encoder", "alti_rollout", "gradient"}
