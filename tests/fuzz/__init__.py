"""Hostile input for every reader of files: guided by coverage, and by properties in the suite."""
