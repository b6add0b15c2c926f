// franz-go, told on its standard input what to do; the words are in tests/clients/matrix.
package main

import (
	"bufio"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

var codecs = map[string]kgo.CompressionCodec{
	"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(),
	"lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression(),
}

func main() {
	jobs := bufio.NewScanner(os.Stdin)
	for jobs.Scan() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		if err := run(ctx, os.Args[1], strings.Fields(jobs.Text())); err != nil {
			fmt.Fprintf(os.Stderr, "at: %s\n%v\n", jobs.Text(), err)
			os.Exit(1)
		}
		cancel()
	}
}

func run(ctx context.Context, address string, job []string) error {
	switch job[0] {
	case "create":
		partitions, err := strconv.Atoi(job[2])
		if err != nil {
			return err
		}
		return create(ctx, address, job[1], int32(partitions), 1)
	case "write":
		return write(ctx, address, job[1], job[2], job[3] == "idempotent", job[4])
	case "read":
		return read(ctx, address, job[1], job[2], job[3])
	case "tail":
		return tail(ctx, address, job[1], job[2])
	case "offsets":
		return offsets(ctx, address, job[1], job[2])
	case "administer":
		return administer(ctx, address, job[1], job[2])
	case "refusals":
		return refusals(ctx, address, job[1], job[2])
	}
	return fmt.Errorf("no such job")
}

func connect(address string, options ...kgo.Opt) (*kgo.Client, error) {
	return kgo.NewClient(append(options, kgo.SeedBrokers(address))...)
}

func writing(address, codec string, idempotent bool) (*kgo.Client, error) {
	options := []kgo.Opt{
		kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerBatchCompression(codecs[codec]),
		kgo.ProducerLinger(20 * time.Millisecond), kgo.ProducerBatchMaxBytes(1_048_588),
	}
	if !idempotent {
		options = append(options, kgo.DisableIdempotentWrite())
	}
	return connect(address, options...)
}

func create(ctx context.Context, address, topic string, partitions int32, factor int16) error {
	client, err := connect(address)
	if err != nil {
		return err
	}
	defer client.Close()
	_, err = kadm.NewClient(client).CreateTopic(ctx, partitions, factor, nil, topic)
	return err
}

func write(ctx context.Context, address, topic, codec string, idempotent bool, file string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	client, err := writing(address, codec, idempotent)
	if err != nil {
		return err
	}
	defer client.Close()
	lines := strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
	records := make([]*kgo.Record, len(lines))
	for n, line := range lines {
		if records[n], err = parse(line); err != nil {
			return err
		}
		records[n].Topic = topic
	}
	if err := client.ProduceSync(ctx, records...).FirstErr(); err != nil {
		return err
	}
	for n, record := range records {
		if found := format(record); found != lines[n] {
			return fmt.Errorf("acknowledged as %.60s, expected %.60s", found, lines[n])
		}
	}
	return nil
}

// The ends of a topic's partitions, their number being the length.
func ends(ctx context.Context, admin *kadm.Client, topic string) (kadm.ListedOffsets, int32, error) {
	listed, err := admin.ListEndOffsets(ctx, topic)
	if err == nil {
		err = listed.Error()
	}
	return listed, int32(len(listed[topic])), err
}

func read(ctx context.Context, address, topic, from, out string) error {
	client, err := connect(address, kgo.FetchMaxWait(100*time.Millisecond))
	if err != nil {
		return err
	}
	defer client.Close()
	admin := kadm.NewClient(client)
	end, partitions, err := ends(ctx, admin, topic)
	if err != nil {
		return err
	}
	begin := make(map[int32]kgo.Offset)
	var listed kadm.ListedOffsets
	where, at, _ := strings.Cut(from, ":")
	number, _ := strconv.ParseInt(at, 10, 64)
	if where == "time" {
		if listed, err = admin.ListOffsetsAfterMilli(ctx, number, topic); err == nil {
			err = listed.Error()
		}
		if err != nil {
			return err
		}
	}
	left := int64(0)
	for partition := range partitions {
		last, _ := end.Lookup(topic, partition)
		first := number
		if where == "beginning" {
			first = 0
			begin[partition] = kgo.NewOffset().AtStart()
		} else if where == "time" {
			found, _ := listed.Lookup(topic, partition)
			first = found.Offset
			// The client's own look-up, which must come to the same.
			begin[partition] = kgo.NewOffset().AfterMilli(number)
		} else {
			begin[partition] = kgo.NewOffset().At(first)
		}
		left += last.Offset - first
	}
	client.AddConsumePartitions(map[string]map[int32]kgo.Offset{topic: begin})
	return poll(ctx, client, left, out)
}

func poll(ctx context.Context, client *kgo.Client, left int64, out string) error {
	file, err := os.Create(out)
	if err != nil {
		return err
	}
	defer file.Close()
	to := bufio.NewWriter(file)
	for left > 0 {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			return err
		}
		fetches.EachRecord(func(record *kgo.Record) {
			left--
			fmt.Fprintln(to, format(record))
		})
	}
	return to.Flush()
}

// From the end on: one record, written when the consumer is there.
func tail(ctx context.Context, address, topic, out string) error {
	client, err := writing(address, "none", true)
	if err != nil {
		return err
	}
	defer client.Close()
	end, partitions, err := ends(ctx, kadm.NewClient(client), topic)
	if err != nil {
		return err
	}
	at := make(map[int32]kgo.Offset)
	for partition := range partitions {
		last, _ := end.Lookup(topic, partition)
		at[partition] = kgo.NewOffset().At(last.Offset)
	}
	client.AddConsumePartitions(map[string]map[int32]kgo.Offset{topic: at})
	record := &kgo.Record{Topic: topic, Partition: 1, Timestamp: time.UnixMilli(5), Value: []byte("at the end")}
	if err := client.ProduceSync(ctx, record).FirstErr(); err != nil {
		return err
	}
	return poll(ctx, client, 1, out)
}

func offsets(ctx context.Context, address, topic, out string) error {
	client, err := connect(address)
	if err != nil {
		return err
	}
	defer client.Close()
	admin := kadm.NewClient(client)
	begin, err := admin.ListStartOffsets(ctx, topic)
	if err != nil {
		return err
	}
	end, partitions, err := ends(ctx, admin, topic)
	if err != nil {
		return err
	}
	var text strings.Builder
	for partition := range partitions {
		first, _ := begin.Lookup(topic, partition)
		last, _ := end.Lookup(topic, partition)
		fmt.Fprintf(&text, "%d\t%d\t%d\n", partition, first.Offset, last.Offset)
	}
	return os.WriteFile(out, []byte(text.String()), 0o644)
}

// What an administrator does to a topic.
func administer(ctx context.Context, address, topic, out string) error {
	client, err := connect(address)
	if err != nil {
		return err
	}
	defer client.Close()
	admin := kadm.NewClient(client)
	var text strings.Builder
	config := func() (kadm.Config, error) {
		described, err := admin.DescribeTopicConfigs(ctx, topic)
		if err != nil {
			return kadm.Config{}, err
		}
		resource, err := described.On(topic, nil)
		for _, config := range resource.Configs {
			if config.Key == "retention.ms" {
				return config, err
			}
		}
		return kadm.Config{}, errors.Join(err, errors.New("no retention.ms"))
	}
	alter := func(change kadm.AlterConfig) error {
		change.Name = "retention.ms"
		altered, err := admin.AlterTopicConfigs(ctx, []kadm.AlterConfig{change}, topic)
		if err == nil {
			_, err = altered.On(topic, func(r *kadm.AlterConfigsResponse) error { return r.Err })
		}
		return err
	}
	found, err := config()
	fmt.Fprintf(&text, "default %s\n", found.MaybeValue())
	long := "1000000000000"
	err = errors.Join(err, alter(kadm.AlterConfig{Op: kadm.SetConfig, Value: &long}))
	found, more := config()
	fmt.Fprintf(&text, "altered %s %d\n", found.MaybeValue(), int8(found.Source))
	err = errors.Join(err, more, alter(kadm.AlterConfig{Op: kadm.DeleteConfig}))
	found, more = config()
	fmt.Fprintf(&text, "reset %s\n", found.MaybeValue())
	if err = errors.Join(err, more); err != nil {
		return err
	}
	if err := partitionsAndRecords(ctx, admin, topic, &text); err != nil {
		return err
	}
	brokers, err := admin.ListBrokers(ctx)
	fmt.Fprintf(&text, "cluster %d\n", len(brokers))
	var set kadm.TopicsSet
	set.Add(topic, 0, 1, 2, 3, 4)
	dirs, more := admin.DescribeAllLogDirs(ctx, set)
	all, full := 0, 0
	dirs.Each(func(dir kadm.DescribedLogDir) {
		dir.Topics.Each(func(p kadm.DescribedLogDirPartition) {
			all++
			if p.Size > 0 {
				full++
			}
		})
	})
	fmt.Fprintf(&text, "log dirs %d of %d\n", full, all)
	_, gone := admin.DeleteTopic(ctx, topic)
	// This client remembers the topic for a while: another one looks.
	other, failed := connect(address)
	if failed != nil {
		return failed
	}
	defer other.Close()
	topics, listed := kadm.NewClient(other).ListTopics(ctx)
	if !topics.Has(topic) {
		text.WriteString("deleted\n")
	}
	if err := errors.Join(err, more, gone, listed); err != nil {
		return err
	}
	return os.WriteFile(out, []byte(text.String()), 0o644)
}

func partitionsAndRecords(ctx context.Context, admin *kadm.Client, topic string, text *strings.Builder) error {
	grown, err := admin.UpdatePartitions(ctx, 5, topic)
	if err == nil {
		err = grown.Error()
	}
	if err != nil {
		return err
	}
	end, partitions, err := ends(ctx, admin, topic)
	if err != nil {
		return err
	}
	fmt.Fprintf(text, "partitions %d\n", partitions)
	var to kadm.Offsets
	to.AddOffset(topic, 0, 60, -1)
	deleted, err := admin.DeleteRecords(ctx, to)
	if err == nil {
		err = deleted.Error()
	}
	times, more := admin.ListOffsetsAfterMilli(ctx, 1_700_000_000_745, topic)
	begin, yet := admin.ListStartOffsets(ctx, topic)
	three := func(what string, listed kadm.ListedOffsets) {
		text.WriteString(what)
		for partition := range int32(3) {
			found, _ := listed.Lookup(topic, partition)
			fmt.Fprintf(text, " %d", found.Offset)
		}
		text.WriteString("\n")
	}
	three("time", times)
	three("first", begin)
	three("end", end)
	return errors.Join(err, more, yet)
}

func refusals(ctx context.Context, address, topic, out string) error {
	var text strings.Builder
	refused := func(what string, err error) {
		var known *kerr.Error
		if errors.As(err, &known) {
			fmt.Fprintf(&text, "%s: %s\n", what, known.Message)
		} else {
			fmt.Fprintf(&text, "%s: %v\n", what, err)
		}
	}
	refused("exists", create(ctx, address, topic, 3, 1))
	refused("name", create(ctx, address, "no/such/name", 1, 1))
	refused("factor", create(ctx, address, "copies", 1, 3))
	refused("partitions", create(ctx, address, "nothing", 0, 1))
	client, err := connect(address, kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerBatchMaxBytes(4_000_000),
		kgo.BrokerMaxWriteBytes(8_000_000), kgo.ProducerBatchCompression(kgo.NoCompression()))
	if err != nil {
		return err
	}
	defer client.Close()
	described, err := kadm.NewClient(client).ListTopics(ctx, "nowhere-go")
	if err != nil {
		return err
	}
	refused("unknown", described["nowhere-go"].Err)
	large := &kgo.Record{Topic: topic, Value: make([]byte, 1_500_000)}
	refused("large", client.ProduceSync(ctx, large).FirstErr())
	past, err := connect(address, kgo.ConsumeResetOffset(kgo.NoResetOffset()), kgo.ConsumePartitions(
		map[string]map[int32]kgo.Offset{topic: {0: kgo.NewOffset().At(1_000_000)}}))
	if err != nil {
		return err
	}
	defer past.Close()
	refused("past the end", past.PollFetches(ctx).Err())
	return os.WriteFile(out, []byte(text.String()), 0o644)
}

func parse(line string) (*kgo.Record, error) {
	cells := strings.Split(line, "\t")
	partition, err := strconv.ParseInt(cells[0], 10, 32)
	if err != nil {
		return nil, err
	}
	at, err := strconv.ParseInt(cells[2], 10, 64)
	if err != nil {
		return nil, err
	}
	record := &kgo.Record{Partition: int32(partition), Timestamp: time.UnixMilli(at)}
	record.Key, record.Value = data(cells[3]), data(cells[4])
	for _, pair := range strings.Split(cells[5], ",") {
		if split := strings.IndexAny(pair, "=-"); split >= 0 {
			key := data("=" + pair[:split])
			record.Headers = append(record.Headers, kgo.RecordHeader{Key: string(key), Value: data(pair[split:])})
		}
	}
	return record, nil
}

func data(field string) []byte {
	if field == "-" {
		return nil
	}
	bytes, err := hex.DecodeString(field[1:])
	if err != nil {
		panic(err)
	}
	return bytes
}

func field(data []byte) string {
	if data == nil {
		return "-"
	}
	return "=" + hex.EncodeToString(data)
}

func format(record *kgo.Record) string {
	pairs := make([]string, len(record.Headers))
	for n, header := range record.Headers {
		pairs[n] = hex.EncodeToString([]byte(header.Key)) + field(header.Value)
	}
	return fmt.Sprintf("%d\t%d\t%d\t%s\t%s\t%s", record.Partition, record.Offset, record.Timestamp.UnixMilli(),
		field(record.Key), field(record.Value), strings.Join(pairs, ","))
}
