"""Recipes: one runnable file per task, with small real data sets."""
