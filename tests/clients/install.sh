# The clients that the suites drive, in pinned versions, put once into a folder outside the tree. Sourced after node.sh.
#
# KLAMM_CLIENTS names that folder. A file that pins a version names the installation too, so a new pin is a new one.

CLIENTS=${KLAMM_CLIENTS:-${XDG_CACHE_HOME:-$HOME/.cache}/klamm-clients}

# Sets AT to where NAME is installed, by a function install_NAME that is called there if it is not yet.
installed() { # NAME PIN-FILE...
    local name=$1
    shift
    AT=$CLIENTS/$name-$(cat "$@" | sha256sum | head -c 12)
    if [ ! -e "$AT/complete" ]; then
        rm -rf "$AT"
        mkdir -p "$AT"
        echo "installs $name in $AT"
        cp "$@" "$AT"
        (cd "$AT" && "install_$name") || { echo "$name cannot be installed" >&2; exit 1; }
        touch "$AT/complete"
    fi
}

install_python() {
    python3 -m venv venv
    venv/bin/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
}

# Sets PYTHON: confluent-kafka, with the newest librdkafka, and kafka-python.
python_clients() {
    need python3
    installed python tests/clients/requirements.txt
    PYTHON=$AT/venv/bin/python
}

install_java() {
    mvn --batch-mode --quiet dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory=libs
}

# Sets JAVA: a command with Apache Kafka's jars, client, tools and broker, on its class path.
java_clients() {
    need java mvn
    installed java tests/clients/java/pom.xml
    KAFKA_LIBS=$AT/libs
    JAVA=(java -XX:TieredStopAtLevel=1 -XX:+UseSerialGC -Xmx512m -cp "$PWD/tests/clients/java:$KAFKA_LIBS/*")
}

# Sets NAME to a command that runs one of our programs over the Java client, compiled from these files.
java_program() { # NAME CLASS FILE...
    local -n command=$1
    local class=$2
    shift 2
    java_clients
    need javac
    javac -cp "$KAFKA_LIBS/*" -Xlint:all -Werror -d "$WORK/classes" "$@"
    command=("${JAVA[@]:0:${#JAVA[@]}-1}" "$WORK/classes:${JAVA[-1]}" "$class")
}

# Sets JAVA_CLIENT: our program over the Java client.
java_client() {
    java_program JAVA_CLIENT Client tests/clients/java/Client.java
}

# Sets SCRIPT: hundreds of requests in Kafka's own classes, and their answers in JSON.
java_script() {
    java_program SCRIPT Script tests/clients/java/Script.java tests/clients/java/Wire.java
}

# Sets GO_CLIENT: our program over franz-go. Go keeps modules and builds in its own cache.
go_client() {
    need go
    (cd tests/clients/go && go vet . && go build -o "$WORK/franz-go" .)
    GO_CLIENT=("$WORK/franz-go")
}

install_node() {
    npm ci --silent --no-audit --no-fund
}

# Sets NODE_CLIENT: our program over kafkajs.
node_client() {
    need node npm
    installed node tests/clients/js/package.json tests/clients/js/package-lock.json
    NODE_CLIENT=(env "NODE_PATH=$AT/node_modules" node tests/clients/js/client.js)
}
