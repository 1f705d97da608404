//! Kohort's client: batches at `next`, records lent from them; `enqueue` and counts for producing.

use std::time::{Duration, Instant};

use bench_clients::{Check, Client, Joined, Latency, Line, Opts, Payloads, Result, run, stamped, unsupported};
use kohort_client::{
    Client as Kohort, ClientConfig, Compression, Consumer, ConsumerBuilder, ConsumerEvent, OffsetReset, Outgoing, Producer,
};

struct Bench;

fn client(o: &Opts) -> Result<Kohort> {
    Ok(Kohort::new(ClientConfig::new([o.bootstrap()]))?)
}

fn consumer(o: &Opts, group: &str) -> Result<Consumer> {
    if o.protocol() != "classic" {
        return unsupported("KIP-848");
    }
    let mut b: ConsumerBuilder = client(o)?.consumer().group(group).offset_reset(OffsetReset::Earliest);
    if let Some(bytes) = o.get("partition-fetch") {
        b = b.partition_max_bytes(bytes.parse()?);
    }
    if let Some(bytes) = o.get("prefetch") {
        b = b.prefetch_bytes(bytes.parse()?);
    }
    if o.get("crc") == Some("off") {
        b = b.check_crcs(false);
    }
    let consumer = b.build()?;
    consumer.subscribe([o.topic()])?;
    Ok(consumer)
}

fn producer(o: &Opts, linger: u64) -> Result<Producer> {
    let Some(compression) = Compression::from_name(o.compression()) else { return unsupported(o.compression()) };
    if o.acks() != "all" {
        return unsupported(o.acks());
    }
    let b = client(o)?.producer();
    let b = b.idempotence(o.idempotence()).compression(compression).batch_size(o.batch());
    let b = b.max_request_size(o.num("request", 1 << 20)? as usize);
    Ok(b.linger(Duration::from_millis(linger)).buffer_memory(o.num("buffer", 32 << 20)? as usize).build())
}

impl Client for Bench {
    const NAME: &'static str = "kohort";
    const VERSION: &'static str = "0.1.0";

    async fn produce(o: &Opts, line: &mut Line) -> Result<()> {
        let producer = producer(o, o.linger_ms())?;
        let payloads = Payloads::new(o.size());
        let (topic, partitions) = (o.topic(), o.partitions() as u64);
        for i in 0..o.records() {
            let record = Outgoing::to(topic).partition((i % partitions) as i32).value(payloads.get(i));
            producer.enqueue(record).await?;
        }
        producer.flush().await;
        let delivered = producer.delivered();
        line.int("acked", delivered.acked);
        if delivered.acked != o.records() {
            return Err(format!("{delivered:?}").into());
        }
        Ok(())
    }

    async fn consume(o: &Opts, _: &mut Line, check: &mut Check) -> Result<()> {
        let mut consumer = consumer(o, &o.group())?;
        while !check.done() {
            match consumer.next().await {
                ConsumerEvent::Batch(batch) => {
                    let partition = batch.partition();
                    for record in batch.records() {
                        let record = record?;
                        check.record(partition, record.offset, record.value);
                    }
                }
                ConsumerEvent::Fatal(error) => return Err(error.into()),
                ConsumerEvent::Halted { error, .. } => return Err(error.into()),
                _ => {}
            }
        }
        if o.get("close") == Some("on") {
            consumer.close().await;
        } else {
            std::mem::forget(consumer);
        }
        Ok(())
    }

    async fn join(o: &Opts, group: &str) -> Result<Joined> {
        let began = Instant::now();
        let mut consumer = consumer(o, group)?;
        let mut assigned = Duration::ZERO;
        loop {
            match consumer.next().await {
                ConsumerEvent::Assigned { .. } => assigned = began.elapsed(),
                ConsumerEvent::Batch(batch) if !batch.is_empty() => break,
                ConsumerEvent::Fatal(error) => return Err(error.into()),
                _ => {}
            }
        }
        let first_record = began.elapsed();
        consumer.close().await;
        Ok(Joined { assigned, first_record })
    }

    async fn latency(o: &Opts, lat: &mut Latency) -> Result<()> {
        let producer = producer(o, 0)?;
        let mut consumer = consumer(o, &o.group())?;
        let (total, every, size, partitions) = (lat.total, lat.every(), o.size(), o.partitions() as u64);
        let topic = o.topic().to_string();
        let sender = tokio::spawn(async move {
            let mut tick = tokio::time::interval(every);
            for i in 0..total {
                tick.tick().await;
                let value = stamped(size);
                producer.enqueue(Outgoing::to(&topic).partition((i % partitions) as i32).value(&value)).await?;
            }
            producer.flush().await;
            Ok::<_, kohort_client::SendError>(())
        });
        'all: loop {
            if let ConsumerEvent::Batch(batch) = consumer.next().await {
                for record in batch.records() {
                    if lat.take(record?.value.unwrap_or_default()) {
                        break 'all;
                    }
                }
            }
        }
        Ok(sender.await??)
    }
}

fn main() {
    run::<Bench>();
}
