"""Files of YAML in which each key stands once."""

from pathlib import Path
from typing import Any, ClassVar

import yaml

from staged_training.runtime.errors import InputError


class _Loader(yaml.SafeLoader):  # type: ignore[misc]
    """Takes values as they are written, such as `no`, `1.10` and `007`; refuses doubled keys."""

    yaml_implicit_resolvers: ClassVar = {
        first: [(tag, pattern) for tag, pattern in resolvers if tag == "tag:yaml.org,2002:null"]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def compose_mapping_node(self, anchor: Any) -> Any:
        node = super().compose_mapping_node(anchor)
        seen = set()
        for key, _ in node.value:
            if str(key.value) in seen:
                line = key.start_mark.line + 1
                raise InputError(f"{self.name}, line {line}: {key.value} stands twice. Choose one.")
            seen.add(str(key.value))
        return node


def read_yaml(file: Path) -> tuple[Any, dict[str, int]]:
    """Read a file of YAML.

    Returns:
        What it holds, all but lists, mappings and nothing as text; and the lines of the keys, if it
        is a mapping.

    Raises:
        InputError: It is damaged, or a key stands twice in it.
    """
    try:
        loader = _Loader(file.read_text(encoding="utf-8-sig"))
        loader.name = str(file)
        root = loader.get_single_node()
        content = loader.construct_document(root) if root else None
    except InputError:
        raise
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise InputError(f"{file} is not YAML: {' '.join(str(error).split())}.") from error
    pairs = root.value if isinstance(content, dict) else []
    return content, {key.value: key.start_mark.line + 1 for key, _ in pairs}
