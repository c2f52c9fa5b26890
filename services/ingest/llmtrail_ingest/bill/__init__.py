"""A provider's bill beside our calls: read its export, compare by day and model, name what explains a difference."""
