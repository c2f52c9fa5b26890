"""The rare ways of a call: a limit stops it, or it is made under a failure policy. Acts; decides nothing."""

import asyncio
from threading import Event
from typing import Any, Final

from llmtrail.emit.recorder import request as request_block
from llmtrail.emit.wrap.gate import fallback_attributes, plan_for, stopped_by
from llmtrail.emit.wrap.live import ClientFacts, Served, active
from llmtrail.emit.wrap.ruled import Ruled, begun_again

_set_active: Final = active.set
_reset_active: Final = active.reset


class Detour:
    """The rare ways of one client. `original` is its own door, `made` the one that records."""

    def __init__(self, original: Any, made: Any, facts: ClientFacts) -> None:
        self._original = original
        self._made = made
        self._facts = facts

    def asked(self, begun: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Make a call that no policy rules, unless a limit stops it."""
        refusal = stopped_by(begun, self._facts)
        return self._made(begun, args, kwargs) if refusal is None else self.stopped(begun, refusal, args, kwargs)

    def stopped(self, begun: Any, refusal: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Do what is declared in place of a call that a limit stops. Raises BudgetExceeded."""
        plan = plan_for(self._facts, begun, refusal)
        if plan.error is not None:
            raise plan.error
        if plan.served is not None:
            return self._serve(plan.served, args, kwargs)
        with request_block(attributes=fallback_attributes(begun, refusal)):
            return self._made(*begun_again(begun, plan.options, args, kwargs))

    def ruled(self, begun: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Make a call under a policy, as often as that says."""
        call = Ruled(begun, args, kwargs)
        while True:
            with call.attempt() as attempt:
                try:
                    result = self.asked(*attempt)
                except Exception as error:  # Raised again, unless its policy says what stands in its place.
                    if call.is_raised(error):
                        raise
                else:
                    if call.is_taken():
                        return result
            if call.served is not None:
                return self._serve(call.served, args, kwargs)
            if call.wait_s:
                Event().wait(call.wait_s)

    def _serve(self, served: Served, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        token = _set_active(served)
        try:
            return self._original(*args, **kwargs)
        finally:
            _reset_active(token)


class AsyncDetour:
    """The same for asyncio."""

    def __init__(self, original: Any, made: Any, facts: ClientFacts) -> None:
        self._original = original
        self._made = made
        self._facts = facts

    async def asked(self, begun: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Make a call that no policy rules, unless a limit stops it."""
        refusal = stopped_by(begun, self._facts)
        if refusal is None:
            return await self._made(begun, args, kwargs)
        return await self.stopped(begun, refusal, args, kwargs)

    async def stopped(self, begun: Any, refusal: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Do what is declared in place of a call that a limit stops. Raises BudgetExceeded."""
        plan = plan_for(self._facts, begun, refusal)
        if plan.error is not None:
            raise plan.error
        if plan.served is not None:
            return await self._serve(plan.served, args, kwargs)
        with request_block(attributes=fallback_attributes(begun, refusal)):
            return await self._made(*begun_again(begun, plan.options, args, kwargs))

    async def ruled(self, begun: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Make a call under a policy, as often as that says."""
        call = Ruled(begun, args, kwargs)
        while True:
            with call.attempt() as attempt:
                try:
                    result = await self.asked(*attempt)
                except Exception as error:  # Raised again, unless its policy says what stands in its place.
                    if call.is_raised(error):
                        raise
                else:
                    if call.is_taken():
                        return result
            if call.served is not None:
                return await self._serve(call.served, args, kwargs)
            if call.wait_s:
                await asyncio.sleep(call.wait_s)

    async def _serve(self, served: Served, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        token = _set_active(served)
        try:
            return await self._original(*args, **kwargs)
        finally:
            _reset_active(token)
