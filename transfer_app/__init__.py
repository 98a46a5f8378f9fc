"""The application: the command line, and what its commands do with a trained model."""
