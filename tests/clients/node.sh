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
# A broker of Apache Kafka's, where one is wanted (kafka.sh).
KAFKA=
PASSED=0
FAILED=0
SKIPPED=0
# What the node is run under, if anything.
UNDER=()

finish() {
    local code=$?
    kill -9 $NODE $KAFKA 2>/dev/null || true
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
        command -v "$program" >/dev/null || { echo "$program is missing: see tools() in .ci/run" >&2; exit 1; }
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

passed() { # WHAT
    echo "ok      $1"
    PASSED=$((PASSED + 1))
}

failed() { # WHAT WHY
    echo "FAILED  $1: $2"
    FAILED=$((FAILED + 1))
}

# What cannot be checked on this machine counts for nothing.
skipped() { # WHAT WHY
    echo "skipped $1: $2"
    SKIPPED=$((SKIPPED + 1))
}

# Compares what came out with what should have, byte for byte.
same() { # WHAT EXPECTED-FILE FOUND-FILE
    if cmp -s "$2" "$3"; then
        passed "$1"
    else
        failed "$1" "expected (<) and found (>) differ"
        diff -a "$2" "$3" | cut -c1-200 | head -n 10 || true
    fi
}

# The same for a line.
says() { # WHAT EXPECTED FOUND
    if [ "$2" = "$3" ]; then
        passed "$1"
    else
        failed "$1" "expected '$2', found '$3'"
    fi
}

# That a command ends well; the end of what it said, if not.
runs() { # WHAT COMMAND...
    local what=$1 code=0
    shift
    "$@" >"$WORK/said" 2>&1 || code=$?
    if [ "$code" = 0 ]; then
        passed "$what"
    else
        failed "$what" "exit status $code"
        tail -n 20 "$WORK/said"
    fi
}

# That a command is refused, in these words.
refuses() { # WHAT WORDS COMMAND...
    local what=$1 words=$2
    shift 2
    if "$@" >"$WORK/said" 2>&1; then
        failed "$what" "it was not refused"
    elif ! grep -qF -- "$words" "$WORK/said"; then
        failed "$what" "expected '$words', found '$(tail -n 3 "$WORK/said")'"
    else
        passed "$what"
    fi
}

# Ends a suite: its counts, and its exit status.
verdict() { # NAME
    local skipped=
    if [ "$SKIPPED" != 0 ]; then
        skipped=", $SKIPPED skipped"
    fi
    echo "$1: $PASSED passed, $FAILED failed$skipped"
    [ "$FAILED" = 0 ] && [ "$PASSED" -gt 0 ]
}
