"""What a ClickHouse server says of the account that answers people's SQL, for `llmtrail doctor`."""

from urllib.parse import urlsplit

from llmtrail.store.account import GRANTS_QUERY, QUOTA_QUERY, SETTINGS_QUERY, Account, Excess, Setting, excesses
from llmtrail.store.errors import StoreError
from llmtrail.store.handle import Handle, open_http

_ACCESS_DENIED = 497


def account_excesses(url: str) -> list[Excess]:
    """Ask the server at `url` what its account may do; return what is more than documented. Raises StoreError."""
    handle = open_http(url)
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
