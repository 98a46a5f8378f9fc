"""Execute the notebook and write it back with what it prints."""

import nbformat

from staged_training.runtime.files import written_whole
from tests.lecture.notebook import FILE, cleaned, executed

with written_whole(FILE) as path:
    nbformat.write(cleaned(executed(1.0)), path)
