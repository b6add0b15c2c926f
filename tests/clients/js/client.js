// kafkajs, told on its standard input what to do; the words are in tests/clients/matrix.
'use strict'

const fs = require('fs')
const lz4 = require('lz4js')
const snappy = require('kafkajs-snappy')
const { ZstdCodec } = require('zstd-codec')
const { Kafka, CompressionTypes, CompressionCodecs, ConfigResourceTypes, Partitioners, logLevel } = require('kafkajs')

// A batch must stay below the broker's max.message.bytes: kafkajs makes one of all that a send has for a partition.
const BATCH_BYTES = 500_000

const types = {
  none: CompressionTypes.None,
  gzip: CompressionTypes.GZIP,
  snappy: CompressionTypes.Snappy,
  lz4: CompressionTypes.LZ4,
  zstd: CompressionTypes.ZSTD,
}

const codecs = async () => {
  CompressionCodecs[CompressionTypes.Snappy] = snappy
  CompressionCodecs[CompressionTypes.LZ4] = () => ({
    compress: async encoder => Buffer.from(lz4.compress(encoder.buffer)),
    decompress: async buffer => Buffer.from(lz4.decompress(buffer)),
  })
  const zstd = new (await new Promise(ZstdCodec.run)).Streaming()
  CompressionCodecs[CompressionTypes.ZSTD] = () => ({
    compress: async encoder => Buffer.from(zstd.compress(encoder.buffer)),
    decompress: async buffer => Buffer.from(zstd.decompress(buffer)),
  })
}

const parse = field => (field === '-' ? null : Buffer.from(field.slice(1), 'hex'))
const field = data => (data === null ? '-' : '=' + data.toString('hex'))

const records = file =>
  fs.readFileSync(file, 'utf8').trimEnd().split('\n').map(line => {
    const [partition, offset, timestamp, key, value, pairs] = line.split('\t')
    const headers = {}
    for (const pair of pairs ? pairs.split(',') : []) {
      const [name, data] = pair.split('=')
      const key = Buffer.from(name, 'hex').toString()
      headers[key] = [...(headers[key] || []), Buffer.from(data, 'hex')]
    }
    return { partition: Number(partition), offset, timestamp, key: parse(key), value: parse(value), headers }
  })

const line = (partition, { offset, timestamp, key, value, headers }) => {
  const pairs = Object.entries(headers).flatMap(([name, data]) =>
    [data].flat().map(one => Buffer.from(name).toString('hex') + field(one)))
  return [partition, offset, timestamp, field(key), field(value), pairs.join(',')].join('\t') + '\n'
}

class Client {
  constructor(address) {
    this.kafka = new Kafka({ brokers: [address], logLevel: logLevel.NOTHING, retry: { retries: 3 } })
  }

  async admin(use) {
    const admin = this.kafka.admin()
    await admin.connect()
    try {
      return await use(admin)
    } finally {
      await admin.disconnect()
    }
  }

  async producer(idempotent, use) {
    const producer = this.kafka.producer({ idempotent, createPartitioner: Partitioners.DefaultPartitioner })
    await producer.connect()
    try {
      return await use(producer)
    } finally {
      await producer.disconnect()
    }
  }

  async create(topic, partitions, factor = 1) {
    const topics = [{ topic, numPartitions: Number(partitions), replicationFactor: factor }]
    await this.admin(admin => admin.createTopics({ topics, waitForLeaders: true }))
  }

  async write(topic, codec, kind, file) {
    await this.producer(kind === 'idempotent', async producer => {
      let ahead = []
      let bytes = 0
      const send = async () => {
        const first = {}
        ahead.forEach(record => { first[record.partition] ??= record.offset })
        const messages = ahead.map(({ offset, ...message }) => message)
        const answers = await producer.send({ topic, acks: -1, compression: types[codec], messages })
        for (const { partition, errorCode, baseOffset } of answers) {
          if (errorCode !== 0 || baseOffset !== first[partition]) {
            throw new Error(`acknowledged at ${baseOffset}, expected ${first[partition]}`)
          }
        }
        ahead = []
        bytes = 0
      }
      for (const record of records(file)) {
        const size = record.value ? record.value.length : 0
        if (bytes + size > BATCH_BYTES && ahead.length > 0) await send()
        ahead.push(record)
        bytes += size
      }
      await send()
    })
  }

  // kafkajs's consumer is always a group's. Until groups are served its own fetch requests and decoder are called below it.
  async read(topic, from, out) {
    const [where, number] = from.split(':')
    const ends = await this.admin(admin => admin.fetchTopicOffsets(topic))
    const starts = where === 'time'
      ? await this.admin(admin => admin.fetchTopicOffsetsByTimestamp(topic, Number(number)))
      : ends.map(({ partition, low }) => ({ partition, offset: where === 'offset' ? number : low }))
    const [create] = Object.getOwnPropertySymbols(this.kafka).filter(s => String(s).includes('createCluster'))
    const cluster = this.kafka[create]({ allowAutoTopicCreation: false })
    await cluster.connect()
    await cluster.addTargetTopic(topic)
    const broker = await cluster.findControllerBroker()
    const to = fs.openSync(out, 'w')
    for (const { partition, high } of ends.sort((a, b) => a.partition - b.partition)) {
      let next = BigInt(starts.find(start => start.partition === partition).offset)
      while (next < BigInt(high)) {
        const partitions = [{ partition, fetchOffset: next.toString(), maxBytes: 1_048_576 }]
        const answer = await broker.fetch({ maxWaitTime: 100, topics: [{ topic, partitions }], isolationLevel: 0 })
        for (const message of answer.responses[0].partitions[0].messages) {
          if (BigInt(message.offset) < next) continue
          fs.writeSync(to, line(partition, message))
          next = BigInt(message.offset) + 1n
        }
      }
    }
    fs.closeSync(to)
    await cluster.disconnect()
  }

  async offsets(topic, out) {
    const found = await this.admin(admin => admin.fetchTopicOffsets(topic))
    found.sort((a, b) => a.partition - b.partition)
    fs.writeFileSync(out, found.map(({ partition, low, high }) => `${partition}\t${low}\t${high}\n`).join(''))
  }

  async administer(topic, out) {
    const middle = 1700000000745
    const told = []
    await this.admin(async admin => {
      const resource = { type: ConfigResourceTypes.TOPIC, name: topic }
      const config = async () => {
        const { resources } = await admin.describeConfigs({ resources: [{ ...resource, configNames: ['retention.ms'] }] })
        return resources[0].configEntries[0]
      }
      // AlterConfigs: what is not named goes back to its default.
      const alter = configEntries => admin.alterConfigs({ resources: [{ ...resource, configEntries }] })
      const three = found => found.sort((a, b) => a.partition - b.partition).slice(0, 3)
      told.push(`default ${(await config()).configValue}`)
      await alter([{ name: 'retention.ms', value: '1000000000000' }])
      const { configValue, configSource } = await config()
      told.push(`altered ${configValue} ${configSource}`)
      await alter([])
      told.push(`reset ${(await config()).configValue}`)
      await admin.createPartitions({ topicPartitions: [{ topic, count: 5 }] })
      const { topics } = await admin.fetchTopicMetadata({ topics: [topic] })
      told.push(`partitions ${topics[0].partitions.length}`)
      await admin.deleteTopicRecords({ topic, partitions: [{ partition: 0, offset: '60' }] })
      const times = three(await admin.fetchTopicOffsetsByTimestamp(topic, middle))
      const ends = three(await admin.fetchTopicOffsets(topic))
      told.push(`time ${times.map(({ offset }) => offset).join(' ')}`)
      told.push(`first ${ends.map(({ low }) => low).join(' ')}`)
      told.push(`end ${ends.map(({ high }) => high).join(' ')}`)
      told.push(`cluster ${(await admin.describeCluster()).brokers.length}`)
      await admin.deleteTopics({ topics: [topic] })
      told.push((await admin.listTopics()).includes(topic) ? 'there' : 'deleted')
    })
    fs.writeFileSync(out, told.map(line => `${line}\n`).join(''))
  }

  async refusals(topic, out) {
    let text = ''
    const refused = async (what, asked) => {
      let answer = 'nothing'
      try {
        answer = String(await asked())
      } catch (error) {
        const inner = error.errors ? error.errors[0] : error
        answer = inner.type || (inner.cause && inner.cause.type) || inner.message
      }
      text += `${what}: ${answer}\n`
    }
    // Not an error to kafkajs.
    await refused('exists', () => this.admin(a => a.createTopics({ topics: [{ topic }] })))
    await refused('name', () => this.create('no/such/name', 1))
    await refused('factor', () => this.create('copies', 1, 3))
    await refused('partitions', () => this.create('nothing', 0))
    await refused('unknown', () => this.admin(a => a.fetchTopicMetadata({ topics: ['nowhere-js'] })))
    await refused('large', () => this.producer(true, p =>
      p.send({ topic, acks: -1, messages: [{ partition: 0, value: Buffer.alloc(1_500_000) }] })))
    fs.writeFileSync(out, text)
  }
}

const main = async () => {
  await codecs()
  const client = new Client(process.argv[2])
  for (const job of fs.readFileSync(0, 'utf8').trim().split('\n')) {
    const [name, ...words] = job.split(' ')
    await client[name](...words).catch(error => {
      console.error(`at: ${job}`)
      throw error
    })
  }
}

main().catch(error => {
  console.error(error)
  process.exit(1)
})
