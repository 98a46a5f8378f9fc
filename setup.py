"""Packages of the wheel: recipes lie below our own, as others install a top-level `recipes`."""

from setuptools import find_packages, setup

OURS = ["nlp_transfer*", "vision_transfer*", "staged_training*", "transfer_app*"]

setup(
    packages=[*find_packages(include=OURS), "transfer_app.recipes"],
    package_dir={"transfer_app.recipes": "recipes"},
)
