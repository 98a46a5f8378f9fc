"""Trained models as a service over HTTP: the command `nlp-transfer serve`."""
