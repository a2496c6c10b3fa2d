"""Processes of the command line: more of them for one command, and how each ends.

All that leaves the program passes `in_order`. Who calls the library from Python sees exceptions
and warnings as they are.
"""

import ctypes
import errno
import os
import signal
import sys
import tempfile
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing import get_context, parent_process

from vggrepro import UserError

UNEXPECTED = 70  # exit status of an error that is ours, EX_SOFTWARE of sysexits.h


@contextmanager
def in_order() -> Iterator[None]:
    """Run a command so that whatever ends it is one line and an exit status.

    A `UserError` is 1, Ctrl-C and SIGTERM are 130, a closed pipe 141, any other error `UNEXPECTED`,
    with where its traceback was written.
    """
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by whoever began the process: `>&-`
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115
        stream = getattr(sys, name)
        stream.reconfigure(errors="replace")  # a terminal without × or – is no reason to stop
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    warnings.showwarning = _warned
    status = 0
    try:
        try:
            yield
        except SystemExit as end:
            # Who draws the help texts turns a closed pipe into an exit of its own.
            status = 141 if isinstance(end.__context__, BrokenPipeError) else end.code
        sys.stdout.flush()  # a full disk shows here at the latest
    except UserError as error:
        _leave(str(error), 1)
    except KeyboardInterrupt as stop:
        _leave(str(stop) or "stopped; the same command goes on", 130)
    except BrokenPipeError:  # `vggrepro list | head` has read enough
        _leave(None, 141)
    except Exception as error:
        _leave(*_end_of(error))
    if status:
        sys.exit(status)


def _leave(text: str | None, status: int) -> None:
    """End with one line, whatever has become of the two streams."""
    if text:
        with suppress(OSError, ValueError):
            print(f"vggrepro: {printable(text)}", file=sys.stderr, flush=True)
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):  # or Python tries again at its end, and says so
            with suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    sys.exit(status)


def printable(text: str) -> str:
    """Text as it can be shown: a file's name may hold codes that a terminal obeys."""
    shown = (c if c.isprintable() or c == "\n" else ascii(c)[1:-1] for c in text)
    return "".join(shown)


def _end_of(error: Exception) -> tuple[str, int]:
    """The line and the status of an error that is no `UserError`."""
    number, said = getattr(error, "errno", None), str(error)
    full = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    if full or number == errno.ENOMEM or "can't allocate memory" in said:
        return (
            "not enough memory: take fewer images at once (--micro-batch of `run` and `train`), a "
            "smaller net, crop or Q, or end other programs",
            1,
        )
    if not isinstance(error, OSError) or number is None:
        return _unexpected(error), UNEXPECTED
    return f"{error.filename or 'cannot write what there is to say'}: {error.strerror}", 1


def _unexpected(error: Exception) -> str:
    """One line about an error that is no `UserError`: its traceback goes into a file."""
    said = (str(error).splitlines() or [""])[0]
    text = f"unexpected {type(error).__name__}: {said}"
    try:
        with tempfile.NamedTemporaryFile(
            "w", prefix="vggrepro-", suffix=".txt", delete=False, encoding="utf-8"
        ) as file:
            file.write("".join(traceback.format_exception(error)))
        return f"{text} (a defect: please report it with {file.name})"
    except OSError:
        return f"{text} (a defect; its traceback cannot be written)"


def _warned(message: Warning, category: type[Warning], *where: object, **kept: object) -> None:
    """A warning in one line: where in our code it arose says nothing to a user."""
    with suppress(OSError, ValueError):
        print(f"vggrepro: warning: {printable(str(message))}", file=sys.stderr)


# --- more processes for one command ---------------------------------------------------------
#
# Small nets leave cores idle when several threads share one of them. Processes that share the runs,
# as several commands in one folder do, keep every core busy.


@contextmanager
def helping(helpers: int, work: Callable[..., object], *arguments: object) -> Iterator[None]:
    """While this lasts, so many processes do `work(*arguments)` beside this one, which does it too.

    What they cannot do, or leave when they die, this process comes to, and says why it fails; so
    nothing that they print is needed.
    """
    new = get_context("spawn").Process  # no fork: there may be threads
    started = [new(target=_help, args=(work, *arguments)) for _ in range(helpers)]
    with unheard():
        for process in started:
            process.start()
    try:
        yield
    finally:
        for process in started:
            process.terminate()  # nothing is left for it to do, or all is to end
        for process in started:
            process.join()


@contextmanager
def unheard() -> Iterator[None]:
    """What is started in here does not hear Ctrl-C: that is for this process, which ends it."""
    heard = signal.signal(signal.SIGINT, signal.SIG_IGN)  # they inherit it
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, heard)


def _help(work: Callable[..., object], *arguments: object) -> None:
    """In a process of its own: work without a word, and no longer than who wants the help."""
    end_with_parent()
    if not parent_process().is_alive():  # it has died while this one began
        return
    with open(os.devnull, "w") as nowhere:
        for stream in (sys.stdout, sys.stderr):
            os.dup2(nowhere.fileno(), stream.fileno())
    with in_order():
        work(*arguments)


def begin_in_pool() -> None:
    """First of all in a process of a pool: it ends with its parent, and in order when told to."""
    end_with_parent()
    signal.signal(signal.SIGTERM, _end)


def _end(*_: object) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # told once more, it still ends its own first
    sys.exit(130)


def is_alive(pid: int) -> bool:
    """Whether there is a process of that number. Windows cannot be asked: there it is yes."""
    try:
        if sys.platform != "win32":  # where this call would be a Ctrl-C
            os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # it is another user's
        pass
    return True


def end_with_parent() -> None:
    """Let the system kill this process when the one that started it dies, so that none is left.

    Only Linux can; elsewhere nothing happens.
    """
    if sys.platform == "linux":
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)
