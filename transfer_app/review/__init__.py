"""`nlp-transfer review`: labels that are probably wrong, and how far two readers agree."""
