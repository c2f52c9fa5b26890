"""From planned ranges to partial statistics: the second cursor over the same pure step."""
