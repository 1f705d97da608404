//! Acknowledgements: one shared outcome for each batch, no channel for each record.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use kohort_group::messages::{Offset, Partition};

use super::{ProduceError, RecordMetadata};

/// The fate of one record, to be awaited. Dropping it changes nothing.
#[derive(Debug)]
pub struct Ack {
    outcome: Arc<Outcome>,
    index: u32,
    /// Which of the outcome's wakers is ours.
    slot: Option<usize>,
}

/// The fate of one batch.
#[derive(Debug)]
pub(crate) struct Outcome {
    topic: Arc<str>,
    partition: Partition,
    state: Mutex<State>,
}

#[derive(Debug)]
enum State {
    Pending(Vec<Waker>),
    Done(Result<Offset, ProduceError>),
}

impl Outcome {
    pub(crate) fn new(topic: Arc<str>, partition: Partition) -> Arc<Self> {
        Arc::new(Self { topic, partition, state: Mutex::new(State::Pending(Vec::new())) })
    }

    pub(crate) fn topic(&self) -> &Arc<str> {
        &self.topic
    }

    pub(crate) fn partition(&self) -> Partition {
        self.partition
    }

    /// The ack of the batch's record number `index`.
    pub(crate) fn ack(self: &Arc<Self>, index: u32) -> Ack {
        Ack { outcome: self.clone(), index, slot: None }
    }

    /// Settles it, and wakes all who wait.
    pub(crate) fn settle(&self, result: Result<Offset, ProduceError>) {
        let before = {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *state, State::Done(result))
        };
        if let State::Pending(wakers) = before {
            wakers.into_iter().for_each(Waker::wake);
        }
    }
}

impl Future for Ack {
    type Output = Result<RecordMetadata, ProduceError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let mut state = this.outcome.state.lock().unwrap_or_else(PoisonError::into_inner);
        let result = match &mut *state {
            State::Done(result) => result.clone(),
            State::Pending(wakers) => {
                match this.slot {
                    Some(slot) => wakers[slot].clone_from(cx.waker()),
                    None => {
                        this.slot = Some(wakers.len());
                        wakers.push(cx.waker().clone());
                    }
                }
                return Poll::Pending;
            }
        };
        Poll::Ready(result.map(|base| RecordMetadata {
            topic: this.outcome.topic.clone(),
            partition: this.outcome.partition,
            offset: if base < 0 { -1 } else { base + Offset::from(this.index) },
        }))
    }
}
