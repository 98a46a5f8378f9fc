"""Features of frozen layers, computed once: the layers above train on them by the model's forward.

`reuse` lets a `Trainer` train on features; `trial` finds out by running a few examples where its
model can be cut, and proves it; `cut`, `calls` and `layouts` are what a cut is made of.
"""
