"""The ways to reach somebody: one file per kind, and `port`, which all of them share."""
