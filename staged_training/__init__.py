"""Stages over a model whose layers are ordered from general to specific."""
