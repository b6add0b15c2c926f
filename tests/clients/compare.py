"""Two brokers' answers to one script (java/Script.java), compared field by field.

Takes Kafka's answers, ours, and the list of differences that are meant. What differs for no reason of the protocol's is
masked in both: topic ids, producer and session ids, times of now, addresses, the cluster's id, directories, sizes of
devices, and the words (not the presence) of messages and documentation. Fields are compared by the names of what they
are in (`topics[t].partitions[0].errorCode`), so that no order counts that Kafka does not promise.

A line of the list is a reason, or below it, indented, what it excuses: the question, the field, Kafka's value and ours
(`*` and `?` as in a shell; `-`: not there). One that excuses nothing is a failure too.
"""

import fnmatch
import json
import re
import sys
import time

# What a list's elements are named by, the first of these fields that they have.
NAMES = ["name", "topicName", "topic", "resourceName", "logDir", "partitionIndex", "partition", "index", "nodeId", "brokerId",
    "replicaId", "apiKey", "producerId", "baseOffset", "topicId"]  # fmt: skip
WORDS = ["errorMessage", "documentation", "batchIndexErrorMessage"]
DAY_MS = 86_400_000


class Answers:
    """One broker's, masked."""

    def __init__(self, path):
        self.fields = {}
        self.topics = {}
        self.producers = []
        with open(path) as lines:
            rows = [json.loads(line) for line in lines]
        for row in rows:
            self.learn(row["answer"])
        for row in rows:
            what = f"{row['what']} ({row['api']} {row['version']})"
            if what in self.fields:
                sys.exit(f"{path}: asked twice: {what}")
            self.fields[what] = dict(self.flat("", None, row["answer"]))

    def learn(self, node):
        """Which id is whose."""
        if isinstance(node, list):
            for one in node:
                self.learn(one)
        elif isinstance(node, dict):
            name = node.get("name") or node.get("topicName")
            if name and node.get("topicId", "").strip("A"):
                self.topics[node["topicId"]] = name
            for one in node.values():
                self.learn(one)

    def flat(self, path, field, node):
        if isinstance(node, dict):
            for name, value in node.items():
                yield from self.flat(f"{path}.{name}" if path else name, name, value)
        elif isinstance(node, list):
            yield path + "[]", "of objects" if node and isinstance(node[0], dict) else f"{len(node)} long"
            seen = {}
            for at, one in enumerate(node):
                name = str(at)
                if isinstance(one, dict):
                    name = str(next((self.masked(key, one[key]) for key in NAMES if one.get(key) is not None), at))
                    seen[name] = seen.get(name, 0) + 1
                    name += f"#{seen[name]}" if seen[name] > 1 else ""
                yield from self.flat(f"{path}[{name}]", field, one)
        else:
            yield path, json.dumps(self.masked(field, node), ensure_ascii=False)

    def masked(self, field, value):
        if value is None:
            return None
        if field == "topicId":
            return f"id of {self.topics[value]}" if value in self.topics else value
        if field in ("host", "port", "clusterId", "logDir", "replicaDirectoryId", "incarnationId"):
            return "masked"
        if field in WORDS:
            return "words"
        if field == "sessionId" and value != 0:
            return "a session"
        if field == "producerId" and int(value) >= 0:
            # By the order of the first ones; far ones of the script's own by their distance.
            if value not in self.producers:
                self.producers.append(value)
            return f"producer {self.producers.index(value)}"
        if field in ("totalBytes", "usableBytes", "finalizedFeaturesEpoch"):
            return "a number" if value >= 0 else value
        if isinstance(value, int) and abs(value - time.time() * 1000) < DAY_MS:
            return "now"
        if field == "records":
            return masked_record(value)
        return value


def masked_record(text):
    if text == "unreadable":
        return text
    offset, _, rest = text.partition(" at ")
    at, _, rest = rest.partition(": ")
    return f"{offset} at {'now' if abs(int(at) - time.time() * 1000) < DAY_MS else at}: {rest}"


class Allowed:
    """The list."""

    def __init__(self, path):
        self.rules = []
        reason = None
        with open(path) as lines:
            for number, line in enumerate(lines, 1):
                line = line.rstrip("\n")
                if line.startswith("#"):
                    continue
                if not line.startswith(" ") and line:
                    reason = line
                elif line:
                    cells = [cell.strip() for cell in line.split("|")]
                    if len(cells) != 4 or reason is None:
                        sys.exit(f"{path}:{number}: a reason, then question | field | Kafka's | ours")
                    self.rules.append((number, cells, []))

    def excuses(self, *difference):
        for _, cells, used in self.rules:
            if all(fits(text, cell) for text, cell in zip(difference, cells)):
                used.append(difference)
                return True
        return False


def fits(text, pattern):
    # A bracket is a bracket here, unless it holds two digits; a star behind a backslash is a star.
    pattern = re.sub(r"\[(?!\d\d\])", "[[]", pattern)
    return fnmatch.fnmatchcase(text, pattern.replace("\\*", "[*]"))


def differences(kafka, ours):
    for what in sorted(kafka.keys() | ours.keys()):
        if what not in ours or what not in kafka:
            yield what, "*", "asked" if what in kafka else "-", "asked" if what in ours else "-"
            continue
        theirs, own = kafka[what], ours[what]
        seen = set()
        for field in sorted(theirs.keys() | own.keys()):
            if theirs.get(field) != own.get(field):
                row = whole(field, theirs, own) or (field, value(field, theirs), value(field, own))
                if row not in seen:
                    seen.add(row)
                    yield what, *row


def value(field, fields):
    return fields.get(field, "a list" if field + "[]" in fields else "-")


def whole(field, theirs, own):
    """The outermost list or object that only one has, if the field is in one."""
    for start in (at for at, letter in enumerate(field) if letter == "["):
        if "null" in (theirs.get(field[:start]), own.get(field[:start])):
            return field[:start], theirs.get(field[:start], "a list"), own.get(field[:start], "a list")
    for end in (at + 1 for at, letter in enumerate(field) if letter == "]" and field[at - 1] != "["):
        inside = field[:end] + "."
        if not any(name.startswith(inside) for name in theirs):
            return field[:end], "-", "there"
        if not any(name.startswith(inside) for name in own):
            return field[:end], "there", "-"
    return None


def main(kafka_path, our_path, allowed_path):
    kafka, ours, allowed = Answers(kafka_path), Answers(our_path), Allowed(allowed_path)
    compared = sum(len(fields) for fields in kafka.fields.values())
    bad = [row for row in differences(kafka.fields, ours.fields) if not allowed.excuses(*row)]
    for row in bad:
        print("differs: " + " | ".join(row))
    idle = [(number, cells) for number, cells, used in allowed.rules if not used]
    for number, cells in idle:
        print(f"{allowed_path}:{number} excuses nothing: " + " | ".join(cells))
    excused = sum(len(used) for _, _, used in allowed.rules)
    print(f"{len(kafka.fields)} answers, {compared} fields, {excused} differ as they are meant to, {len(bad)} do not")
    if bad or idle or len(kafka.fields) < 500:
        sys.exit(1)


if __name__ == "__main__":
    main(*sys.argv[1:])
