"""Heads on what a frozen base computes, and what can be told before a base is tuned."""
