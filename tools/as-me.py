#!/usr/bin/env python3
"""Runs a command of dataverse-sync on a deployed app as the person who is signed in with `az login`.

    tools/as-me.py -g my-group -n my-app ./dataverse-sync parked list

The app's settings are read with `az` and given to the command as its environment; nothing is written to a file. Where
the app would use its managed identity, the command gets tokens of yours: this program answers in the way in which
Azure answers the app (IDENTITY_ENDPOINT), on 127.0.0.1 and for the time of the command only. You need the role Storage Table
Data Contributor on the storage account for commands that work on the ledger, and to be a user of both environments for
doctor, register and reconcile. Secrets that are in Key Vault are not read. Variables that are set already come first.
Needs Python 3.8 and the Azure CLI.
"""
import argparse
import http.server
import json
import os
import secrets
import subprocess
import sys
import threading
from urllib.parse import parse_qs, urlsplit

# what the app signs in with: here it is you
NOT_TAKEN = ("_CLIENT_ID", "_TENANT_ID", "__clientId", "__credential")


def az(*arguments):
    try:
        done = subprocess.run(["az", *arguments, "--output", "json"], capture_output=True, text=True)
    except FileNotFoundError:
        sys.exit("error: `az` is not there: install the Azure CLI and run `az login`")
    if done.returncode != 0:
        raise RuntimeError(done.stderr.strip() or "az failed")
    return json.loads(done.stdout)


def settings(group, name):
    listed = az("functionapp", "config", "appsettings", "list", "-g", group, "-n", name)
    found = {setting["name"]: setting["value"] or "" for setting in listed}
    left = [name for name, value in found.items() if value.startswith("@Microsoft.KeyVault(")]
    taken = {name: value for name, value in found.items() if name not in left}
    for name in [name for name in taken if name.endswith(NOT_TAKEN)]:
        # with a secret that could be read the app's own registration is used
        if not taken.get(name.rsplit("_", 2)[0] + "_CLIENT_SECRET"):
            del taken[name]
    if left:
        print("not read from Key Vault: " + ", ".join(left), file=sys.stderr)
    # lines for people, unless the app's own are asked for
    taken.pop("LOG_FORMAT", None)
    return taken


class Tokens(http.server.BaseHTTPRequestHandler):
    header = secrets.token_urlsafe(32)

    def do_GET(self):
        resource = parse_qs(urlsplit(self.path).query).get("resource", [""])[0]
        if not secrets.compare_digest(self.headers.get("x-identity-header", ""), self.header) or not resource:
            return self.answer(400, {"error": "invalid_request"})
        try:
            token = az("account", "get-access-token", "--resource", resource)
        except RuntimeError as error:
            print(f"no token for {resource}: {error}", file=sys.stderr)
            return self.answer(400, {"error": "az_failed"})
        known = {"access_token": token["accessToken"], "resource": resource, "token_type": "Bearer"}
        self.answer(200, {**known, "expires_on": token["expires_on"]})

    def answer(self, status, body):
        text = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_):
        pass


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-g", "--resource-group", required=True, help="the app's resource group")
    parser.add_argument("-n", "--name", required=True, help="the app")
    parser.add_argument("command", nargs=argparse.REMAINDER, help="dataverse-sync and its arguments")
    given = parser.parse_args()
    if not given.command:
        parser.error("no command")
    try:
        environment = settings(given.resource_group, given.name)
    except RuntimeError as error:
        sys.exit(f"error: the app's settings could not be read: {error}")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Tokens)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    endpoint = f"http://127.0.0.1:{server.server_address[1]}/token"
    environment.update(os.environ, IDENTITY_ENDPOINT=endpoint, IDENTITY_HEADER=Tokens.header)
    sys.exit(subprocess.run(given.command, env=environment).returncode)


if __name__ == "__main__":
    main()
