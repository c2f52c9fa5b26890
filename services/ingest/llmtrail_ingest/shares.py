"""Share what is bounded among senders who are not known beforehand. Pure."""


class Shares:
    """How much each sender holds of `total`. One may take as long as it holds no more than is free.

    So one sender alone holds half, two hold a third each, and there is always room for one more: the dynamic
    thresholds of switches that share their memory among ports (Choudhury and Hahne, 1998).
    """

    def __init__(self, total: int) -> None:
        self._free = total
        self._held: dict[str, int] = {}

    @property
    def free(self) -> int:
        """How much nobody holds."""
        return self._free

    def take(self, sender: str, amount: int) -> bool:
        """Give `amount` to a sender; whether it was within its share."""
        held = self._held.get(sender, 0)
        if held + amount > self._free:
            return False
        self._free -= amount
        self._held[sender] = held + amount
        return True

    def give_back(self, sender: str, amount: int) -> None:
        """Take `amount` back from a sender that holds it."""
        self._free += amount
        left = self._held[sender] - amount
        if left:
            self._held[sender] = left
        else:
            del self._held[sender]
