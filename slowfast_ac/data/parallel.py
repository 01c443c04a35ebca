"""A map over processes that outlives the crash of one of them, as broken videos can cause."""

import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from tqdm import tqdm

from slowfast_ac.errors import InputError

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


def iter_processes(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    workers: int | None = None,
    description: str = "",
) -> Iterator[tuple[int, Result | InputError]]:
    """Calls ``function`` on every item in parallel, with a progress bar on stderr.

    Args:
        function: a function of a module; what it takes and returns must pickle.
        items: its arguments.
        workers: processes; None for one per CPU core.
        description: what the progress bar says.

    Yields:
        As soon as it is known, an item's number and what the function returned, or the InputError
        that it raised, or an InputError when its process died.

    Raises:
        InputError: for less than one worker.
    """
    if workers is None:
        workers = os.cpu_count() or 1
    if workers < 1:
        raise InputError(f"--workers: {workers} is less than one process")
    todo = deque(range(len(items)))
    with tqdm(total=len(items), desc=description, unit="video", disable=not items) as progress:
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
            # A process died. Only one of these killed it, so each gets a process of its own.
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
    # Not fork: the caller may hold threads of torch or a decoder, which a fork leaves locked. A
    # fork server imports this package once, not once a worker.
    methods = multiprocessing.get_all_start_methods()
    context = multiprocessing.get_context("forkserver" if "forkserver" in methods else "spawn")
    context.set_forkserver_preload(["slowfast_ac.data.reader"])
    return ProcessPoolExecutor(workers, mp_context=context, initializer=_start_worker)


def _start_worker() -> None:
    # Ctrl-C ends a worker at once and without a traceback of its own.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    # A pool's workers otherwise stay for ever when their parent is killed.
    threading.Thread(target=_exit_with_parent, daemon=True).start()


def _exit_with_parent() -> None:
    multiprocessing.connection.wait([multiprocessing.parent_process().sentinel])
    os._exit(1)
