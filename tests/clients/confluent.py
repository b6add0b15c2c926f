"""confluent-kafka, told on its standard input what to do; the words are in `matrix`."""

import sys

import jobs
from confluent_kafka import Consumer, KafkaException, Producer, TopicCollection, TopicPartition
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    NewTopic,
    OffsetSpec,
    ResourceType,
)


class Client:
    def __init__(self, address):
        self.config = {"bootstrap.servers": address, "log_level": 5}
        self.admin = AdminClient(self.config)

    def producer(self, codec="none", idempotent=True):
        more = {"enable.idempotence": idempotent, "compression.type": codec, "linger.ms": 20, "message.max.bytes": 4_000_000}
        return Producer(self.config | more)

    def consumer(self):
        more = {"group.id": "none", "enable.auto.commit": False, "check.crcs": True, "fetch.wait.max.ms": 100}
        return Consumer(self.config | more | {"auto.offset.reset": "error"})

    def create(self, topic, partitions, factor=1):
        self.admin.create_topics([NewTopic(topic, int(partitions), factor)])[topic].result(30)

    def write(self, topic, codec, kind, file):
        producer = self.producer(codec, kind == "idempotent")
        acknowledged = {}

        def delivered(error, message):
            if error:
                raise KafkaException(error)
            acknowledged.setdefault(message.partition(), []).append(message.offset())

        wanted = {}
        for partition, offset, at, key, value, headers in jobs.records(file):
            wanted.setdefault(partition, []).append(offset)
            producer.produce(topic, value, key, partition, on_delivery=delivered, timestamp=at, headers=headers)
        jobs.check("left after a flush", producer.flush(60), 0)
        jobs.check("acknowledged offsets", acknowledged, wanted)

    def partitions(self, topic):
        return sorted(self.admin.list_topics(topic, timeout=30).topics[topic].partitions)

    def read(self, topic, start, out):
        consumer = self.consumer()
        where, _, number = start.partition(":")
        left, places = 0, []
        for partition in self.partitions(topic):
            begin, end = consumer.get_watermark_offsets(TopicPartition(topic, partition), 30)
            if where == "offset":
                begin = int(number)
            elif where == "time":
                (found,) = consumer.offsets_for_times([TopicPartition(topic, partition, int(number))], 30)
                begin = end if found.offset < 0 else found.offset
            places.append(TopicPartition(topic, partition, begin))
            left += end - begin
        consumer.assign(places)
        self.poll(consumer, left, out)

    def poll(self, consumer, left, out):
        with open(out, "w") as to:
            for _ in range(left):
                message = consumer.poll(30)
                if message is None or message.error():
                    raise SystemExit(f"no record: {message and message.error()}")
                at = message.timestamp()[1]
                record = message.key(), message.value(), message.headers()
                to.write(jobs.line(message.partition(), message.offset(), at, *record))
        consumer.close()

    def tail(self, topic, out):
        consumer = self.consumer()
        ends = [consumer.get_watermark_offsets(TopicPartition(topic, p), 30)[1] for p in self.partitions(topic)]
        consumer.assign([TopicPartition(topic, p, end) for p, end in enumerate(ends)])
        jobs.check("at the end", consumer.poll(0.3), None)
        producer = self.producer()
        producer.produce(topic, b"at the end", partition=1, timestamp=5)
        jobs.check("left after a flush", producer.flush(30), 0)
        self.poll(consumer, 1, out)

    def offsets(self, topic, out):
        consumer = self.consumer()
        with open(out, "w") as to:
            for partition in self.partitions(topic):
                begin, end = consumer.get_watermark_offsets(TopicPartition(topic, partition), 30)
                to.write(f"{partition}\t{begin}\t{end}\n")
        consumer.close()

    def refusals(self, topic, out):
        with open(out, "w") as to:

            def refused(what, asked):
                try:
                    answer = asked()
                except KafkaException as refusal:
                    answer = refusal.args[0]
                to.write(f"{what}: {answer.name() if answer else 'nothing'}\n")

            refused("exists", lambda: self.create(topic, 3))
            refused("name", lambda: self.create("no/such/name", 1))
            refused("factor", lambda: self.create("copies", 1, 3))
            refused("partitions", lambda: self.create("nothing", 0))
            refused("unknown", lambda: self.describe("nowhere-confluent"))
            refused("large", lambda: self.large(topic))
            refused("past the end", lambda: self.past(topic))

    def administer(self, topic, out):
        told = []

        def config():
            resource = ConfigResource(ResourceType.TOPIC, topic)
            return self.admin.describe_configs([resource])[resource].result(30)["retention.ms"]

        def alter(value, operation):
            change = ConfigEntry("retention.ms", value, incremental_operation=operation)
            resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[change])
            self.admin.incremental_alter_configs([resource])[resource].result(30)

        def offsets(spec):
            asked = {TopicPartition(topic, partition): spec for partition in range(3)}
            listed = self.admin.list_offsets(asked, request_timeout=30)
            return " ".join(str(listed[place].result(30).offset) for place in asked)

        told.append(f"default {config().value}")
        alter("1000000000000", AlterConfigOpType.SET)
        told.append(f"altered {config().value} {config().source}")
        alter(None, AlterConfigOpType.DELETE)
        told.append(f"reset {config().value}")
        self.admin.create_partitions([NewPartitions(topic, 5)])[topic].result(30)
        told.append(f"partitions {len(self.partitions(topic))}")
        (deleted,) = self.admin.delete_records([TopicPartition(topic, 0, 60)]).values()
        deleted.result(30)
        told.append(f"time {offsets(OffsetSpec.for_timestamp(jobs.MIDDLE_TIME))}")
        told.append(f"first {offsets(OffsetSpec.earliest())}")
        told.append(f"end {offsets(OffsetSpec.latest())}")
        told.append(f"cluster {len(self.admin.describe_cluster().result(30).nodes)}")
        self.admin.delete_topics([topic])[topic].result(30)
        told.append("there" if topic in self.admin.list_topics(timeout=30).topics else "deleted")
        with open(out, "w") as to:
            to.writelines(line + "\n" for line in told)

    def describe(self, topic):
        return self.admin.describe_topics(TopicCollection([topic]))[topic].result(30)

    def large(self, topic):
        seen = []
        producer = self.producer()
        producer.produce(topic, bytes(1_500_000), partition=0, on_delivery=lambda error, _: seen.append(error))
        producer.flush(30)
        return seen[0]

    def past(self, topic):
        consumer = self.consumer()
        consumer.assign([TopicPartition(topic, 0, 1_000_000)])
        message = consumer.poll(30)
        consumer.close()
        return message and message.error()


if __name__ == "__main__":
    jobs.run(Client(sys.argv[1]))
