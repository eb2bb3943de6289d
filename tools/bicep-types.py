#!/usr/bin/env python3
"""Writes tests/infra/types.json: the official Bicep types of what infra/*.bicep uses, reduced to what a check needs.

The types come from the npm package @azure/mcp (MIT), which carries one API version of each; the Bicep files are pinned to
those. What it lacks is in tests/infra/types-by-hand.json. Run it when a resource type is added:

    python3 tools/bicep-types.py

Needs Node 20 and npm; changes nothing outside the repository but a temporary folder.
"""
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile

PACKAGE = "@azure/mcp@2.0.5"
ROOT = pathlib.Path(__file__).resolve().parent.parent
OUT = ROOT / "tests/infra/types.json"
BY_HAND = ROOT / "tests/infra/types-by-hand.json"
ENVIRONMENT = os.environ | {"AZURE_MCP_COLLECT_TELEMETRY": "false", "DOTNET_SYSTEM_GLOBALIZATION_INVARIANT": "1"}


def used():
    """Resource types with their versions, as the Bicep files write them."""
    pattern = re.compile(r"^resource \w+ '([\w./]+)@([\w-]+)'", re.MULTILINE)
    found = {match for file in sorted((ROOT / "infra").glob("*.bicep")) for match in pattern.findall(file.read_text())}
    by_hand = {name.split("@")[0] for name in json.loads(BY_HAND.read_text())}
    return sorted((name, version) for name, version in found if name not in by_hand)


def fetch(azmcp, name):
    command = [azmcp, "bicepschema", "get", "--resource-type", name]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=120)
    try:
        return json.loads(done.stdout)["results"]["BicepSchemaResult"]
    except (ValueError, KeyError):
        sys.exit(f"error: no types of {name}: {(done.stderr or done.stdout)[:300]}")


def member(given):
    """`required`, `read-only` and bounds as words before the type: short, and a change shows as one line."""
    flags = given.get("flags", "")
    words = [word for flag, word in (("Required", "required"), ("ReadOnly", "read-only")) if flag and flag in flags]
    if given.get("modifiers"):
        words.append(f"[{given['modifiers']}]")
    return " ".join([*words, given["type"]])


def reduced(result, name, version):
    resource = next(entry for entry in result if entry["$type"] == "Resource")
    if resource["name"] != f"{name}@{version}":
        sys.exit(f"error: {PACKAGE} has {resource['name']}, the Bicep files say {name}@{version}")
    objects = {entry["name"]: entry for entry in result if entry["$type"] == "Object"}
    objects |= {entry["name"]: entry for entry in result if entry["$type"] == "DiscriminatedObject"}
    types, waiting = {}, [resource["bodyType"]]
    while waiting:
        entry = waiting.pop()
        if entry["name"] in types:
            continue
        members = {given["name"]: member(given) for given in entry.get("properties", [])}
        if entry.get("additionalPropertiesType"):
            members["*"] = entry["additionalPropertiesType"]
        types[entry["name"]] = members
        for text in members.values():
            names = {word for part in text.split(" ") for word in [part.removesuffix("[]")]}
            waiting += [objects[word] for word in names & objects.keys()]
    return types


def main():
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(
            ["npm", "install", "--silent", "--ignore-scripts", "--no-fund", "--no-audit", "--prefix", folder, PACKAGE],
            check=True,
        )
        azmcp = f"{folder}/node_modules/.bin/azmcp"
        types = {f"{name}@{version}": reduced(fetch(azmcp, name), name, version) for name, version in used()}
    OUT.write_text(json.dumps(types, indent=1) + "\n")
    print(f"{OUT.relative_to(ROOT)}: {len(types)} resource types, {OUT.stat().st_size // 1024} KiB")


if __name__ == "__main__":
    main()
