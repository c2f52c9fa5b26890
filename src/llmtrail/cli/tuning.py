"""Set the interpreter for a process that carries events: memory, turns of threads. Knows no command."""

import gc
import sys
from importlib.abc import MetaPathFinder

# Two batches' worth of containers: a cycle that anything else leaves behind is still found within seconds.
_ALLOCATIONS_BETWEEN_LOOKS = 50_000
# A thread keeps the lock so long when others want it: at Python's 5 ms the senders' threads starve the writer's, and
# the log grows; at 20 ms both keep pace. A request waits so much longer at the worst, and under full load only.
_TURN_S = 0.02


def leave_pandas_out() -> None:
    """Keep pandas from being imported in this process; call it before anything else is."""
    sys.meta_path.insert(0, _NoPandas())


def tune() -> None:
    """Set the interpreter for batches of 10,000 calls: none is in a cycle, and each takes longer than a turn."""
    gc.freeze()  # what start-up made stays for good
    gc.set_threshold(_ALLOCATIONS_BETWEEN_LOOKS, 20, 50)
    sys.setswitchinterval(_TURN_S)


class _NoPandas(MetaPathFinder):
    """Keep pandas from being imported: Arrow looks for it at its first conversion, for 60 MB and most of a second.

    This process makes no data frame; the engine's package brings pandas along for those that do.
    """

    def find_spec(self, fullname: str, path: object, target: object = None) -> None:
        """Refuse pandas, leave everything else to the others."""
        del path, target
        if fullname == "pandas":
            raise ModuleNotFoundError("pandas is left out of this process.", name=fullname)
