"""`nlp-transfer advise`: which layers to train on labelled data, and which base to begin with."""
