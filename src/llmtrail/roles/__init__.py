"""One role a process, over Kafka and ClickHouse. `llmtrail.local` runs the same rooms in one process."""
