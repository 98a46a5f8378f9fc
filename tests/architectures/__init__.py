"""Every architecture of `transformers` and timm, built small: what the toolkit promises of it."""
