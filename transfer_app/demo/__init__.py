"""The demo of a trained model in a browser: a page for texts, and one for photos."""
