"""Who is let in over HTTP: the gate that routes stand behind, tokens from files, the record of refused and read."""
