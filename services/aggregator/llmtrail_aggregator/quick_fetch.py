"""Faust's way to Kafka, without waits and without losses: beside the worker the only file that knows Faust.

A fetch asks for those partitions of which nothing is at hand, and there is one at a time: what arrives in another one
meanwhile waits until it is over. Faust lets it last for a second and a half, and has no setting for that.
"""

from typing import Any, ClassVar

import faust
from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread, Consumer, Transport
from faust.types.transports import ConsumerT, TransportT

from llmtrail_aggregator.any_headers import read_any_headers

# With twelve partitions of which a few get something at a time, most partials came while such a fetch was under way.
FETCH_MS = 50


class _Thread(AIOKafkaConsumerThread):
    def _create_worker_consumer(self, transport: Transport) -> Any:
        consumer = super()._create_worker_consumer(transport)
        if not hasattr(consumer, "_fetch_max_wait_ms"):
            raise RuntimeError("this aiokafka keeps the time of a fetch elsewhere; see requirements.lock.")
        consumer._fetch_max_wait_ms = FETCH_MS  # noqa: SLF001 - there is no other way
        return consumer


class _Consumer(Consumer):
    def _new_consumer_thread(self) -> AIOKafkaConsumerThread:
        return _Thread(self, loop=self.loop, beacon=self.beacon)


class _Transport(Transport):
    Consumer: ClassVar[type[ConsumerT]] = _Consumer


class QuickApp(faust.App):
    """A Faust app whose consumer fetches so, and which loses no record when its partitions change hands.

    After a recovery Faust lets records come, asks the cluster where the group stands, and then empties the queues of
    its agents: what came meanwhile is read again only where it had not been passed on. So nothing is passed on until
    the queues are emptied.
    """

    def on_init(self) -> None:
        """Hear of the end of each recovery, before records are let come."""
        read_any_headers()
        self.on_rebalance_complete.connect(self._hold_records)

    async def _hold_records(self, *_: object, **__: object) -> None:
        # Faust lets them pass again itself, once it has emptied the queues.
        self.consumer.stop_flow()
        self.flow_control.suspend()

    def _new_transport(self) -> TransportT:
        return _Transport(self.conf.broker_consumer, self)
