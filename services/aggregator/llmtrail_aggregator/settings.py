"""What a worker is started with."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """Where Kafka is, and what is kept. `security` are aiokafka's words for TLS and SASL, empty for none."""

    servers: str
    prefix: str
    partitions: int  # of what calls add to statistics
    gpu_partitions: int
    replication: int
    zones: tuple[str, ...]
    instance_id: str = ""
    # A killed worker's partitions are served again within 15 s: the broker notices after this.
    session_s: float = 8.0
    security: dict[str, str] = field(default_factory=dict)
