"""Heads on the features of a frozen base, and advice before a base is tuned."""
