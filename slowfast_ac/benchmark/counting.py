"""Counts a computation's operations and bytes, which are the same on any device."""

import weakref
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode


@dataclass(frozen=True)
class StepCount:
    """Cost of one training step, forward, loss and backward.

    Attributes:
        forward: multiply-adds of convolutions and matrix products.
        backward: the same, recomputation included.
        saved_bytes: memory that autograd keeps from the forward pass for the backward pass.
        peak_bytes: peak of the memory that the step itself allocated.
    """

    forward: int
    backward: int
    saved_bytes: int
    peak_bytes: int


def count_step(loss: Callable[[], Tensor], present: Iterable[Tensor] = ()) -> StepCount:
    """Counts one step: ``loss()`` and its backward.

    Args:
        loss: computes the loss.
        present: weights and clips, which do not count: they are in memory anyway.
    """
    saved = SavedBytes(present)
    with LiveBytes() as live:
        with FlopCounterMode(display=False) as forward, saved:
            value = loss()
        with FlopCounterMode(display=False) as backward:
            value.backward()
    return StepCount(multiply_adds(forward), multiply_adds(backward), saved.bytes, live.peak)


def count_forward(function: Callable[[], object]) -> tuple[int, int]:
    """Returns the multiply-adds of a call, and the peak of the bytes that it allocated."""
    with LiveBytes() as live, FlopCounterMode(display=False) as counter:
        function()
    return multiply_adds(counter), live.peak


def multiply_adds(counter: FlopCounterMode) -> int:
    """Returns a counter's multiply-adds: torch counts each as two, upstream and papers as one."""
    return counter.get_total_flops() // 2


class SavedBytes(torch.autograd.graph.saved_tensors_hooks):
    """Within the block, counts the bytes that autograd saves for backward, each storage once.

    Args:
        present: tensors whose storages do not count.

    Attributes:
        bytes: the sum so far.
    """

    def __init__(self, present: Iterable[Tensor] = ()):
        super().__init__(self._count, lambda tensor: tensor)
        self.bytes = 0
        self._seen = {tensor.untyped_storage().data_ptr() for tensor in present}
        # The next storage could get the address of one that was freed.
        self._kept: list[torch.UntypedStorage] = []

    def _count(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in self._seen:
            self._seen.add(storage.data_ptr())
            self._kept.append(storage)
            self.bytes += storage.nbytes()
        return tensor

    def __exit__(self, *exception: object) -> None:
        self._kept.clear()
        super().__exit__(*exception)


class LiveBytes(TorchDispatchMode):
    """Within the block, follows the bytes of the tensors that operations make, until they die.

    The memory that an operation uses while it runs (a convolution's workspace) is not counted.

    Attributes:
        live: bytes alive now.
        peak: the most so far.
    """

    def __init__(self):
        super().__init__()
        self.live = 0
        self.peak = 0
        self._sizes: dict[int, int] = {}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        """Runs the operation and registers its outputs."""
        kwargs = kwargs or {}
        given = {_address(value) for value in tree_leaves((args, kwargs)) if _is_tensor(value)}
        result = func(*args, **kwargs)
        for tensor in tree_leaves(result):
            # A view or an in-place result uses a storage that was there before.
            if _is_tensor(tensor) and _address(tensor) not in given:
                self._add(tensor.untyped_storage())
        return result

    def _add(self, storage: torch.UntypedStorage) -> None:
        key = storage._cdata
        if key in self._sizes or not storage.nbytes():
            return
        self._sizes[key] = storage.nbytes()
        self.live += storage.nbytes()
        self.peak = max(self.peak, self.live)
        weakref.finalize(storage, self._remove, key)

    def _remove(self, key: int) -> None:
        self.live -= self._sizes.pop(key)


def _is_tensor(value: object) -> bool:
    return isinstance(value, Tensor)


def _address(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata
