import threading

import pytest

from vggrepro.augmentations import ahead

LIMIT = 600  # seconds until a test gives up on something that should happen at once


@pytest.mark.parametrize("workers", [1, 3])
def test_order_is_kept_whatever_finishes_first(workers):
    done, order = [threading.Event() for _ in range(21)], []

    def make(i):
        if workers == 3 and i % 3 < 2:  # of each three the last is ready first
            assert done[i + 1].wait(LIMIT)
        order.append(i)
        done[i].set()
        return i * i

    assert list(ahead(make, range(21), workers=workers)) == [i * i for i in range(21)]
    assert (order == sorted(order)) == (workers == 1)


@pytest.mark.parametrize("count", [0, 1, 2])
def test_fewer_items_than_are_made_ahead(count):
    assert list(ahead(str, range(count), workers=2, depth=3)) == [str(i) for i in range(count)]


@pytest.mark.parametrize(("workers", "depth"), [(1, 3), (2, 1)])
def test_no_more_than_workers_and_depth_are_taken_ahead(workers, depth):
    taken = []

    def items():
        for i in range(100):
            taken.append(i)
            yield i

    batches = ahead(lambda i: i, items(), workers=workers, depth=depth)
    assert not taken  # nothing before the first is asked for
    for asked, batch in enumerate(batches, start=1):
        assert batch == asked - 1
        assert len(taken) <= asked + workers + depth
        if asked == 10:
            break
    assert len(taken) == 10 + workers + depth  # and it does work ahead
    batches.close()


def test_batches_are_made_while_the_consumer_is_busy():
    made = [threading.Event() for _ in range(4)]
    batches = ahead(lambda i: made[i].set(), range(4), depth=3)
    next(batches)
    assert all(event.wait(LIMIT) for event in made)
    batches.close()


def test_an_error_comes_in_its_batchs_place_and_ends_the_rest():
    started = []

    def make(i):
        started.append(i)
        if i == 3:
            raise OSError("cannot read image 3")
        return i

    got = []
    with pytest.raises(OSError, match="image 3"):
        for batch in ahead(make, range(100), depth=2):
            got.append(batch)
    assert got == [0, 1, 2]
    assert max(started) <= 3 + 3  # what was taken ahead, not the whole list


def test_an_error_in_the_items_is_not_lost():
    def items():
        yield from range(2)
        raise KeyError("items")

    with pytest.raises(KeyError, match="items"):
        list(ahead(str, items()))


def test_stopping_early_leaves_no_thread():
    before, made = set(threading.enumerate()), []
    for batch in ahead(lambda i: made.append(i) or i, range(1000), workers=3, depth=20):
        if batch == 2:
            break
    # The loop held the last reference: the generator was closed with it.
    assert set(threading.enumerate()) <= before
    assert len(made) <= 3 + 3 + 20


def test_what_waits_is_dropped_when_the_consumer_stops():
    started, go_on = [], threading.Event()

    def make(i):
        started.append(i)
        assert not i or go_on.wait(LIMIT)

    batches = ahead(make, range(100), depth=50)
    next(batches)
    last = batches.gi_frame.f_locals["waiting"][-1]
    last.add_done_callback(lambda future: go_on.set())  # when it is dropped, all are
    batches.close()
    assert len(started) <= 2
    assert last.cancelled()


def test_an_error_of_the_consumer_leaves_no_thread():
    before = set(threading.enumerate())
    with pytest.raises(ZeroDivisionError):
        for batch in ahead(lambda i: i, range(1000), workers=2):
            1 // (batch - 5)
    assert set(threading.enumerate()) <= before
