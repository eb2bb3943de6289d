#!/usr/bin/env bash
# Builds the release binary and shows what it costs to start and to wait: its size, the time from exec to the first
# answered request, and the resident memory when idle. Fails above the bounds. Needs Rust and Python 3; Linux (/proc).
set -euo pipefail
cd "$(dirname "$0")/.."
cargo build --release --quiet
exec python3 - "${CARGO_TARGET_DIR:-target}/release/dataverse-sync" <<'PYTHON'
import os, signal, socket, statistics, subprocess, sys, tempfile, time

RUNS = 20
START_MS_MAX = 15.0  # the host asks every 25 ms
RESIDENT_MIB_MAX = 15.0
ANSWER_S_MAX = 5.0

binary = os.path.abspath(sys.argv[1])
root = os.getcwd()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def answered(port):
    """One GET /, as the host sends it; None while nobody listens."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=ANSWER_S_MAX) as to:
            to.sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
            return to.recv(64)
    except ConnectionRefusedError:
        return None


def resident_kib(pid):
    with open(f"/proc/{pid}/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS:"))


def run(log):
    port = free_port()
    # as in Azure: a mapping, client credentials, a table ledger; nothing of it is asked before the first event
    environment = {
        "FUNCTIONS_CUSTOMHANDLER_PORT": str(port),
        "FUNCTIONS_APP_ROOT_PATH": root,
        "TARGET_URL": "https://example.crm4.dynamics.com",
        "TARGET_TENANT_ID": "11111111-1111-1111-1111-111111111111",
        "TARGET_CLIENT_ID": "22222222-2222-2222-2222-222222222222",
        "TARGET_CLIENT_SECRET": "none",
        "AzureWebJobsStorage": "UseDevelopmentStorage=true",
    }
    before = time.perf_counter()
    process = subprocess.Popen([binary, "serve"], env=environment, stdout=log, stderr=log)
    try:
        while not (answer := answered(port)):
            if process.poll() is not None or time.perf_counter() - before > ANSWER_S_MAX:
                log.seek(0)
                sys.exit("error: the handler does not answer: " + log.read().decode())
            time.sleep(0.0002)
        took_ms = (time.perf_counter() - before) * 1000
        if not answer.startswith(b"HTTP/1.1 200"):
            sys.exit(f"error: GET / was answered with {answer!r}")
        time.sleep(0.2)  # idle
        return took_ms, resident_kib(process.pid) / 1024
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()


with tempfile.TemporaryFile() as log:
    runs = [run(log) for _ in range(RUNS)]
took_ms = statistics.median(took for took, _ in runs)
resident = max(resident for _, resident in runs)
print(f"size of the binary               {os.path.getsize(binary) / 2**20:6.1f} MiB")
print(f"start to first answer, median    {took_ms:6.1f} ms   (bound {START_MS_MAX:.0f} ms, {RUNS} runs)")
print(f"resident when idle, highest      {resident:6.1f} MiB  (bound {RESIDENT_MIB_MAX:.0f} MiB)")
if took_ms >= START_MS_MAX or resident >= RESIDENT_MIB_MAX:
    sys.exit("error: above the bounds")
PYTHON
