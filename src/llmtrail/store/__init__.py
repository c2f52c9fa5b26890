"""The only room that speaks ClickHouse: migrate, insert, look up."""
