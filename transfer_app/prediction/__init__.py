"""Predictions of trained models: one interface to classifiers, captioners and detectors."""
