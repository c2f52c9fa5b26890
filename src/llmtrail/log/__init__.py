"""The durable log behind one port: append, read, plan, commit."""
