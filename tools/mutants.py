#!/usr/bin/env python3
"""Breaks each safety in turn and expects the test that is named for it to fail.

The catalogue is tests/mutations.toml. Each entry is applied to a copy of the working tree (target/mutants/tree, kept
between runs so that builds stay incremental), its test is built and run, and the text is put back. Caught means: the
test ran and failed. A mutation that does not compile, whose text is not found exactly once, or whose test does not
exist is an error, never a catch. Needs Python 3.11 and what the tests need; nothing else.

    tools/mutants.py                      all of them
    tools/mutants.py --only merge-row-version --only lease-skew
    tools/mutants.py --rule R3            those of one promise or rule
    tools/mutants.py --list               names only

Ends in "N passed, N failed"; exit 1 if any mutation survived or could not be judged.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
import tomllib
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CATALOGUE = ROOT / "tests" / "mutations.toml"
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
TREE = TARGET / "mutants" / "tree"
# cargo tells the copy from the tree by nothing but times: with one target directory a mutant's build would pass for the tree's
BUILT = TARGET / "mutants" / "built"
BUILD_SECONDS_MAX = 1800
# a test that hangs is red too; the longest one named takes a few seconds
TEST_SECONDS_MAX = 120
SUITES = {"lib": ["--lib"], "all": ["--test", "all"]}


@dataclass(frozen=True)
class Mutation:
    id: str
    rules: list
    file: str
    find: str
    replace: str
    suite: str
    test: str
    why: str


class Invalid(Exception):
    """The mutation says nothing about the test."""


def load():
    with CATALOGUE.open("rb") as file:
        return [Mutation(**entry) for entry in tomllib.load(file)["mutation"]]


def sync_tree():
    """Makes the copy equal to the working tree; files that did not change keep their times."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, check=True, capture_output=True,
    ).stdout.decode().split("\0")
    wanted = {name for name in listed if name and (ROOT / name).is_file()}
    TREE.mkdir(parents=True, exist_ok=True)
    for path in [path for path in TREE.rglob("*") if path.is_file() and not path.is_symlink()]:
        if path.relative_to(TREE).as_posix() not in wanted:
            path.unlink()
    for name in sorted(wanted):
        source, copy = ROOT / name, TREE / name
        content = source.read_bytes()
        if not copy.is_file() or copy.read_bytes() != content:
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(content)
            shutil.copymode(source, copy)
    modules = TREE / "node_modules"
    if not modules.is_symlink() and (ROOT / "node_modules").is_dir():
        modules.symlink_to(ROOT / "node_modules", target_is_directory=True)


def environment():
    return {
        **os.environ,
        "CARGO_TARGET_DIR": str(BUILT),
        "CARGO_TERM_COLOR": "never",
        "PROPTEST_DISABLE_FAILURE_PERSISTENCE": "1",
        "RUST_BACKTRACE": "0",
        # enough to meet everything once; a broken safety shows in the first dozens
        "WORLDS": "150",
    }


def build(suite):
    """Builds one test binary and returns its path."""
    command = ["cargo", "test", "--no-run", "--quiet", "--message-format=json", *SUITES[suite]]
    done = subprocess.run(command, cwd=TREE, env=environment(), capture_output=True, text=True, timeout=BUILD_SECONDS_MAX)
    messages = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    if done.returncode != 0:
        errors = [m["message"]["rendered"] for m in messages
                  if m["reason"] == "compiler-message" and m["message"]["level"] == "error"]
        raise Invalid("does not compile: " + (errors[0].strip() if errors else done.stderr.strip()[-2000:]))
    binaries = [m["executable"] for m in messages
                if m["reason"] == "compiler-artifact" and m.get("executable") and m["profile"]["test"]]
    if len(binaries) != 1:
        raise Invalid(f"expected one test binary for {suite}, found {binaries}")
    return binaries[0]


def run(binary, tests):
    """Runs tests by their exact names. True: all passed; False: some failed (or hung)."""
    try:
        done = subprocess.run([binary, "--exact", *tests], cwd=TREE, env=environment(),
                              capture_output=True, text=True, timeout=TEST_SECONDS_MAX)
    except subprocess.TimeoutExpired:
        return False, "hangs"
    ran = f"running {len(tests)} test"
    if not any(line.startswith(ran) for line in done.stdout.splitlines()):
        head = next((line for line in done.stdout.splitlines() if line.startswith("running")), "nothing ran")
        raise Invalid(f"{head}, expected {len(tests)}: {', '.join(tests)}")
    # a test that fails ends in 101; a process that dies (stack overflow, abort) is red as well
    failed = [line.split()[1] for line in done.stdout.splitlines() if line.startswith("test ") and line.endswith("FAILED")]
    return done.returncode == 0, ", ".join(failed)


def judge(mutation):
    path = TREE / mutation.file
    original = path.read_text()
    found = original.count(mutation.find)
    if found != 1:
        raise Invalid(f"{mutation.file} holds the text {found} times, expected once")
    path.write_text(original.replace(mutation.find, mutation.replace))
    try:
        green, detail = run(build(mutation.suite), [mutation.test])
    finally:
        path.write_text(original)
    return "SURVIVED" if green else ("caught (hangs)" if detail == "hangs" else "caught")


def baseline(mutations):
    """Without any mutation every named test must pass."""
    for suite in SUITES:
        tests = sorted({m.test for m in mutations if m.suite == suite})
        if tests:
            green, failed = run(build(suite), tests)
            if not green:
                raise Invalid(f"fails without any mutation: {failed}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", metavar="ID", help="only this mutation; may be repeated")
    parser.add_argument("--rule", action="append", metavar="P1..P7, R1..R11", help="only those of this promise or rule")
    parser.add_argument("--list", action="store_true", help="list them and stop")
    arguments = parser.parse_args()
    mutations = load()
    unknown = set(arguments.only or []) - {mutation.id for mutation in mutations}
    if unknown:
        parser.error(f"no such mutation: {', '.join(sorted(unknown))}")
    if arguments.only:
        mutations = [m for m in mutations if m.id in arguments.only]
    if arguments.rule:
        mutations = [m for m in mutations if set(m.rules) & set(arguments.rule)]
    if not mutations:
        parser.error("nothing to do")
    if arguments.list:
        for m in mutations:
            print(f"{m.id:44} {','.join(m.rules):10} {m.test}")
        return 0
    sync_tree()
    try:
        baseline(mutations)
    except (Invalid, subprocess.TimeoutExpired) as error:
        print(f"baseline: {error}")
        return 1
    failed = 0
    for number, m in enumerate(mutations, 1):
        start, reason = time.monotonic(), ""
        try:
            verdict = judge(m)
        except (Invalid, subprocess.TimeoutExpired) as error:
            verdict, reason = "INVALID", str(error)
        failed += not verdict.startswith("caught")
        took = time.monotonic() - start
        print(f"{number:3}/{len(mutations)} {verdict:14} {took:5.0f} s  {m.id:44} {','.join(m.rules):10} {m.test}", flush=True)
        if reason:
            print("    " + reason.replace("\n", "\n    "), flush=True)
    print(f"{len(mutations) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
