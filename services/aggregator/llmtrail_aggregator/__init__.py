"""The aggregator: folds partials into slots of rolling statistics."""
