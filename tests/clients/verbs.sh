# Our command line against any broker: each command, what it printed, what it said, and its exit status. Sourced.

# What brokers may differ in: words behind an error's code, ids, times.
plain() {
    sed -E -e 's/^(klamm: [^:]+: [A-Z_]+).*/\1/' -e 's/"topicId":"[^"]*"/"topicId":"-"/g' -e 's/"ts":[0-9]+/"ts":-/'
}

# One verb; with nothing on its standard input unless that is redirected.
verb() { # ARGUMENT...
    local code=0
    echo "$ klamm ${*/s@*/s@TIME}"
    timeout 60 "$KLAMM" "$@" -b "$AT_BROKER" 2>"$WORK/talk" >"$WORK/data-out" || code=$?
    plain <"$WORK/data-out"
    sed 's/^/! /' <(plain <"$WORK/talk")
    echo "= $code"
}

verbs() { # BROKER
    local AT_BROKER=$1 at
    exec </dev/null
    verb topic create t --partitions 3 --config retention.ms=86400000 --config max.message.bytes=2000000
    verb topic create t
    verb topic create t --if-not-exists
    verb topic create 'a b'
    verb topic create u --config nonsense=1
    verb topic create u --replication-factor 3
    verb topic create u
    sleep 0.5
    verb topic list
    verb topic list --output json
    printf 'ada:1815\ngrace:1906\nnone\n' | verb produce -t t -p 0 -K: -H by=klamm
    seq 100 | verb produce -t u
    printf 'k1:a\nk2:b\nk3:c\nk4:d\n' | verb produce -t t -K:
    printf 'k:\n' | verb produce -t t -p 1 -K: -Z
    verb produce -t t -p 9 <<<x
    verb consume -t t -e -q -p 0 -f '%t %p %o %k %K %s %S %h\n'
    verb consume -t t -e -p 1 -Z -f '%k %s\n'
    verb consume -t t -e -p 2 -K= -D ';'
    verb consume -t u -e -q -o 97
    verb consume -t u -e -q -o -2
    verb consume -t u -e -q -n 3
    verb consume -t u -e -q -o end
    verb consume -t t -p 0 -n 2 -J
    at=$("$KLAMM" consume -t u -b "$AT_BROKER" -n 1 -o 0 -f '%T')
    verb consume -t u -e -q -o "s@$at" -n 1
    verb consume -t u -e -o 500
    verb consume -t nowhere -e
    verb topic describe t
    verb topic describe t u --output json
    verb topic describe nowhere
    verb topic alter t --config retention.ms=1000000 --delete-config max.message.bytes
    sleep 0.5
    verb topic describe t
    verb topic alter t --config retention.ms=soon
    verb topic alter t --config nonsense=1
    verb topic alter nowhere --config retention.ms=1
    verb topic add-partitions t -p 5
    verb topic add-partitions t -p 2
    sleep 0.5
    verb topic trim u -p 0 -o 90 --yes
    verb topic trim u -p 0 -o 500 --yes
    verb topic trim u -p 7 -o 1 --yes
    verb topic describe u
    verb consume -t u -e -q
    verb topic trim u -p 0 -o -1 --yes
    verb topic describe t u
    verb topic delete t
    verb topic delete t u --yes
    sleep 0.5
    verb topic delete t --yes
    verb topic list --output json
}
