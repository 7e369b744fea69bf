"""Values that the first process to need them finds, and that all processes of a store use from then on."""

import json
import re
import uuid
from collections.abc import Callable

from orchestrator.store.store import Store


def pinned(store: Store, kind: str, name: str, find: Callable[[], str]) -> str:
    """The value pinned in the store under a kind and a name; `find` is called where there is none yet."""
    path = f"pins/{kind}/{re.sub(r'[^A-Za-z0-9_.]+', '-', name)}.json"
    content = store.read(path)
    if content is None:
        content = json.dumps({"name": name, "value": find(), "token": uuid.uuid4().hex}).encode()
        try:
            store.create(path, content, durable=True)
        except FileExistsError:  # Another process was first.
            content = store.read(path) or content
    return json.loads(content)["value"]
