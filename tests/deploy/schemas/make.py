"""Makes the schemas beside this file from those that the tools publish. Keeps what validation needs, each part once.

    cat ray.io_rayclusters.yaml ray.io_rayjobs.yaml | python tests/deploy/schemas/make.py kuberay > kuberay.json
    python tests/deploy/schemas/make.py compute < compute.v1.json > compute.json

The first two files are those of `helm-chart/kuberay-operator/crds/` in KubeRay 1.7.0 (commit 59d663a). The last is in
`googleapiclient/discovery_cache/documents/` of google-api-python-client 2.202.0 (revision 20261106).
"""

import hashlib
import json
import sys
from collections import Counter
from collections.abc import Iterator
from typing import Any

import yaml

KEPT = {"type", "properties", "items", "additionalProperties", "required", "enum", "anyOf", "pattern", "minimum"}
KEPT |= {"minLength", "maxLength", "minItems"}
SHARED = 200  # A part of as many characters is stored once.


def kuberay(text: str) -> dict[str, Any]:
    """Schemas of custom resources by kind, as the API server applies them with strict validation."""
    kinds = {}
    for crd in yaml.load_all(text, yaml.CSafeLoader):
        (version,) = (version for version in crd["spec"]["versions"] if version["name"] == "v1")
        kinds[crd["spec"]["names"]["kind"]] = strict(version["schema"]["openAPIV3Schema"])
    for kind in kinds.values():
        # The API server knows the metadata of all objects, which a CRD leaves out.
        kind["properties"]["metadata"] = strict(
            {
                "type": "object",
                "properties": {
                    **{name: {"type": "string"} for name in ("name", "generateName", "namespace")},
                    **{name: {"additionalProperties": {"type": "string"}} for name in ("labels", "annotations")},
                },
            }
        )
    counts = Counter(dumped for kind in kinds.values() for dumped in parts(kind))
    shared: dict[str, Any] = {}
    kinds = {name: once(kind, counts, shared) for name, kind in kinds.items()}
    return {"$defs": kinds | shared}


def strict(schema: Any) -> Any:
    """What validation needs of a schema. An object with named fields has no other fields."""
    if schema.get("x-kubernetes-int-or-string"):
        return {"type": ["integer", "string"]} | ({"pattern": schema["pattern"]} if "pattern" in schema else {})
    kept = {key: value for key, value in schema.items() if key in KEPT}
    for key in kept.keys() & {"items", "additionalProperties"}:
        kept[key] = strict(kept[key]) if isinstance(kept[key], dict) else kept[key]
    if "properties" in kept:
        kept["properties"] = {name: strict(field) for name, field in kept["properties"].items()}
        kept.setdefault("additionalProperties", bool(schema.get("x-kubernetes-preserve-unknown-fields")))
        # The API server fills in defaults before it validates.
        kept["required"] = [name for name in kept.get("required", []) if "default" not in schema["properties"][name]]
    return kept


def parts(schema: Any) -> Iterator[str]:
    if isinstance(schema, dict):
        yield dump(schema)
    for part in schema.values() if isinstance(schema, dict) else schema if isinstance(schema, list) else ():
        yield from parts(part)


def once(schema: Any, counts: Counter[str], shared: dict[str, Any]) -> Any:
    """The schema with a reference in place of each large part that occurs more than once."""
    if isinstance(schema, list):
        return [once(part, counts, shared) for part in schema]
    if not isinstance(schema, dict):
        return schema
    dumped = dump(schema)
    made = {key: once(part, counts, shared) for key, part in schema.items()}
    # A map of fields has no type, or a field of that name.
    if counts[dumped] == 1 or len(dumped) < SHARED or not isinstance(schema.get("type"), str):
        return made
    name = hashlib.sha256(dumped.encode()).hexdigest()[:8]
    shared[name] = made
    return {"$ref": f"#/$defs/{name}"}


def compute(text: str) -> dict[str, Any]:
    """The schema of the body that creates an instance of Compute Engine. Google refuses unknown fields."""
    schemas = json.loads(text)["schemas"]
    made: dict[str, Any] = {}
    waiting = ["Instance"]
    while waiting:
        name = waiting.pop()
        if name not in made:
            made[name] = referring(schemas[name], waiting)
    return {"$defs": made}


def referring(schema: dict[str, Any], waiting: list[str]) -> dict[str, Any]:
    if "$ref" in schema:
        waiting.append(schema["$ref"])
        return {"$ref": f"#/$defs/{schema['$ref']}"}
    kept: dict[str, Any] = {key: schema[key] for key in ("type", "enum") if key in schema}
    if schema.get("format") in ("int64", "uint64"):
        kept["type"] = ["string", "integer"]  # JSON has no such integers, so Google writes strings and reads both.
    if "items" in schema:
        kept["items"] = referring(schema["items"], waiting)
    if schema["type"] == "object":
        kept["properties"] = {key: referring(field, waiting) for key, field in schema.get("properties", {}).items()}
        kept["additionalProperties"] = (
            referring(schema["additionalProperties"], waiting) if "additionalProperties" in schema else False
        )
    return kept


def dump(schema: Any) -> str:
    return json.dumps(schema, sort_keys=True, separators=(",", ":"))


if __name__ == "__main__":
    print(dump({"kuberay": kuberay, "compute": compute}[sys.argv[1]](sys.stdin.read())))
