#!/usr/bin/env python3
"""Runs checkov over infra/ with the checks that mean something here, and reads its report.

checkov ends with 0 even if it could not parse a file, and a check that matches no resource passes: so parsing errors are
counted, and each check must have looked at something. Installs the pinned version into target/checkov the first time.

    python3 tools/checkov.py
"""
import hashlib
import json
import pathlib
import subprocess
import sys
import venv

ROOT = pathlib.Path(__file__).resolve().parent.parent
PLACE = ROOT / "target/checkov"
REQUIREMENTS = ROOT / "tools/checkov-requirements.txt"

# What is not asked for, and why: network rules and private endpoints (the app has no network of its own), customer-managed
# keys, zones of the plan (not offered), client certificates and FTP (webhooks come with keys; the plan has no FTP).
CHECKS = {
    "CKV_AZURE_3": "storage: encrypted transport only",
    "CKV_AZURE_14": "app: plain HTTP is redirected",
    "CKV_AZURE_15": "app: TLS 1.2",
    "CKV_AZURE_34": "storage: the package is not public",
    "CKV_AZURE_36": "storage: Azure's own services come in",
    "CKV_AZURE_42": "vault: can be recovered",
    "CKV_AZURE_44": "storage: TLS 1.2",
    "CKV_AZURE_57": "app: no CORS for everybody",
    "CKV_AZURE_59": "storage: no public blobs",
    "CKV_AZURE_70": "app: HTTPS only",
    "CKV_AZURE_71": "app: has an identity",
    "CKV_AZURE_72": "app: no remote debugging",
    "CKV_AZURE_110": "vault: purge protection",
    "CKV_AZURE_111": "vault: soft delete",
    "CKV_AZURE_145": "function app: TLS 1.2",
}


def installed():
    """The program, of the pinned versions."""
    stamp = PLACE / "requirements.sha256"
    wanted = hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest()
    if not stamp.exists() or stamp.read_text() != wanted:
        venv.create(PLACE, with_pip=True, clear=True)
        subprocess.run([PLACE / "bin/pip", "install", "--quiet", "-r", REQUIREMENTS], check=True)
        stamp.write_text(wanted)
    return PLACE / "bin/checkov"


def main():
    command = [installed(), "-d", ROOT / "infra", "--framework", "bicep", "--skip-download"]
    command += ["-c", ",".join(CHECKS), "-o", "json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    report = json.loads(done.stdout)
    summary, results = report["summary"], report["results"]
    wrong = [f"{each['check_id']} ({CHECKS[each['check_id']]}): {each['resource']}" for each in results["failed_checks"]]
    wrong += [f"not parsed: {each}" for each in results["parsing_errors"]]
    if summary["parsing_errors"] and not results["parsing_errors"]:
        wrong.append(f"{summary['parsing_errors']} files were not parsed")
    seen = {each["check_id"] for each in results["passed_checks"]}
    wrong += [f"{check} ({what}): looked at nothing" for check, what in CHECKS.items() if check not in seen]
    if wrong:
        sys.exit("error: " + "\n  ".join(wrong))
    print(f"checkov {summary['checkov_version']}: {summary['passed']} passed, {summary['resource_count']} resources")


if __name__ == "__main__":
    main()
