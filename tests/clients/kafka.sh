# A broker of Apache Kafka's to compare with, in the version of java/pom.xml. Sourced after install.sh.

# Without eligible leader replicas: with them, Kafka's bootstrap sets min.insync.replicas for the cluster.
# Starts one with nothing in it, on two free ports, and waits until it serves; sets KAFKA and K.
start_kafka() { # FOLDER
    local home=$1 ports _
    java_clients
    need kcat python3
    mkdir -p "$home"
    ports=($(python3 -c 'import socket
free = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
print(*(one.getsockname()[1] for one in free))'))
    K=127.0.0.1:${ports[0]}
    cat >"$home/server.properties" <<EOF
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:${ports[1]}
listeners=PLAINTEXT://$K,CONTROLLER://127.0.0.1:${ports[1]}
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
log.dirs=$home/data
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
group.initial.rebalance.delay.ms=0
EOF
    "${JAVA[@]}" kafka.tools.StorageTool format -t AAAAAAAAAAAAAAAAAAAAAQ -c "$home/server.properties" \
        --feature eligible.leader.replicas.version=0 >"$WORK/kafka.err" 2>&1
    "${JAVA[@]}" kafka.Kafka "$home/server.properties" >"$WORK/kafka.err" 2>&1 &
    KAFKA=$!
    for _ in $(seq 300); do
        if kcat -b "$K" -L -m 1 >/dev/null 2>&1; then
            return
        fi
        kill -0 "$KAFKA" 2>/dev/null || { echo "Kafka did not start" >&2; exit 1; }
        sleep 0.2
    done
    echo "Kafka does not serve after 60 s" >&2
    exit 1
}

stop_kafka() {
    kill "$KAFKA"
    wait "$KAFKA" 2>/dev/null || true
    KAFKA=
}
