"""Tables of examples: readers of their formats, their columns, labels and parts."""
