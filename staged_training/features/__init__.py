"""Features of frozen layers, computed once: the layers above train on them.

`reuse` lets a `Trainer` do so, by the forward pass of its own model. `trial` finds out on a few
examples where the model can be cut, and proves it; `calls`, `layouts`, `cut`, `columns` and
`replay` are what that takes. `extraction` computes features, `folding` makes that faster, `store`
keeps them, and `head` is a head alone.
"""
