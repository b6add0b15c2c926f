"""kafka-python, told on its standard input what to do; the words are in `matrix`."""

import sys

import jobs
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import AlterConfigOp, ConfigResource, ConfigResourceType, ConfigSourceType, NewTopic
from kafka.errors import KafkaError


class Client:
    def __init__(self, address):
        self.address = {"bootstrap_servers": address}

    def producer(self, codec="none", idempotent=True):
        codec = None if codec == "none" else codec
        return KafkaProducer(
            **self.address, compression_type=codec, enable_idempotence=idempotent, acks="all", linger_ms=20,
            max_request_size=4_000_000,
        )  # fmt: skip

    def consumer(self):
        return KafkaConsumer(
            **self.address, auto_offset_reset="none", enable_auto_commit=False, fetch_max_wait_ms=100,
            allow_auto_create_topics=False,
        )  # fmt: skip

    def create(self, topic, partitions, factor=1):
        admin = KafkaAdminClient(**self.address)
        try:
            admin.create_topics([NewTopic(topic, int(partitions), factor)])
        finally:
            admin.close()

    def write(self, topic, codec, kind, file):
        producer = self.producer(codec, kind == "idempotent")
        sent = []
        for partition, offset, at, key, value, headers in jobs.records(file):
            future = producer.send(topic, value, key, headers, partition, at)
            sent.append(((partition, offset, at), future))
        for wanted, future in sent:
            found = future.get(60)
            jobs.check("acknowledged", (found.partition, found.offset, found.timestamp), wanted)
        producer.close()

    def places(self, consumer, topic):
        return [TopicPartition(topic, p) for p in sorted(consumer.partitions_for_topic(topic))]

    def read(self, topic, start, out):
        consumer = self.consumer()
        places = self.places(consumer, topic)
        ends = consumer.end_offsets(places)
        consumer.assign(places)
        where, _, number = start.partition(":")
        if where == "beginning":
            consumer.seek_to_beginning(*places)
        elif where == "offset":
            for place in places:
                consumer.seek(place, int(number))
        else:
            for place, found in consumer.offsets_for_times(dict.fromkeys(places, int(number))).items():
                consumer.seek(place, found.offset if found else ends[place])
        with open(out, "w") as to:
            while any(consumer.position(place) < ends[place] for place in places):
                self.poll(consumer, to)
        consumer.close()

    def poll(self, consumer, to):
        seen = 0
        for records in consumer.poll(200).values():
            for r in records:
                to.write(jobs.line(r.partition, r.offset, r.timestamp, r.key, r.value, r.headers))
                seen += 1
        return seen

    def tail(self, topic, out):
        consumer = self.consumer()
        places = self.places(consumer, topic)
        consumer.assign(places)
        consumer.seek_to_end(*places)
        for place in places:
            consumer.position(place)
        producer = self.producer()
        producer.send(topic, b"at the end", partition=1, timestamp_ms=5).get(30)
        producer.close()
        with open(out, "w") as to:
            while not self.poll(consumer, to):
                pass
        consumer.close()

    def offsets(self, topic, out):
        consumer = self.consumer()
        places = self.places(consumer, topic)
        begins, ends = consumer.beginning_offsets(places), consumer.end_offsets(places)
        with open(out, "w") as to:
            for place in places:
                to.write(f"{place.partition}\t{begins[place]}\t{ends[place]}\n")
        consumer.close()

    def refusals(self, topic, out):
        with open(out, "w") as to:

            def refused(what, asked):
                answer = "nothing"
                try:
                    asked()
                except KafkaError as refusal:
                    answer = type(refusal).__name__
                to.write(f"{what}: {answer}\n")

            refused("exists", lambda: self.create(topic, 3))
            refused("name", lambda: self.create("no/such/name", 1))
            refused("factor", lambda: self.create("copies", 1, 3))
            refused("partitions", lambda: self.create("nothing", 0))
            refused("large", lambda: self.producer().send(topic, bytes(1_500_000), partition=0).get(30))
            refused("past the end", lambda: self.past(topic))

    def administer(self, topic, out):
        admin = KafkaAdminClient(**self.address)
        told = []

        def configs():
            resource = ConfigResource(ConfigResourceType.TOPIC, topic)
            return admin.describe_configs([resource], config_filter="all")["topic"][topic]["retention.ms"]

        def alter(change):
            admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, {"retention.ms": change})])

        told.append(f"default {configs()['value']}")
        alter("1000000000000")
        told.append(f"altered {configs()['value']} {ConfigSourceType.build_from(configs()['config_source']).value}")
        alter((AlterConfigOp.DELETE, None))
        told.append(f"reset {configs()['value']}")
        admin.create_partitions({topic: 5})
        consumer = self.consumer()
        places = self.places(consumer, topic)
        told.append(f"partitions {len(places)}")
        admin.delete_records({places[0]: 60})
        times = consumer.offsets_for_times(dict.fromkeys(places[:3], jobs.MIDDLE_TIME))
        first, end = consumer.beginning_offsets(places[:3]), consumer.end_offsets(places[:3])
        told.append("time " + " ".join(str(times[place].offset) for place in places[:3]))
        told.append("first " + " ".join(str(first[place]) for place in places[:3]))
        told.append("end " + " ".join(str(end[place]) for place in places[:3]))
        consumer.close()
        told.append(f"cluster {len(admin.describe_cluster()['brokers'])}")
        (described,) = admin.describe_log_dirs([topic])
        sizes = [p["partition_size"] for d in described["log_dirs"] for t in d["topics"] for p in t["partitions"]]
        told.append(f"log dirs {sum(size > 0 for size in sizes)} of {len(sizes)}")
        admin.delete_topics([topic])
        told.append("deleted" if topic not in admin.list_topics() else "there")
        admin.close()
        with open(out, "w") as to:
            to.writelines(line + "\n" for line in told)

    def past(self, topic):
        consumer = self.consumer()
        place = TopicPartition(topic, 0)
        consumer.assign([place])
        consumer.seek(place, 1_000_000)
        for _ in range(50):
            consumer.poll(200)


if __name__ == "__main__":
    jobs.run(Client(sys.argv[1]))
