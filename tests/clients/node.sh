# A real node to talk to, for the scripts beside this one. Sourced.
#
# KLAMM names the binary to test; without it the release build is made and taken.

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

if [ -z "${KLAMM:-}" ]; then
    cargo build --quiet --release -p klamm
    KLAMM=${CARGO_TARGET_DIR:-target}/release/klamm
fi

# Beside the build, not on a memory file system, where a sync means nothing.
mkdir -p target/clients
WORK=$(mktemp -d "$PWD/target/clients/XXXXXX")
NODE=
PASSED=0
# What the node is run under, if anything.
UNDER=()

finish() {
    local code=$?
    if [ -n "$NODE" ]; then
        kill -9 "$NODE" 2>/dev/null || true
    fi
    if [ "$code" = 0 ]; then
        rm -rf "$WORK"
    else
        tail -n 20 "$WORK"/*.err >&2 2>/dev/null || true
        echo "failed; left for a look: $WORK" >&2
    fi
}
trap finish EXIT

need() { # PROGRAM...
    local program
    for program in "$@"; do
        command -v "$program" >/dev/null || { echo "$program is missing: apt-get install kcat strace python3-venv" >&2; exit 1; }
    done
}

# Starts the node on ADDR (port 0: a free one) and waits until it serves; sets NODE and B.
start_node() { # DATA ADDR ARGUMENT...
    local data=$1 listen=$2
    shift 2
    : >"$WORK/node.err"
    "${UNDER[@]}" "$KLAMM" dev --data "$data" --listen "$listen" "$@" 2>"$WORK/node.err" &
    NODE=$!
    wait_for_node
}

wait_for_node() {
    local _
    for _ in $(seq 300); do
        B=$(sed -n 's/^klamm serves Kafka on \([^,]*\),.*/\1/p' "$WORK/node.err")
        if [ -n "$B" ]; then
            return
        fi
        kill -0 "$NODE" 2>/dev/null || { echo "the node did not start" >&2; exit 1; }
        sleep 0.1
    done
    echo "the node does not serve after 30 s" >&2
    exit 1
}

# Ends the node; TERM must end it well.
stop_node() { # SIGNAL
    local code=0
    kill "-$1" "$NODE"
    wait "$NODE" 2>/dev/null || code=$?
    NODE=
    if [ "$1" = TERM ] && [ "$code" != 0 ]; then
        echo "the node ended with $code after SIGTERM" >&2
        exit 1
    fi
}

# Compares what came out with what should have, byte for byte.
same() { # WHAT EXPECTED-FILE FOUND-FILE
    if ! cmp -s "$2" "$3"; then
        echo "$1: expected (<) and found (>) differ:" >&2
        diff "$2" "$3" | head -n 10 >&2 || true
        exit 1
    fi
    PASSED=$((PASSED + 1))
}

# The same for a line.
says() { # WHAT EXPECTED FOUND
    if [ "$2" != "$3" ]; then
        echo "$1: expected '$2', found '$3'" >&2
        exit 1
    fi
    PASSED=$((PASSED + 1))
}

# A Python with the newest librdkafka, made once.
python_client() {
    local venv=target/clients/venv
    if ! "$venv/bin/python" -c 'import confluent_kafka' 2>/dev/null; then
        rm -rf "$venv"
        python3 -m venv "$venv"
        "$venv/bin/pip" install --quiet --disable-pip-version-check confluent-kafka==2.16.1
    fi
    PYTHON=$venv/bin/python
}
