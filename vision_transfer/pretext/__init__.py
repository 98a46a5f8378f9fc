"""Pretext tasks: a base that learns from images without labels, by tasks that make their own."""
