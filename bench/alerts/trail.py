"""Processes of `llmtrail` in folders of their own: how to start each again, and what each uses."""

import os
import subprocess
import sys
import time
from pathlib import Path

from llmtrail.local import port_file

START_S_MAX = 60.0


class Trail:
    """Processes in folders of their own, and how to start each again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self._commands: dict[str, tuple[list[str], dict[str, str]]] = {}
        self._watched: dict[int, str] = {}

    def start(self, name: str, arguments: list[str], settings: dict[str, str]) -> None:
        """Start `llmtrail` with `arguments` under a name."""
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        command = [sys.executable, "-m", "llmtrail", *arguments, "--port", "0", "--data", str(folder)]
        self._commands[name] = (command, settings)
        self.again(name)

    def again(self, name: str) -> None:
        """Start it as before."""
        command, settings = self._commands[name]
        with (self.folder / name / "printed.txt").open("ab") as printed:
            self.processes[name] = subprocess.Popen(command, env=os.environ | settings, stdout=printed, stderr=printed)

    def where(self, name: str) -> port_file.Running:
        """Wait until it answers; return where."""
        end = time.monotonic() + START_S_MAX
        process, folder = self.processes[name], self.folder / name
        while (found := port_file.read(folder)) is None or found.pid != process.pid:
            if process.poll() is not None or time.monotonic() > end:
                raise RuntimeError((folder / "printed.txt").read_text())
            time.sleep(0.02)
        return found

    def watch(self, name: str, pid: int) -> None:
        """Count another process's use too."""
        self._watched[pid] = name

    def cpu_s(self) -> dict[str, float]:
        """Return the processor seconds that each used so far, its children included."""
        parents = {process.pid: name for name, process in self.processes.items()} | self._watched
        found = dict.fromkeys(parents.values(), 0.0)
        for file in sorted(Path("/proc").glob("[0-9]*/stat"), key=lambda one: int(one.parent.name)):
            try:
                fields = file.read_text().rsplit(")", 1)[1].split()
            except OSError:
                continue  # it ended meanwhile
            pid = int(file.parent.name)
            name = parents.get(pid) or parents.get(int(fields[1]))
            if name is not None:
                found[name] += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        return found

    def kill(self, name: str) -> None:
        """End it as a machine that fails does."""
        self.processes[name].kill()
        self.processes[name].wait()

    def close(self) -> None:
        """End all."""
        for process in self.processes.values():
            process.kill()
            process.wait()
