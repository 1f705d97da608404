// kafkajs, which lives on old versions of everything, against KOHORT_TEST_BOOTSTRAP.
import assert from 'node:assert/strict'
import test from 'node:test'
import kafkajs from 'kafkajs'

const bootstrap = process.env.KOHORT_TEST_BOOTSTRAP
assert(bootstrap, 'KOHORT_TEST_BOOTSTRAP must name a server')
const kafka = new kafkajs.Kafka({ clientId: 'kjs', brokers: [bootstrap], logLevel: kafkajs.logLevel.NOTHING })
const name = prefix => `${prefix}-${Math.random().toString(16).slice(2, 10)}`

test('a group consumes what was produced, is described, and is reset', { timeout: 60_000 }, async () => {
  const topic = name('kjs'), group = name('g')
  const admin = kafka.admin()
  await admin.connect()
  await admin.createTopics({ topics: [{ topic, numPartitions: 4, replicationFactor: 1 }], waitForLeaders: true })
  const producer = kafka.producer()
  await producer.connect()
  for (const compression of [kafkajs.CompressionTypes.None, kafkajs.CompressionTypes.GZIP])
    await producer.send({ topic, compression, messages: Array.from({ length: 500 }, (_, i) => ({ key: `k${i}`, value: `v${i}` })) })
  const consumer = kafka.consumer({ groupId: group, sessionTimeout: 6000, heartbeatInterval: 1500 })
  await consumer.connect()
  await consumer.subscribe({ topic, fromBeginning: true })
  let seen = 0
  await new Promise((done, failed) => consumer.run({
    eachMessage: async () => { if (++seen === 1000) done() }
  }).catch(failed))
  const described = (await admin.describeGroups([group])).groups[0]
  assert.equal(described.state, 'Stable')
  assert.equal(described.members.length, 1)
  await consumer.disconnect()
  const offsets = (await admin.fetchOffsets({ groupId: group, topics: [topic] }))[0].partitions
  assert.equal(offsets.reduce((sum, p) => sum + Number(p.offset), 0), 1000)
  await admin.resetOffsets({ groupId: group, topic, earliest: true })
  await admin.deleteGroups([group])
  await admin.deleteTopics({ topics: [topic] })
  await producer.disconnect()
  await admin.disconnect()
})
