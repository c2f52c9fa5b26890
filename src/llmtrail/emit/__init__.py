"""What an application installs: record a call, wrap a client; never blocks, never raises."""
