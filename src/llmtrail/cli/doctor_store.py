"""What stands around people's SQL, for `llmtrail doctor`: a server's account, or the walls of this system."""

import subprocess
import sys
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

from llmtrail.config import ClientConfig
from llmtrail.store.account import GRANTS_QUERY, QUOTA_QUERY, SETTINGS_QUERY, Account, Excess, Setting, excesses
from llmtrail.store.box.walls import Wall
from llmtrail.store.errors import StoreError
from llmtrail.store.handle import Handle, open_http

_ACCESS_DENIED = 497
_PROBE_S_MAX: Final = 30
# What to do where a wall is missing; the others stand without it.
WALL_CURES: Final[Mapping[Wall, str]] = {
    Wall.LIMITS: "run on Linux or macOS",
    Wall.NO_NEW_PRIVILEGES: "run on Linux",
    Wall.NETWORK_NAMESPACE: "permit user namespaces (sysctl kernel.unprivileged_userns_clone=1, "
    "kernel.apparmor_restrict_unprivileged_userns=0), or leave it: seccomp refuses sockets too",
    Wall.NO_CAPABILITIES: "run as a user without capabilities, as the image does",
    Wall.LANDLOCK: "run Linux 5.13 or newer with landlock in /sys/kernel/security/lsm, and a container runtime whose "
    "seccomp profile lets landlock_* through",
    Wall.SECCOMP: "run Linux on x86-64 or arm64, and a container runtime that permits seccomp(2)",
}


def standing_walls() -> list[Wall]:
    """Put up the walls around a process that does nothing else; return which this system has. Raises OSError."""
    command = [sys.executable, "-m", "llmtrail.store.box.walls"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, timeout=_PROBE_S_MAX, check=True)  # noqa: S603 - our own module.
    except subprocess.SubprocessError as error:
        raise OSError(f"a process behind walls did not start: {error}") from error
    return [Wall(name) for name in found.stdout.split()]


def account_excesses(url: str, tls: ClientConfig) -> list[Excess]:
    """Ask the server at `url` what its account may do; return what is more than documented. Raises StoreError."""
    handle = open_http(url, tls=tls)
    try:
        return excesses(_account(handle))
    finally:
        handle.close()


def account_name(url: str) -> str:
    """The account of a store's address, without its password."""
    return urlsplit(url).username or "default"


def _account(handle: Handle) -> Account:
    settings = {
        str(name): Setting(str(value), str(low), str(high), fixed=bool(fixed))
        for name, value, low, high, fixed in handle.query(SETTINGS_QUERY)
    }
    grants = [str(line) for (line,) in handle.query(GRANTS_QUERY)]
    return Account(grants, settings, _quotas(handle))


def _quotas(handle: Handle) -> list[str] | None:
    try:
        return [str(name) for (name,) in handle.query(QUOTA_QUERY)]
    except StoreError as error:
        if error.code == _ACCESS_DENIED:
            return None
        raise
