"""Labels that may be wrong: found by what a model says of examples that it did not learn from."""
