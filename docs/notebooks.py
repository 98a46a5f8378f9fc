"""Pages of the guide that are built from notebooks, as they were executed."""

from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from nbconvert import MarkdownExporter


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add a page for each notebook, with its pictures: links in it are checked as in others."""
    for notebook in [file for file in files if file.src_uri.endswith(".ipynb")]:
        page = Path(notebook.src_uri).with_suffix(".md")
        text, resources = MarkdownExporter().from_filename(notebook.abs_src_path)
        for name, content in resources["outputs"].items():
            files.append(File.generated(config, str(page.with_name(name)), content=content))
        files.append(File.generated(config, str(page), content=text))
    return files
