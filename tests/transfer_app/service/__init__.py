"""The service, asked as a process of its own on loopback."""
