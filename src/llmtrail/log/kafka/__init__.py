"""Apache Kafka behind the log's port: the only room that speaks to a broker. Needs `llmtrail[kafka]`."""
