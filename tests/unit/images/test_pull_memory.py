"""All processes of a pull share one budget, whatever the machine."""

import pytest

from sampan.images import layer_packing
from sampan.images.layer_packing import MEMORY_BUDGET
from sampan.registry.ranges import SLOTS


@pytest.mark.parametrize("cores", [2, 4, 16, 128])
@pytest.mark.parametrize("processes", [2, 3, 4])
def test_workers_threads_and_windows_fit_into_the_budget(cores: int, processes: int) -> None:
    threads, memory = layer_packing._divide_memory(processes, min(cores, 2 * cores // processes))
    assert threads >= 2
    # Ranges side by side stay possible.
    assert memory >= SLOTS << 20
    # What lies in the window is not in the queues behind it: while the network is waited for,
    # they are empty, and so are most of the threads' hands.
    worker = layer_packing._WORKER_MEMORY + memory + (threads - 2) * layer_packing._THREAD_MEMORY
    assert layer_packing._OWN_MEMORY + processes * worker <= MEMORY_BUDGET
