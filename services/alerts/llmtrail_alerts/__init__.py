"""Budgets and alarms: what is wrong, who is told, once, and with the proof."""
