"""Run users' statements in a process of its own, over hard links to the store's parts."""
