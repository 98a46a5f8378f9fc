"""A camera told as visits: who came, from when to when; without PyTorch."""
