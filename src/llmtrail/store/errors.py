"""What can go wrong in the store, by name. Knows nothing of any driver."""


class StoreError(RuntimeError):
    """The store could not do what was asked. `code` is ClickHouse's error code, where it told one."""

    def __init__(self, message: str, code: int | None = None) -> None:
        super().__init__(message)
        self.code = code


class StoreLockedError(StoreError):
    """Another process owns the data folder; ask that one."""


class StoreFullError(StoreError):
    """The disk is full. Nothing of the insert is visible; the same insert works once there is space."""


class StoreUnavailableError(StoreError):
    """The server cannot be reached, or the handle is closed."""


class StoreBusyError(StoreUnavailableError):
    """Nothing is free to run a statement; the same one may run in some seconds."""


class MigrationError(StoreError):
    """The schema in the store and the migration files disagree."""
