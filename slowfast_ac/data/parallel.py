"""A parallel map that survives the crash of a process, which a broken video can cause."""

import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

from tqdm import tqdm

from slowfast_ac.errors import InputError
from slowfast_ac.journal import KEY, Journal
from slowfast_ac.ranks import this_rank

Item = TypeVar("Item")
Result = TypeVar("Result")


def map_processes(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    workers: int | None = None,
    description: str = "",
) -> list[Result | InputError]:
    """Calls ``function`` on every item; see :func:`iter_processes`.

    Returns:
        The results, in the order of the items.
    """
    results = dict(iter_processes(function, items, workers, description))
    return [results[index] for index in range(len(items))]


def keep_results(
    function: Callable[[Item], Mapping[str, Any]],
    items: Mapping[str, Item],
    journal: Journal,
    workers: int | None = None,
    description: str = "",
) -> Iterator[dict[str, Any]]:
    """Calls ``function`` on the items that this process has still to do.

    Args:
        function: returns the result for an item, as JSON values.
        items: {name: argument} of all items, in the same order in every process.
        journal: stores each result as soon as it is known.
        workers: number of processes; None for one per CPU core of this process.
        description: label of the progress bar.

    Yields:
        The new entries of the journal in the order of the items. If ``function`` raised an
        InputError, the entry has its message as ``error``.
    """
    names = list(items)
    todo = journal.todo(names)
    done = len(journal.rank.share(names)) - len(todo)
    arguments = [items[name] for name in todo]
    waiting: dict[int, dict[str, Any]] = {}
    position = 0
    for index, result in iter_processes(function, arguments, workers, description, done):
        known = {"error": str(result)} if isinstance(result, InputError) else result
        waiting[index] = {KEY: todo[index], **known}
        journal.add(waiting[index])
        while position in waiting:
            yield waiting.pop(position)
            position += 1


def iter_processes(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    workers: int | None = None,
    description: str = "",
    done: int = 0,
) -> Iterator[tuple[int, Result | InputError]]:
    """Calls ``function`` on every item in parallel, with a progress bar on stderr.

    Args:
        function: a module-level function whose argument and result can be pickled.
        items: its arguments.
        workers: number of processes; None for one per CPU core of this process.
        description: label of the progress bar.
        done: number of items that earlier calls finished, for the progress bar.

    Yields:
        The number of an item and its result, in the order of completion. The result is an
        InputError if the function raised one or its process died.

    Raises:
        InputError: for fewer than one worker.
    """
    if workers is None:
        workers = this_rank().cpus()
    if workers < 1:
        raise InputError(f"--workers: {workers} is less than one process")
    todo = deque(range(len(items)))
    disable = None if items else True  # None shows it in a terminal only
    total = done + len(items)
    with tqdm(
        total=total, initial=done, desc=description, unit="video", disable=disable
    ) as progress:
        while todo:
            running = {}
            with _pool(min(workers, len(todo))) as pool:
                try:
                    while todo or running:
                        while todo and len(running) < workers:
                            future = pool.submit(_call, function, items[todo[0]])
                            running[future] = todo.popleft()
                        for future in wait(running, return_when=FIRST_COMPLETED).done:
                            result = future.result()
                            progress.update()
                            yield running.pop(future), result
                except BrokenProcessPool:
                    pass
            # A process died because of one of these items, so each is tried again separately.
            for index in running.values():
                result = _call_alone(function, items[index])
                progress.update()
                yield index, result


def _call(function: Callable[[Item], Result], item: Item) -> Result | InputError:
    try:
        return function(item)
    except InputError as error:
        return error


def _call_alone(function: Callable[[Item], Result], item: Item) -> Result | InputError:
    with _pool(1) as pool:
        try:
            return pool.submit(_call, function, item).result()
        except BrokenProcessPool:
            return InputError("the process that decoded it died (crashed, or out of memory)")


def _pool(workers: int) -> ProcessPoolExecutor:
    # Not fork: locks that threads of torch or a decoder hold would never be released in the child.
    # A fork server imports this package once, not once per worker.
    methods = multiprocessing.get_all_start_methods()
    context = multiprocessing.get_context("forkserver" if "forkserver" in methods else "spawn")
    context.set_forkserver_preload(["slowfast_ac.data.reader"])
    return ProcessPoolExecutor(workers, mp_context=context, initializer=_start_worker)


def _start_worker() -> None:
    # Ctrl-C ends a worker immediately and without a traceback.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    # Otherwise, a pool's workers outlive a parent that is killed.
    threading.Thread(target=_exit_with_parent, daemon=True).start()


def _exit_with_parent() -> None:
    multiprocessing.connection.wait([multiprocessing.parent_process().sentinel])
    os._exit(1)
